using System.Diagnostics;
using Confluent.Kafka;
using Confluent.Kafka.Admin;
using MA.Streaming.API;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Proto.Client.Local;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Benchmarks;

/// <summary>The Kafka broker beside bare Confluent.Kafka with the same settings, on the Kafka that STREAM_API_TEST_KAFKA names; none without it.</summary>
internal static class KafkaBenchmarks
{
    public const string Variable = "STREAM_API_TEST_KAFKA";

    private const int Records = 300_000;
    private const int Repetitions = 20;

    private static readonly TimeSpan Time = TimeSpan.FromSeconds(3);

    private static string Servers => Environment.GetEnvironmentVariable(Variable) ?? "";

    public static IReadOnlyList<Benchmark> All { get; } = Servers.Length == 0
        ? []
        :
        [
            .. from bytes in new[] { 200, 1_024 } select Produce(bytes),
            .. from bytes in new[] { 200, 1_024 } select Consume(bytes),
            .. from rate in new[] { 1_000, 10_000 } select Latency(rate),
            new(
                "kafka-first-packet",
                $"NewConnection and ReadPackets until the first packet of a stream, {Repetitions} times",
                "a new consumer, given the partition, until its first record",
                [new("p50", "µs"), new("max", "µs", Target.AtMost(200_000))],
                OpenFirstPacketAsync),
            new(
                "kafka-new-source",
                $"the first WriteDataPacket to a data source that nobody knows, {Repetitions} times",
                "a topic created, one record produced to it",
                [new("p50", "µs"), new("max", "µs")],
                OpenNewSourceAsync),
            new(
                "kafka-create-session",
                $"CreateSession on a known data source, {Repetitions} times",
                "two records produced, one after the other",
                [new("p50", "µs", Target.AtMost(50_000)), new("max", "µs")],
                OpenCreateSessionAsync),
        ];

    private static Metric[] Latencies() => [new("p50", "µs"), new("p90", "µs"), new("p99", "µs"), new("p99.9", "µs"), new("max", "µs"), new("rate", "packets/s")];

    private static Benchmark Produce(int bytes) => new(
        $"kafka-write-{bytes}",
        $"appends of 4 writers with up to 1,000 in flight each, {bytes} B to one partition, all acknowledged by every in-sync replica",
        "Confluent.Kafka's producer with the same settings, as many in flight",
        [new("rate", "records/s", Target.RatioAtLeast(0.9)), Metric.Allocated, Metric.Processor],
        async scale =>
        {
            var records = scale.Packets(Records);
            var payload = Payload.Of(bytes);
            var (broker, plain) = (Open(), new PlainKafka(Servers));
            var source = new TopicPartition(NewName(), 0);
            await broker.EnsureTopicAsync(new TopicSpec(source.Topic), default);
            return new Arms(
                () => Measure.PacketsAsync(records, () => DurableLog.WriteManyAsync(broker, [source], writers: 4, records, burst: 500, payload)),
                () => Measure.PacketsAsync(records, () => plain.ProduceAsync(source, payload, records, inFlight: 4_000)),
                plain,
                broker);
        });

    private static Benchmark Consume(int bytes) => new(
        $"kafka-read-{bytes}",
        $"a partition read from its start to its end, {bytes} B a record",
        "Confluent.Kafka's consumer with the same settings, given the partition",
        [new("rate", "records/s", Target.RatioAtLeast(0.9)), Metric.Allocated, Metric.Processor],
        async scale =>
        {
            var records = scale.Packets(Records);
            var (broker, plain) = (Open(), new PlainKafka(Servers));
            var source = new TopicPartition(NewName(), 0);
            await broker.EnsureTopicAsync(new TopicSpec(source.Topic), default);
            await plain.ProduceAsync(source, Payload.Of(bytes), records, inFlight: 4_000);
            return new Arms(
                () => Measure.PacketsAsync(records, async () =>
                {
                    var read = 0;
                    await foreach (var batch in broker.ReadAsync(new ReadRequest([new Position(source, 0)], 1 << 20, ToHighWatermark: true), default)) read += batch.Records.Count;
                    Measure.Check(read, records, "records read");
                }),
                () => Measure.PacketsAsync(records, () => Task.Run(() => plain.Consume(source, records))),
                plain,
                broker);
        });

    private static Benchmark Latency(int rate) => new(
        $"kafka-latency-{rate / 1_000}k",
        $"from AppendAsync to the batch of a reader, {rate:N0} records of 200 B a second",
        "from Produce to Consume, the same records",
        Latencies(),
        async scale =>
        {
            var (broker, plain) = (Open(), new PlainKafka(Servers));
            var source = new TopicPartition(NewName(), 0);
            await broker.EnsureTopicAsync(new TopicSpec(source.Topic), default);
            await broker.AppendAsync(source, new RecordData(null, Payload.Of(200)), default);
            return new Arms(
                () => DurableApiBenchmarks.DeliverAsync(broker, source, scale.Time(Time), rate),
                () => plain.DeliverAsync(source, Payload.Of(200), scale.Time(Time), rate),
                plain,
                broker);
        });

    private static async Task<Arms> OpenFirstPacketAsync(Scale scale)
    {
        var (api, plain, source) = (await StartAsync(), new PlainKafka(Servers), NewName());
        for (var i = 0UL; i < 100; i++) await WriteAsync(api, source, i);
        var connections = api.GetConnectionManagerClient();
        return new Arms(
            () => TimesAsync(async () =>
            {
                var connection = (await connections.NewConnectionAsync(new NewConnectionRequest { Details = new ConnectionDetails { DataSource = source } })).Connection;
                using (var call = api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = connection }))
                {
                    if (!await call.ResponseStream.MoveNext(CancellationToken.None)) throw new InvalidOperationException("the read ended at once");
                }

                await connections.CloseConnectionAsync(new CloseConnectionRequest { Connection = connection });
            }),
            () => TimesAsync(() => Task.Run(() => plain.Consume(new TopicPartition(source, 0), 1))),
            plain,
            api);
    }

    private static async Task<Arms> OpenNewSourceAsync(Scale scale)
    {
        var (api, plain) = (await StartAsync(), new PlainKafka(Servers));
        return new Arms(
            () => TimesAsync(() => WriteAsync(api, NewName(), 1)),
            () => TimesAsync(async () =>
            {
                var source = new TopicPartition(NewName(), 0);
                await plain.CreateAsync(source.Topic);
                await plain.ProduceAsync(source, Payload.Of(200), 1, inFlight: 1);
            }),
            plain,
            api);
    }

    private static async Task<Arms> OpenCreateSessionAsync(Scale scale)
    {
        var (api, plain, source) = (await StartAsync(), new PlainKafka(Servers), NewName());
        await WriteAsync(api, source, 1);
        await CreateAsync();
        return new Arms(
            () => TimesAsync(CreateAsync),
            () => TimesAsync(async () =>
            {
                for (var i = 0; i < 2; i++) await plain.ProduceAsync(new TopicPartition(source, 0), Payload.Of(200), 1, inFlight: 1);
            }),
            plain,
            api);

        async Task CreateAsync() => await api.GetSessionManagementClient().CreateSessionAsync(new CreateSessionRequest { DataSource = source, Type = "Session" });
    }

    private static async Task<Sample> TimesAsync(Func<Task> work)
    {
        var ticks = new long[Repetitions];
        for (var i = 0; i < ticks.Length; i++)
        {
            var started = Stopwatch.GetTimestamp();
            await work();
            ticks[i] = Stopwatch.GetTimestamp() - started;
        }

        return Quantiles.Of(ticks);
    }

    private static KafkaBroker Open() => KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = Servers });

    private static Task<LocalStreamingApi> StartAsync() =>
        LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: Servers, batchingResponses: true), Open(), ownsBroker: true, StreamApiOptions.Default, CancellationToken.None);

    private static async Task WriteAsync(LocalStreamingApi api, string source, ulong id) =>
        await api.GetPacketWriterClient().WriteDataPacketAsync(new WriteDataPacketRequest { Detail = new DataPacketDetails { DataSource = source, Message = Workload.Packet(id) } });

    private static string NewName() => $"benchmark{Guid.NewGuid():N}";

    /// <summary>Confluent.Kafka as a program uses it that wants the same promises.</summary>
    private sealed class PlainKafka : IAsyncDisposable
    {
        private readonly string _servers;
        private readonly IProducer<Null, byte[]> _producer;

        public PlainKafka(string servers)
        {
            _servers = servers;
            var settings = new ProducerConfig { BootstrapServers = servers, Acks = Acks.All, EnableIdempotence = true, CompressionType = CompressionType.Zstd, LingerMs = 0, QueueBufferingMaxMessages = 0, DeliveryReportFields = "timestamp,status" };
            _producer = new ProducerBuilder<Null, byte[]>(settings).Build();
        }

        public async Task CreateAsync(string topic)
        {
            using var admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _servers }).Build();
            await admin.CreateTopicsAsync([new TopicSpecification { Name = topic, NumPartitions = 1 }]);
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

        public async Task<Sample> DeliverAsync(TopicPartition through, byte[] payload, TimeSpan time, int rate)
        {
            var records = (int)(time.TotalSeconds * rate);
            var (sent, taken) = (new long[records], new long[records]);
            using var consumer = Consumer();
            var target = new Confluent.Kafka.TopicPartition(through.Topic, through.Partition);
            var first = consumer.QueryWatermarkOffsets(target, TimeSpan.FromSeconds(10)).High.Value;
            consumer.Assign(new TopicPartitionOffset(target, first));
            var reading = Task.Run(() =>
            {
                for (var read = 0; read < records;)
                {
                    var result = consumer.Consume(TimeSpan.FromSeconds(30)) ?? throw new TimeoutException($"no record {read} of {through}");
                    if (result.IsPartitionEOF) continue;
                    taken[result.Offset.Value - first] = Stopwatch.GetTimestamp();
                    read++;
                }
            });
            var message = new Message<Null, byte[]> { Value = payload };
            var started = Stopwatch.GetTimestamp();
            for (var i = 0; i < records; i++)
            {
                var due = started + (i * Stopwatch.Frequency / rate);
                while (Stopwatch.GetTimestamp() < due) Thread.Yield();
                sent[i] = Stopwatch.GetTimestamp();
                _producer.Produce(target, message);
            }

            var elapsed = Stopwatch.GetElapsedTime(started);
            await reading;
            for (var i = 0; i < records; i++) taken[i] -= sent[i];
            var sample = Quantiles.Of(taken);
            sample["rate"] = records / elapsed.TotalSeconds;
            return sample;
        }

        public ValueTask DisposeAsync()
        {
            _producer.Dispose();
            return default;
        }

        private IConsumer<Ignore, byte[]> Consumer() => new ConsumerBuilder<Ignore, byte[]>(new ConsumerConfig
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
}
