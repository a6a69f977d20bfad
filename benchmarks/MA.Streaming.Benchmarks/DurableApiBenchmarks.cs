using System.Diagnostics;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Benchmarks;

/// <summary>Time from append to delivery at a steady rate, at the port and through the services; and what durability costs their writers.</summary>
internal static class DurableApiBenchmarks
{
    private const int RecordsASecond = 10_000;
    private const int RecordBytes = 200;
    private const string Plain = "a growing file, one write of 200 B and one fdatasync a round, one round after the other";
    private const string PlainAtARate = "a growing file, as many records a second: one write of those that are due and one fdatasync, until each is durable";

    private static readonly TimeSpan Time = TimeSpan.FromSeconds(3);

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(
            "durable-latency",
            "from AppendAsync to the batch of a reader, every record durable before, 10,000 records of 200 B a second",
            PlainAtARate,
            Latencies(),
            async scale =>
            {
                var log = await DurableLog.OpenAsync(new EmbeddedBrokerOptions { Directory = scale.Files.New("log") }, partitions: 1);
                return new Arms(() => DeliverAsync(log.Broker, log.Partitions[0], scale.Time(Time), RecordsASecond), () => FlushAtARate(scale), log);
            }),
        new(
            "durable-latency-api",
            "from WriteAsync on a client stream to MoveNext on a read, every packet durable before, 10,000 packets of 200 B a second",
            PlainAtARate,
            Latencies(),
            async scale =>
            {
                var engine = await StartAsync(scale, batching: false);
                await engine.FillAsync(1);
                var connection = engine.Connect(-1);
                return new Arms(() => LatencyBenchmark.RunAsync(engine.Writer, engine.Reader, connection, scale.Time(Time)), () => FlushAtARate(scale), engine);
            }),
        new(
            "durable-write-unary",
            "WriteDataPacket, one awaited call after the other, 200 B packets, each durable before it is answered",
            Plain,
            [Metric.Rate(), Metric.Allocated],
            async scale =>
            {
                var packets = scale.Packets(10_000);
                var engine = await StartAsync(scale);
                return new Arms(
                    () => Measure.PacketsAsync(packets, () => WriteBenchmarks.WriteUnaryAsync(engine.Writer, packets)),
                    () => Measure.PacketsAsync(packets, () => Task.Run(() => PlainFile.Append(scale.Files.New("plain"), packets, RecordBytes))),
                    engine);
            }),
        new(
            "durable-write-stream",
            "WriteDataPackets, 1 packet a message, 200 B packets, until the stream is acknowledged: everything is durable",
            "the same stream over the memory broker",
            [Metric.Rate(), Metric.Allocated],
            async scale =>
            {
                var packets = scale.Packets(1_000_000);
                var (engine, memory) = (await StartAsync(scale), await Engine.StartAsync(WriteBenchmarks.LogBytes));
                return new Arms(
                    () => Measure.PacketsAsync(packets, () => WriteBenchmarks.WriteStreamAsync(engine.Writer, packets, 1)),
                    () => Measure.PacketsAsync(packets, () => WriteBenchmarks.WriteStreamAsync(memory.Writer, packets, 1)),
                    engine,
                    memory);
            }),
    ];

    private static IReadOnlyList<Metric> Latencies() =>
        [new("p50", "µs"), new("p90", "µs"), new("p99", "µs", Target.AtMost(3_000)), new("p99.9", "µs"), new("max", "µs"), new("rate", "packets/s")];

    private static async Task<Engine> StartAsync(Scale scale, bool batching = true) =>
        await Engine.StartAsync(await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = scale.Files.New("log") }), batching);

    /// <summary>From append to batch, at a steady rate.</summary>
    public static async Task<Sample> DeliverAsync(IBroker broker, TopicPartition source, TimeSpan time, int recordsASecond)
    {
        var records = (int)(time.TotalSeconds * recordsASecond);
        var (sent, taken) = (new long[records], new long[records]);
        var first = (await broker.GetWatermarksAsync([source], default))[0].High;
        var reading = Task.Run(async () =>
        {
            await foreach (var batch in broker.ReadAsync(new ReadRequest([new Position(source, first)], 1 << 20, ToHighWatermark: false), default))
            {
                var now = Stopwatch.GetTimestamp();
                foreach (var record in batch.Records) taken[record.Offset - first] = now;
                if (batch.NextOffset >= first + records) break;
            }
        });
        var payload = new RecordData(null, Payload.Of(RecordBytes));
        var last = default(ValueTask<Appended>);
        var started = Stopwatch.GetTimestamp();
        for (var i = 0; i < records; i++)
        {
            // Busy: a sleep is ten times longer than the pause between two records.
            var due = started + (i * Stopwatch.Frequency / recordsASecond);
            while (Stopwatch.GetTimestamp() < due) Thread.Yield();
            sent[i] = Stopwatch.GetTimestamp();
            last = broker.AppendAsync(source, payload, default);
        }

        var elapsed = Stopwatch.GetElapsedTime(started);
        await last;
        await reading;
        for (var i = 0; i < records; i++) taken[i] -= sent[i];
        var sample = Quantiles.Of(taken);
        sample["rate"] = records / elapsed.TotalSeconds;
        return sample;
    }

    private static async Task<Sample> FlushAtARate(Scale scale)
    {
        var ticks = new long[(int)(scale.Time(Time).TotalSeconds * RecordsASecond)];
        var started = Stopwatch.GetTimestamp();
        await Task.Run(() => PlainFile.AppendAtARate(scale.Files.New("plain"), RecordBytes, RecordsASecond, ticks));
        var sample = Quantiles.Of(ticks);
        sample["rate"] = ticks.Length / Stopwatch.GetElapsedTime(started).TotalSeconds;
        return sample;
    }
}
