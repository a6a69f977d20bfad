using System.Diagnostics;

namespace MA.Streaming.Benchmarks;

/// <summary>What a benchmark measured.</summary>
internal sealed record Result(Benchmark Benchmark, IReadOnlyList<Sample> Subject, IReadOnlyList<Sample> Limit, long HeapBytes, long WorkingSetBytes)
{
    public IEnumerable<Comparison> Comparisons() =>
        Benchmark.Metrics.Where(m => Subject[0].ContainsKey(m.Name)).Select(m => new Comparison(m, Spread.Of(Subject, m)!, Spread.Of(Limit, m)));
}

/// <summary>One figure of both arms.</summary>
internal sealed record Comparison(Metric Metric, Spread Subject, Spread? Limit)
{
    public double? Ratio => Limit is { Median: not 0 } ? Subject.Median / Limit.Median : null;

    public bool? IsMet => Metric.Target?.IsMet(Subject.Median, Ratio ?? double.NaN);
}

/// <summary>Median and extremes over the rounds.</summary>
internal sealed record Spread(double Median, double Min, double Max)
{
    /// <summary>Null when the arm does not have this figure.</summary>
    public static Spread? Of(IReadOnlyList<Sample> samples, Metric metric)
    {
        var values = samples.Where(s => s.ContainsKey(metric.Name)).Select(s => s[metric.Name]).Order().ToList();
        if (values.Count == 0) return null;
        var middle = values.Count / 2;
        var median = values.Count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
        return new(median, values[0], values[^1]);
    }
}

/// <summary>Runs the two arms in turn, so that whatever else the machine does meets both.</summary>
internal static class Runner
{
    private static readonly TimeSpan OpenTimeout = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan ArmTimeout = TimeSpan.FromMinutes(1);

    public static async Task<Result> RunAsync(Benchmark benchmark, Scale scale, int rounds, TextWriter progress)
    {
        await progress.WriteLineAsync($"{benchmark.Name}: {benchmark.Description}");
        await using var arms = await benchmark.OpenAsync(scale).WaitAsync(OpenTimeout);
        for (var i = 0; i < (scale.IsDry ? 0 : benchmark.WarmUps); i++)
        {
            await RunAsync(arms.Subject, scale);
            await RunAsync(arms.Limit, scale);
        }

        var subject = new List<Sample>();
        var limit = new List<Sample>();
        var main = benchmark.Metrics[0];
        for (var round = 1; round <= rounds; round++)
        {
            subject.Add(await RunAsync(arms.Subject, scale));
            limit.Add(await RunAsync(arms.Limit, scale));
            var (ours, theirs) = (Numbers.Short(subject[^1][main.Name]), Numbers.Short(limit[^1].GetValueOrDefault(main.Name)));
            await progress.WriteLineAsync($"  round {round}/{rounds}: {ours} against {theirs} {main.Unit}");
        }

        using var process = Process.GetCurrentProcess();
        return new(benchmark, subject, limit, GC.GetTotalMemory(forceFullCollection: false), process.WorkingSet64);
    }

    private static Task<Sample> RunAsync(Func<Task<Sample>> arm, Scale scale)
    {
        scale.Files.Settle();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        return Task.Run(arm).WaitAsync(ArmTimeout);
    }
}

/// <summary>Times, each in ticks of the stopwatch, by how many of them were not longer; in microseconds.</summary>
internal static class Quantiles
{
    public static Sample Of(long[] ticks)
    {
        Array.Sort(ticks);
        return new Sample { ["p50"] = At(0.5), ["p90"] = At(0.9), ["p99"] = At(0.99), ["p99.9"] = At(0.999), ["max"] = At(1) };

        double At(double quantile) => ticks[Math.Max(0, (int)Math.Ceiling(quantile * ticks.Length) - 1)] * 1e6 / Stopwatch.Frequency;
    }
}

/// <summary>Measures a piece of work.</summary>
internal static class Measure
{
    /// <summary>Rate and allocation of work on this many packets.</summary>
    public static Task<Sample> PacketsAsync(long packets, Func<Task> work) => PacketsAsync(() => packets, work);

    /// <summary>Rate, allocation and processor time (of all threads of this process) of work on as many packets as it says afterwards.</summary>
    public static async Task<Sample> PacketsAsync(Func<long> packets, Func<Task> work)
    {
        var allocated = GC.GetTotalAllocatedBytes(precise: true);
        var processor = Environment.CpuUsage.TotalTime;
        var started = Stopwatch.GetTimestamp();
        await work();
        var elapsed = Stopwatch.GetElapsedTime(started);
        processor = Environment.CpuUsage.TotalTime - processor;
        allocated = GC.GetTotalAllocatedBytes(precise: true) - allocated;
        return new Sample
        {
            ["rate"] = packets() / elapsed.TotalSeconds,
            ["allocated"] = (double)allocated / packets(),
            ["cpu"] = processor.TotalSeconds * 1e6 / packets(),
        };
    }

    public static void Check(long actual, long expected, string what)
    {
        if (actual != expected) throw new InvalidOperationException($"{what}: {actual} instead of {expected}");
    }
}
