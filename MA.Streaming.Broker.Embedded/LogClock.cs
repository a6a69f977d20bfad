namespace MA.Streaming.Broker.Embedded;

/// <summary>What the clock of a log found out about the system's clock.</summary>
internal enum ClockNews
{
    /// <summary>The system's time at start is before the newest record: the log's clock begins at that record.</summary>
    SystemIsBehindLog,

    /// <summary>The system's time at start is long after the newest record: retention by age waits.</summary>
    RetentionWaits,

    /// <summary>The system's time was far from the log's for long enough: the log's clock takes it over.</summary>
    Stepped,
}

/// <summary>
/// Stamps records and dates them for retention. The system's clock may jump, and a jump must not remove what is young: so this clock
/// takes the system's time at start and then counts monotonic time. It follows a small difference slowly, and a large one only when
/// it lasts.
/// </summary>
internal sealed class LogClock
{
    /// <summary>A difference below this is followed at <see cref="FollowRate"/>.</summary>
    public static readonly TimeSpan SmallDifference = TimeSpan.FromMinutes(1);

    /// <summary>A larger one is taken over when it has lasted this long.</summary>
    public static readonly TimeSpan LargeDifferenceLasts = TimeSpan.FromMinutes(10);

    /// <summary>A log that is opened with its newest record older than this waits as long before age removes anything.</summary>
    public static readonly TimeSpan RetentionWait = TimeSpan.FromHours(24);

    /// <summary>Seconds a second.</summary>
    public const double FollowRate = 0.001;

    private readonly TimeProvider _system;
    private readonly Action<ClockNews, DateTimeOffset, DateTimeOffset> _tell;
    private readonly long _started;
    private readonly bool _waits;

    // Guards the fields below.
    private readonly Lock _gate = new();
    private long _last;
    private long _ticks;
    private long? _differsSince;

    /// <param name="system">The system's clock.</param>
    /// <param name="isTrusted">Retention by age never waits.</param>
    /// <param name="newest">The time of the newest record in ticks; 0: there is none.</param>
    /// <param name="tell">Gets the news: what happened, the system's time, and the newest record's or the log's time.</param>
    public LogClock(TimeProvider system, bool isTrusted, long newest, Action<ClockNews, DateTimeOffset, DateTimeOffset> tell)
    {
        (_system, _tell) = (system, tell);
        _started = _last = system.GetTimestamp();
        _ticks = system.GetUtcNow().UtcTicks;
        if (newest == 0) return;
        if (_ticks < newest)
        {
            tell(ClockNews.SystemIsBehindLog, At(_ticks), At(newest));
            _ticks = newest;
        }
        else if (_ticks - newest > RetentionWait.Ticks && !isTrusted)
        {
            _waits = true;
            tell(ClockNews.RetentionWaits, At(_ticks), At(newest));
        }
    }

    /// <summary>The log's time in ticks of UTC.</summary>
    public long Now()
    {
        lock (_gate)
        {
            var (at, there) = (_system.GetTimestamp(), _system.GetUtcNow().UtcTicks);
            var elapsed = _system.GetElapsedTime(_last, at).Ticks;
            (_last, _ticks) = (at, _ticks + elapsed);
            var difference = there - _ticks;
            if (Math.Abs(difference) < SmallDifference.Ticks)
            {
                _differsSince = null;
                var most = (long)(elapsed * FollowRate);
                _ticks += Math.Clamp(difference, -most, most);
            }
            else if (_system.GetElapsedTime(_differsSince ??= at, at) >= LargeDifferenceLasts)
            {
                _tell(ClockNews.Stepped, At(there), At(_ticks));
                (_ticks, _differsSince) = (there, null);
            }

            return _ticks;
        }
    }

    /// <summary>Age may remove records: always, but for the first day after a log was opened whose newest record is older than that.</summary>
    public bool MayRemoveByAge => !_waits || _system.GetElapsedTime(_started) >= RetentionWait;

    private static DateTimeOffset At(long ticks) => new(ticks, TimeSpan.Zero);
}
