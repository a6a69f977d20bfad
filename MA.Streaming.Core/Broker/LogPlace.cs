namespace MA.Streaming.Core.Broker;

/// <summary>A place in the log of a topic, ordered by timestamp, then partition, then offset.</summary>
internal readonly record struct LogPlace(DateTimeOffset Timestamp, int Partition, long Offset) : IComparable<LogPlace>
{
    public int CompareTo(LogPlace other)
    {
        var byTime = Timestamp.CompareTo(other.Timestamp);
        if (byTime != 0) return byTime;
        var byPartition = Partition.CompareTo(other.Partition);
        return byPartition != 0 ? byPartition : Offset.CompareTo(other.Offset);
    }
}
