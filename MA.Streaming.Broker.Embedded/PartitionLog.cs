using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <summary>A topic of the log.</summary>
internal sealed class Topic(int id, string name)
{
    private volatile PartitionLog[] _partitions = [];

    public int Id { get; } = id;

    public string Name { get; } = name;

    public bool KeepForever { get; set; }

    public PartitionLog[] Partitions => _partitions;

    /// <summary>
    /// Where its segments are. The id makes it unique; what follows is a hint for people, in lower case, so that neither case nor
    /// reserved names matter to any file system.
    /// </summary>
    public string Directory { get; } = $"{TopicsDirectory}/{id:D8}-{new string([.. name.Take(64).Select(c => c == '.' ? '_' : char.ToLowerInvariant(c))])}";

    public const string TopicsDirectory = "topics";

    /// <summary>Guards the first look at its directory.</summary>
    public Lock AttachGate { get; } = new();

    public bool IsAttached { get; set; }

    /// <summary>Its directory exists, durably.</summary>
    public bool HasDirectory { get; set; }

    public long Version { get; set; }

    public void GrowTo(int count)
    {
        if (count <= _partitions.Length) return;
        var grown = new PartitionLog[count];
        _partitions.CopyTo(grown, 0);
        for (var i = _partitions.Length; i < count; i++) grown[i] = new PartitionLog(this, i);
        _partitions = grown;
    }
}

/// <summary>Records in a row, in memory; those counted are never written again, so views of its array are shared.</summary>
internal sealed class TailChunk(PartitionLog partition, long start, int capacity)
{
    public PartitionLog Partition { get; } = partition;

    public Record[] Records { get; } = new Record[capacity];

    public long[] Sequences { get; } = new long[capacity];

    public long Start { get; } = start;

    public int Count { get; set; }

    public long Bytes { get; set; }

    public long End => Start + Count;

    /// <summary>What it costs beside keys and values.</summary>
    public long Overhead => (long)Records.Length * PartitionLog.SlotBytes;

    public long Cost => Bytes + Overhead;
}

/// <summary>
/// One partition: its watermarks, its recent records in memory, the segments that hold the others, and who waits for the next.
/// Records below <see cref="Drained"/> are in segments; those from <see cref="TailStart"/> on are in memory; together that is all.
/// </summary>
internal sealed class PartitionLog(Topic topic, int index)
{
    /// <summary>What a record costs in memory beside its key and value.</summary>
    public const int SlotBytes = 96;

    private const int ChunkRecordsMin = 4;
    private const int ChunkRecordsMax = 512;
    private const int ChunkBytesMax = 256 << 10;

    private readonly Queue<TailChunk> _chunks = [];
    private TailChunk? _open;
    private int _capacity = ChunkRecordsMin;
    private LogPosition? _waiting;

    /// <summary>Guards everything below that is not said to belong to one loop.</summary>
    public Lock Gate { get; } = new();

    public Topic Topic { get; } = topic;

    public TopicPartition Source { get; } = new(topic.Name, index);

    public long Low { get; set; }

    /// <summary>One past the last durable record.</summary>
    public long High { get; set; }

    /// <summary>One past the last record in segments.</summary>
    public long Drained { get; set; }

    public long TailStart => _chunks.TryPeek(out var first) ? first.Start : High;

    /// <summary>First offsets of its segments, in order; known when the topic is attached.</summary>
    public List<long> Segments { get; set; } = [];

    /// <summary>First offset of the segment that grows, and its durable length; 0: the next record begins a new one.</summary>
    public long ActiveBase { get; set; }

    public long ActiveLength { get; set; }

    /// <summary>There is no active segment, but there are segments: what recovery finds is not void.</summary>
    public bool HasSealedSegments { get; set; }

    /// <summary>Of the last record in segments.</summary>
    public long DrainedTimestamp { get; set; }

    /// <summary>The commit loop's: the offset and the least timestamp of the next record.</summary>
    public long NextOffset { get; set; }

    public long NextTimestamp { get; set; }

    /// <summary>Listed with those to drain; guarded by the log.</summary>
    public bool IsDirty { get; set; }

    /// <summary>The drainer's: the id of the active segment, entries in its index, the position of the last; -1: not known yet.</summary>
    public ulong ActiveFileId { get; set; }

    public int IndexCount { get; set; } = -1;

    public long IndexedTo { get; set; }

    /// <summary>The drainer's: what retention knows of the segments that are not the last.</summary>
    public Dictionary<long, SegmentFacts> Facts { get; } = [];

    /// <summary>The drainer's: files of a failed attempt, which must be gone before the next.</summary>
    public List<string>? Leftovers { get; set; }

    /// <summary>Where the log stands with nothing in memory.</summary>
    public void Start(long low, long next, long activeBase, long activeLength, long timestamp)
    {
        Low = low;
        High = Drained = NextOffset = Math.Max(low, next);
        (ActiveBase, ActiveLength, DrainedTimestamp, NextTimestamp) = (activeBase, activeLength, timestamp, timestamp);
    }

    /// <summary>Makes a durable record visible; returns the chunk when it is a new one. The waiting positions join those given.</summary>
    public TailChunk? Append(in Record record, long sequence, ref LogPosition? ready)
    {
        lock (Gate)
        {
            TailChunk? made = null;
            if (_open is null || _open.Count == _open.Records.Length || _open.Bytes >= ChunkBytesMax)
            {
                if (_open is not null) _capacity = _open.Count == _open.Records.Length ? Math.Min(ChunkRecordsMax, _open.Count * 4) : Math.Max(ChunkRecordsMin, _open.Count);
                _open = made = new TailChunk(this, record.Offset, _capacity);
                _chunks.Enqueue(made);
            }

            _open.Records[_open.Count] = record;
            _open.Sequences[_open.Count] = sequence;
            _open.Bytes += record.Bytes;
            _open.Count++;
            High = record.Offset + 1;
            if (_waiting is not null)
            {
                ready = LogPosition.Join(_waiting, ready);
                _waiting = null;
            }

            return made;
        }
    }

    /// <summary>The records in memory that are in no segment yet.</summary>
    public List<(TailChunk Chunk, int From, int To)> Undrained()
    {
        lock (Gate)
        {
            var parts = new List<(TailChunk, int, int)>();
            foreach (var chunk in _chunks)
            {
                if (chunk.End > Drained) parts.Add((chunk, (int)Math.Max(0, Drained - chunk.Start), chunk.Count));
            }

            return parts;
        }
    }

    /// <summary>Forgets the oldest chunk if it is this one and in segments; the memory that frees, or -1 when it must stay.</summary>
    public long Evict(TailChunk chunk)
    {
        lock (Gate)
        {
            if (chunk.End > Drained || !_chunks.TryPeek(out var first) || first != chunk) return -1;
            _chunks.Dequeue();
            if (_open == chunk) _open = null;
            return chunk.Cost;
        }
    }

    /// <summary>
    /// The next records of a position from memory, and what became of it: queued again, waiting here, or at its end. True with the
    /// position untouched when its records are in segments only; the caller reads them there and calls <see cref="Moved"/>.
    /// </summary>
    public bool Take(LogPosition position, int bytesMax, out RecordBatch? batch)
    {
        lock (Gate)
        {
            batch = null;
            MissingRange? missing = null;
            if (position.Next < Low)
            {
                missing = new MissingRange(position.Next, Math.Min(Low, position.End), MissingReason.Retention);
                position.Next = missing.To;
            }

            IReadOnlyList<Record> records = [];
            var end = Math.Min(High, position.End);
            if (position.Next < end)
            {
                if (position.Next < TailStart && missing is null) return true;
                if (position.Next >= TailStart) records = View(position.Next, end, bytesMax);
            }

            position.Next += records.Count;
            if (records.Count > 0 || missing is not null) batch = new RecordBatch(Source, position.Next, records, missing);
            Place(position);
            return false;
        }
    }

    /// <summary>Puts a position that read from segments where it belongs now.</summary>
    public void Moved(LogPosition position, long next)
    {
        lock (Gate)
        {
            position.Next = next;
            Place(position);
        }
    }

    public void Abandon(LogPosition position)
    {
        lock (Gate) LogPosition.Remove(ref _waiting, position);
    }

    public Watermarks GetWatermarks()
    {
        lock (Gate) return new Watermarks(Source, Low, High);
    }

    /// <summary>The first offset, from one on, whose record is not older, if it is in memory; -1 when segments must be looked at first.</summary>
    public long FindInTail(DateTimeOffset notBefore, long from)
    {
        lock (Gate)
        {
            var start = TailStart;
            from = Math.Max(from, Low);
            if (from < start && (start == High || At(start).Timestamp >= notBefore)) return -1;
            long low = Math.Max(from, start), high = High;
            while (low < high)
            {
                var middle = (low + high) / 2;
                if (At(middle).Timestamp < notBefore) low = middle + 1;
                else high = middle;
            }

            return low;
        }
    }

    private void Place(LogPosition position)
    {
        if (position.Next >= position.End) position.Reader.Finished();
        else if (position.Next < High) position.Reader.Queue(position);
        else LogPosition.Push(ref _waiting, position);
    }

    private Record At(long offset)
    {
        var chunk = ChunkOf(offset);
        return chunk.Records[offset - chunk.Start];
    }

    private TailChunk ChunkOf(long offset)
    {
        if (_open is { } open && offset >= open.Start) return open;
        foreach (var chunk in _chunks)
        {
            if (offset < chunk.End) return chunk;
        }

        throw new InvalidOperationException($"offset {offset} of {Source} is not in memory");
    }

    /// <summary>Records from an offset on that stand in one chunk and have no more bytes than asked, but one at least.</summary>
    private ArraySegment<Record> View(long from, long end, int bytesMax)
    {
        var chunk = ChunkOf(from);
        var start = (int)(from - chunk.Start);
        var count = (int)(Math.Min(end, chunk.End) - from);
        if (chunk.Bytes > bytesMax)
        {
            var taken = 1;
            for (var bytes = (long)chunk.Records[start].Bytes; taken < count; taken++)
            {
                bytes += chunk.Records[start + taken].Bytes;
                if (bytes > bytesMax) break;
            }

            count = taken;
        }

        return new ArraySegment<Record>(chunk.Records, start, count);
    }
}
