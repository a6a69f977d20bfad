using System.Diagnostics;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Benchmarks;

/// <summary>Reading the embedded log from memory and from segments, and finding a time in it, against reading the same files plainly.</summary>
internal static class DurableReadBenchmarks
{
    private const int Near = 1_000_000;
    private const string Files = "the segments of those records read from start to end, 256 KiB at a time";
    private const string Cold = "cold";

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new("durable-read-memory", "records of 100 B that are still in memory, read from the first to the last", Files, Rates(), OpenMemoryAsync),
        new(
            "durable-read-segments",
            "the first 1,000,000 records of 164 B of a partition, from segments that the system has in memory",
            Files,
            Rates(),
            scale => OpenAsync(scale, scale.Packets(Near), isCold: false)),
        new(
            "durable-read-behind",
            "a reader 2 GB behind comes to the end of a partition of 10,000,000 records of 164 B, the system having been asked to forget the segments",
            Files + ", the system having been asked to forget them",
            Rates(),
            async scale => await OpenAsync(scale, (await scale.Files.BigLogAsync()).Records, isCold: true))
        {
            WarmUps = 1,
        },
        new(
            "durable-find",
            "FindOffsetsAsync of a random time in a partition of 2 GB, the system having its files in memory (warm) or asked to forget them (cold); means",
            "64 KiB read at a random place of the same segments",
            [new("warm", "ms", Target.AtMost(10)), new(Cold, "ms", Target.AtMost(10)), new("largest", "ms")],
            OpenFindAsync),
    ];

    private static IReadOnlyList<Metric> Rates() => [new("rate", "records/s"), new("bytes", "B/s"), new("allocated", "B/record")];

    private static async Task<Arms> OpenMemoryAsync(Scale scale)
    {
        var records = scale.Packets(400_000);
        var directory = scale.Files.New("log");
        var log = await DurableLog.OpenAsync(new EmbeddedBrokerOptions { Directory = directory, TailBytesMax = 1L << 30 }, partitions: 1);
        await DurableLog.WriteManyAsync(log.Broker, log.Partitions, writers: 1, records, burst: 1_000, Payload.Of(100));
        await log.Broker.DrainAsync();
        IReadOnlyList<string> files = Directory.GetFiles(directory, "*.segment", SearchOption.AllDirectories);
        return new Arms(
            () => MeasureAsync(records, RecordFormat.SizeOf(100), () => ReadAsync(log.Broker, log.Partitions[0], records, 100)),
            () => MeasureAsync(records, RecordFormat.SizeOf(100), () => ReadPlainly(files, records, RecordFormat.SizeOf(100))),
            log);
    }

    private static async Task<Arms> OpenAsync(Scale scale, int records, bool isCold)
    {
        var log = await scale.Files.BigLogAsync();
        var broker = await log.OpenAsync();
        var bytes = BigLog.RecordBytes - RecordFormat.HeaderBytes;
        return new Arms(
            () =>
            {
                if (isCold) log.Forget();
                return MeasureAsync(records, BigLog.RecordBytes, () => ReadAsync(broker, BigLog.Source, records, bytes));
            },
            () =>
            {
                if (isCold) log.Forget();
                return MeasureAsync(records, BigLog.RecordBytes, () => ReadPlainly(log.Segments, records, BigLog.RecordBytes));
            },
            broker);
    }

    private static async Task<Sample> MeasureAsync(int records, int recordBytes, Func<Task> read)
    {
        var sample = await Measure.PacketsAsync(records, read);
        sample["bytes"] = sample["rate"] * recordBytes;
        return sample;
    }

    private static async Task ReadAsync(EmbeddedBroker broker, TopicPartition source, int records, int bytes)
    {
        var (read, sum) = (0, 0L);
        await foreach (var batch in broker.ReadAsync(new ReadRequest([new Position(source, 0)], 1 << 20, ToHighWatermark: true), default))
        {
            foreach (var record in batch.Records)
            {
                if (read == records) break;
                read++;
                sum += record.Value!.Value.Length;
            }

            if (read == records) break;
        }

        Measure.Check(read, records, "records read");
        Measure.Check(sum, (long)records * bytes, "bytes of their values");
    }

    private static Task ReadPlainly(IReadOnlyList<string> files, int records, int recordBytes)
    {
        var bytes = (long)records * recordBytes;
        if (PlainFile.Read(files, bytes) < bytes) throw new InvalidOperationException($"the segments have less than {bytes} bytes");
        return Task.CompletedTask;
    }

    private static async Task<Arms> OpenFindAsync(Scale scale)
    {
        const int finds = 20;
        var log = await scale.Files.BigLogAsync();
        var broker = await log.OpenAsync();
        var random = new Random(1);
        var segments = log.Segments;
        return new Arms(() => RunAsync(FindAsync), () => RunAsync(ReadSomewhere), broker);

        async Task<Sample> RunAsync(Func<Task> find)
        {
            var (warm, cold) = (new double[finds], new double[finds]);
            for (var i = 0; i < 2 * finds; i++)
            {
                if (i >= finds) log.Forget();
                var started = Stopwatch.GetTimestamp();
                await find();
                (i < finds ? warm : cold)[i % finds] = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
            }

            return new Sample { ["warm"] = warm.Average(), [Cold] = cold.Average(), ["largest"] = warm.Concat(cold).Max() };
        }

        async Task FindAsync()
        {
            var time = log.From + ((log.To - log.From) * random.NextDouble());
            var found = (await broker.FindOffsetsAsync([BigLog.Source], time, default))[0];
            if (found < 0 || found > log.Records) throw new InvalidOperationException($"{time:O} was found at offset {found} of {log.Records} records");
        }

        Task ReadSomewhere()
        {
            PlainFile.ReadAt(segments[random.Next(segments.Count)], random.Next(1 << 20), Segment.IndexEveryBytes);
            return Task.CompletedTask;
        }
    }
}
