using MA.Streaming.API;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Core.Packets;

/// <summary>A read: the partitions that it knows, and how far it is in each.</summary>
internal abstract class ReadPlan(ConnectionDetails details) : IAsyncDisposable
{
    public ConnectionDetails Details { get; } = details;

    public Dictionary<TopicPartition, ReadPosition> Positions { get; } = [];

    /// <summary>The read ends at the high watermarks of its start. An unbounded read goes on for ever and takes up new streams.</summary>
    public abstract bool IsBounded { get; }

    /// <summary>Counts packets that the broker gave to this read.</summary>
    public virtual void CountRead(Telemetry telemetry, Telemetry.StreamTags tags, int packets) => telemetry.Read(tags, packets);

    /// <summary>Counts packets that the client of this read took.</summary>
    public virtual void CountDelivered(Telemetry telemetry, Telemetry.StreamTags tags, int packets) => telemetry.Delivered(tags, packets);

    public virtual ValueTask DisposeAsync() => default;
}

/// <summary>A read of all packets of a connection.</summary>
internal sealed class PacketsPlan(ConnectionDetails details) : ReadPlan(details)
{
    public override bool IsBounded => false;
}

/// <summary>A read of the essential packets that exist at its start.</summary>
internal sealed class EssentialsPlan(ConnectionDetails details) : ReadPlan(details)
{
    public override bool IsBounded => true;

    public override void CountRead(Telemetry telemetry, Telemetry.StreamTags tags, int packets) => telemetry.EssentialsRead(tags, packets);

    public override void CountDelivered(Telemetry telemetry, Telemetry.StreamTags tags, int packets) => telemetry.EssentialsDelivered(tags, packets);
}

/// <summary>A read of the partitions that a consumer group assigns to this member.</summary>
internal sealed class GroupPlan(ConnectionDetails details, GroupMember member) : ReadPlan(details)
{
    public override bool IsBounded => false;

    public GroupMember Member { get; } = member;

    /// <summary>The partitions that the member wants a share of, and where the group starts in a partition that is new to it.</summary>
    public Dictionary<TopicPartition, ReadStart> Wanted { get; } = [];

    /// <summary>The assignment that the member waits for; null before it has asked for one.</summary>
    public Task<IReadOnlyList<GroupPosition>>? NextAssignment { get; set; }

    public override async ValueTask DisposeAsync()
    {
        await Member.DisposeAsync().ConfigureAwait(false);
        await base.DisposeAsync().ConfigureAwait(false);
    }
}

/// <summary>Where a read starts in one partition.</summary>
/// <param name="Stream">The name under which its packets are delivered.</param>
/// <param name="Offset">An offset, or <see cref="Latest"/>.</param>
internal readonly record struct ReadStart(string Stream, long Offset)
{
    /// <summary>The high watermark at the time of planning.</summary>
    public const long Latest = -1;
}

/// <summary>How far a read is in one partition.</summary>
internal sealed class ReadPosition(string stream, long next)
{
    public string Stream { get; } = stream;

    public long Next { get; set; } = next;

    /// <summary>Where a bounded read ends.</summary>
    public long End { get; init; } = long.MaxValue;

    /// <summary>False while another member of the group reads the partition.</summary>
    public bool IsAssigned { get; set; } = true;

    /// <summary>False until the first batch: until then retention may move the start of a read that begins at the beginning.</summary>
    public bool HasRead { get; set; }
}

/// <summary>Records of one stream, in order. Valid until the next step of the read.</summary>
/// <param name="Stream">The name under which they are delivered.</param>
/// <param name="Source">The partition that they stand in.</param>
/// <param name="Records">The records of the session that the read asks for.</param>
/// <param name="NextOffset">The read has nothing left to deliver before this offset.</param>
internal readonly record struct StreamBatch(string Stream, TopicPartition Source, IReadOnlyList<Record> Records, long NextOffset);

/// <summary>One step of a read: records for its response, or <see cref="FlushNow"/>.</summary>
internal readonly record struct ReadStep(StreamBatch? Batch)
{
    /// <summary>The response must go out before the next step: after it, partitions pass to other readers.</summary>
    public static ReadStep FlushNow => default;
}
