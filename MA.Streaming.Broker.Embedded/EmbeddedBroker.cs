using System.Runtime.CompilerServices;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace MA.Streaming.Broker.Embedded;

/// <summary>
/// The durable broker: a log in a directory of this process's own. Two threads drive it: the commit loop makes appends durable a
/// group at a time, as many as came while the last group was on its way; the drain loop moves them from the journal into segments.
/// Appends complete on the commit loop, and readers that ask for it are resumed there; everything else runs on the thread pool.
/// </summary>
public sealed partial class EmbeddedBroker : IBroker
{
    [ThreadStatic]
    private static bool _isCommitLoop;

    private readonly EmbeddedBrokerOptions _options;
    private readonly ILogger _logger;
    private readonly Log _log;
    private readonly CancellationTokenSource _disposal = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // Guards the fields below; pulsed when they change. Appends are completed outside of it.
    private readonly object _gate = new();
    private readonly Queue<Append> _queue = new();
    private long _queuedBytes;

    // Behind the queue, in order, while that is full.
    private readonly LinkedList<Append> _waiting = new();
    private long _waitingBytes;

    // Looks after a while whether a group was taken since; if not, whoever waits is refused.
    private readonly ITimer _patience;
    private readonly ITimer? _retention;
    private readonly TimeSpan _retentionPeriod;
    private readonly TimeProvider _clock;
    private long? _retained;

    // The drain loop's, but for health, which reads the first.
    private volatile Fault? _broken;
    private readonly ITimer _retry;
    private TimeSpan _retryAfter = RetryFirstAfter;
    private bool _isPatienceSet;
    private long _groupsTaken;
    private long _groupsTakenThen;

    private volatile bool _isStopping;
    private bool _hasDrainFailed;
    private volatile bool _hasStopped;

    // Guards the field below; pulsed when it is set and when the broker stops. Nothing is done inside of it.
    private readonly object _drainGate = new();
    private bool _isDrainWanted;

    private readonly LogMeter _meter = new();
    private readonly LocalGroups _groups;
    private readonly Thread _commitLoop;
    private readonly Thread _drainLoop;
    private long _damages;

    private EmbeddedBroker(EmbeddedBrokerOptions options, Func<ILogFiles> files, TimeProvider clock, ILogger logger)
    {
        _options = options;
        _clock = clock;
        _logger = logger;
        try
        {
            _log = Log.Open(files(), options, clock, Report, Report, Report);
        }
        catch (Exception exception)
        {
            _meter.Dispose();
            if (exception is not (IOException or UnauthorizedAccessException)) throw;
            throw new BrokerException(
                exception is DiskFullException ? BrokerError.Full : BrokerError.Unavailable, $"the log in {options.Directory} cannot be opened: {exception.Message}", exception);
        }

        _patience = clock.CreateTimer(static broker => ((EmbeddedBroker)broker!).LosePatience(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _retry = clock.CreateTimer(static broker => ((EmbeddedBroker)broker!).RequestDrain(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        if (_log.HasRetention)
        {
            // Records grow old without anybody writing, and what a drain added is looked at within a second.
            _retentionPeriod = options.RetentionAge is { } age
                ? TimeSpan.FromTicks(Math.Clamp(age.Ticks / 10, TimeSpan.TicksPerSecond, TimeSpan.TicksPerMinute))
                : Timeout.InfiniteTimeSpan;
            _retention = clock.CreateTimer(static broker => ((EmbeddedBroker)broker!).RequestDrain(), this, _retentionPeriod, _retentionPeriod);
        }

        _meter.Observe(() => _log.UndrainedBytes, () => _log.JournalBytes, () => QueuedBytes);
        Info = new BrokerInfo(_log.Id.ToString("D"), $"embedded:{options.Directory}", options.RecordBytesMax, options.CommitPolicy.Durability, IsShared: false);
        _logger.Opened(options.Directory, _log.Id, _log.Epoch, options.CommitPolicy.Name, _log.Topics.Count);
        _groups = new LocalGroups(this, TrimTo, clock, logger);
        _commitLoop = new Thread(CommitLoop) { IsBackground = true, Name = "stream-api commit" };
        _drainLoop = new Thread(DrainLoop) { IsBackground = true, Name = "stream-api drain" };
        _drainLoop.Start();
        _commitLoop.Start();
    }

    /// <inheritdoc/>
    public BrokerInfo Info { get; }

    /// <summary>How often damage was found since the log was opened; the torn tail of a crash is none.</summary>
    internal long Damages => Volatile.Read(ref _damages);

    /// <summary>Bytes of appends that wait to be written.</summary>
    internal long QueuedBytes
    {
        get
        {
            lock (_gate) return _queuedBytes + _waitingBytes;
        }
    }

    /// <summary>Opens the log in a directory, or makes it; recovers what a crash left.</summary>
    /// <param name="options">Where and how.</param>
    /// <param name="clock">Stamps the records; the system's clock when null.</param>
    /// <param name="logger">Is told of damage and of failures of the disk.</param>
    /// <exception cref="BrokerException">Unavailable: another process owns the directory, or the disk refuses. Corrupt: it is no log, or of a newer format.</exception>
    public static Task<EmbeddedBroker> OpenAsync(EmbeddedBrokerOptions options, TimeProvider? clock = null, ILogger<EmbeddedBroker>? logger = null)
    {
        options.Validate();
        return OpenAsync(options, () => new OsLogFiles(options.Directory), clock, logger);
    }

    internal static Task<EmbeddedBroker> OpenAsync(EmbeddedBrokerOptions options, Func<ILogFiles> files, TimeProvider? clock = null, ILogger<EmbeddedBroker>? logger = null) =>
        Task.Run(() => new EmbeddedBroker(options, files, clock ?? TimeProvider.System, logger ?? NullLogger<EmbeddedBroker>.Instance));

    /// <summary>Looks at the log in a directory without owning or changing it, and reads all of it. Another process may use it meanwhile.</summary>
    /// <exception cref="BrokerException">Corrupt: it is no log, or of a newer format. Unavailable: it cannot be read.</exception>
    public static Task<LogInspection> InspectAsync(string directory) => Task.Run(() =>
    {
        try
        {
            return Log.Inspect(OsLogFiles.ForReading(directory), new EmbeddedBrokerOptions { Directory = directory });
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BrokerException(BrokerError.Unavailable, $"the log in {directory} cannot be read: {exception.Message}", exception);
        }
    });

    /// <inheritdoc/>
    public async ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        TopicNames.ThrowIfNotAllowed(topic.Name);
        if (topic.Partitions < 1) throw new ArgumentException($"a topic has 1 partition or more, not {topic.Partitions}", nameof(topic));
        cancellationToken.ThrowIfCancellationRequested();
        if (_log.FindTopic(topic.Name) is not { } known || known.Partitions.Length < topic.Partitions || (topic.KeepForever && !known.KeepForever))
        {
            var change = new Append(topic);
            Enqueue(change);
            await change.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }

        return new TopicInfo(topic.Name, _log.FindTopic(topic.Name)!.Partitions.Length);
    }

    /// <inheritdoc/>
    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<Appended>(cancellationToken);
        if (PartitionOf(target, record.Key) is not { } partition)
        {
            return ValueTask.FromException<Appended>(new BrokerException(
                BrokerError.NoSuchTopic, target.Partition < 0 ? $"there is no topic '{target.Topic}'" : $"there is no partition {target}"));
        }

        if (record.Bytes > _options.RecordBytesMax)
        {
            return ValueTask.FromException<Appended>(new BrokerException(
                BrokerError.TooLarge, $"a record for {target.Topic} has {record.Bytes} bytes of key and value; {Info.Name} takes at most {_options.RecordBytesMax}"));
        }

        var append = new Append(partition, record);
        if (cancellationToken.CanBeCanceled)
        {
            var registration = cancellationToken.UnsafeRegister(static (append, token) => ((Append)append!).TrySetCanceled(token), append);
            _ = append.Task.ContinueWith(
                static (_, registration) => ((CancellationTokenRegistration)registration!).Unregister(),
                registration,
                CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
        }

        Enqueue(append);
        return new ValueTask<Appended>(append.Task);
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return Read(request, cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return _groups.JoinAsync(group, cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<IReadOnlyList<Watermarks>>(cancellationToken);
        var watermarks = new Watermarks[partitions.Count];
        for (var i = 0; i < watermarks.Length; i++) watermarks[i] = _log.Find(partitions[i])?.GetWatermarks() ?? new Watermarks(partitions[i], 0, 0);
        return ValueTask.FromResult<IReadOnlyList<Watermarks>>(watermarks);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        cancellationToken.ThrowIfCancellationRequested();
        await LeaveCommitLoop();
        var offsets = new long[partitions.Count];
        for (var i = 0; i < offsets.Length; i++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            offsets[i] = _log.Find(partitions[i]) is { } partition ? _log.FindOffset(partition, notBefore) : 0;
        }

        return offsets;
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<TopicInfo?> WatchTopicsAsync(CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return WatchTopics(cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<BrokerHealth>(cancellationToken);
        var health = _log.Broken is { } broken ? new BrokerHealth(false, _log.CanHeal
                ? $"nothing is taken since {_broken?.SinceTime ?? _clock.GetUtcNow():u}, because the disk of {_options.Directory} failed; it is tried again: {broken.Message}"
                : $"nothing is taken until the log in {_options.Directory} is opened again: {broken.Message}")
            : _log.IsFull ? new BrokerHealth(false, $"the disk of {_options.Directory} is full")
            : Volatile.Read(ref _hasDrainFailed) ? new BrokerHealth(false, "records cannot be moved from the journal into segments")
            : new BrokerHealth(true, $"{_options.CommitPolicy.Durability}; {_log.UndrainedBytes} bytes in the journal only");
        return ValueTask.FromResult(health);
    }

    /// <summary>Ends reads and watches, refuses what waits, and closes the log so that the next start has nothing to recover.</summary>
    public ValueTask DisposeAsync()
    {
        // Wakes every reader; the source stays undisposed because reads may still register with it.
        _disposal.Cancel();
        _groups.End();
        List<Append> refused;
        lock (_gate)
        {
            _isStopping = true;
            refused = TakeAll();
            Monitor.PulseAll(_gate);
        }

        lock (_drainGate) Monitor.PulseAll(_drainGate);
        foreach (var append in refused) append.TrySetException(new ObjectDisposedException(nameof(EmbeddedBroker)));
        return new ValueTask(_ended.Task);
    }

    /// <summary>Removes the records before an offset as retention would.</summary>
    internal void TrimTo(TopicPartition source, long low) => _log.TrimTo(_log.Find(source)!, low);

    /// <summary>Moves everything durable into segments, and lets retention take what it may.</summary>
    internal async Task DrainAsync()
    {
        await LeaveCommitLoop();
        _log.Drain();
        _log.Retain();
    }

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposal.IsCancellationRequested, this);

    private PartitionLog? PartitionOf(TopicPartition target, ReadOnlyMemory<byte>? key)
    {
        if (target.Partition >= 0) return _log.Find(target);
        return target.Partition == -1 && _log.FindTopic(target.Topic) is { } topic
            ? topic.Partitions[KeyPlacement.PartitionOf(key.GetValueOrDefault().Span, topic.Partitions.Length)]
            : null;
    }

    private bool HasRoom => _log.UndrainedBytes < _options.UndrainedBytesMax && _log.JournalBytes < _options.JournalBytesMax;

    private async IAsyncEnumerable<RecordBatch> Read(ReadRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var reader = new LogReader(_log, request);
        using var cancelled = cancellationToken.UnsafeRegister(static reader => ((LogReader)reader!).End(), reader);
        using var disposed = _disposal.Token.UnsafeRegister(static reader => ((LogReader)reader!).End(), reader);
        try
        {
            while (!reader.IsAtEnd)
            {
                cancellationToken.ThrowIfCancellationRequested();
                ThrowIfDisposed();
                var batch = reader.TakeBatch();
                if (reader.IsBehind)
                {
                    // A reader far behind waits for the disk; the commit loop must not.
                    await LeaveCommitLoop();
                    batch = ReadSegment(reader);
                    if (batch is null) continue;
                }

                if (batch is not null) yield return batch;
                else if (!reader.IsAtEnd) await reader.WaitAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            reader.Dispose();
        }
    }

    private RecordBatch? ReadSegment(LogReader reader)
    {
        try
        {
            return reader.ReadSegment();
        }
        catch (BrokerException) when (_disposal.IsCancellationRequested)
        {
            throw new ObjectDisposedException(nameof(EmbeddedBroker));
        }
    }

    private async IAsyncEnumerable<TopicInfo?> WatchTopics([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // What a watcher has seen is a version number, so a slow one costs nothing.
        var seen = -1L;
        while (true)
        {
            var isFirst = seen < 0;
            (var news, seen, var changed) = _log.TopicsSince(seen);
            foreach (var topic in news)
            {
                cancellationToken.ThrowIfCancellationRequested();
                ThrowIfDisposed();
                yield return topic;
            }

            cancellationToken.ThrowIfCancellationRequested();
            ThrowIfDisposed();
            if (isFirst) yield return null;
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _disposal.Token);
            try
            {
                await changed.WaitAsync(stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                ThrowIfDisposed();
                throw;
            }
        }
    }

    private static ConfiguredTaskAwaitable LeaveCommitLoop() =>
        Task.CompletedTask.ConfigureAwait(_isCommitLoop ? ConfigureAwaitOptions.ForceYielding : ConfigureAwaitOptions.None);

    private void Report(Damage damage)
    {
        _meter.Damaged(damage.IsTornTail);
        if (damage.IsTornTail)
        {
            _logger.TornTailCut(_options.Directory, damage.File, damage.Position, damage.What);
            return;
        }

        Interlocked.Increment(ref _damages);
        _logger.DamageFound(_options.Directory, damage.File, damage.Position, damage.What);
    }

    private void Report(ClockNews news, DateTimeOffset system, DateTimeOffset other)
    {
        switch (news)
        {
            case ClockNews.SystemIsBehindLog:
                _logger.SystemIsBehindLog(_options.Directory, system, other);
                break;
            case ClockNews.RetentionWaits:
                _logger.RetentionWaits(_options.Directory, system, other);
                break;
            default:
                _logger.ClockStepped(_options.Directory, system, other);
                break;
        }
    }

    private void Report(RecoveryProgress progress) => _logger.Recovering(
        _options.Directory, progress.What, progress.Bytes, progress.TotalBytes, progress.BytesPerSecond, progress.Left.TotalSeconds);
}
