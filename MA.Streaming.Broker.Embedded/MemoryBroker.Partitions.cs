using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <content>What is held: topics, partitions, chunks.</content>
public sealed partial class MemoryBroker
{
    private enum AppendOutcome
    {
        Done,
        NoRoom,
        Deleted,
    }

    private sealed class Topic
    {
        private volatile Partition[] _partitions = [];
        private bool _isKeptForever;

        public Topic(string name)
        {
            Info = new TopicInfo(name, 0);
            ByChange = new LinkedListNode<Topic>(this);
        }

        public Partition[] Partitions => _partitions;

        public TopicInfo Info { get; private set; }

        public LinkedListNode<Topic> ByChange { get; }

        public long Version { get; set; }

        public void KeepForever()
        {
            _isKeptForever = true;
            foreach (var partition in _partitions) partition.KeepForever();
        }

        public void GrowTo(int count, MemoryBroker broker)
        {
            var grown = new Partition[count];
            _partitions.CopyTo(grown, 0);
            for (var i = _partitions.Length; i < count; i++) grown[i] = new Partition(broker, new TopicPartition(Info.Name, i), _isKeptForever);
            _partitions = grown;
            Info = Info with { Partitions = count };
        }
    }

    /// <summary>A row of records; whoever touches their array holds the gate of their partition, and batches hold arrays of their own.</summary>
    private sealed class Chunk(Partition partition, long number, long start, int capacity)
    {
        public Partition Partition { get; } = partition;

        public long Number { get; } = number;

        public Record[] Records { get; private set; } = new Record[capacity];

        /// <summary>Offset of the first record.</summary>
        public long Start { get; private set; } = start;

        public int Count { get; private set; }

        /// <summary>Bytes of keys and values.</summary>
        public long Bytes { get; private set; }

        public long End => Start + Count;

        public long Cost => Bytes + ((long)Count * RecordOverheadBytes);

        public void Add(in RecordData data, long bytes, DateTimeOffset timestamp)
        {
            Records[Count] = new Record(End, timestamp, data.Key, data.Value);
            Count++;
            Bytes += bytes;
        }

        /// <summary>Drops the records before an offset. Batches keep the array they have; the rest moves to a new one.</summary>
        public void RemoveBelow(long offset, bool isOpen)
        {
            var gone = (int)Math.Min(Count, offset - Start);
            var rest = gone == Count ? [] : new Record[isOpen ? Records.Length : Count - gone];
            Array.Copy(Records, gone, rest, 0, Count - gone);
            for (var i = 0; i < gone; i++) Bytes -= Records[i].Bytes;
            Records = rest;
            Start += gone;
            Count -= gone;
        }
    }

    private sealed class Partition(MemoryBroker broker, TopicPartition source, bool isKeptForever)
    {
        private readonly Lock _gate = new();

        // From _first on, in order; before it nulls, so that removing the oldest moves nothing most of the time.
        private readonly List<Chunk?> _chunks = [];
        private int _first;
        private Chunk? _open;
        private int _capacity = ChunkRecordsMin;

        private long _low;
        private long _high;
        private DateTimeOffset _last;
        private bool _isKeptForever = isKeptForever;
        private bool _isDeleted;

        // The positions that have read everything.
        private ReaderPosition? _waiting;

        public AppendOutcome TryAppend(in RecordData record, long bytes, DateTimeOffset now, out Appended appended)
        {
            ReaderPosition? ready;
            lock (_gate)
            {
                appended = default;
                if (_isDeleted) return AppendOutcome.Deleted;
                if (!broker.TryReserve(bytes + RecordOverheadBytes)) return AppendOutcome.NoRoom;
                if (now > _last) _last = now;

                var open = _open;
                if (open is null || open.Count == open.Records.Length || open.Bytes >= broker._chunkBytesMax) open = AddChunk();
                open.Add(in record, bytes, _last);
                if (open.Count == 1 && !_isKeptForever) broker.Enlist(open);
                appended = new Appended(source.Partition, _high++, _last);
                ready = _waiting;
                _waiting = null;
            }

            if (ready is not null) ReaderPosition.MakeReady(ready);
            return AppendOutcome.Done;
        }

        /// <summary>The next records of a position, and what became of it: queued again, waiting here, or at its end.</summary>
        public RecordBatch? Take(ReaderPosition position, int bytesMax)
        {
            lock (_gate)
            {
                MissingRange? missing = null;
                if (_isDeleted)
                {
                    missing = new MissingRange(position.Next, Math.Max(position.Next, Math.Min(_high, position.End)), MissingReason.TopicDeleted);
                    position.Next = missing.To;
                    position.Reader.Finished();
                    return new RecordBatch(source, missing.To, [], missing);
                }

                if (position.Next < _low)
                {
                    missing = new MissingRange(position.Next, Math.Min(_low, position.End), MissingReason.Retention);
                    position.Next = missing.To;
                }

                var records = View(position.Next, Math.Min(_high, position.End), bytesMax);
                position.Next += records.Count;
                if (position.Next >= position.End) position.Reader.Finished();
                else if (position.Next < _high) position.Reader.Queue(position);
                else ReaderPosition.Push(ref _waiting, position);
                return records.Count > 0 || missing is not null ? new RecordBatch(source, position.Next, records, missing) : null;
            }
        }

        /// <summary>Takes a position out of those that wait here, if it does.</summary>
        public void Abandon(ReaderPosition position)
        {
            lock (_gate) ReaderPosition.Remove(ref _waiting, position);
        }

        public Watermarks GetWatermarks()
        {
            lock (_gate) return new Watermarks(source, _low, _high);
        }

        public long FindOffset(DateTimeOffset notBefore)
        {
            lock (_gate) return FirstNotBefore(notBefore);
        }

        public void KeepForever()
        {
            lock (_gate) _isKeptForever = true;
        }

        public long BytesKeptForever()
        {
            lock (_gate)
            {
                if (!_isKeptForever) return 0;
                var bytes = 0L;
                for (var i = _first; i < _chunks.Count; i++) bytes += _chunks[i]!.Cost;
                return bytes;
            }
        }

        /// <summary>Removes the records of the oldest eighth of the time that chunk spans until now, so that the young ones of a chunk
        /// that fills slowly stay, while one that fills fast goes whole.</summary>
        public void Evict(Chunk oldest, DateTimeOffset now)
        {
            lock (_gate)
            {
                if (_isKeptForever || oldest.Count == 0) return;
                var first = oldest.Records[0].Timestamp;
                var limit = now > first ? first + ((now - first) / 8) : first;
                RemoveBelow(Math.Min(oldest.End, FirstNotBefore(limit.AddTicks(1))));
                if (oldest.Count > 0) broker.Enlist(oldest);
            }
        }

        public void TrimTo(long low)
        {
            lock (_gate) RemoveBelow(Math.Min(low, _high));
        }

        public void Delete()
        {
            ReaderPosition? ready;
            lock (_gate)
            {
                RemoveBelow(_high);
                _isDeleted = true;
                ready = _waiting;
                _waiting = null;
            }

            ReaderPosition.MakeReady(ready);
        }

        private Chunk AddChunk()
        {
            // Chunks grow with the partition, so that one of a few records is small; one closed by its bytes needs no more slots.
            if (_open is { } closed)
            {
                _capacity = closed.Count == closed.Records.Length
                    ? Math.Min(ChunkRecordsMax, closed.Count * 4)
                    : Math.Max(ChunkRecordsMin, closed.Count);
            }

            _open = new Chunk(this, Interlocked.Increment(ref broker._chunksMade), _high, _capacity);
            _chunks.Add(_open);
            return _open;
        }

        /// <summary>The records from an offset on that stand in one chunk and have no more bytes than asked, but one at least.</summary>
        private IReadOnlyList<Record> View(long from, long end, int bytesMax)
        {
            if (from >= end) return [];
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

        private Chunk ChunkOf(long offset)
        {
            if (_open is { } open && offset >= open.Start) return open;
            int low = _first, high = _chunks.Count - 1;
            while (low < high)
            {
                var middle = (low + high) / 2;
                if (_chunks[middle]!.End <= offset) low = middle + 1;
                else high = middle;
            }

            return _chunks[low]!;
        }

        private long FirstNotBefore(DateTimeOffset time)
        {
            long low = _low, high = _high;
            while (low < high)
            {
                var middle = (low + high) / 2;
                var chunk = ChunkOf(middle);
                if (chunk.Records[middle - chunk.Start].Timestamp < time) low = middle + 1;
                else high = middle;
            }

            return low;
        }

        private void RemoveBelow(long low)
        {
            if (low <= _low) return;
            _low = low;
            for (; _first < _chunks.Count && _chunks[_first] is { } chunk && chunk.Start < low; _chunks[_first++] = null)
            {
                var cost = chunk.Cost;
                chunk.RemoveBelow(low, isOpen: chunk == _open);
                broker.Release(cost - chunk.Cost);
                if (chunk.Count > 0) break;
                if (chunk == _open) _open = null;
            }

            if (_first > _chunks.Count / 2)
            {
                _chunks.RemoveRange(0, _first);
                _first = 0;
            }
        }
    }
}
