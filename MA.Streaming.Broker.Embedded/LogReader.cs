using System.Threading.Tasks.Sources;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <summary>Where a read of segments stands: the next record begins at this position of that segment, if its offset is this one.</summary>
internal readonly record struct SegmentCursor(long Base, ulong FileId, long Position, long Offset);

/// <summary>Where a reader stands in one partition. It is in one place at a time: its reader's queue of ready positions, the chain
/// of its partition (or of the partition's creation), or the hands of the thread that moves it between them.</summary>
internal sealed class LogPosition(LogReader reader, TopicPartition source, long next, long end)
{
    private LogPosition? _chained;
    private SegmentCursor _cursor;

    public LogReader Reader { get; } = reader;

    public TopicPartition Source { get; } = source;

    /// <summary>Null until the partition is known to exist.</summary>
    public PartitionLog? Partition { get; set; }

    public long Next { get; set; } = next;

    /// <summary>Where the read ends.</summary>
    public long End { get; } = end;

    public ref SegmentCursor Cursor => ref _cursor;

    public static void Push(ref LogPosition? chain, LogPosition position)
    {
        position._chained = chain;
        chain = position;
    }

    public static void Remove(ref LogPosition? chain, LogPosition position)
    {
        ref var link = ref chain;
        while (link is not null && link != position) link = ref link._chained;
        if (link is not null) link = position._chained;
    }

    public static LogPosition? Join(LogPosition? chain, LogPosition? other)
    {
        while (chain is not null)
        {
            var next = chain._chained;
            Push(ref other, chain);
            chain = next;
        }

        return other;
    }

    /// <summary>Hands positions that were taken out of their chain to their readers; no lock may be held.</summary>
    public static void MakeReady(LogPosition? chain)
    {
        while (chain is not null)
        {
            var next = chain._chained;
            chain._chained = null;
            chain.Reader.Wake(chain);
            chain = next;
        }
    }
}

/// <summary>One read. Its consumer takes batches; any thread may make a position ready; it waits when none is.</summary>
internal sealed class LogReader : IValueTaskSource, IDisposable
{
    private readonly Log _log;
    private readonly ReadRequest _request;
    private readonly LogPosition[] _positions;
    private readonly SegmentScratch _scratch = new();
    private readonly Lock _gate = new();
    private readonly Queue<LogPosition> _ready;
    private ManualResetValueTaskSourceCore<bool> _signal;
    private bool _isWaiting;
    private bool _isEnding;
    private int _unfinished;
    private LogPosition? _behind;

    public LogReader(Log log, ReadRequest request)
    {
        _log = log;
        _request = request;
        _positions = [.. request.From.Select(PositionOf)];
        _ready = new Queue<LogPosition>(_positions.Where(position => position.Next < position.End));
        _unfinished = _ready.Count;
    }

    public bool IsAtEnd => _unfinished == 0;

    /// <summary>The next batch is in a segment: <see cref="ReadSegment"/> gets it, which waits for the disk.</summary>
    public bool IsBehind => _behind is not null;

    /// <summary>The next batch from memory, of the position that has waited longest for its turn; null when there is none.</summary>
    public RecordBatch? TakeBatch()
    {
        while (true)
        {
            LogPosition? position;
            lock (_gate)
            {
                if (!_ready.TryDequeue(out position)) return null;
            }

            if (position.Partition is null && !_log.TryResolve(position)) continue;
            if (position.Partition!.Take(position, _request.BytesMax, out var batch))
            {
                _behind = position;
                return null;
            }

            if (batch is not null) return batch;
        }
    }

    /// <summary>The batch that is behind; null when its place has changed meanwhile.</summary>
    public RecordBatch? ReadSegment()
    {
        var position = _behind!;
        _behind = null;
        RecordBatch? batch = null;
        try
        {
            batch = _log.ReadSegments(position.Partition!, position.Next, position.End, _request.BytesMax, ref position.Cursor, _scratch);
            return batch;
        }
        finally
        {
            position.Partition!.Moved(position, batch?.NextOffset ?? position.Next);
        }
    }

    public void Queue(LogPosition position)
    {
        lock (_gate) _ready.Enqueue(position);
    }

    public void Finished() => _unfinished--;

    /// <summary>Completes when a position is ready or the read must end.</summary>
    public ValueTask WaitAsync()
    {
        lock (_gate)
        {
            if (_ready.Count > 0 || _isEnding) return ValueTask.CompletedTask;
            _signal.Reset();
            _signal.RunContinuationsAsynchronously = !_request.ResumeInline;
            _isWaiting = true;
            return new ValueTask(this, _signal.Version);
        }
    }

    public void Wake(LogPosition position)
    {
        lock (_gate)
        {
            _ready.Enqueue(position);
            if (!_isWaiting) return;
            _isWaiting = false;
        }

        _signal.SetResult(true);
    }

    /// <summary>Wakes the consumer to see why the read ends; never on the thread that ends it.</summary>
    public void End()
    {
        lock (_gate)
        {
            _isEnding = true;
            if (!_isWaiting) return;
            _isWaiting = false;
        }

        _signal.RunContinuationsAsynchronously = true;
        _signal.SetResult(true);
    }

    /// <summary>Takes the read's positions out of every chain they wait in, and closes what is open.</summary>
    public void Dispose()
    {
        _scratch.Dispose();
        foreach (var position in _positions)
        {
            if (position.Partition is { } partition) partition.Abandon(position);
            else _log.Abandon(position);
        }
    }

    void IValueTaskSource.GetResult(short token) => _signal.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _signal.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _signal.OnCompleted(continuation, state, token, flags);

    private LogPosition PositionOf(Position from)
    {
        var end = _request.ToHighWatermark ? _log.Find(from.Source)?.GetWatermarks().High ?? 0 : long.MaxValue;
        return new LogPosition(this, from.Source, from.Offset, end);
    }
}
