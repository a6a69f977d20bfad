using System.Diagnostics;
using System.Numerics;

namespace Telemetry.Live;

/// <summary>Percentiles of durations in constant memory, each within 3 %: 32 buckets to every doubling. One thread records,
/// others may look.</summary>
public sealed class LatencyHistogram
{
    private const int SubBits = 5;

    private readonly long[] _buckets = new long[64 << SubBits];
    private long _count;
    private long _max;

    public long Count => Volatile.Read(ref _count);

    public TimeSpan Max => Duration(Volatile.Read(ref _max));

    /// <summary>Adds a duration in ticks of <see cref="Stopwatch"/>.</summary>
    public void Record(long ticks)
    {
        ticks = Math.Max(0, ticks);
        _buckets[Bucket(ticks)]++;
        if (ticks > _max) Volatile.Write(ref _max, ticks);
        Volatile.Write(ref _count, _count + 1);
    }

    /// <summary>The duration that this share (0 to 1) of all does not exceed.</summary>
    public TimeSpan Percentile(double share)
    {
        var count = Count;
        if (count == 0) return TimeSpan.Zero;
        var wanted = (long)Math.Ceiling(share * count);
        long seen = 0;
        for (var i = 0; i < _buckets.Length; i++)
        {
            seen += Volatile.Read(ref _buckets[i]);
            if (seen >= wanted) return Duration(Math.Min(Upper(i), Volatile.Read(ref _max)));
        }

        return Max;
    }

    // Ticks below 32 have a bucket each; above, the leading bit and the five after it choose one.
    private static int Bucket(long ticks)
    {
        if (ticks < 1 << SubBits) return (int)ticks;
        var exponent = BitOperations.Log2((ulong)ticks) - SubBits;
        return ((exponent + 1) << SubBits) + (int)((ticks >> exponent) - (1 << SubBits));
    }

    private static long Upper(int bucket)
    {
        if (bucket < 1 << SubBits) return bucket;
        var exponent = (bucket >> SubBits) - 1;
        return ((long)((bucket & ((1 << SubBits) - 1)) + (1 << SubBits) + 1) << exponent) - 1;
    }

    private static TimeSpan Duration(long ticks) => TimeSpan.FromSeconds((double)ticks / Stopwatch.Frequency);
}
