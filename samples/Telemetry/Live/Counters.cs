namespace Telemetry.Live;

/// <summary>How far a reader or the writers are; one thread counts, others may look.</summary>
public sealed class Counters
{
    private long _packets;
    private long _samples;
    private long _bytes;

    public long Packets => Volatile.Read(ref _packets);

    public long Samples => Volatile.Read(ref _samples);

    /// <summary>Bytes of the packets' contents.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    public void Add(long samples, long bytes)
    {
        Volatile.Write(ref _samples, _samples + samples);
        Volatile.Write(ref _bytes, _bytes + bytes);
        Volatile.Write(ref _packets, _packets + 1);
    }
}
