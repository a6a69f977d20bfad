namespace MA.Streaming.Core.Broker;

/// <summary>
/// Where "by key" is: librdkafka's default partitioner (consistent_random), CRC-32 (IEEE 802.3) of the key modulo the partition
/// count, so that records of one key stand in one partition whoever wrote them. An empty or absent key may go anywhere; here it
/// goes to partition 0.
/// </summary>
public static class KeyPlacement
{
    /// <summary>The partition of a key.</summary>
    /// <param name="key">The key's bytes; empty places at 0.</param>
    /// <param name="partitions">How many partitions the topic has, 1 or more.</param>
    public static int PartitionOf(ReadOnlySpan<byte> key, int partitions)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(partitions, 1);
        return key.IsEmpty ? 0 : (int)(Crc32(key) % (uint)partitions);
    }

    /// <summary>CRC-32 as in IEEE 802.3 (zip, PNG): reflected, polynomial 0xEDB88320, initial and final complement.</summary>
    public static uint Crc32(ReadOnlySpan<byte> bytes) => System.IO.Hashing.Crc32.HashToUInt32(bytes);
}
