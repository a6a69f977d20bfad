namespace MA.Streaming.Benchmarks;

/// <summary>The benchmarks there are.</summary>
internal static class Suite
{
    public static IReadOnlyList<Benchmark> All { get; } =
    [
        .. WriteBenchmarks.All,
        .. ReadBenchmarks.All,
        FilterBenchmark.Filter,
        LatencyBenchmark.Latency,
        .. AllocationBenchmarks.All,
        .. FanOutBenchmarks.All,
        .. NetworkBenchmarks.All,
        .. DurableAppendBenchmarks.All,
        .. DurableApiBenchmarks.All,
        .. DurableReadBenchmarks.All,
        .. DurableStartBenchmarks.All,
        .. KafkaBenchmarks.All,
    ];
}
