using MA.Streaming.Broker.Embedded;

namespace MA.Streaming.Benchmarks;

/// <summary>Appends to the embedded log, each acknowledged when it is durable, against a plain file that is flushed as often as it can be.</summary>
internal static class DurableAppendBenchmarks
{
    private const int ManyRecords = 4_000_000;
    private const int Reuses = 3;

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        .. from writers in new[] { 1, 16 } from partitions in new[] { 1, 100, 1_000 } from bytes in new[] { 100, 1_024 } select ClosedLoop(writers, partitions, bytes),
        new(
            "durable-many",
            "appends of 16 writers with up to 1,000 in flight each, 100 B to 1,000 partitions, all moved into segments at the end",
            "a growing file, 4 MiB and one fdatasync a round, the same bytes in all",
            [Rate(Target.AtLeast(1_000_000)), Allocated()],
            OpenManyAsync),
    ];

    private static Metric Rate(Target target) => new("rate", "records/s", target);

    private static Metric Allocated() => new("allocated", "B/record");

    private static Benchmark ClosedLoop(int writers, int partitions, int bytes) => new(
        $"durable-{writers}w-{partitions}p-{bytes}",
        $"appends of {writers} writer{(writers == 1 ? "" : "s")}, one in flight each, {bytes} B to {partitions} partition{(partitions == 1 ? "" : "s")}; "
            + "the journal reused three times, all moved into segments at the end",
        $"a growing file, one write of {writers} × {bytes} B and one fdatasync a round",
        [Rate(Target.RatioAtLeast(writers == 1 ? 0.8 : 1)), Allocated()],
        scale => OpenAsync(scale, writers, partitions, bytes))
    {
        WarmUps = 1,
    };

    private static Task<Arms> OpenAsync(Scale scale, int writers, int partitions, int bytes)
    {
        // As in the default options, the journal holds half of what may be undrained; both are smaller where few bytes come in a second.
        var journalBytes = (writers, bytes) switch
        {
            (1, 100) => 512 << 10,
            (1, _) => 2 << 20,
            (_, 100) => 4 << 20,
            _ => 32 << 20,
        };
        var group = GroupFormat.HeaderBytes + (writers * RecordFormat.SizeOf(bytes));
        var lap = scale.Packets((journalBytes / group) + 1) * writers;
        partitions = scale.Partitions(partitions);
        var payload = Payload.Of(bytes);
        var records = 0;
        return Task.FromResult(new Arms(
            async () =>
            {
                var options = new EmbeddedBrokerOptions
                {
                    Directory = scale.Files.New("log"),
                    JournalFileBytes = journalBytes,
                    UndrainedBytesMax = 2 * journalBytes,
                    GroupBytesMax = 64 << 10,
                    RecordBytesMax = 64 << 10,
                };
                await using var log = await DurableLog.OpenAsync(options, partitions);
                var (before, _) = log.Journal();
                records = 0;
                var sample = await Measure.PacketsAsync(() => records, async () =>
                {
                    do
                    {
                        await log.AppendAsync(writers, lap, payload);
                        records += lap;
                    }
                    while (!scale.IsDry && log.Journal() is var (uses, files) && uses - before < Reuses * files);
                    await log.Broker.DrainAsync();
                });
                Measure.Check(await log.CountAsync(), records + partitions, "records in the log");
                return sample;
            },
            () => Measure.PacketsAsync(records, () => AppendPlainly(scale, records / writers, writers * bytes))));
    }

    private static Task<Arms> OpenManyAsync(Scale scale)
    {
        const int writers = 16, burst = 500, bytes = 100, round = 4 << 20;
        var partitions = scale.Partitions(1_000);
        var records = scale.Packets(ManyRecords);
        var payload = Payload.Of(bytes);
        return Task.FromResult(new Arms(
            async () =>
            {
                await using var log = await DurableLog.OpenAsync(new EmbeddedBrokerOptions { Directory = scale.Files.New("log") }, partitions);
                var sample = await Measure.PacketsAsync(records, async () =>
                {
                    await DurableLog.WriteManyAsync(log.Broker, log.Partitions, writers, records, burst, payload);
                    await log.Broker.DrainAsync();
                });
                Measure.Check(await log.CountAsync(), records + partitions, "records in the log");
                return sample;
            },
            () => Measure.PacketsAsync(records, () => AppendPlainly(scale, (int)(((long)records * bytes) + round - 1) / round, round))));
    }

    private static Task AppendPlainly(Scale scale, int rounds, int bytes)
    {
        PlainFile.Append(scale.Files.New("plain"), rounds, bytes);
        return Task.CompletedTask;
    }
}
