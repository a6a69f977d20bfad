using System.Diagnostics;

namespace Telemetry.Live;

/// <summary>When each of the last million packets was handed to its write call, by packet id.</summary>
public sealed class WriteTimes
{
    private const int Kept = 1 << 20;

    private readonly long[] _times = new long[Kept];
    private readonly ulong[] _ids = new ulong[Kept];

    public void Stamp(ulong id)
    {
        var slot = (int)(id % Kept);
        _times[slot] = Stopwatch.GetTimestamp();
        Volatile.Write(ref _ids[slot], id);
    }

    /// <summary>Stopwatch ticks since then; false when it is too long ago to be known.</summary>
    public bool TryGetAge(ulong id, out long ticks)
    {
        var slot = (int)(id % Kept);
        ticks = Stopwatch.GetTimestamp() - Volatile.Read(ref _times[slot]);
        return Volatile.Read(ref _ids[slot]) == id;
    }
}
