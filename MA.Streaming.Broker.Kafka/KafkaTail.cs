using Confluent.Kafka;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Broker.Kafka;

/// <summary>What the tail says to a reader that asks for more.</summary>
internal enum TailAnswer
{
    /// <summary>Here it is.</summary>
    Batch,

    /// <summary>Nothing yet; the position is woken when there is.</summary>
    Waits,

    /// <summary>The tail does not have it (any more).</summary>
    Elsewhere,
}

/// <summary>
/// One consumer over every partition that is being read live, and a ring of what it read last, bounded in bytes, which all readers share.
/// It never waits for a reader: who falls behind the ring reads from a catch-up consumer until it meets the ring again.
/// </summary>
internal sealed class KafkaTail : IAsyncDisposable
{
    private const int FetchBytes = 1 << 20;
    private const int ChunkBytesMax = 256 << 10;
    private const int ChunkRecordsMax = 2_000;
    private static readonly TimeSpan PollTime = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan Linger = TimeSpan.FromSeconds(10);

    private readonly KafkaBrokerOptions _options;
    private readonly KafkaClients _clients;
    private readonly Action<TopicPartition> _suspect;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly object _gate = new();
    private readonly Dictionary<TopicPartition, Partition> _partitions = [];
    private readonly Queue<Partition> _ring = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _bytes;
    private long _swept;
    private bool _hasChanged;
    private bool _isStopping;
    private Thread? _loop;

    public KafkaTail(KafkaBrokerOptions options, KafkaClients clients, Action<TopicPartition> suspect, TimeProvider clock, ILogger logger)
    {
        _options = options;
        _clients = clients;
        _suspect = suspect;
        _clock = clock;
        _logger = logger;
    }

    /// <summary>Bytes in the ring.</summary>
    internal long Bytes
    {
        get
        {
            lock (_gate) return _bytes;
        }
    }

    /// <summary>Partitions where another client's open transaction holds records back, and since when.</summary>
    public IReadOnlyList<(TopicPartition Source, TimeSpan For)> HeldBack
    {
        get
        {
            lock (_gate)
            {
                return
                [
                    .. _partitions.Values.Where(partition => partition.HeldBackSince is not null)
                        .Select(partition => (partition.Source, _clock.GetElapsedTime(partition.HeldBackSince!.Value))),
                ];
            }
        }
    }

    /// <summary>Whether the ring has what stands at an offset, or will have it first.</summary>
    public bool Covers(TopicPartition source, long offset)
    {
        lock (_gate) return _partitions.TryGetValue(source, out var partition) && offset >= partition.Start && offset <= partition.End;
    }

    /// <summary>The end of what the tail has read of a partition; 0 when it does not read it.</summary>
    public long EndOf(TopicPartition source)
    {
        lock (_gate) return _partitions.TryGetValue(source, out var partition) ? partition.End : 0;
    }

    /// <summary>Reads a partition live from an offset on, unless it is read already.</summary>
    public void Follow(TopicPartition source, long from)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isStopping, typeof(KafkaBroker));
            if (!_partitions.TryGetValue(source, out var partition))
            {
                _partitions[source] = new Partition(source, from) { IdleSince = _clock.GetTimestamp() };
                Change();
            }
            else if (partition.Members == 0)
            {
                partition.IdleSince = _clock.GetTimestamp();
            }
        }
    }

    /// <summary>The next batch of a position, of at most so many bytes.</summary>
    public TailAnswer Take(ReaderPosition position, int bytesMax, Record[] merged, out RecordBatch? batch)
    {
        batch = null;
        lock (_gate)
        {
            if (!_partitions.TryGetValue(position.Source, out var partition))
            {
                Forget(position, null);
                return TailAnswer.Elsewhere;
            }

            if (position.Next < partition.Start)
            {
                Forget(position, partition);
                return TailAnswer.Elsewhere;
            }

            if (!position.IsAtTail)
            {
                position.IsAtTail = true;
                partition.Members++;
            }

            if (position.Next >= partition.End)
            {
                if (!position.IsWaiting)
                {
                    position.IsWaiting = true;
                    partition.Waiting.Add(position);
                }

                return TailAnswer.Waits;
            }

            batch = partition.Batch(position.Next, bytesMax, merged);
            position.Next = batch.NextOffset;
            return TailAnswer.Batch;
        }
    }

    public void Leave(IReadOnlyList<ReaderPosition> positions)
    {
        lock (_gate)
        {
            foreach (var position in positions) Forget(position, _partitions.GetValueOrDefault(position.Source));
        }
    }

    /// <summary>Drops what it has of a deleted topic.</summary>
    public void Drop(string topic)
    {
        lock (_gate)
        {
            foreach (var partition in _partitions.Values.Where(partition => partition.Source.Topic == topic).ToArray()) Remove(partition);
        }
    }

    public ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _isStopping = true;
            Monitor.PulseAll(_gate);
            if (_loop is null) _ended.TrySetResult();
        }

        return new ValueTask(_ended.Task);
    }

    private void Change()
    {
        _hasChanged = true;
        Monitor.PulseAll(_gate);
        if (_loop is not null) return;
        _loop = new Thread(Loop) { IsBackground = true, Name = "stream-api kafka tail" };
        _loop.Start();
    }

    private void Forget(ReaderPosition position, Partition? partition)
    {
        if (position.IsWaiting)
        {
            position.IsWaiting = false;
            partition?.Waiting.Remove(position);
        }

        if (!position.IsAtTail) return;
        position.IsAtTail = false;
        if (partition is not null && --partition.Members == 0) partition.IdleSince = _clock.GetTimestamp();
    }

    private void Remove(Partition partition)
    {
        _partitions.Remove(partition.Source);
        partition.IsGone = true;
        _bytes -= partition.Clear();
        _hasChanged = true;
        foreach (var position in partition.Waiting) position.IsWaiting = false;
        partition.Waiting.Clear();
        Monitor.PulseAll(_gate);
    }

    private void Loop()
    {
        while (true)
        {
            try
            {
                using var consumer = new KafkaConsumer<Partition>(_clients.Consumer(FetchBytes));
                while (Prepare(consumer)) Read(consumer);
                break;
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                // With a new consumer, from where the ring ends.
                _logger.LoopFailed(exception, "kafka tail");
                lock (_gate)
                {
                    if (_isStopping) break;
                    _hasChanged = true;
                    Monitor.Wait(_gate, TimeSpan.FromMilliseconds(500));
                }
            }
        }

        _ended.TrySetResult();
    }

    // Gives the consumer the partitions that are wanted, and waits while there are none. False when it is to stop.
    private bool Prepare(KafkaConsumer<Partition> consumer)
    {
        List<(TopicPartition, Partition, long)> added;
        List<TopicPartition> removed;
        lock (_gate)
        {
            while (true)
            {
                if (_isStopping) return false;
                Sweep(consumer);
                if (_hasChanged || _partitions.Count > 0) break;
                Monitor.Wait(_gate);
            }

            if (!_hasChanged) return true;
            _hasChanged = false;
            removed = [.. consumer.Sources.Where(source => consumer.OwnerOf(source) != _partitions.GetValueOrDefault(source))];
            added = [.. _partitions.Values.Where(partition => consumer.OwnerOf(partition.Source) != partition).Select(partition => (partition.Source, partition, partition.End))];
        }

        consumer.Remove(removed);
        consumer.Add(added);
        return true;
    }

    // A read that starts anew finds the ring as it left it, for a while. And what Kafka has and does not give, it holds back: an end that was
    // reached before is not reported again.
    private void Sweep(KafkaConsumer<Partition> consumer)
    {
        if (_clock.GetElapsedTime(_swept) < Linger / 10) return;
        _swept = _clock.GetTimestamp();
        foreach (var partition in _partitions.Values)
        {
            if (partition.End != partition.EndBefore || consumer.OwnerOf(partition.Source) != partition || consumer.HighOf(partition.Source) <= partition.End) partition.HeldBackSince = null;
            else partition.HeldBackSince ??= _swept;
            partition.EndBefore = partition.End;
        }

        foreach (var idle in _partitions.Values.Where(partition => partition.Members == 0 && _clock.GetElapsedTime(partition.IdleSince) > Linger).ToArray()) Remove(idle);
    }

    // What is there now, up to a bound, in chunks of one partition each.
    private void Read(KafkaConsumer<Partition> consumer)
    {
        Partition? current = null;
        var records = new List<Record>();
        var (bytes, total, wait) = (0, 0, PollTime);
        while (total < ChunkBytesMax * 4)
        {
            ConsumeResult<byte[]?, byte[]?>? result;
            try
            {
                result = consumer.Consume(wait);
            }
            catch (ConsumeException exception)
            {
                Publish(current, records);
                Failed(consumer, exception);
                return;
            }

            if (result is null) break;
            wait = TimeSpan.Zero;
            if (consumer.OwnerOf(result) is not { } partition) continue;
            if (partition != current || bytes >= ChunkBytesMax || records.Count >= ChunkRecordsMax)
            {
                Publish(current, records);
                (current, bytes) = (partition, 0);
            }

            if (result.IsPartitionEOF)
            {
                Publish(current, records);
                ReachedEnd(partition, result.Offset.Value);
                continue;
            }

            var record = KafkaConsumer<Partition>.RecordOf(result);
            records.Add(record);
            bytes += Chunk.CostOf(record);
            total += Chunk.CostOf(record);
        }

        Publish(current, records);
    }

    private void Publish(Partition? partition, List<Record> records)
    {
        if (partition is null || records.Count == 0) return;
        Publish(partition, new Chunk(partition.End, records[^1].Offset + 1, [.. records], null));
        records.Clear();
    }

    private void Publish(Partition partition, Chunk chunk)
    {
        List<ReaderPosition> awake;
        lock (_gate)
        {
            if (partition.IsGone) return;
            partition.Append(chunk);
            _ring.Enqueue(partition);
            _bytes += chunk.Cost;
            awake = partition.Awake();
            while (_bytes > _options.TailBytesMax && _ring.TryDequeue(out var oldest))
            {
                if (!oldest.IsGone) _bytes -= oldest.RemoveOldest();
            }
        }

        foreach (var position in awake) position.Reader.Wake(position);
    }

    // Records that Kafka keeps to itself stand before the end: readers move on past them.
    private void ReachedEnd(Partition partition, long end)
    {
        List<ReaderPosition> awake;
        lock (_gate)
        {
            if (partition.IsGone || end <= partition.End) return;
            partition.End = end;
            awake = partition.Awake();
        }

        foreach (var position in awake) position.Reader.Wake(position);
    }

    private void Failed(KafkaConsumer<Partition> consumer, ConsumeException exception)
    {
        var error = exception.Error;
        if (error.IsFatal) throw new KafkaException(error);
        if (exception.ConsumerRecord?.Topic is not { } topic) return; // Of the connection: librdkafka tries again by itself.
        var source = new TopicPartition(topic, exception.ConsumerRecord.Partition.Value);
        if (consumer.OwnerOf(source) is not { } partition) return;
        switch (error.Code)
        {
            case ErrorCode.Local_AutoOffsetReset or ErrorCode.OffsetOutOfRange or ErrorCode.Local_LogTruncation:
                Overtaken(consumer, partition);
                break;
            case var code when KafkaErrors.KindOf(code) == BrokerError.NoSuchTopic:
                _suspect(source);
                break;
            case var code when KafkaErrors.KindOf(code) != BrokerError.Unavailable:
                Fail(consumer, partition, KafkaErrors.From(error, $"reading topic '{topic}' at Kafka {_options.BootstrapServers}", exception));
                break;
        }
    }

    private void Overtaken(KafkaConsumer<Partition> consumer, Partition partition)
    {
        var marks = consumer.Watermarks(partition.Source);
        if (marks is null)
        {
            consumer.Restart(partition.Source, partition.End); // And see again.
        }
        else if (marks.Low.Value > partition.End)
        {
            _logger.ReadFailed(partition.Source.Topic, partition.Source.Partition, partition.End, "retention has overtaken it");
            Publish(partition, new Chunk(partition.End, marks.Low.Value, [], new MissingRange(partition.End, marks.Low.Value, MissingReason.Retention)));
            consumer.Restart(partition.Source, marks.Low.Value);
        }
        else if (marks.High.Value < partition.End)
        {
            _logger.ReadFailed(partition.Source.Topic, partition.Source.Partition, partition.End, $"the log ends at {marks.High.Value} now: it was deleted or cut");
            Replaced(consumer, partition);
        }
        else
        {
            consumer.Restart(partition.Source, partition.End);
        }
    }

    // What was read is not what is there now, so its readers are told that it was deleted.
    private void Replaced(KafkaConsumer<Partition> consumer, Partition partition)
    {
        ReaderPosition[] waiting;
        lock (_gate)
        {
            waiting = [.. partition.Waiting];
            Remove(partition);
        }

        consumer.Remove([partition.Source]);
        foreach (var position in waiting) position.Reader.Deleted(position, partition.End);
    }

    private void Fail(KafkaConsumer<Partition> consumer, Partition partition, BrokerException failure)
    {
        _logger.ReadFailed(partition.Source.Topic, partition.Source.Partition, partition.End, failure.Message);
        ReaderPosition[] waiting;
        lock (_gate)
        {
            waiting = [.. partition.Waiting];
            Remove(partition);
        }

        consumer.Remove([partition.Source]);
        foreach (var position in waiting) position.Reader.Fail(position, failure);
    }

    /// <summary>What the tail has of one partition.</summary>
    internal sealed class Partition(TopicPartition source, long from)
    {
        private readonly List<Chunk> _chunks = [];
        private int _first;

        public TopicPartition Source { get; } = source;

        /// <summary>The offset from which on it has everything.</summary>
        public long Start { get; private set; } = from;

        /// <summary>The offset that comes next.</summary>
        public long End { get; set; } = from;

        public List<ReaderPosition> Waiting { get; } = [];

        /// <summary>How many positions stand here.</summary>
        public int Members { get; set; }

        public long IdleSince { get; set; }

        /// <summary>The end when it was last looked at whether something is held back.</summary>
        public long EndBefore { get; set; } = -1;

        public long? HeldBackSince { get; set; }

        public bool IsGone { get; set; }

        public void Append(Chunk chunk)
        {
            _chunks.Add(chunk);
            End = chunk.Next;
        }

        public List<ReaderPosition> Awake()
        {
            List<ReaderPosition> awake = [.. Waiting.Where(position => position.Next < End)];
            foreach (var position in awake) position.IsWaiting = false;
            if (awake.Count == Waiting.Count) Waiting.Clear();
            else Waiting.RemoveAll(position => !position.IsWaiting);
            return awake;
        }

        public long RemoveOldest()
        {
            var chunk = _chunks[_first];
            _chunks[_first++] = null!;
            Start = chunk.Next;
            if (_first > 64 && _first > _chunks.Count / 2)
            {
                _chunks.RemoveRange(0, _first);
                _first = 0;
            }

            return chunk.Cost;
        }

        public long Clear()
        {
            var bytes = 0L;
            for (var i = _first; i < _chunks.Count; i++) bytes += _chunks[i].Cost;
            _chunks.Clear();
            _first = 0;
            Start = End;
            return bytes;
        }

        /// <summary>From an offset between start and end on: of one chunk, or of several small ones together.</summary>
        public RecordBatch Batch(long next, int bytesMax, Record[] merged)
        {
            var at = ChunkOf(next);
            if (at == _chunks.Count) return new RecordBatch(Source, End, [], null);
            var chunk = _chunks[at];
            var missing = chunk.Missing is { } gap && next < gap.To ? gap with { From = next } : null;
            var from = chunk.IndexOf(next);
            var rest = chunk.Records.Length - from;
            if (missing is null && rest < merged.Length / 4 && at + 1 < _chunks.Count) return Merged(at, next, bytesMax, merged);
            var count = KafkaReader.Fitting(chunk.Records.AsSpan(from), bytesMax, long.MaxValue);
            return new RecordBatch(Source, count < rest ? chunk.Records[from + count].Offset : chunk.Next, new ArraySegment<Record>(chunk.Records, from, count), missing);
        }

        private RecordBatch Merged(int at, long next, int bytesMax, Record[] merged)
        {
            var (count, bytes) = (0, 0L);
            for (; at < _chunks.Count && _chunks[at].Missing is null; at++)
            {
                var chunk = _chunks[at];
                for (var i = chunk.IndexOf(next); i < chunk.Records.Length; i++)
                {
                    bytes += chunk.Records[i].Bytes;
                    if (count == merged.Length || (count > 0 && bytes > bytesMax))
                        return new RecordBatch(Source, next, new ArraySegment<Record>(merged, 0, count), null);
                    merged[count++] = chunk.Records[i];
                    next = chunk.Records[i].Offset + 1;
                }

                next = chunk.Next;
            }

            return new RecordBatch(Source, next, new ArraySegment<Record>(merged, 0, count), null);
        }

        // The first chunk that ends behind an offset.
        private int ChunkOf(long next)
        {
            var (low, high) = (_first, _chunks.Count);
            while (low < high)
            {
                var middle = (low + high) / 2;
                if (_chunks[middle].Next <= next) low = middle + 1;
                else high = middle;
            }

            return low;
        }
    }
}
