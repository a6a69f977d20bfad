using System.Threading.Tasks.Sources;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Kafka;

/// <summary>Records of one partition in a row, as a consumer brought them; shared by all who read them.</summary>
/// <param name="First">The offset from which on this is all there is.</param>
/// <param name="Next">The offset behind it.</param>
/// <param name="Records">The records between.</param>
/// <param name="Missing">Offsets before the records that will never come.</param>
internal sealed record Chunk(long First, long Next, Record[] Records, MissingRange? Missing)
{
    /// <summary>What it counts against a bound.</summary>
    public long Cost { get; } = 64 + Records.Sum(record => (long)CostOf(record));

    public static int CostOf(in Record record) => record.Bytes + 96;

    /// <summary>Where the first record that is not before an offset stands.</summary>
    public int IndexOf(long offset)
    {
        var (low, high) = (0, Records.Length);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (Records[middle].Offset < offset) low = middle + 1;
            else high = middle;
        }

        return low;
    }
}

/// <summary>Where a reader stands in one partition.</summary>
internal sealed class ReaderPosition(KafkaReader reader, TopicPartition source, long next)
{
    public KafkaReader Reader { get; } = reader;

    public TopicPartition Source { get; } = source;

    /// <summary>What the consumer gets next. Only the reader's own consumer moves it.</summary>
    public long Next { get; set; } = next;

    /// <summary>Where the read ends.</summary>
    public long End { get; set; } = long.MaxValue;

    /// <summary>The highest offset that is known to have been there.</summary>
    public long Seen { get; set; }

    public bool IsDone { get; set; }

    // The following under the reader's lock.

    /// <summary>In the reader's queue of those that may have something.</summary>
    public bool IsQueued { get; set; }

    /// <summary>The partition does not exist yet.</summary>
    public bool IsAbsent { get; set; }

    /// <summary>A catch-up consumer reads for it, or is to.</summary>
    public bool IsBehind { get; set; }

    public bool IsDeleted { get; set; }

    public BrokerException? Failure { get; set; }

    /// <summary>What a catch-up consumer has brought.</summary>
    public Queue<Chunk> Chunks { get; } = new();

    /// <summary>What a catch-up consumer is to bring next.</summary>
    public long Wanted { get; set; }

    // The following under the tail's lock.

    /// <summary>Counted among the tail partition's members.</summary>
    public bool IsAtTail { get; set; }

    /// <summary>In the tail partition's list of those who wait.</summary>
    public bool IsWaiting { get; set; }
}

/// <summary>
/// One read. Its consumer takes batches; any thread may say that a position has something; it waits when none has. What a position has
/// comes from the catch-up consumers' chunks first, then from the tail.
/// </summary>
internal sealed class KafkaReader : IValueTaskSource
{
    /// <summary>Small chunks of the tail are handed out together up to this many records.</summary>
    private const int MergedMax = 512;

    private const int ReadAheadMin = 64 << 10;

    private readonly KafkaTail _tail;
    private readonly KafkaCatchUp _catchUp;
    private readonly ReadRequest _request;
    private readonly Lock _gate = new();
    private readonly Queue<ReaderPosition> _ready = new();
    private readonly List<ReaderPosition> _behind = [];
    private readonly Record[] _merged = new Record[MergedMax];
    private ManualResetValueTaskSourceCore<bool> _signal;
    private bool _isWaiting;
    private bool _isEnding;
    private volatile bool _hasLeft;
    private int _open;
    private long _chunkBytes;

    public KafkaReader(KafkaTail tail, KafkaCatchUp catchUp, ReadRequest request)
    {
        _tail = tail;
        _catchUp = catchUp;
        _request = request;
        Positions = [.. request.From.Select(from => new ReaderPosition(this, from.Source, from.Offset))];
        _open = Positions.Count;
        ReadAhead = Math.Max(request.BytesMax, ReadAheadMin);
    }

    public IReadOnlyList<ReaderPosition> Positions { get; }

    public bool IsAtEnd => _open == 0;

    public bool IsBounded => _request.ToHighWatermark;

    /// <summary>Bytes that are read ahead for it: BytesMax, and no less than makes a turn of a consumer worth it.</summary>
    public long ReadAhead { get; }

    /// <summary>Nobody reads any more.</summary>
    public bool HasLeft => _hasLeft;

    /// <summary>Kept by the catch-up: waits for a consumer, or has one.</summary>
    public bool IsServed { get; set; }

    /// <summary>No more is to be read ahead for the time being.</summary>
    public bool IsFull => ChunkBytes >= ReadAhead;

    /// <summary>Bytes that catch-up consumers have brought and nobody has taken.</summary>
    public long ChunkBytes
    {
        get
        {
            lock (_gate) return _chunkBytes;
        }
    }

    /// <summary>Positions that a catch-up consumer is to read for.</summary>
    public List<ReaderPosition> TakeBehind()
    {
        lock (_gate)
        {
            List<ReaderPosition> behind = [.. _behind];
            _behind.Clear();
            return behind;
        }
    }

    public bool HasBehind
    {
        get
        {
            lock (_gate) return _behind.Count > 0;
        }
    }

    /// <summary>Gives positions back that a catch-up consumer has not finished with.</summary>
    public void ReturnBehind(IEnumerable<ReaderPosition> positions)
    {
        lock (_gate) _behind.AddRange(positions);
    }

    /// <summary>The next batch, of the position that has waited longest for its turn; null when none has anything.</summary>
    /// <exception cref="BrokerException">A position cannot be read.</exception>
    public RecordBatch? TakeBatch()
    {
        while (true)
        {
            ReaderPosition position;
            lock (_gate)
            {
                if (!_ready.TryDequeue(out position!)) return null;
                position.IsQueued = false;
                if (position.IsDone || position.IsAbsent) continue;
                if (position.Failure is { } failure) throw new BrokerException(failure.Error, failure.Message, failure);
            }

            if (Take(position) is { } batch) return batch;
        }
    }

    /// <summary>Completes when a position may have something or the read must end.</summary>
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

    /// <summary>Says that a position may have something.</summary>
    public void Wake(ReaderPosition position)
    {
        lock (_gate)
        {
            Enqueue(position);
            if (!_isWaiting) return;
            _isWaiting = false;
        }

        _signal.SetResult(true);
    }

    /// <summary>A catch-up consumer brings something, and reads on behind it. Who reads is woken separately.</summary>
    public void Bring(ReaderPosition position, Chunk chunk)
    {
        lock (_gate)
        {
            position.Chunks.Enqueue(chunk);
            position.Wanted = chunk.Next;
            _chunkBytes += chunk.Cost;
        }
    }

    /// <summary>A catch-up consumer is done with a position: the tail has what follows, or the read ends there. Who reads is woken separately.</summary>
    public void CaughtUp(ReaderPosition position)
    {
        lock (_gate) position.IsBehind = false;
    }

    public void Fail(ReaderPosition position, BrokerException failure)
    {
        lock (_gate) position.Failure = failure;
        Wake(position);
    }

    /// <summary>The topic is gone; <paramref name="seen"/> is an offset that is known to have been reached.</summary>
    public void Deleted(ReaderPosition position, long seen)
    {
        lock (_gate)
        {
            if (position.IsAbsent) return;
            position.IsDeleted = true;
            position.Seen = Math.Max(position.Seen, seen);
        }

        Wake(position);
    }

    /// <summary>The partition does not exist; it is waited for.</summary>
    public void Await(ReaderPosition position)
    {
        lock (_gate) position.IsAbsent = true;
    }

    /// <summary>A partition that was waited for exists.</summary>
    public void Appeared(ReaderPosition position)
    {
        lock (_gate) position.IsAbsent = false;
        Wake(position);
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

    /// <summary>Takes the read out of everything that knows it.</summary>
    public void Leave()
    {
        _hasLeft = true;
        _tail.Leave(Positions);
        _catchUp.Changed(this);
    }

    void IValueTaskSource.GetResult(short token) => _signal.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _signal.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _signal.OnCompleted(continuation, state, token, flags);

    private void Enqueue(ReaderPosition position)
    {
        if (position.IsQueued) return;
        position.IsQueued = true;
        _ready.Enqueue(position);
    }

    private void EnqueueAgain(ReaderPosition position)
    {
        lock (_gate) Enqueue(position);
    }

    private RecordBatch? Take(ReaderPosition position)
    {
        if (position.IsDeleted) return TakeEnd(position);
        if (TakeChunk(position, out var isBehind) is { } batch) return batch;
        if (position.Next >= position.End)
        {
            Finish(position);
            return null;
        }

        if (isBehind) return null; // A catch-up consumer is at it.
        switch (_tail.Take(position, _request.BytesMax, _merged, out batch))
        {
            case TailAnswer.Batch:
                EnqueueAgain(position);
                return batch;
            case TailAnswer.Waits:
                return null;
            default:
                lock (_gate)
                {
                    if (position.IsBehind) return null;
                    position.IsBehind = true;
                    position.Wanted = position.Next;
                    _behind.Add(position);
                }

                _catchUp.Serve(this);
                return null;
        }
    }

    // What a catch-up consumer brought: a view of a chunk, of at most BytesMax.
    private RecordBatch? TakeChunk(ReaderPosition position, out bool isBehind)
    {
        Chunk? chunk;
        lock (_gate)
        {
            isBehind = position.IsBehind;
            if (!position.Chunks.TryPeek(out chunk)) return null;
        }

        var (missing, from) = (chunk.Missing is { } gap && position.Next < gap.To ? gap : null, chunk.IndexOf(position.Next));
        if (missing is not null && missing.From != position.Next) missing = missing with { From = position.Next };
        if (missing is not null && missing.To > position.End) missing = missing with { To = position.End };
        var count = Fitting(chunk.Records.AsSpan(from), _request.BytesMax, position.End);
        var isLast = from + count == chunk.Records.Length || chunk.Records[from + count].Offset >= position.End;
        var next = isLast ? Math.Min(chunk.Next, position.End) : chunk.Records[from + count].Offset;
        lock (_gate)
        {
            if (isLast)
            {
                position.Chunks.Dequeue();
                _chunkBytes -= chunk.Cost;
            }

            Enqueue(position);
        }

        if (isLast) _catchUp.Changed(this);
        if (count == 0 && missing is null && next <= position.Next) return null;
        position.Next = next;
        return new RecordBatch(position.Source, next, new ArraySegment<Record>(chunk.Records, from, count), missing);
    }

    /// <summary>How many records a batch takes: one at least, and no more than fit.</summary>
    public static int Fitting(ReadOnlySpan<Record> records, int bytesMax, long end)
    {
        var (count, bytes) = (0, 0L);
        while (count < records.Length && records[count].Offset < end)
        {
            bytes += records[count].Bytes;
            if (count > 0 && bytes > bytesMax) break;
            count++;
        }

        return count;
    }

    // The topic is gone: what was not read of it will never come.
    private RecordBatch TakeEnd(ReaderPosition position)
    {
        lock (_gate)
        {
            foreach (var chunk in position.Chunks)
            {
                position.Seen = Math.Max(position.Seen, chunk.Next);
                _chunkBytes -= chunk.Cost;
            }

            position.Chunks.Clear();
        }

        var (from, to) = (position.Next, Math.Max(position.Next, Math.Min(position.End, position.Seen)));
        position.Next = to;
        Finish(position);
        return new RecordBatch(position.Source, to, [], new MissingRange(from, to, MissingReason.TopicDeleted));
    }

    private void Finish(ReaderPosition position)
    {
        if (position.IsDone) return;
        position.IsDone = true;
        _open--;
    }
}
