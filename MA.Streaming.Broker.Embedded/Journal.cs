using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;

namespace MA.Streaming.Broker.Embedded;

/// <summary>
/// Where a record is durable first: commit groups of all partitions, one in flight, in files that are filled with zeros once and
/// used again. Only the commit loop appends; only the drainer frees.
/// </summary>
internal sealed class Journal(ILogFiles files, int fileBytes, CommitPolicy policy) : IDisposable
{
    private const int ZerosBytes = 1 << 20;
    private static readonly byte[] Zeros = new byte[ZerosBytes];

    private readonly Lock _gate = new();
    private readonly List<JournalFile> _live = [];
    private readonly Stack<JournalFile> _free = [];
    private JournalFile? _current;
    private long _position;
    private long _nextNumber = 1;
    private int _files;

    /// <summary>Where the caller writes the first record of a group in its buffer; what stands before is the journal's.</summary>
    public const int RecordsAt = FileHead.Bytes + GroupFormat.HeaderBytes;

    public long NextGroup { get; set; } = 1;

    public long NextSequence { get; set; } = 1;

    public long Epoch { get; set; }

    /// <summary>Why nothing more can become durable until the log is opened again: a flush failed.</summary>
    public IOException? Broken { get; private set; }

    /// <summary>The seed of the checksums of the next group, if it has this many bytes of records. Begins a new file when it must.</summary>
    public ulong Prepare(int recordBytes)
    {
        var bytes = GroupFormat.HeaderBytes + recordBytes;
        if (_current is null || _position + bytes > fileBytes) Roll();
        return _current!.Id;
    }

    /// <summary>
    /// Makes a group durable, under the commit policy. The buffer holds its records from <see cref="RecordsAt"/> on. After an
    /// exception the group does not count; its number is given again, in another file, which makes void what may stand in this one.
    /// </summary>
    public void Append(Span<byte> buffer, int recordBytes, int count)
    {
        var file = _current!;
        GroupFormat.Write(
            buffer[FileHead.Bytes..], new GroupHeader(file.Id, NextGroup, Epoch, recordBytes, count, NextSequence));
        var end = RecordsAt + recordBytes;
        var isFirst = _position == FileHead.Bytes;
        if (isFirst) new JournalHead(file.Id, file.Number, file.FirstGroup).Write(buffer);
        try
        {
            var from = isFirst ? 0 : FileHead.Bytes;
            file.File.Write(isFirst ? 0 : _position, buffer[from..end]);
            FillAhead(file, _position + GroupFormat.HeaderBytes + recordBytes);
        }
        catch
        {
            _current = null;
            throw;
        }

        if (policy == CommitPolicy.Durable)
        {
            try
            {
                file.File.Flush();
                if (file.IsNew) files.FlushDirectory("");
                file.IsNew = false;
            }
            catch (IOException exception)
            {
                Broken = exception;
                throw;
            }
        }

        _position += GroupFormat.HeaderBytes + recordBytes;
        file.LastGroup = NextGroup++;
        NextSequence += count;
    }

    /// <summary>The use below which nothing is needed once everything up to this group is in segments.</summary>
    public long FirstNeededAfter(long group)
    {
        lock (_gate) return _live.Find(file => file.LastGroup > group || file == _current)?.Number ?? _nextNumber;
    }

    /// <summary>True when a file that is no longer written holds nothing after this group.</summary>
    public bool CanFreeAfter(long group)
    {
        lock (_gate) return _live.Count > 0 && _live[0] != _current && _live[0].LastGroup <= group;
    }

    /// <summary>Lets the files of uses below this one be used again. A durable checkpoint must say so already.</summary>
    public void FreeBelow(long number)
    {
        lock (_gate)
        {
            while (_live.Count > 0 && _live[0].Number < number && _live[0] != _current)
            {
                _free.Push(_live[0]);
                _live.RemoveAt(0);
            }
        }
    }

    /// <summary>Finds the files at start: all are free afterwards; those of uses from this one on are returned, in order, with their content.</summary>
    public IReadOnlyList<JournalImage> Load(long firstNeeded)
    {
        var images = new List<JournalImage>();
        _nextNumber = firstNeeded;
        var head = new byte[FileHead.Bytes];
        foreach (var name in files.List("").Where(name => name.StartsWith("journal-", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            if (!int.TryParse(name.AsSpan("journal-".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var slot)) continue;
            if (files.Open(name, create: false) is not { } file) continue;
            _files = Math.Max(_files, slot);
            var length = (int)Math.Min(file.Length, int.MaxValue);
            _free.Push(new JournalFile(file) { Filled = length });
            if (file.Read(0, head) < FileHead.SectorBytes || !JournalHead.TryRead(head, out var use)) continue;
            _nextNumber = Math.Max(_nextNumber, use.Number + 1);
            if (use.Number < firstNeeded) continue;
            var bytes = GC.AllocateUninitializedArray<byte>(length);
            var read = file.Read(0, bytes);
            images.Add(new JournalImage(name, use, bytes.AsMemory(0, read)));
        }

        // The next number is one that even a use whose head did not become durable cannot have.
        _nextNumber++;
        images.Sort((one, other) => one.Head.Number.CompareTo(other.Head.Number));
        return images;
    }

    public void Dispose()
    {
        foreach (var file in _live.Concat(_free)) file.File.Dispose();
    }

    private void Roll()
    {
        lock (_gate)
        {
            _current = null;
            if (!_free.TryPop(out var file))
            {
                var slot = _files + 1;
                file = new JournalFile(files.Open($"journal-{slot:D6}", create: true)!) { IsNew = true };
                _files = slot;
            }

            file.Id = BinaryPrimitives.ReadUInt64LittleEndian(RandomNumberGenerator.GetBytes(8));
            file.Number = _nextNumber++;
            file.FirstGroup = NextGroup;
            file.LastGroup = NextGroup - 1;
            _live.Add(file);
            _current = file;
            _position = FileHead.Bytes;
        }
    }

    /// <summary>Keeps zeros ahead of what is written, so that most flushes write no metadata; twice as many each time.</summary>
    private void FillAhead(JournalFile file, long end)
    {
        if (end <= file.Filled) return;
        var to = Math.Min(fileBytes, Math.Max(end, Math.Max(ZerosBytes / 4, file.Filled * 2)));
        for (var at = end; at < to; at += ZerosBytes) file.File.Write(at, Zeros.AsSpan(0, (int)Math.Min(ZerosBytes, to - at)));
        file.Filled = Math.Max(end, to);
    }

    private sealed class JournalFile(LogFile file)
    {
        public LogFile File { get; } = file;

        public ulong Id { get; set; }

        public long Number { get; set; }

        public long FirstGroup { get; set; }

        public long LastGroup { get; set; }

        /// <summary>Bytes the file has blocks for.</summary>
        public long Filled { get; set; }

        /// <summary>Its name is not durable yet.</summary>
        public bool IsNew { get; set; }
    }
}

/// <summary>The bytes of one use of a journal file.</summary>
internal sealed record JournalImage(string Name, JournalHead Head, ReadOnlyMemory<byte> Bytes);
