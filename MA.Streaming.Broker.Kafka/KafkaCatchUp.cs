using Confluent.Kafka;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Broker.Kafka;

/// <summary>
/// Reads for those who are behind the tail, with a few consumers however many readers there are. A consumer serves one reader, all the
/// partitions in which it is behind at once, until it has caught up everywhere, or has had its turn while others wait, or takes nothing
/// while others wait. What it brings is bounded by the reader's read-ahead; with nobody else waiting it just stands still when that is full.
/// Only so that no partition has to wait for another one with much to read it may bring a little more (<see cref="OverrunMax"/>).
/// </summary>
internal sealed class KafkaCatchUp : IAsyncDisposable
{
    private const int ChunkBytesMax = 128 << 10;
    private const int ChunkRecordsMax = 1_000;

    private const int FetchBytes = 512 << 10;

    /// <summary>How far beyond its read-ahead is read for a reader until each of its partitions had something, or nothing.</summary>
    private const int OverrunMax = 1 << 20;

    private static readonly TimeSpan PollTime = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan Turn = TimeSpan.FromMilliseconds(50);
    /// <summary>How long what was brought waits for partitions of which nothing was heard: two fetches.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(100);

    private static readonly TimeSpan LongestTurn = TimeSpan.FromMilliseconds(500);

    private readonly KafkaBrokerOptions _options;
    private readonly KafkaClients _clients;
    private readonly KafkaTail _tail;
    private readonly Action<TopicPartition> _suspect;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly object _gate = new();
    private readonly Queue<KafkaReader> _waiting = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _workers;
    private int _threads;
    private int _idle;
    private bool _isStopping;

    public KafkaCatchUp(KafkaBrokerOptions options, KafkaClients clients, KafkaTail tail, Action<TopicPartition> suspect, TimeProvider clock, ILogger logger)
    {
        _options = options;
        _clients = clients;
        _tail = tail;
        _suspect = suspect;
        _clock = clock;
        _logger = logger;
    }

    /// <summary>Consumers there are now.</summary>
    internal int Workers
    {
        get
        {
            lock (_gate) return _workers;
        }
    }

    /// <summary>A reader has positions that are behind.</summary>
    public void Serve(KafkaReader reader)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isStopping, typeof(KafkaBroker));
            Monitor.PulseAll(_gate);
            if (reader.IsServed) return;
            reader.IsServed = true;
            _waiting.Enqueue(reader);
            if (_waiting.Count <= _idle || _workers >= _options.CatchUpConsumersMax) return;
            _workers++;
            _threads++;
            new Thread(Loop) { IsBackground = true, Name = "stream-api kafka catch-up" }.Start();
        }
    }

    /// <summary>A reader took something, or left: who waits for it looks again.</summary>
    public void Changed(KafkaReader reader)
    {
        if (!reader.HasLeft && reader.HasBehind) Serve(reader);
        else if (reader.IsServed) lock (_gate) Monitor.PulseAll(_gate);
    }

    public ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _isStopping = true;
            Monitor.PulseAll(_gate);
            if (_threads == 0) _ended.TrySetResult();
        }

        return new ValueTask(_ended.Task);
    }

    private void Loop()
    {
        KafkaConsumer<ReaderPosition>? consumer = null;
        while (Next() is { } reader)
        {
            try
            {
                consumer ??= new KafkaConsumer<ReaderPosition>(_clients.Consumer(FetchBytes));
                Serve(reader, consumer);
                Release(reader, consumer);
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                _logger.LoopFailed(exception, "kafka catch-up");
                if (consumer is not null)
                {
                    GiveBack(reader, consumer);
                    TryDispose(consumer);
                    consumer = null;
                }

                lock (_gate)
                {
                    if (!_isStopping) Monitor.Wait(_gate, Turn);
                    _waiting.Enqueue(reader);
                }
            }
        }

        if (consumer is not null) TryDispose(consumer);
        lock (_gate)
        {
            if (--_threads == 0 && _isStopping) _ended.TrySetResult();
        }
    }

    private void TryDispose(KafkaConsumer<ReaderPosition> consumer)
    {
        try
        {
            consumer.Dispose();
        }
        catch (KafkaException exception)
        {
            _logger.LoopFailed(exception, "kafka catch-up");
        }
    }

    // The reader whose turn is next; null when this consumer is not needed any more.
    private KafkaReader? Next()
    {
        lock (_gate)
        {
            var isLate = false;
            while (true)
            {
                if (_isStopping || (isLate && _waiting.Count == 0))
                {
                    _workers--;
                    return null;
                }

                while (_waiting.TryDequeue(out var reader))
                {
                    if (!reader.HasLeft) return reader;
                    reader.IsServed = false;
                }

                _idle++;
                isLate = !Monitor.Wait(_gate, _options.CatchUpIdle);
                _idle--;
            }
        }
    }

    private void Serve(KafkaReader reader, KafkaConsumer<ReaderPosition> consumer)
    {
        var (began, brought) = (_clock.GetTimestamp(), 0L);
        var pending = new Pending(_clock);
        try
        {
            while (true)
            {
                Begin(reader.TakeBehind(), consumer, pending);
                consumer.Remove([.. consumer.Sources.Where(source => consumer.OwnerOf(source)!.IsDeleted)]);
                if (consumer.Count == 0 || reader.HasLeft) return;
                lock (_gate)
                {
                    if (_isStopping) return;
                    var isTurnOver = _waiting.Count > 0
                        && (reader.IsFull || (brought > 0 && (brought >= reader.ReadAhead || _clock.GetElapsedTime(began) > Turn)) || _clock.GetElapsedTime(began) > LongestTurn);
                    if (isTurnOver) return;
                    if (IsEnough(reader, pending))
                    {
                        Monitor.Wait(_gate, PollTime);
                        continue;
                    }
                }

                brought += Read(reader, consumer, pending);
            }
        }
        finally
        {
            pending.Announce();
        }
    }

    // Those that the tail has by now, and those that are read to their end, need no consumer.
    private void Begin(List<ReaderPosition> positions, KafkaConsumer<ReaderPosition> consumer, Pending pending)
    {
        var added = new List<(TopicPartition, ReaderPosition, long)>();
        foreach (var position in positions)
        {
            if (IsCaughtUp(position, position.Wanted))
            {
                position.Reader.CaughtUp(position);
                position.Reader.Wake(position);
                continue;
            }

            added.Add((position.Source, position, position.Wanted));
            pending.Unheard.Add(position);
        }

        consumer.Add(added);
    }

    private static bool IsEnough(KafkaReader reader, Pending pending) =>
        reader.IsFull && (pending.Unheard.Count == 0 || reader.ChunkBytes >= reader.ReadAhead + OverrunMax);

    private bool IsCaughtUp(ReaderPosition position, long next) =>
        next >= position.End || position.IsDeleted || (!position.Reader.IsBounded && _tail.Covers(position.Source, next));

    // What is there now, until the reader has enough.
    private long Read(KafkaReader reader, KafkaConsumer<ReaderPosition> consumer, Pending pending)
    {
        var (wait, brought, most) = (PollTime, 0L, Math.Min(ChunkBytesMax, reader.ReadAhead));
        while (true)
        {
            ConsumeResult<byte[]?, byte[]?>? result;
            try
            {
                result = consumer.Consume(wait);
            }
            catch (ConsumeException exception)
            {
                Bring(pending, consumer);
                pending.Announce();
                Failed(pending, consumer, exception);
                return brought;
            }

            if (result is null) break;
            wait = TimeSpan.Zero;
            if (consumer.OwnerOf(result) is not { } position) continue;
            if (position != pending.Position) Bring(pending, consumer);
            pending.Unheard.Remove(position);
            if (result.IsPartitionEOF)
            {
                Bring(pending, consumer);
                ReachedEnd(pending, consumer, position, result.Offset.Value);
                continue;
            }

            var record = KafkaConsumer<ReaderPosition>.RecordOf(result);
            if (record.Offset >= position.End)
            {
                // Only records that Kafka keeps to itself stood before the end.
                Bring(pending, consumer);
                ReachedEnd(pending, consumer, position, position.End);
                continue;
            }

            pending.Add(position, record);
            brought += Chunk.CostOf(record);
            if (pending.Bytes >= most || pending.Records.Count >= ChunkRecordsMax)
            {
                Bring(pending, consumer);
                if (IsEnough(reader, pending)) break;
            }
        }

        Bring(pending, consumer);
        if (pending.Waited > Patience) pending.Unheard.Clear(); // They may have no leader: nobody waits for them twice.
        if (pending.Unheard.Count == 0 || IsEnough(reader, pending)) pending.Announce();
        return brought;
    }

    private void Bring(Pending pending, KafkaConsumer<ReaderPosition> consumer)
    {
        if (pending.Position is not { } position) return;
        var chunk = new Chunk(position.Wanted, pending.Records[^1].Offset + 1, [.. pending.Records], null);
        pending.Clear();
        position.Reader.Bring(position, chunk);
        if (IsCaughtUp(position, chunk.Next)) EndOf(position, consumer);
        pending.Brought(position);
    }

    private static void EndOf(ReaderPosition position, KafkaConsumer<ReaderPosition> consumer)
    {
        consumer.Remove([position.Source]);
        position.Reader.CaughtUp(position);
    }

    // At the end of the log: from here on the tail reads it.
    private void ReachedEnd(Pending pending, KafkaConsumer<ReaderPosition> consumer, ReaderPosition position, long end)
    {
        if (end > position.Wanted)
        {
            position.Reader.Bring(position, new Chunk(position.Wanted, Math.Min(end, position.End), [], null));
            pending.Brought(position);
        }

        if (!position.Reader.IsBounded)
        {
            _tail.Follow(position.Source, end);
            if (!_tail.Covers(position.Source, end)) return; // It went on meanwhile; the next records meet it.
        }
        else if (end < position.End)
        {
            return; // A leader that has not the whole log yet, or an open transaction.
        }

        EndOf(position, consumer);
        pending.Brought(position);
    }

    private void Failed(Pending pending, KafkaConsumer<ReaderPosition> consumer, ConsumeException exception)
    {
        var error = exception.Error;
        if (error.IsFatal) throw new KafkaException(error);
        if (exception.ConsumerRecord?.Topic is not { } topic) return; // Of the connection: librdkafka tries again by itself.
        var source = new TopicPartition(topic, exception.ConsumerRecord.Partition.Value);
        if (consumer.OwnerOf(source) is not { } position) return;
        switch (error.Code)
        {
            case ErrorCode.Local_AutoOffsetReset or ErrorCode.OffsetOutOfRange or ErrorCode.Local_LogTruncation:
                Overtaken(pending, consumer, position);
                break;
            case var code when KafkaErrors.KindOf(code) == BrokerError.NoSuchTopic:
                _suspect(source);
                break;
            case var code when KafkaErrors.KindOf(code) != BrokerError.Unavailable:
                consumer.Remove([source]);
                position.Reader.Fail(position, KafkaErrors.From(error, $"reading topic '{topic}' at Kafka {_options.BootstrapServers}", exception));
                break;
        }
    }

    private void Overtaken(Pending pending, KafkaConsumer<ReaderPosition> consumer, ReaderPosition position)
    {
        var (source, next) = (position.Source, position.Wanted);
        var marks = consumer.Watermarks(source);
        if (marks is not null && marks.Low.Value > next)
        {
            var low = marks.Low.Value;
            position.Reader.Bring(position, new Chunk(next, low, [], new MissingRange(next, low, MissingReason.Retention)));
            if (IsCaughtUp(position, low)) EndOf(position, consumer);
            else consumer.Restart(source, low);
            pending.Brought(position);
        }
        else if (marks is not null && marks.High.Value < next)
        {
            _logger.ReadFailed(source.Topic, source.Partition, next, $"the log ends at {marks.High.Value} now: it was deleted or cut");
            consumer.Remove([source]);
            position.Reader.Deleted(position, next);
        }
        else
        {
            consumer.Restart(source, next);
        }
    }

    private static void GiveBack(KafkaReader reader, KafkaConsumer<ReaderPosition> consumer) =>
        reader.ReturnBehind([.. consumer.Sources.Select(source => consumer.OwnerOf(source)!)]);

    private void Release(KafkaReader reader, KafkaConsumer<ReaderPosition> consumer)
    {
        GiveBack(reader, consumer);
        consumer.Remove([.. consumer.Sources]);
        lock (_gate)
        {
            // A full one comes back when its consumer has taken something.
            if (!reader.HasLeft && reader.HasBehind && !reader.IsFull) _waiting.Enqueue(reader);
            else reader.IsServed = false;
        }
    }

    /// <summary>What a turn is at: records of one position that are not yet brought, and the positions of which nothing was heard.</summary>
    private sealed class Pending(TimeProvider clock)
    {
        private readonly List<ReaderPosition> _brought = [];
        private long _since;

        /// <summary>How long what was brought has been kept from its reader.</summary>
        public TimeSpan Waited => _brought.Count == 0 ? TimeSpan.Zero : clock.GetElapsedTime(_since);

        public HashSet<ReaderPosition> Unheard { get; } = [];

        public ReaderPosition? Position { get; private set; }

        public List<Record> Records { get; } = [];

        public long Bytes { get; private set; }

        public void Add(ReaderPosition position, Record record)
        {
            Position = position;
            Records.Add(record);
            Bytes += Chunk.CostOf(record);
        }

        /// <summary>Its reader hears of it when something of every position is there, or nothing, so that each has its turn before one has two.</summary>
        public void Brought(ReaderPosition position)
        {
            if (_brought.Count == 0) _since = clock.GetTimestamp();
            _brought.Add(position);
            if (Unheard.Count == 0) Announce();
        }

        public void Announce()
        {
            foreach (var position in _brought) position.Reader.Wake(position);
            _brought.Clear();
        }

        public void Clear()
        {
            Position = null;
            Records.Clear();
            Bytes = 0;
        }
    }
}
