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
                return new Arms(async () => Delivery.ToSample([await DeliverAsync(log.Broker, log.Partitions[0], scale.Time(Time), RecordsASecond)]), () => FlushAtARate(scale), log);
            }),
        new(
            "durable-latency-busy",
            "the same by a writer that waits busily: it keeps one core, the log and its reader have what is left",
            "the same by a writer that sleeps until each record is due",
            [.. Latencies().Select(metric => metric with { Target = null })],
            async scale =>
            {
                var log = await DurableLog.OpenAsync(new EmbeddedBrokerOptions { Directory = scale.Files.New("log") }, partitions: 1);
                return new Arms(
                    async () => Delivery.ToSample([await DeliverAsync(log.Broker, log.Partitions[0], scale.Time(Time), RecordsASecond, isBusy: true)]),
                    async () => Delivery.ToSample([await DeliverAsync(log.Broker, log.Partitions[0], scale.Time(Time), RecordsASecond)]),
                    log);
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

    /// <summary>From append to batch, at a steady rate, once the reader has had a record.</summary>
    public static async Task<Delivery> DeliverAsync(IBroker broker, TopicPartition source, TimeSpan time, int recordsASecond, bool isBusy = false)
    {
        var records = (int)(time.TotalSeconds * recordsASecond);
        var (sent, taken) = (new long[records], new long[records]);
        var live = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var payload = new RecordData(null, Payload.Of(RecordBytes));
        var leader = (await broker.GetWatermarksAsync([source], default))[0].High;
        var first = leader + 1;
        var reading = Task.Run(async () =>
        {
            await foreach (var batch in broker.ReadAsync(new ReadRequest([new Position(source, leader)], 1 << 20, ToHighWatermark: false), default))
            {
                var now = Stopwatch.GetTimestamp();
                foreach (var record in batch.Records.Where(record => record.Offset >= first)) taken[record.Offset - first] = now;
                live.TrySetResult();
                if (batch.NextOffset >= first + records) break;
            }
        });
        await broker.AppendAsync(source, payload, default);
        await await Task.WhenAny(live.Task, reading);
        var last = default(ValueTask<Appended>);
        var started = Stopwatch.GetTimestamp();
        for (var i = 0; i < records; i++)
        {
            var due = started + (i * Stopwatch.Frequency / recordsASecond);
            if (isBusy) Pace.Busily(due);
            else Pace.Until(due);
            sent[i] = Stopwatch.GetTimestamp();
            last = broker.AppendAsync(source, payload, default);
        }

        var elapsed = Stopwatch.GetElapsedTime(started);
        await last;
        await reading;
        return Delivery.Of(sent, taken, elapsed);
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

/// <summary>How long each record took, in ticks of <see cref="Stopwatch"/>, and how long all of them took to write.</summary>
internal readonly record struct Delivery(long[] Ticks, TimeSpan Elapsed)
{
    public static Delivery Of(long[] sent, long[] taken, TimeSpan elapsed) => new([.. taken.Zip(sent, (to, from) => to - from)], elapsed);

    public static Sample ToSample(IReadOnlyList<Delivery> deliveries)
    {
        long[] ticks = [.. deliveries.SelectMany(delivery => delivery.Ticks)];
        var sample = Quantiles.Of(ticks);
        sample["rate"] = ticks.Length / deliveries.Sum(delivery => delivery.Elapsed.TotalSeconds);
        return sample;
    }
}
