using System.Diagnostics;
using System.Globalization;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;

namespace MA.Streaming.Benchmarks;

/// <summary>Starting a Stream API on a log that has something in it, and what it holds in memory while nothing happens.</summary>
internal static class DurableStartBenchmarks
{
    private const int Undrained = 400_000;
    private const int Appended = 1_000_000;
    private const string Start = "start";
    private const string Log = "of it the log";

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(
            "durable-start",
            "a Stream API starts on a log with 1,000 sessions, 1,002 streams and 10,000,000 records that was closed",
            "the files read that such a start has to look at: checkpoint and sessions",
            [new(Start, "ms", Target.AtMost(300)), new(Log, "ms")],
            scale => OpenAsync(scale, isKilled: false)),
        new(
            "durable-start-killed",
            "a Stream API starts on that log after a process was killed that had appended 58 MiB to 1,000 streams, none of it in segments yet",
            "the files read that such a start has to look at: checkpoint, journal and sessions",
            [new(Start, "ms", Target.AtMost(1_000)), new(Log, "ms")],
            scale => OpenAsync(scale, isKilled: true)),
        new(
            "durable-memory",
            "a process with a Stream API on a log of 1,000 partitions: what it has in memory beyond one that does nothing, when idle after the start, and "
                + "after 1,000,000 appends of 100 B",
            "a process that does nothing, in all",
            [new("idle", "MiB", Target.AtMost(64)), new("after appends", "MiB"), new("in all", "MiB")],
            OpenMemoryAsync)
        {
            WarmUps = 0,
        },
    ];

    private static async Task<Arms> OpenAsync(Scale scale, bool isKilled)
    {
        var log = await scale.Files.BigLogAsync();
        var undrained = scale.Packets(Undrained);
        return new Arms(
            async () =>
            {
                var before = isKilled ? await KillAsync(log, undrained) : 0;
                var started = Stopwatch.GetTimestamp();
                var broker = await log.OpenAsync();
                var opened = Stopwatch.GetElapsedTime(started);
                await using var engine = await Engine.StartAsync(broker);
                var ready = Stopwatch.GetElapsedTime(started);
                var sessions = await engine.Sessions.GetCurrentSessionsAsync(new GetCurrentSessionsRequest { DataSource = Workload.DataSource });
                Measure.Check(sessions.SessionKeys.Count, log.Sessions, "sessions");
                Measure.Check((await broker.GetWatermarksAsync([BigLog.Source], default))[0].High, log.Records, "records");
                if (isKilled) Measure.Check(await CountAsync(log, broker) - before, undrained, "records that the killed process had acknowledged");
                return new Sample { [Start] = ready.TotalMilliseconds, [Log] = opened.TotalMilliseconds };
            },
            () =>
            {
                var started = Stopwatch.GetTimestamp();
                PlainFile.Read(log.StartFiles(withJournal: isKilled), long.MaxValue);
                return Task.FromResult(new Sample { [Start] = Stopwatch.GetElapsedTime(started).TotalMilliseconds });
            });
    }

    /// <summary>Leaves a log behind that nobody closed; returns how many records it had before.</summary>
    private static async Task<long> KillAsync(BigLog log, int records)
    {
        long before;
        await using (var broker = await log.OpenAsync()) before = await CountAsync(log, broker);
        await using (await Child.LoadAsync(log, records)) return before;
    }

    private static async Task<long> CountAsync(BigLog log, EmbeddedBroker broker) => (await broker.GetWatermarksAsync(log.Others, default)).Sum(marks => marks.High);

    private static async Task<Arms> OpenMemoryAsync(Scale scale)
    {
        var log = await scale.Files.BigLogAsync();
        return new Arms(
            async () =>
            {
                // What the last round left is not idle.
                await (await log.OpenAsync()).DisposeAsync();
                var nothing = await MeasureAsync(Child.IdleAsync());
                var idle = await MeasureAsync(Child.RunAsync(log, 0));
                var busy = await MeasureAsync(Child.RunAsync(log, scale.Packets(Appended)));
                return new Sample { ["idle"] = idle - nothing, ["after appends"] = busy - nothing, ["in all"] = idle };
            },
            async () => new Sample { ["in all"] = await MeasureAsync(Child.IdleAsync()) });

        static async Task<double> MeasureAsync(Task<Child> starting)
        {
            await using var child = await starting;
            return double.Parse(child.Line, CultureInfo.InvariantCulture) / (1 << 20);
        }
    }
}
