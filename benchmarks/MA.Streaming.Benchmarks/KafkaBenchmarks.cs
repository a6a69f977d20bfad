using System.Diagnostics;
using System.Text;
using Google.Protobuf;
using MA.Streaming.API;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Benchmarks;

/// <summary>The Kafka broker beside bare Confluent.Kafka with the same settings, on the Kafka that STREAM_API_TEST_KAFKA names; none without it.</summary>
internal static class KafkaBenchmarks
{
    public const string Variable = "STREAM_API_TEST_KAFKA";

    private const int Records = 300_000;
    private const int Repetitions = 20;
    private const int Starts = 5;
    private const int SessionRecords = 10_000;
    private const int HealthyReads = 50;
    private const int Slices = 5;
    private const int StuckRate = 2_000;
    private const int OldPackets = 100_000;

    private static readonly TimeSpan Time = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Slice = TimeSpan.FromSeconds(1);

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
                [new("p50", "µs"), new("max", "µs"), new("more", "µs", Target.AtMost(50_000))],
                OpenNewSourceAsync),
            new(
                "kafka-create-session",
                $"CreateSession on a known data source, {Repetitions} times",
                "two records produced, one after the other",
                [new("p50", "µs", Target.AtMost(50_000)), new("max", "µs")],
                OpenCreateSessionAsync),
            new(
                "kafka-start-10k",
                $"a Stream API started on a Kafka with {SessionRecords:N0} session records or more, {Starts} times",
                "a new consumer, given the partition, until it has read as many",
                [new("p50", "µs", Target.AtMost(2_000_000)), new("max", "µs")],
                OpenStartAsync),
            .. from reads in new[] { 50, 500 } select OpenReads(reads),
            new(
                "kafka-stuck-reader",
                $"a live packet a read, {HealthyReads} reads, {StuckRate:N0} packets of 200 B a second, beside one that has {OldPackets:N0} to read and does not",
                "the same without the one that does not read",
                [.. Latencies(), new("deliveries", "packets/s in all")],
                OpenStuckReaderAsync) { WarmUps = 1 },
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
        $"from AppendAsync to the batch of a reader, {rate:N0} records of 200 B a second, in slices of a second in turn with the limit's",
        "from Produce to Consume, the same records",
        [.. Latencies(), new("p99 more", "µs", Target.AtMost(1_000))],
        async scale =>
        {
            var (broker, plain) = (Open(), new PlainKafka(Servers));
            var source = new TopicPartition(NewName(), 0);
            await broker.EnsureTopicAsync(new TopicSpec(source.Topic), default);
            await broker.AppendAsync(source, new RecordData(null, Payload.Of(200)), default);
            var theirs = new Sample();
            return new Arms(
                async () =>
                {
                    // In turn, so that whatever Kafka does meanwhile meets both.
                    var (own, bare) = (new List<Delivery>(), new List<Delivery>());
                    for (var i = 0; i < Slices; i++)
                    {
                        own.Add(await DurableApiBenchmarks.DeliverAsync(broker, source, scale.Time(Slice), rate));
                        bare.Add(await plain.DeliverAsync(source, Payload.Of(200), scale.Time(Slice), rate));
                    }

                    theirs = Delivery.ToSample(bare);
                    var sample = Delivery.ToSample(own);
                    sample["p99 more"] = sample["p99"] - theirs["p99"];
                    return sample;
                },
                () => Task.FromResult(theirs),
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
            async () =>
            {
                // In turn, so that whatever Kafka does meanwhile meets both.
                var (ours, theirs) = (new List<double>(), new List<double>());
                for (var i = 0; i < Repetitions; i++)
                {
                    ours.Add((await TimesAsync(() => WriteAsync(api, NewName(), 1), 1))["p50"]);
                    theirs.Add((await TimesAsync(CreateAsync, 1))["p50"]);
                }

                var (own, bare) = (ours.Order().ElementAt(Repetitions / 2), theirs.Order().ElementAt(Repetitions / 2));
                return new Sample { ["p50"] = own, ["max"] = ours.Max(), ["more"] = own - bare };
            },
            () => TimesAsync(CreateAsync),
            plain,
            api);

        async Task CreateAsync()
        {
            var source = new TopicPartition(NewName(), 0);
            await plain.CreateAsync(source.Topic);
            await plain.ProduceAsync(source, Payload.Of(200), 1, inFlight: 1);
        }
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

    private static async Task<Arms> OpenStartAsync(Scale scale)
    {
        var plain = new PlainKafka(Servers);
        var source = new TopicPartition(TopicLayout.SessionInfo, 0);
        await using (var broker = Open())
        {
            await using (await StartAsync())
            {
                // Makes the topic as it has to be.
            }

            var missing = SessionRecords - (int)(await broker.GetWatermarksAsync([source], default))[0].High;
            for (var i = 0; i < missing; i += 1_000)
            {
                await Task.WhenAll(Enumerable.Range(0, 1_000).Select(_ =>
                {
                    var key = $"{Guid.NewGuid()}";
                    var packet = new Packet { Type = "NewSession", SessionKey = key, Content = new NewSessionPacket { DataSource = "benchmark" }.ToByteString() };
                    return broker.AppendAsync(source, new RecordData(Encoding.UTF8.GetBytes(key), packet.ToByteArray()), default).AsTask();
                }));
            }
        }

        return new Arms(
            () => TimesAsync(async () => await (await StartAsync()).DisposeAsync(), Starts),
            () => TimesAsync(() => Task.Run(() => plain.Consume(source, SessionRecords)), Starts),
            plain);
    }

    private static Benchmark OpenReads(int reads) => new(
        $"kafka-reads-{reads}",
        $"threads and memory of a process with {reads} open reads of one partition, each from an offset of its own: half of them at the end, half behind",
        "a process with one producer and one consumer of Confluent.Kafka",
        [new("threads", "threads", Target.AtMost(64)), new("memory", "MiB working set"), new("heap", "MiB managed")],
        async scale =>
        {
            var plain = new PlainKafka(Servers);
            var source = new TopicPartition(NewName(), 0);
            await plain.CreateAsync(source.Topic);
            await plain.ProduceAsync(source, Payload.Of(200), scale.Packets(OldPackets), inFlight: 4_000);
            return new Arms(
                async () =>
                {
                    await using var child = await Child.ReadKafkaAsync(Servers, source.Topic, reads);
                    return KafkaChild.Parse(child.Line);
                },
                async () =>
                {
                    await using var child = await Child.PlainKafkaAsync(Servers, source.Topic);
                    return KafkaChild.Parse(child.Line);
                },
                plain);
        })
    {
        WarmUps = 0,
    };

    private static async Task<Arms> OpenStuckReaderAsync(Scale scale)
    {
        var (api, source) = (await StartAsync(), NewName());
        await WriteManyAsync(api, source, scale.Packets(OldPackets), StuckRate * 1_000);
        return new Arms(
            () => RunAsync(isOneStuck: true),
            () => RunAsync(isOneStuck: false),
            api);

        async Task<Sample> RunAsync(bool isOneStuck)
        {
            var connections = api.GetConnectionManagerClient();
            var (all, live) = (await ConnectAsync(0), await ConnectAsync(-1));
            using var stuck = isOneStuck ? api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = all }) : null;
            if (stuck is not null) await stuck.ResponseStream.MoveNext(CancellationToken.None);
            var packets = (int)(scale.Time(Time).TotalSeconds * StuckRate);
            var ticks = new long[HealthyReads * packets];
            var calls = Enumerable.Range(0, HealthyReads).Select(_ => api.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = live })).ToArray();
            await Task.WhenAll(calls.Select(call => call.ResponseHeadersAsync));
            var started = Stopwatch.GetTimestamp();
            var reading = Task.WhenAll(calls.Select((call, i) => Task.Run(() => ReadAsync(call, ticks.AsMemory(i * packets, packets)))));
            await WriteManyAsync(api, source, packets, StuckRate);
            var rate = packets / Stopwatch.GetElapsedTime(started).TotalSeconds;
            await reading;
            var deliveries = ticks.Length / Stopwatch.GetElapsedTime(started).TotalSeconds;
            foreach (var connection in new[] { all, live }) await connections.CloseConnectionAsync(new CloseConnectionRequest { Connection = connection });
            foreach (var call in calls) call.Dispose();
            var sample = Quantiles.Of(ticks);
            (sample["rate"], sample["deliveries"]) = (rate, deliveries);
            return sample;

            async Task<Connection> ConnectAsync(long offset) => (await connections.NewConnectionAsync(
                new NewConnectionRequest { Details = new ConnectionDetails { DataSource = source, MainOffset = offset } })).Connection;
        }

        static async Task ReadAsync(Grpc.Core.AsyncServerStreamingCall<ReadPacketsResponse> call, Memory<long> ticks)
        {
            for (var read = 0; read < ticks.Length;)
            {
                if (!await call.ResponseStream.MoveNext(CancellationToken.None)) throw new InvalidOperationException($"a read ended after {read} of {ticks.Length} packets");
                var now = Stopwatch.GetTimestamp();
                foreach (var response in call.ResponseStream.Current.Response) ticks.Span[read++] = now - (long)response.Packet.Id;
            }
        }
    }

    // Each packet has the time at which it was written as its id.
    private static async Task WriteManyAsync(LocalStreamingApi api, string source, int packets, int rate)
    {
        using var call = api.GetPacketWriterClient().WriteDataPackets();
        var started = Stopwatch.GetTimestamp();
        for (var i = 0; i < packets; i++)
        {
            Pace.Until(started + (i * Stopwatch.Frequency / rate));
            await call.RequestStream.WriteAsync(new WriteDataPacketsRequest
            {
                Details = { new DataPacketDetails { DataSource = source, Message = Workload.Packet((ulong)Stopwatch.GetTimestamp()) } },
            });
        }

        await call.RequestStream.CompleteAsync();
        await call.ResponseAsync;
    }

    private static async Task<Sample> TimesAsync(Func<Task> work, int repetitions = Repetitions)
    {
        var ticks = new long[repetitions];
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
}
