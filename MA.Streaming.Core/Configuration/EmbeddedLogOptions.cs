namespace MA.Streaming.Core.Configs;

/// <summary>The losses that an acknowledged packet on the embedded log survives.</summary>
public sealed class CommitPolicy
{
    private CommitPolicy(string name, string durability) => (Name, Durability) = (name, durability);

    /// <summary>Acknowledges a packet when the disk has confirmed it. It survives the loss of process, machine and power. The default.</summary>
    public static CommitPolicy Durable { get; } = new("Durable", "durable: survives the loss of process, machine and power");

    /// <summary>Acknowledges a packet when the operating system has it. It survives the loss of the process, but not of power.</summary>
    public static CommitPolicy Written { get; } = new("Written", "written: survives the loss of the process, not of power");

    /// <summary>All policies.</summary>
    public static IReadOnlyList<CommitPolicy> All { get; } = [Durable, Written];

    /// <summary>The policy's name.</summary>
    public string Name { get; }

    /// <summary>The losses that an acknowledged packet survives, in words.</summary>
    public string Durability { get; }

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>The settings of the durable embedded log (BrokerUrl <c>embedded:</c>). Other brokers ignore them.</summary>
public sealed record EmbeddedLogOptions
{
    /// <summary>The defaults: durable, and without retention.</summary>
    public static EmbeddedLogOptions Default { get; } = new();

    /// <summary>When a packet is acknowledged. Default <see cref="CommitPolicy.Durable"/>.</summary>
    public CommitPolicy CommitPolicy { get; init; } = CommitPolicy.Durable;

    /// <summary>The age at which records are removed, a segment at a time. Null (the default): never. Sessions and data formats stay.</summary>
    public TimeSpan? RetentionAge { get; init; }

    /// <summary>The system's time is right whenever the log is opened. False (the default): where it is more than a day after the newest
    /// record, <see cref="RetentionAge"/> removes nothing for a day.</summary>
    public bool TrustClock { get; init; }

    /// <summary>The bytes of a topic beyond which its oldest segments are removed. Null (the default): no limit. Sessions and data formats
    /// stay.</summary>
    public long? RetentionBytes { get; init; }

    /// <summary>The bytes of a segment file after which a new one begins: 1 MiB to 1 GiB, default 64 MiB. Retention removes whole segments.</summary>
    public int SegmentBytesMax { get; init; } = 64 << 20;

    /// <summary>The bytes that may be in the journal and in no segment yet. Beyond it writes wait. 4 MiB to 512 MiB, default 64 MiB. While the
    /// disk is slower than the writers, the log uses twice that much memory and journal. Recovery reads as much.</summary>
    public long UndrainedBytesMax { get; init; } = 64 << 20;

    /// <summary>The bytes of recent records that stay in memory for readers: 0 to 64 GiB, default 32 MiB. Older ones are read from
    /// segments.</summary>
    public long TailBytesMax { get; init; } = 32 << 20;

    /// <summary>After a failed flush of the disk the log goes on in a new file when the disk is well again. Default true; false: it takes nothing
    /// more until it is opened again.</summary>
    public bool HealAfterFault { get; init; } = true;

    /// <summary>The free bytes of the disk below which writes are refused with RESOURCE_EXHAUSTED. Acknowledged records can then still move
    /// into segments. Default 256 MiB.</summary>
    public long DiskReserveBytes { get; init; } = 256 << 20;
}
