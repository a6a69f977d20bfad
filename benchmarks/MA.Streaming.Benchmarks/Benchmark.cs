namespace MA.Streaming.Benchmarks;

/// <summary>Something that is measured in two arms: the Stream API, and the raw limit of what it stands on.</summary>
/// <param name="Name">Its name on the command line.</param>
/// <param name="Description">What the subject does.</param>
/// <param name="Limit">What the limit does.</param>
/// <param name="Metrics">The figures of a sample, the main one first.</param>
/// <param name="OpenAsync">Sets both arms up.</param>
internal sealed record Benchmark(string Name, string Description, string Limit, IReadOnlyList<Metric> Metrics, Func<Scale, Task<Arms>> OpenAsync)
{
    /// <summary>Rounds that are not counted.</summary>
    public int WarmUps { get; init; } = 2;
}

/// <summary>One figure.</summary>
/// <param name="Name">Its name in samples, tables and JSON.</param>
/// <param name="Unit">What it counts.</param>
/// <param name="Target">What the subject is expected to reach; null when nothing is.</param>
internal sealed record Metric(string Name, string Unit, Target? Target = null)
{
    public static Metric Rate(double? atLeast = null) => new("rate", "packets/s", atLeast is { } bound ? Target.AtLeast(bound) : null);

    public static Metric RateRatio(double atLeast) => new("rate", "packets/s", Target.RatioAtLeast(atLeast));

    public static Metric Allocated => new("allocated", "B/packet");

    /// <summary>Processor time of the whole process.</summary>
    public static Metric Processor => new("cpu", "s/M packets");
}

/// <summary>A bound on the subject's median, or on the ratio of subject to limit.</summary>
internal sealed record Target(double Bound, bool IsFloor, bool IsOfRatio)
{
    public static Target AtLeast(double bound) => new(bound, IsFloor: true, IsOfRatio: false);

    public static Target AtMost(double bound) => new(bound, IsFloor: false, IsOfRatio: false);

    public static Target RatioAtLeast(double bound) => new(bound, IsFloor: true, IsOfRatio: true);

    public static Target RatioAtMost(double bound) => new(bound, IsFloor: false, IsOfRatio: true);

    public bool IsMet(double subject, double ratio)
    {
        var value = IsOfRatio ? ratio : subject;
        return IsFloor ? value >= Bound : value <= Bound;
    }

    public override string ToString() => $"{(IsOfRatio ? "ratio " : "")}{(IsFloor ? "≥" : "≤")} {Numbers.Short(Bound)}";
}

/// <summary>The two arms of a benchmark, ready to run any number of times. An arm throws when its result is wrong.</summary>
internal sealed class Arms(Func<Task<Sample>> subject, Func<Task<Sample>> limit, params IAsyncDisposable[] resources) : IAsyncDisposable
{
    public Func<Task<Sample>> Subject { get; } = subject;

    public Func<Task<Sample>> Limit { get; } = limit;

    public async ValueTask DisposeAsync()
    {
        foreach (var resource in resources) await resource.DisposeAsync();
    }
}

/// <summary>What one run of one arm measured: a value a metric.</summary>
internal sealed class Sample : Dictionary<string, double>
{
    public Sample()
        : base(StringComparer.Ordinal)
    {
    }
}

/// <summary>How much is measured, all of it or just enough to see that it works; and where files may go.</summary>
internal sealed record Scale(bool IsDry, RunDirectory Files)
{
    public int Partitions(int full) => IsDry ? Math.Min(full, 10) : full;

    public int Packets(int full) => IsDry ? Math.Max(1_000, full / 200) : full;

    public TimeSpan Time(TimeSpan full) => IsDry ? full / 20 : full;
}
