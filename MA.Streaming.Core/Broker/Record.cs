namespace MA.Streaming.Core.Broker;

/// <summary>One partition of one topic: an ordered log of records.</summary>
/// <param name="Topic">The topic's name, case-sensitive.</param>
/// <param name="Partition">0 or more; -1 in an append asks the broker to place the record by its key.</param>
public readonly record struct TopicPartition(string Topic, int Partition)
{
    /// <summary>The form used in session offsets: <c>topic:partition</c>.</summary>
    public override string ToString() => $"{Topic}:{Partition}";
}

/// <summary>A partition and the offset to read next.</summary>
/// <param name="Source">The partition.</param>
/// <param name="Offset">The offset to read next, 0 or more.</param>
public readonly record struct Position(TopicPartition Source, long Offset);

/// <summary>What is appended: a key and a value, each possibly null (not the same as empty; a null <c>byte[]</c> converts to empty
/// memory, null is <c>default(ReadOnlyMemory&lt;byte&gt;?)</c>).</summary>
/// <param name="Key">Places the record where the target says "by key"; readers of a session compare it.</param>
/// <param name="Value">The bytes of the record; null is a tombstone.</param>
public readonly record struct RecordData(ReadOnlyMemory<byte>? Key, ReadOnlyMemory<byte>? Value)
{
    /// <summary>Bytes of key and value together.</summary>
    public int Bytes => (Key?.Length ?? 0) + (Value?.Length ?? 0);
}

/// <summary>A record as it stands in its partition.</summary>
/// <param name="Offset">Its place; offsets of a partition grow, but need not be in a row.</param>
/// <param name="Timestamp">When it was appended, UTC; never decreasing in a partition of the brokers in this repository.</param>
/// <param name="Key">The key as appended.</param>
/// <param name="Value">The value as appended.</param>
public readonly record struct Record(long Offset, DateTimeOffset Timestamp, ReadOnlyMemory<byte>? Key, ReadOnlyMemory<byte>? Value)
{
    /// <summary>Bytes of key and value together.</summary>
    public int Bytes => (Key?.Length ?? 0) + (Value?.Length ?? 0);
}

/// <summary>Where an append ended up.</summary>
/// <param name="Partition">The partition, also when it was placed by key.</param>
/// <param name="Offset">The record's offset there.</param>
/// <param name="Timestamp">The record's timestamp, UTC.</param>
public readonly record struct Appended(int Partition, long Offset, DateTimeOffset Timestamp);

/// <summary>What to read.</summary>
/// <param name="From">The partitions and where to start in each; a partition stands in it once. An offset below the low
/// watermark yields a <see cref="MissingRange"/> first; one past the high watermark waits there.</param>
/// <param name="BytesMax">How far, in bytes of keys and values, the broker reads ahead of its consumer; one record larger than
/// that still comes.</param>
/// <param name="ToHighWatermark">True ends the read when each partition has reached the high watermark it had at the start.</param>
public sealed record ReadRequest(IReadOnlyList<Position> From, int BytesMax, bool ToHighWatermark)
{
    /// <summary>The consumer promises that what it does between two calls of MoveNextAsync is short and never waits; the broker
    /// may then resume it on the thread that makes records durable, which saves a thread-pool hop and works when the thread pool
    /// is exhausted. A broker may ignore it.</summary>
    public bool ResumeInline { get; init; }
}

/// <summary>Why offsets will never be read.</summary>
public enum MissingReason
{
    /// <summary>Retention removed them.</summary>
    Retention,

    /// <summary>They were damaged.</summary>
    Damage,

    /// <summary>Their topic was deleted.</summary>
    TopicDeleted,
}

/// <summary>Offsets that will never come. Empty when a topic was deleted and nothing of it was left to read.</summary>
/// <param name="From">The first of them.</param>
/// <param name="To">One past the last of them.</param>
/// <param name="Reason">Why.</param>
public sealed record MissingRange(long From, long To, MissingReason Reason);

/// <summary>Records of one partition, in order. Valid until the next MoveNextAsync: who keeps bytes longer copies them.</summary>
/// <param name="Source">The partition they came from.</param>
/// <param name="NextOffset">The offset to read next. A batch without records may move it: the broker keeps some records to itself.</param>
/// <param name="Records">The records, possibly none.</param>
/// <param name="Missing">Offsets before these records that will never come; null when there are none.</param>
public sealed record RecordBatch(TopicPartition Source, long NextOffset, IReadOnlyList<Record> Records, MissingRange? Missing);

/// <summary>The ends of a partition. An absent topic has 0, 0.</summary>
/// <param name="Source">The partition.</param>
/// <param name="Low">The first readable offset.</param>
/// <param name="High">One past the last durable record.</param>
public readonly record struct Watermarks(TopicPartition Source, long Low, long High);

/// <summary>A topic to create.</summary>
/// <param name="Name">1 to 249 characters of <c>[a-zA-Z0-9._-]</c>, not <c>.</c> or <c>..</c>.</param>
/// <param name="Partitions">How many partitions it has at least; 1 or more.</param>
/// <param name="KeepForever">True: retention never removes its records.</param>
public sealed record TopicSpec(string Name, int Partitions = 1, bool KeepForever = false);

/// <summary>A topic that exists.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Partitions">How many partitions it has.</param>
public sealed record TopicInfo(string Name, int Partitions);

/// <summary>What a broker is.</summary>
/// <param name="Id">Identity of this log: a new directory, cluster or memory has another.</param>
/// <param name="Name">The broker in words for messages, without secrets, for example <c>memory:</c>.</param>
/// <param name="RecordBytesMax">The largest record it takes, in bytes of key and value.</param>
/// <param name="Durability">What an acknowledgement survives, in words.</param>
/// <param name="IsShared">True when other processes may append to the same log.</param>
public sealed record BrokerInfo(string Id, string Name, int RecordBytesMax, string Durability, bool IsShared);

/// <summary>Whether a broker can be used now.</summary>
/// <param name="IsHealthy">Reachable and writable.</param>
/// <param name="Detail">Why not, or a word on its state.</param>
public sealed record BrokerHealth(bool IsHealthy, string Detail);
