namespace MA.Streaming.TestSupport;

/// <summary>
/// A clock that moves when the test moves it. <see cref="Advance"/> fires the timers that fall due on the way, in order, each at
/// its time, on the calling thread. The wall clock may also jump, back too, which moves neither timers nor timestamps.
/// </summary>
public sealed class ManualClock(DateTimeOffset start) : TimeProvider
{
    private readonly Lock _gate = new();
    private readonly List<ManualTimer> _timers = [];
    private readonly List<(int Count, TaskCompletionSource Reached)> _waiters = [];
    private DateTimeOffset _now = start;
    private TimeSpan _elapsed;

    public ManualClock()
        : this(new DateTimeOffset(2025, 3, 16, 15, 0, 0, TimeSpan.Zero))
    {
    }

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    /// <summary>How many timers are set.</summary>
    public int TimerCount
    {
        get
        {
            lock (_gate) return _timers.Count;
        }
    }

    public override DateTimeOffset GetUtcNow()
    {
        lock (_gate) return _now;
    }

    public override long GetTimestamp()
    {
        lock (_gate) return _elapsed.Ticks;
    }

    public void Advance(TimeSpan by)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(by, TimeSpan.Zero);
        TimeSpan target;
        lock (_gate) target = _elapsed + by;
        while (true)
        {
            ManualTimer? timer;
            lock (_gate)
            {
                timer = _timers.Where(t => t.Due <= target).MinBy(t => t.Due);
                var to = timer?.Due ?? target;
                if (to > _elapsed)
                {
                    _now += to - _elapsed;
                    _elapsed = to;
                }

                if (timer is null) return;
                if (timer.Period > TimeSpan.Zero) timer.Due += timer.Period;
                else _timers.Remove(timer);
            }

            timer.Fire();
        }
    }

    /// <summary>Sets the wall clock, as an operator or a time server would.</summary>
    public void JumpTo(DateTimeOffset now)
    {
        lock (_gate) _now = now;
    }

    /// <summary>Completes when at least this many timers are set: then whoever waits for time really does.</summary>
    public Task TimersAsync(int count)
    {
        lock (_gate)
        {
            if (_timers.Count >= count) return Task.CompletedTask;
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiters.Add((count, reached));
            return reached.Task;
        }
    }

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new ManualTimer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    private void Set(ManualTimer timer, TimeSpan dueTime, TimeSpan period)
    {
        lock (_gate)
        {
            _timers.Remove(timer);
            if (dueTime == Timeout.InfiniteTimeSpan) return;
            timer.Due = _elapsed + dueTime;
            timer.Period = period;
            if (dueTime > TimeSpan.Zero || period > TimeSpan.Zero) _timers.Add(timer);
            if (dueTime == TimeSpan.Zero)
            {
                // Due at once means, as with the system's timers, on the pool and not inside this call.
                if (period > TimeSpan.Zero) timer.Due += period;
                ThreadPool.QueueUserWorkItem(static timer => timer.Fire(), timer, preferLocal: false);
            }

            foreach (var (count, reached) in _waiters)
            {
                if (_timers.Count >= count) reached.TrySetResult();
            }

            _waiters.RemoveAll(waiter => waiter.Reached.Task.IsCompleted);
        }
    }

    private void Remove(ManualTimer timer)
    {
        lock (_gate) _timers.Remove(timer);
    }

    private sealed class ManualTimer(ManualClock clock, TimerCallback callback, object? state) : ITimer
    {
        private volatile bool _isDisposed;

        public TimeSpan Due { get; set; }

        public TimeSpan Period { get; set; }

        public void Fire()
        {
            if (!_isDisposed) callback(state);
        }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (_isDisposed) return false;
            clock.Set(this, dueTime, period);
            return true;
        }

        public void Dispose()
        {
            _isDisposed = true;
            clock.Remove(this);
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
