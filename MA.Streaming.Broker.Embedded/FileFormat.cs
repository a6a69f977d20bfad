using System.Buffers.Binary;
using System.Text;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <summary>
/// The head of a file: two copies, a sector each, so that one damaged sector does not make its records unreadable (their checksums
/// are seeded with the id that stands here). Magic (4), checksum of the rest of the sector (4), content, zeros.
/// </summary>
internal static class FileHead
{
    public const int SectorBytes = 512;
    public const int Bytes = 2 * SectorBytes;

    public static void Write(Span<byte> to, uint magic, ReadOnlySpan<byte> content)
    {
        to[..Bytes].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(to, magic);
        content.CopyTo(to[8..SectorBytes]);
        BinaryPrimitives.WriteUInt32LittleEndian(to[4..], Checksum.Of(to[8..SectorBytes], magic));
        to[..SectorBytes].CopyTo(to[SectorBytes..]);
    }

    /// <summary>The content of the first copy that is undamaged.</summary>
    public static bool TryRead(ReadOnlySpan<byte> from, uint magic, out ReadOnlySpan<byte> content)
    {
        for (var at = 0; at < Bytes; at += SectorBytes)
        {
            if (TryReadCopy(from, at, magic, out content)) return true;
        }

        content = default;
        return false;
    }

    /// <summary>Both copies are undamaged.</summary>
    public static bool IsWhole(ReadOnlySpan<byte> from, uint magic) => TryReadCopy(from, 0, magic, out _) && TryReadCopy(from, SectorBytes, magic, out _);

    private static bool TryReadCopy(ReadOnlySpan<byte> from, int at, uint magic, out ReadOnlySpan<byte> content)
    {
        content = default;
        if (from.Length < at + SectorBytes) return false;
        var sector = from.Slice(at, SectorBytes);
        content = sector[8..];
        return BinaryPrimitives.ReadUInt32LittleEndian(sector) == magic
            && BinaryPrimitives.ReadUInt32LittleEndian(sector[4..]) == Checksum.Of(content, magic);
    }
}

/// <summary>The head of a journal file. A file is reused many times; number and id are new at each use.</summary>
/// <param name="FileId">Random; seeds the checksums of this use.</param>
/// <param name="Number">Counts uses of journal files.</param>
/// <param name="FirstGroup">The group this use begins with: groups from there on in earlier uses are void.</param>
internal readonly record struct JournalHead(ulong FileId, long Number, long FirstGroup)
{
    private const uint Magic = 0x4A_53_41_4D;

    public static bool IsWhole(ReadOnlySpan<byte> from) => FileHead.IsWhole(from, Magic);

    public void Write(Span<byte> to)
    {
        Span<byte> content = stackalloc byte[24];
        BinaryPrimitives.WriteUInt64LittleEndian(content, FileId);
        BinaryPrimitives.WriteInt64LittleEndian(content[8..], Number);
        BinaryPrimitives.WriteInt64LittleEndian(content[16..], FirstGroup);
        FileHead.Write(to, Magic, content);
    }

    public static bool TryRead(ReadOnlySpan<byte> from, out JournalHead head)
    {
        head = default;
        if (!FileHead.TryRead(from, Magic, out var content)) return false;
        head = new JournalHead(
            BinaryPrimitives.ReadUInt64LittleEndian(content),
            BinaryPrimitives.ReadInt64LittleEndian(content[8..]),
            BinaryPrimitives.ReadInt64LittleEndian(content[16..]));
        return true;
    }
}

/// <summary>The head of a segment: everything that is needed to know whose it is when nothing else is left.</summary>
internal sealed record SegmentHead(ulong FileId, int Topic, int Partition, long Base, long FirstTimestamp, string Name, bool KeepForever)
{
    private const uint Magic = 0x53_53_41_4D;

    /// <summary>The segment was written for this place. A file that somebody copied or exchanged was not.</summary>
    public bool Fits(PartitionLog partition, long first) => Topic == partition.Topic.Id && Partition == partition.Source.Partition && Base == first;

    public static bool IsWhole(ReadOnlySpan<byte> from) => FileHead.IsWhole(from, Magic);

    public void Write(Span<byte> to)
    {
        Span<byte> content = stackalloc byte[36 + TopicNames.LengthMax];
        BinaryPrimitives.WriteUInt64LittleEndian(content, FileId);
        BinaryPrimitives.WriteInt32LittleEndian(content[8..], Topic);
        BinaryPrimitives.WriteInt32LittleEndian(content[12..], Partition);
        BinaryPrimitives.WriteInt64LittleEndian(content[16..], Base);
        BinaryPrimitives.WriteInt64LittleEndian(content[24..], FirstTimestamp);
        content[32] = KeepForever ? (byte)1 : (byte)0;
        content[33] = (byte)Encoding.ASCII.GetBytes(Name, content[36..]);
        FileHead.Write(to, Magic, content);
    }

    public static SegmentHead? Read(ReadOnlySpan<byte> from)
    {
        if (!FileHead.TryRead(from, Magic, out var content)) return null;
        return new SegmentHead(
            BinaryPrimitives.ReadUInt64LittleEndian(content),
            BinaryPrimitives.ReadInt32LittleEndian(content[8..]),
            BinaryPrimitives.ReadInt32LittleEndian(content[12..]),
            BinaryPrimitives.ReadInt64LittleEndian(content[16..]),
            BinaryPrimitives.ReadInt64LittleEndian(content[24..]),
            Encoding.ASCII.GetString(content.Slice(36, content[33])),
            content[32] == 1);
    }
}

/// <summary>An entry of a segment's sparse index: a record of that offset and time begins at that position.</summary>
internal readonly record struct IndexEntry(long Offset, long Timestamp, long Position)
{
    public const int Bytes = 32;

    public void Write(Span<byte> to, ulong fileId)
    {
        BinaryPrimitives.WriteInt64LittleEndian(to, Offset);
        BinaryPrimitives.WriteInt64LittleEndian(to[8..], Timestamp);
        BinaryPrimitives.WriteInt64LittleEndian(to[16..], Position);
        BinaryPrimitives.WriteUInt32LittleEndian(to[24..], Checksum.Of(to[..24], fileId));
        BinaryPrimitives.WriteUInt32LittleEndian(to[28..], 0);
    }

    public static bool TryRead(ReadOnlySpan<byte> from, ulong fileId, out IndexEntry entry)
    {
        entry = new IndexEntry(
            BinaryPrimitives.ReadInt64LittleEndian(from),
            BinaryPrimitives.ReadInt64LittleEndian(from[8..]),
            BinaryPrimitives.ReadInt64LittleEndian(from[16..]));
        return BinaryPrimitives.ReadUInt32LittleEndian(from[24..]) == Checksum.Of(from[..24], fileId);
    }
}

/// <summary>The creation of a topic or a change of it: id (4), partitions (4), kept for ever (1), name.</summary>
internal readonly record struct TopicFormat(int Id, int Partitions, bool KeepForever, string Name)
{
    public byte[] ToBytes()
    {
        var bytes = new byte[9 + Name.Length];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, Id);
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), Partitions);
        bytes[8] = KeepForever ? (byte)1 : (byte)0;
        Encoding.ASCII.GetBytes(Name, bytes.AsSpan(9));
        return bytes;
    }

    public static TopicFormat Read(ReadOnlySpan<byte> from) => new(
        BinaryPrimitives.ReadInt32LittleEndian(from),
        BinaryPrimitives.ReadInt32LittleEndian(from[4..]),
        from[8] == 1,
        Encoding.ASCII.GetString(from[9..]));
}

/// <summary>Which log a directory holds, in which format, how often it was opened, and which journal files must be there.</summary>
/// <param name="Version">The format.</param>
/// <param name="LogId">The log.</param>
/// <param name="Epoch">Counts openings.</param>
/// <param name="JournalFiles">How many journal files were ever used and not removed; 0 in logs of programs that did not count them.</param>
/// <param name="NewestUse">The number of the newest use of a journal file; <see cref="NoUse"/>: none must be there; 0 as above.</param>
internal readonly record struct Meta(int Version, Guid LogId, long Epoch, int JournalFiles = 0, long NewestUse = 0)
{
    public const long NoUse = -1;

    /// <summary>It says which journal files must be there.</summary>
    public bool CountsJournal => JournalFiles != 0 || NewestUse != 0;

    /// <summary>The format this code writes.</summary>
    public const int CurrentVersion = 1;

    private const uint Magic = 0x4D_53_41_4D;

    public static bool IsWhole(ReadOnlySpan<byte> from) => FileHead.IsWhole(from, Magic);

    public byte[] ToBytes()
    {
        Span<byte> content = stackalloc byte[40];
        BinaryPrimitives.WriteInt32LittleEndian(content, Version);
        LogId.TryWriteBytes(content[4..]);
        BinaryPrimitives.WriteInt64LittleEndian(content[20..], Epoch);
        BinaryPrimitives.WriteInt32LittleEndian(content[28..], JournalFiles);
        BinaryPrimitives.WriteInt64LittleEndian(content[32..], NewestUse);
        var bytes = new byte[FileHead.Bytes];
        FileHead.Write(bytes, Magic, content);
        return bytes;
    }

    /// <summary>Null when damaged. Of a newer version, only the version is sure to mean what it does here.</summary>
    public static Meta? Read(ReadOnlySpan<byte> from)
    {
        if (!FileHead.TryRead(from, Magic, out var content)) return null;
        var version = BinaryPrimitives.ReadInt32LittleEndian(content);
        return version > CurrentVersion
            ? new Meta(version, Guid.Empty, 0)
            : new Meta(
                version,
                new Guid(content.Slice(4, 16)),
                BinaryPrimitives.ReadInt64LittleEndian(content[20..]),
                BinaryPrimitives.ReadInt32LittleEndian(content[28..]),
                BinaryPrimitives.ReadInt64LittleEndian(content[32..]));
    }
}

/// <summary>
/// What the log knew for sure when it was written: everything before it is in segments, flushed. Journal uses below
/// <see cref="FirstJournal"/> hold nothing more that is needed. The file holds it twice.
/// </summary>
/// <param name="CleanEpoch">The epoch that ended with it, in good order; 0 when it was written on the way.</param>
/// <param name="FirstJournal">The first journal use that is still needed.</param>
/// <param name="NextGroup">Number of the next commit group, or less.</param>
/// <param name="NextSequence">Sequence number of the next record, or less.</param>
/// <param name="NextTopic">Id of the next topic.</param>
/// <param name="Topics">The topics.</param>
internal sealed record Checkpoint(
    long CleanEpoch, long FirstJournal, long NextGroup, long NextSequence, int NextTopic, IReadOnlyList<Checkpoint.Topic> Topics)
{
    private const int HeaderBytes = 12;
    private const uint Magic = 0x43_53_41_4D;

    public static Checkpoint Empty { get; } = new(0, 1, 1, 1, 1, []);

    /// <param name="Low">The first readable offset.</param>
    /// <param name="Next">One past the last record in segments.</param>
    /// <param name="ActiveBase">First offset of the segment that grows.</param>
    /// <param name="ActiveLength">How long it is; 0: there is no segment; -1: there are some, and the next record begins a new one.</param>
    /// <param name="Timestamp">Of the last record.</param>
    internal readonly record struct Partition(long Low, long Next, long ActiveBase, long ActiveLength, long Timestamp);

    internal sealed record Topic(int Id, string Name, bool KeepForever, Partition[] Partitions);

    public byte[] ToBytes()
    {
        var stream = new MemoryStream();
        using (var writer = new BinaryWriter(stream))
        {
            writer.Write(Magic);
            writer.Write(0u);
            writer.Write(0);
            writer.Write(CleanEpoch);
            writer.Write(FirstJournal);
            writer.Write(NextGroup);
            writer.Write(NextSequence);
            writer.Write(NextTopic);
            writer.Write(Topics.Count);
            foreach (var topic in Topics)
            {
                writer.Write(topic.Id);
                writer.Write(topic.Name);
                writer.Write(topic.KeepForever);
                writer.Write(topic.Partitions.Length);
                foreach (var partition in topic.Partitions)
                {
                    writer.Write(partition.Low);
                    writer.Write(partition.Next);
                    writer.Write(partition.ActiveBase);
                    writer.Write(partition.ActiveLength);
                    writer.Write(partition.Timestamp);
                }
            }
        }

        var bytes = stream.ToArray();
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), bytes.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(4), Checksum.Of(bytes.AsSpan(8), Magic));
        return [.. bytes, .. bytes];
    }

    /// <summary>Null when both copies are damaged; <paramref name="isWhole"/> when neither is.</summary>
    public static Checkpoint? Read(byte[] bytes, out bool isWhole)
    {
        var (first, second) = (ReadCopy(bytes, 0), ReadCopy(bytes, bytes.Length / 2));
        isWhole = first is not null && second is not null;
        return first ?? second;
    }

    private static Checkpoint? ReadCopy(byte[] bytes, int at)
    {
        if (bytes.Length - at < HeaderBytes || BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at)) != Magic) return null;
        var length = BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(at + 8));
        if (length < HeaderBytes || length > bytes.Length - at) return null;
        if (BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(at + 4)) != Checksum.Of(bytes.AsSpan(at + 8, length - 8), Magic)) return null;
        using var reader = new BinaryReader(new MemoryStream(bytes, at + HeaderBytes, length - HeaderBytes));
        var (cleanEpoch, firstJournal, nextGroup, nextSequence, nextTopic) = (reader.ReadInt64(), reader.ReadInt64(), reader.ReadInt64(), reader.ReadInt64(), reader.ReadInt32());
        var topics = new Topic[reader.ReadInt32()];
        for (var i = 0; i < topics.Length; i++)
        {
            topics[i] = new Topic(reader.ReadInt32(), reader.ReadString(), reader.ReadBoolean(), new Partition[reader.ReadInt32()]);
            foreach (ref var partition in topics[i].Partitions.AsSpan())
                partition = new Partition(reader.ReadInt64(), reader.ReadInt64(), reader.ReadInt64(), reader.ReadInt64(), reader.ReadInt64());
        }

        return new Checkpoint(cleanEpoch, firstJournal, nextGroup, nextSequence, nextTopic, topics);
    }
}
