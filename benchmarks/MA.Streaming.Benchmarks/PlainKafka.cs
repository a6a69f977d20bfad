using System.Diagnostics;
using Confluent.Kafka;
using Confluent.Kafka.Admin;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Benchmarks;

/// <summary>Confluent.Kafka as a program uses it that wants the same promises.</summary>
internal sealed class PlainKafka : IAsyncDisposable
{
    private readonly string _servers;
    private readonly IProducer<Null, byte[]> _producer;
    private readonly Lazy<IAdminClient> _admin;

    public PlainKafka(string servers)
    {
        _servers = servers;
        _admin = new Lazy<IAdminClient>(() => new AdminClientBuilder(new AdminClientConfig { BootstrapServers = servers }).Build());
        var settings = new ProducerConfig { BootstrapServers = servers, Acks = Acks.All, EnableIdempotence = true, CompressionType = CompressionType.Zstd, LingerMs = 0, QueueBufferingMaxMessages = 0, DeliveryReportFields = "timestamp,status" };
        _producer = new ProducerBuilder<Null, byte[]>(settings).Build();
    }

    public async Task CreateAsync(string topic)
    {
        await _admin.Value.CreateTopicsAsync([new TopicSpecification { Name = topic, NumPartitions = 1 }]);
    }

    /// <summary>Produces so many records, with no more than so many unacknowledged.</summary>
    public async Task ProduceAsync(TopicPartition to, byte[] payload, int records, int inFlight)
    {
        var target = new Confluent.Kafka.TopicPartition(to.Topic, to.Partition);
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var room = new SemaphoreSlim(inFlight);
        var left = records;
        var message = new Message<Null, byte[]> { Value = payload };
        for (var i = 0; i < records; i++)
        {
            await room.WaitAsync().ConfigureAwait(false);
            _producer.Produce(target, message, report =>
            {
                if (report.Error.IsError) done.TrySetException(new KafkaException(report.Error));
                room.Release();
                if (Interlocked.Decrement(ref left) == 0) done.TrySetResult();
            });
        }

        await done.Task;
    }

    /// <summary>Reads so many records from the start.</summary>
    public void Consume(TopicPartition from, int records)
    {
        using var consumer = Consumer();
        consumer.Assign(new TopicPartitionOffset(from.Topic, from.Partition, 0));
        for (var read = 0; read < records;)
        {
            var result = consumer.Consume(TimeSpan.FromSeconds(30)) ?? throw new TimeoutException($"no record {read} of {from}");
            if (!result.IsPartitionEOF) read++;
        }

        consumer.Unassign();
    }

    /// <summary>From Produce to Consume, at a steady rate, once the consumer has had a record.</summary>
    public async Task<Delivery> DeliverAsync(TopicPartition through, byte[] payload, TimeSpan time, int rate)
    {
        var records = (int)(time.TotalSeconds * rate);
        var (sent, taken) = (new long[records], new long[records]);
        var live = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var consumer = Consumer();
        var target = new Confluent.Kafka.TopicPartition(through.Topic, through.Partition);
        var first = consumer.QueryWatermarkOffsets(target, TimeSpan.FromSeconds(10)).High.Value;
        consumer.Assign(new TopicPartitionOffset(target, first));
        var reading = Task.Run(() =>
        {
            for (var read = -1; read < records;)
            {
                var result = consumer.Consume(TimeSpan.FromSeconds(30)) ?? throw new TimeoutException($"no record {read} of {through}");
                if (result.IsPartitionEOF) continue;
                if (read < 0) live.SetResult();
                else taken[result.Offset.Value - first - 1] = Stopwatch.GetTimestamp();
                read++;
            }
        });
        var message = new Message<Null, byte[]> { Value = payload };
        Exception? failure = null;
        void Reported(DeliveryReport<Null, byte[]> report)
        {
            if (report.Error.IsError) failure = new KafkaException(report.Error);
        }

        _producer.Produce(target, message, Reported);
        await await Task.WhenAny(live.Task, reading);
        var started = Stopwatch.GetTimestamp();
        for (var i = 0; i < records; i++)
        {
            Pace.Until(started + (i * Stopwatch.Frequency / rate));
            sent[i] = Stopwatch.GetTimestamp();
            _producer.Produce(target, message, Reported);
        }

        var elapsed = Stopwatch.GetElapsedTime(started);
        await reading;
        if (failure is not null) throw failure;
        return Delivery.Of(sent, taken, elapsed);
    }

    public ValueTask DisposeAsync()
    {
        _producer.Dispose();
        if (_admin.IsValueCreated) _admin.Value.Dispose();
        return default;
    }

    /// <summary>A consumer that is given its partitions.</summary>
    public IConsumer<Ignore, byte[]> Consumer() => new ConsumerBuilder<Ignore, byte[]>(new ConsumerConfig
    {
        BootstrapServers = _servers,
        GroupId = "benchmark",
        EnableAutoCommit = false,
        EnableAutoOffsetStore = false,
        IsolationLevel = IsolationLevel.ReadCommitted,
        EnablePartitionEof = true,
        FetchWaitMaxMs = 50,
        FetchErrorBackoffMs = 10,
        FetchQueueBackoffMs = 10,
        QueuedMaxMessagesKbytes = 16_384,
        MaxPartitionFetchBytes = 512 << 10,
        ConsumeResultFields = "timestamp,topic",
    }).Build();
}
