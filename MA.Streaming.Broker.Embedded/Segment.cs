using System.Buffers;
using System.Globalization;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <summary>What a reader keeps from one batch to the next: a segment that is open, so that the system reads ahead in it; bytes; records.</summary>
internal sealed class SegmentScratch : IDisposable
{
    private byte[] _buffer = [];
    private LogFile? _file;
    private string? _path;

    public ref byte[] Buffer => ref _buffer;

    public List<Record> Records { get; } = [];

    public LogFile? Open(ILogFiles files, string path)
    {
        if (_path == path) return _file;
        Dispose();
        _file = files.Open(path, create: false);
        if (_file is not null) _path = path;
        return _file;
    }

    public void Dispose()
    {
        _file?.Dispose();
        (_file, _path) = (null, null);
    }
}

/// <summary>What retention needs to know of a segment that is complete.</summary>
/// <param name="Bytes">Its length.</param>
/// <param name="LastTimestamp">No record of it is younger, in ticks.</param>
internal readonly record struct SegmentFacts(long Bytes, long LastTimestamp);

/// <summary>
/// One file of one partition: a head, then records in order of offset; beside it a sparse index, which helps and is never trusted.
/// A segment ends where the next begins: what stands in it from that offset on does not count.
/// </summary>
internal static class Segment
{
    /// <summary>Bytes of a segment between two entries of its index.</summary>
    public const int IndexEveryBytes = 64 << 10;

    /// <summary>Where the first entry is at the earliest: a short segment is read from its head as fast, and saves a file.</summary>
    public const int IndexFromBytes = 256 << 10;

    private const int ReadBytesMin = 16 << 10;
    private const int ReadBytesMax = 256 << 10;

    public static string Path(Topic topic, int partition, long first) => string.Create(CultureInfo.InvariantCulture, $"{topic.Directory}/{partition}-{first:D20}.segment");

    public static string IndexPath(Topic topic, int partition, long first) => string.Create(CultureInfo.InvariantCulture, $"{topic.Directory}/{partition}-{first:D20}.index");

    /// <summary>The partition and the first offset that a file name says.</summary>
    public static bool TryParse(string name, out int partition, out long first, out bool isIndex)
    {
        (partition, first) = (0, 0);
        isIndex = name.EndsWith(".index", StringComparison.Ordinal);
        if (!isIndex && !name.EndsWith(".segment", StringComparison.Ordinal)) return false;
        var dash = name.IndexOf('-', StringComparison.Ordinal);
        var dot = name.LastIndexOf('.');
        return dash > 0
            && int.TryParse(name.AsSpan(0, dash), NumberStyles.None, CultureInfo.InvariantCulture, out partition)
            && long.TryParse(name.AsSpan(dash + 1, dot - dash - 1), NumberStyles.None, CultureInfo.InvariantCulture, out first);
    }

    /// <summary>The head of the segment at this place; null when it cannot be read, or the file was written for another place.</summary>
    public static SegmentHead? ReadHead(LogFile file, PartitionLog partition, long first) => ReadHead(file) is { } head && head.Fits(partition, first) ? head : null;

    public static SegmentHead? ReadHead(LogFile file)
    {
        Span<byte> bytes = stackalloc byte[FileHead.Bytes];
        return SegmentHead.Read(bytes[..file.Read(0, bytes)]);
    }

    public static bool IsHeadWhole(LogFile file)
    {
        Span<byte> bytes = stackalloc byte[FileHead.Bytes];
        return SegmentHead.IsWhole(bytes[..file.Read(0, bytes)]);
    }

    /// <summary>The undamaged entries of an index, in growing order, that stand before a length of the segment.</summary>
    public static List<IndexEntry> ReadIndex(ILogFiles files, string path, ulong fileId, long length)
    {
        using var file = files.Open(path, create: false);
        return ReadIndex(file, fileId, length);
    }

    public static List<IndexEntry> ReadIndex(LogFile? file, ulong fileId, long length)
    {
        var entries = new List<IndexEntry>();
        if (file is null) return entries;
        var bytes = new byte[Math.Min(file.Length, 16 << 20) / IndexEntry.Bytes * IndexEntry.Bytes];
        var read = file.Read(0, bytes);
        var last = new IndexEntry(-1, 0, FileHead.Bytes - 1);
        for (var at = 0; at + IndexEntry.Bytes <= read; at += IndexEntry.Bytes)
        {
            if (!IndexEntry.TryRead(bytes.AsSpan(at), fileId, out var entry)) continue;
            if (entry.Offset <= last.Offset || entry.Position <= last.Position || entry.Position >= length || entry.Timestamp < last.Timestamp) continue;
            entries.Add(entry);
            last = entry;
        }

        return entries;
    }

    /// <summary>
    /// Records of one segment from an offset on: at most <paramref name="bytesMax"/> of keys and values, one at least. Damage and
    /// gaps are the batch's missing range. They are views of the buffer, which is replaced when it is too small.
    /// </summary>
    /// <param name="file">The segment.</param>
    /// <param name="fileId">Its id.</param>
    /// <param name="partition">Whose it is.</param>
    /// <param name="at">Where a record begins whose offset is not larger.</param>
    /// <param name="limit">Where the segment's durable bytes end.</param>
    /// <param name="from">The offset to read.</param>
    /// <param name="stop">The offset to stop before; everything up to it belongs to this segment.</param>
    /// <param name="bytesMax">How much to read.</param>
    /// <param name="buffer">Kept by the caller for the next call.</param>
    /// <param name="records">Cleared and filled, if it is given: kept by the caller too.</param>
    public static (RecordBatch Batch, long Position) Read(
        LogFile file, ulong fileId, PartitionLog partition, long at, long limit, long from, long stop, int bytesMax, ref byte[] buffer, List<Record>? records = null)
    {
        var want = (int)Math.Clamp(bytesMax * 2L, ReadBytesMin, ReadBytesMax);
        if (buffer.Length < want) buffer = GC.AllocateUninitializedArray<byte>(want);
        records ??= [];
        records.Clear();
        MissingRange? missing = null;
        var (expected, bytes) = (from, 0L);
        var (start, used, filled) = (at, 0, 0);
        while (expected < stop)
        {
            var span = buffer.AsSpan(used, filled - used);
            if (RecordFormat.TryRead(span, fileId, out var header) && IsOf(header, partition))
            {
                if (header.Offset < expected)
                {
                    used += header.Length;
                    continue;
                }

                if (header.Offset >= stop) break;
                if (header.Offset > expected)
                {
                    if (records.Count > 0) return Done(ref buffer);
                    missing = new MissingRange(from, header.Offset, MissingReason.Damage);
                }

                var record = header.ToRecord(buffer.AsMemory(used, header.Length));
                if (records.Count > 0 && bytes + record.Bytes > bytesMax) return Done(ref buffer);
                records.Add(record);
                bytes += record.Bytes;
                expected = header.Offset + 1;
                used += header.Length;
                continue;
            }

            // Either the rest of it is not read yet, or it is damaged. The bytes of records already taken must stay.
            if (records.Count > 0) return Done(ref buffer);
            var place = start + used;
            var need = RecordFormat.TryPeek(span, out header) ? header.Length : RecordFormat.HeaderBytes;
            if (span.Length < need && place + need <= limit)
            {
                if (buffer.Length < need) buffer = GC.AllocateUninitializedArray<byte>(need);
                (start, used) = (place, 0);
                filled = file.Read(place, buffer.AsSpan(0, (int)Math.Min(buffer.Length, limit - place)));
                if (filled < need) limit = place + filled;
                continue;
            }

            var next = place + 1 >= limit ? -1 : FindNext(file, fileId, partition, place + 1, limit, expected, stop);
            if (next < 0) break;
            (start, used, filled) = (next, 0, 0);
        }

        if (expected < stop && records.Count == 0)
        {
            missing = new MissingRange(from, stop, MissingReason.Damage);
            expected = stop;
        }

        return Done(ref buffer);

        (RecordBatch, long) Done(ref byte[] _) => (new RecordBatch(partition.Source, expected, records, missing), start + used);
    }

    private static bool IsOf(in RecordHeader header, PartitionLog partition) => header.Topic == partition.Topic.Id && header.Partition == partition.Source.Partition;

    /// <summary>Where the next whole record of this partition begins, with an offset in this range; -1 when there is none.</summary>
    private static long FindNext(LogFile file, ulong fileId, PartitionLog partition, long at, long limit, long from, long stop)
    {
        var window = ArrayPool<byte>.Shared.Rent((int)Math.Min(ReadBytesMax, limit - at));
        try
        {
            return FindNext(file, fileId, partition, at, limit, from, stop, window);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(window);
        }
    }

    private static long FindNext(LogFile file, ulong fileId, PartitionLog partition, long at, long limit, long from, long stop, byte[] window)
    {
        byte[] whole = [];
        while (at < limit)
        {
            var read = file.Read(at, window.AsSpan(0, (int)Math.Min(window.Length, limit - at)));
            if (read < RecordFormat.HeaderBytes) return -1;
            var used = 0;
            while (window.AsSpan(used, read - used).IndexOf(RecordFormat.MagicBytes) is var skip and >= 0)
            {
                used += skip;
                if (read - used < RecordFormat.HeaderBytes) break;
                if (RecordFormat.TryPeek(window.AsSpan(used, read - used), out var header)
                    && header.Offset >= from && header.Offset < stop
                    && IsOf(header, partition)
                    && at + used + header.Length <= limit)
                {
                    if (whole.Length < header.Length) whole = new byte[header.Length];
                    var got = file.Read(at + used, whole.AsSpan(0, header.Length));
                    if (RecordFormat.TryRead(whole.AsSpan(0, got), fileId, out _)) return at + used;
                }

                used++;
            }

            // A head may begin in the last bytes of the window.
            at += Math.Max(1, read - RecordFormat.HeaderBytes + 1);
        }

        return -1;
    }
}
