using System.Buffers.Binary;
using System.Numerics;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <summary>CRC-32C (Castagnoli), with the processor's instruction where there is one.</summary>
internal static class Checksum
{
    /// <summary>Of bytes, seeded: the same bytes under another seed have another checksum.</summary>
    public static uint Of(ReadOnlySpan<byte> bytes, ulong seed = 0)
    {
        var crc = seed == 0 ? uint.MaxValue : BitOperations.Crc32C(uint.MaxValue, seed);
        while (bytes.Length >= 8)
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            bytes = bytes[8..];
        }

        foreach (var b in bytes) crc = BitOperations.Crc32C(crc, b);
        return ~crc;
    }
}

/// <summary>Which kind of record it is, and which of its parts are there (null is not empty).</summary>
[Flags]
internal enum RecordFlags : byte
{
    None = 0,
    HasKey = 1,
    HasValue = 2,

    /// <summary>Its value is a <see cref="TopicFormat"/>; it stands in the journal only.</summary>
    IsTopic = 4,
}

/// <summary>What stands before the key and value of a record.</summary>
internal readonly record struct RecordHeader(
    int Length, RecordFlags Flags, long Offset, long Timestamp, long Sequence, int Topic, int Partition, int KeyLength, int ExtrasLength)
{
    public int ValueLength => Length - RecordFormat.HeaderBytes - KeyLength - ExtrasLength;

    // Not "? bytes : null": null would become empty memory.
    /// <summary>The record in memory; its key and value are parts of <paramref name="bytes"/>, which begin with this header.</summary>
    public Record ToRecord(ReadOnlyMemory<byte> bytes) => new(
        Offset,
        new DateTimeOffset(Timestamp, TimeSpan.Zero),
        Flags.HasFlag(RecordFlags.HasKey) ? bytes.Slice(RecordFormat.HeaderBytes, KeyLength) : default(ReadOnlyMemory<byte>?),
        Flags.HasFlag(RecordFlags.HasValue) ? bytes.Slice(RecordFormat.HeaderBytes + KeyLength, ValueLength) : default(ReadOnlyMemory<byte>?));
}

/// <summary>
/// A record, the same in journal and segment. Little-endian: magic (4), checksum of what follows (4), length of it all (4), flags
/// (1), zero (1), length of the extras (2), offset (8), timestamp in 100 ns since year 1 (8), journal sequence number (8), topic id
/// (4), partition (4), length of the key (4), then key, value and extras. The checksum is seeded with the random id of the file, so
/// that bytes of another file, of an earlier use of this one, or inside a payload do not pass as a record.
/// </summary>
internal static class RecordFormat
{
    public const int HeaderBytes = 52;
    private const uint Magic = 0xD1C3_A5E7;
    private const RecordFlags Known = RecordFlags.HasKey | RecordFlags.HasValue | RecordFlags.IsTopic;

    public static ReadOnlySpan<byte> MagicBytes => [0xE7, 0xA5, 0xC3, 0xD1];

    public static int SizeOf(int keyAndValueBytes) => HeaderBytes + keyAndValueBytes;

    /// <summary>Writes a record and returns how many bytes it took.</summary>
    public static int Write(
        Span<byte> to, ulong fileId, in Record record, long sequence, int topic, int partition, RecordFlags kind = RecordFlags.None)
    {
        var key = record.Key.GetValueOrDefault().Span;
        var value = record.Value.GetValueOrDefault().Span;
        var length = HeaderBytes + key.Length + value.Length;
        to = to[..length];
        BinaryPrimitives.WriteUInt32LittleEndian(to, Magic);
        BinaryPrimitives.WriteInt32LittleEndian(to[8..], length);
        to[12] = (byte)(kind | (record.Key is null ? 0 : RecordFlags.HasKey) | (record.Value is null ? 0 : RecordFlags.HasValue));
        to[13] = 0;
        BinaryPrimitives.WriteUInt16LittleEndian(to[14..], 0);
        BinaryPrimitives.WriteInt64LittleEndian(to[16..], record.Offset);
        BinaryPrimitives.WriteInt64LittleEndian(to[24..], record.Timestamp.UtcTicks);
        BinaryPrimitives.WriteInt64LittleEndian(to[32..], sequence);
        BinaryPrimitives.WriteInt32LittleEndian(to[40..], topic);
        BinaryPrimitives.WriteInt32LittleEndian(to[44..], partition);
        BinaryPrimitives.WriteInt32LittleEndian(to[48..], key.Length);
        key.CopyTo(to[HeaderBytes..]);
        value.CopyTo(to[(HeaderBytes + key.Length)..]);
        BinaryPrimitives.WriteUInt32LittleEndian(to[4..], Checksum.Of(to[8..], fileId));
        return length;
    }

    /// <summary>
    /// What the first bytes claim, without the checksum: false when that cannot be a record. A length larger than the bytes at
    /// hand is not refused here; <see cref="TryRead"/> refuses it.
    /// </summary>
    public static bool TryPeek(ReadOnlySpan<byte> from, out RecordHeader header)
    {
        header = default;
        if (from.Length < HeaderBytes || BinaryPrimitives.ReadUInt32LittleEndian(from) != Magic) return false;
        header = new RecordHeader(
            BinaryPrimitives.ReadInt32LittleEndian(from[8..]),
            (RecordFlags)from[12],
            BinaryPrimitives.ReadInt64LittleEndian(from[16..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[24..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[32..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[40..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[44..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[48..]),
            BinaryPrimitives.ReadUInt16LittleEndian(from[14..]));
        return header is { Length: >= HeaderBytes, KeyLength: >= 0, Offset: >= 0, Partition: >= 0 }
            && header.KeyLength <= header.Length - HeaderBytes - header.ExtrasLength
            && (header.Flags & ~Known) == 0
            && (ulong)header.Timestamp <= (ulong)DateTimeOffset.MaxValue.UtcTicks;
    }

    /// <summary>True when the bytes begin with a whole, undamaged record of this file.</summary>
    public static bool TryRead(ReadOnlySpan<byte> from, ulong fileId, out RecordHeader header) =>
        TryPeek(from, out header)
        && header.Length <= from.Length
        && BinaryPrimitives.ReadUInt32LittleEndian(from[4..]) == Checksum.Of(from[8..header.Length], fileId);
}

/// <summary>What stands before the records of a commit group.</summary>
/// <param name="FileId">Of the file's use.</param>
/// <param name="Number">Counts groups.</param>
/// <param name="Epoch">How often the log was opened.</param>
/// <param name="Bytes">Of the records.</param>
/// <param name="Count">How many records.</param>
/// <param name="FirstSequence">Sequence number of the first.</param>
/// <param name="FileBytes">How long the file was, durably, when the group was written: the group fits in.</param>
internal readonly record struct GroupHeader(ulong FileId, long Number, long Epoch, int Bytes, int Count, long FirstSequence, long FileBytes);

/// <summary>
/// The head of a commit group: magic (4), checksum of what follows (4), file id (8), group number (8), epoch (8), bytes of the
/// records (4), how many (4), sequence number of the first (8), durable length of the file (8). A group is whole when its records,
/// each with its own checksum, fill its bytes; so it needs no checksum at its end.
/// </summary>
internal static class GroupFormat
{
    public const int HeaderBytes = 56;
    private const uint Magic = 0x9B5F_E2C8;

    public static ReadOnlySpan<byte> MagicBytes => [0xC8, 0xE2, 0x5F, 0x9B];

    public static void Write(Span<byte> to, in GroupHeader group)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(to, Magic);
        BinaryPrimitives.WriteUInt64LittleEndian(to[8..], group.FileId);
        BinaryPrimitives.WriteInt64LittleEndian(to[16..], group.Number);
        BinaryPrimitives.WriteInt64LittleEndian(to[24..], group.Epoch);
        BinaryPrimitives.WriteInt32LittleEndian(to[32..], group.Bytes);
        BinaryPrimitives.WriteInt32LittleEndian(to[36..], group.Count);
        BinaryPrimitives.WriteInt64LittleEndian(to[40..], group.FirstSequence);
        BinaryPrimitives.WriteInt64LittleEndian(to[48..], group.FileBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(to[4..], Checksum.Of(to[8..HeaderBytes], group.FileId));
    }

    public static bool TryRead(ReadOnlySpan<byte> from, ulong fileId, out GroupHeader group)
    {
        group = default;
        if (from.Length < HeaderBytes || BinaryPrimitives.ReadUInt32LittleEndian(from) != Magic) return false;
        if (BinaryPrimitives.ReadUInt32LittleEndian(from[4..]) != Checksum.Of(from[8..HeaderBytes], fileId)) return false;
        group = new GroupHeader(
            BinaryPrimitives.ReadUInt64LittleEndian(from[8..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[16..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[24..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[32..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[36..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[40..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[48..]));
        return group.FileId == fileId && group.Bytes >= 0;
    }
}
