namespace MA.Streaming.Core.Configs;

/// <summary>What an acknowledgement of the embedded broker survives.</summary>
public sealed class CommitPolicy
{
    private CommitPolicy(string name, string durability) => (Name, Durability) = (name, durability);

    /// <summary>Acknowledged when the disk has confirmed it: survives the loss of process, machine and power. The default.</summary>
    public static CommitPolicy Durable { get; } = new("Durable", "durable: survives the loss of process, machine and power");

    /// <summary>Acknowledged when the operating system has it: survives the process, not the power.</summary>
    public static CommitPolicy Written { get; } = new("Written", "written: survives the loss of the process, not of power");

    /// <summary>The policies there are.</summary>
    public static IReadOnlyList<CommitPolicy> All { get; } = [Durable, Written];

    /// <summary>The policy's name.</summary>
    public string Name { get; }

    /// <summary>What an acknowledgement survives, in words.</summary>
    public string Durability { get; }

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>How the durable embedded log (BrokerUrl <c>embedded:</c>) keeps its records. Other brokers ignore it.</summary>
public sealed record EmbeddedLogOptions
{
    /// <summary>The defaults: durable, nothing ever removed.</summary>
    public static EmbeddedLogOptions Default { get; } = new();

    /// <summary>What an acknowledgement survives. Default <see cref="CommitPolicy.Durable"/>.</summary>
    public CommitPolicy CommitPolicy { get; init; } = CommitPolicy.Durable;

    /// <summary>Age after which records may go, a segment at a time; null (the default): never. Sessions and data formats stay.</summary>
    public TimeSpan? RetentionAge { get; init; }

    /// <summary>The system's time is right whenever the log is opened. False (the default): where it is more than a day after the newest
    /// record, <see cref="RetentionAge"/> removes nothing for a day.</summary>
    public bool TrustClock { get; init; }

    /// <summary>Bytes of a topic beyond which its oldest segments go; null (the default): without bound. Sessions and data formats stay.</summary>
    public long? RetentionBytes { get; init; }

    /// <summary>Bytes of a segment file, after which a new one begins: 1 MiB to 1 GiB, default 64 MiB. Retention takes whole segments.</summary>
    public int SegmentBytesMax { get; init; } = 64 << 20;

    /// <summary>Bytes that may be in the journal and in no segment yet; beyond it writes wait. 4 MiB to 512 MiB, default 64 MiB. Twice
    /// that much memory and journal is used while the disk is slower than the writers; recovery reads as much.</summary>
    public long UndrainedBytesMax { get; init; } = 64 << 20;

    /// <summary>Bytes of recent records kept in memory for readers: 0 to 64 GiB, default 32 MiB. Older ones are read from segments.</summary>
    public long TailBytesMax { get; init; } = 32 << 20;

    /// <summary>After a failed flush of the disk the log goes on in a new file when the disk is well again. Default true; false: it takes nothing
    /// more until it is opened again.</summary>
    public bool HealAfterFault { get; init; } = true;

    /// <summary>Free bytes of the disk below which writes are refused with RESOURCE_EXHAUSTED, so that what was acknowledged can still be
    /// moved into segments. Default 256 MiB.</summary>
    public long DiskReserveBytes { get; init; } = 256 << 20;
}
