using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;

namespace MA.Streaming.Broker.Embedded;

/// <summary>
/// Where a record is durable first: commit groups of all partitions, one in flight, in files that are filled with zeros once and
/// used again. Only the commit loop appends; only the drainer frees. A file gets its name when its first zeros are durable, and a
/// group is written where the file's length is durable already: so a file that is shorter than a head and a group, or than a group
/// in it says, was cut by something else than a crash. Before the first group of a use is written, <c>meta</c> says durably how many
/// files there are and which use is the newest: so a file that is gone is noticed.
/// </summary>
/// <param name="files">The files.</param>
/// <param name="fileBytes">How long one gets.</param>
/// <param name="zerosBytes">How many zeros are written at once.</param>
/// <param name="policy">When a group counts as durable.</param>
/// <param name="declare">Makes the number of files and the newest use durable in <c>meta</c>.</param>
internal sealed class Journal(ILogFiles files, int fileBytes, int zerosBytes, CommitPolicy policy, Action<int, long> declare) : IDisposable
{
    private const string Gone = "journal-*";

    /// <summary>The shortest a file can be that was ever used.</summary>
    public const int FileBytesMin = FileHead.Bytes + GroupFormat.HeaderBytes;

    private readonly byte[] _zeros = new byte[zerosBytes];
    private readonly Lock _gate = new();
    private readonly List<JournalFile> _live = [];
    private readonly Stack<JournalFile> _free = [];
    private JournalFile? _current;
    private long _position;
    private long _nextNumber = 1;
    private int _lastSlot;
    private int _count;
    private long _newestUse = Meta.NoUse;
    private JournalFile? _failed;
    private long _liveBytes;

    /// <summary>Where the caller writes the first record of a group in its buffer; what stands before is the journal's.</summary>
    public const int RecordsAt = GroupFormat.HeaderBytes;

    public long NextGroup { get; set; } = 1;

    public long NextSequence { get; set; } = 1;

    public long Epoch { get; set; }

    /// <summary>Why nothing can become durable now: a flush failed, which <see cref="Heal"/> mends, or something nobody expected.</summary>
    public Exception? Broken { get; private set; }

    /// <summary>The fault is a failed flush. What the file has on disk is not known, so the file is given up.</summary>
    public bool CanHeal => Volatile.Read(ref _failed) is not null;

    /// <summary>Bytes of the files that are in use; free ones do not count.</summary>
    public long LiveBytes => Volatile.Read(ref _liveBytes);

    public void Break(Exception exception) => Broken ??= exception;

    /// <summary>
    /// Ends all uses after a failed flush: everything that counts is in segments. Call <see cref="Heal"/> when a durable checkpoint says so.
    /// The commit loop does not append meanwhile.
    /// </summary>
    public void GiveUpUses()
    {
        lock (_gate)
        {
            _current = null;
            _live.Remove(_failed!);
            CountLive();
        }
    }

    /// <summary>Deletes the file whose flush failed; the next group begins a use of another.</summary>
    public void Heal()
    {
        var file = _failed!;
        if (file.IsCounted) _count--;
        file.IsCounted = false;

        // It was the newest use; until the next one begins there is none that must be there.
        _newestUse = Meta.NoUse;
        declare(_count, _newestUse);
        file.File.Dispose();
        files.Delete(file.Name);
        files.FlushDirectory("");
        Broken = null;
        Volatile.Write(ref _failed, null);
    }

    /// <summary>Makes room for a group of at most this many bytes of records, in a new file if it must; returns the seed of its checksums.</summary>
    public ulong Prepare(int recordBytes)
    {
        var bytes = GroupFormat.HeaderBytes + recordBytes;
        if (_current is null || _position + bytes > fileBytes) Roll();
        if (_position + bytes > _current!.Filled) Extend(_current, _position + bytes);
        return _current.Id;
    }

    /// <summary>
    /// Makes a group durable, under the commit policy. The buffer holds its records from <see cref="RecordsAt"/> on. After an
    /// exception the group does not count; its number is given again, in another file, which makes void what may stand in this one.
    /// </summary>
    public void Append(Span<byte> buffer, int recordBytes, int count)
    {
        var file = _current!;
        GroupFormat.Write(
            buffer, new GroupHeader(file.Id, NextGroup, Epoch, recordBytes, count, NextSequence, file.Filled));
        var end = RecordsAt + recordBytes;
        try
        {
            file.File.Write(_position, buffer[..end]);
        }
        catch
        {
            GiveUp(file);
            throw;
        }

        if (policy == CommitPolicy.Durable) Flush(file);

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

            CountLive();
        }
    }

    /// <summary>The next group begins a new use, so that everything up to here can be freed.</summary>
    public void EndUse()
    {
        lock (_gate) _current = null;
    }

    /// <summary>
    /// Finds the files at start: all are free afterwards. Those of uses from this one on are returned, in order, with their content;
    /// and those that cannot be read or are gone, though <paramref name="meta"/> counts them. <see cref="Remove"/> forgets these.
    /// </summary>
    public (IReadOnlyList<JournalImage> Images, IReadOnlyList<JournalStray> Strays) Load(long firstNeeded, Meta meta, RecoveryWatch watch)
    {
        var needed = new List<(string Name, JournalHead Head, bool IsWhole, JournalFile File)>();
        var strays = new List<JournalStray>();
        _nextNumber = Math.Max(firstNeeded, meta.NewestUse + 1);
        var there = 0;
        var head = new byte[FileHead.Bytes];
        foreach (var name in files.List("").Where(name => name.StartsWith("journal-", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            if (!int.TryParse(name.AsSpan("journal-".Length), NumberStyles.None, CultureInfo.InvariantCulture, out var slot)) continue;
            if (files.Open(name, create: false) is not { } file) continue;
            _lastSlot = Math.Max(_lastSlot, slot);
            there++;
            var length = (int)Math.Min(file.Length, int.MaxValue);
            var filled = head.AsSpan(0, file.Read(0, head));
            if (!JournalHead.TryRead(filled, out var use))
            {
                if (length >= FileBytesMin && !filled.ContainsAnyExcept((byte)0))
                {
                    // Made, and never used.
                    _free.Push(new JournalFile(file, name) { Filled = length });
                    continue;
                }

                strays.Add(new JournalStray(name, $"its head cannot be read: what its {length} bytes held is lost"));
                file.Dispose();
                continue;
            }

            var used = new JournalFile(file, name) { Filled = length, IsCounted = true };
            _count++;
            _free.Push(used);
            _nextNumber = Math.Max(_nextNumber, use.Number + 1);
            _newestUse = Math.Max(_newestUse, use.Number);
            if (use.Number >= firstNeeded) needed.Add((name, use, JournalHead.IsWhole(filled), used));
        }

        if (meta.CountsJournal)
        {
            // A file beyond those that meta counts never had a group: the write of its first head failed.
            if (meta.JournalFiles <= _count && meta.NewestUse <= _newestUse)
                strays = [.. strays.Select(stray => stray with { Loss = null })];
            else if (there < meta.JournalFiles)
                strays.Add(new JournalStray(Gone, $"{meta.JournalFiles} journal files were used and {there} are there: what the others held is lost"));
            else if (strays.Count == 0)
                strays.Add(new JournalStray(Gone, $"the newest use of a journal file was {meta.NewestUse} and the newest there is {_newestUse}: what it held is lost"));
        }

        // The next number is one that even a use whose head did not become durable cannot have.
        _nextNumber++;
        watch.Begin("reading the journal", needed.Sum(one => one.File.Filled));
        var images = new List<JournalImage>(needed.Count);
        foreach (var (name, use, isWhole, file) in needed.OrderBy(one => one.Head.Number))
        {
            var bytes = GC.AllocateUninitializedArray<byte>((int)file.Filled);
            var read = file.File.Read(0, bytes);
            images.Add(new JournalImage(name, use, isWhole, bytes.AsMemory(0, read)));
            watch.Add(read);
        }

        return (images, strays);
    }

    /// <summary>Forgets what is gone and removes what cannot be read, once the loss is reported: <c>meta</c> counts them no longer.</summary>
    public void Remove(IReadOnlyList<JournalStray> strays)
    {
        if (strays.Count == 0) return;
        var unreadable = strays.Where(stray => stray.Name != Gone).ToArray();
        declare(_count, _newestUse);
        foreach (var stray in unreadable) files.Delete(stray.Name);
    }

    public void Dispose()
    {
        foreach (var file in _live.Concat(_free)) file.File.Dispose();
        _failed?.File.Dispose();
    }

    private void Flush(JournalFile file)
    {
        try
        {
            file.File.Flush();
        }
        catch (IOException exception)
        {
            file.IsFailed = true;
            Break(exception);
            Volatile.Write(ref _failed, file);
            throw;
        }
    }

    /// <summary>Nobody knows what of the last group is in the file; the next one goes into another, or begins this one again.</summary>
    private void GiveUp(JournalFile file)
    {
        lock (_gate)
        {
            _current = null;
            if (file.LastGroup >= file.FirstGroup || !_live.Remove(file)) return;
            _free.Push(file);
            CountLive();
        }
    }

    private void CountLive() => Volatile.Write(ref _liveBytes, (long)_live.Count * fileBytes);

    private void Roll()
    {
        JournalFile? file;
        lock (_gate) _free.TryPop(out file);
        file ??= Create();
        file.Id = BinaryPrimitives.ReadUInt64LittleEndian(RandomNumberGenerator.GetBytes(8));
        file.Number = _nextNumber++;
        file.FirstGroup = NextGroup;
        file.LastGroup = NextGroup - 1;
        try
        {
            Begin(file);
        }
        catch
        {
            // Its head may be durable: then it makes void what the file before would get from here on.
            lock (_gate)
            {
                _current = null;
                if (!file.IsFailed) _free.Push(file);
            }

            throw;
        }

        lock (_gate)
        {
            _live.Add(file);
            _current = file;
            _position = FileHead.Bytes;
            CountLive();
        }
    }

    /// <summary>Makes the head of a use durable, then the declaration that there is such a use. Groups come after both.</summary>
    private void Begin(JournalFile file)
    {
        Span<byte> head = stackalloc byte[FileHead.Bytes];
        new JournalHead(file.Id, file.Number, file.FirstGroup).Write(head);

        // One copy after the other: a write that fails in the middle leaves one that can be read.
        file.File.Write(0, head[..FileHead.SectorBytes]);
        file.File.Write(FileHead.SectorBytes, head[FileHead.SectorBytes..]);
        Flush(file);
        if (!file.IsCounted) _count++;
        (file.IsCounted, _newestUse) = (true, file.Number);
        declare(_count, _newestUse);
    }

    /// <summary>A file has its name only when it is filled: so a short one tells that something cut it.</summary>
    private JournalFile Create()
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"journal-{_lastSlot + 1:D6}");
        var made = $"{name}.new";
        files.Delete(made);
        var file = new JournalFile(files.Open(made, create: true)!, name);
        try
        {
            var to = Math.Min(fileBytes, zerosBytes / 2);
            WriteZeros(file, to);
            file.File.Flush();
            file.Filled = to;
            files.Replace(made, name);
            files.FlushDirectory("");
        }
        catch
        {
            file.File.Dispose();
            throw;
        }

        _lastSlot++;
        return file;
    }

    /// <summary>Keeps zeros ahead of what is written, so that most flushes write no metadata; so few that nobody waits long for theirs.</summary>
    private void Extend(JournalFile file, long end)
    {
        var to = Math.Min(fileBytes, Math.Max(end, file.Filled + Math.Min(file.Filled, zerosBytes)));
        try
        {
            WriteZeros(file, to);
        }
        catch (IOException exception) when (exception is not DiskFullException)
        {
            GiveUp(file);
            throw;
        }

        Flush(file);
        file.Filled = to;
    }

    private void WriteZeros(JournalFile file, long to)
    {
        for (var at = file.Filled; at < to; at += zerosBytes) file.File.Write(at, _zeros.AsSpan(0, (int)Math.Min(zerosBytes, to - at)));
    }

    private sealed class JournalFile(LogFile file, string name)
    {
        public LogFile File { get; } = file;

        public string Name { get; } = name;

        /// <summary>A flush of it failed: it is never written again.</summary>
        public bool IsFailed { get; set; }

        /// <summary>It counts among the files that must be there: its head was durable at least once.</summary>
        public bool IsCounted { get; set; }

        public ulong Id { get; set; }

        public long Number { get; set; }

        public long FirstGroup { get; set; }

        public long LastGroup { get; set; }

        /// <summary>Its length that is durable; every byte of it has a block.</summary>
        public long Filled { get; set; }
    }
}

/// <summary>A journal file that may have held records that count, and is gone or cannot be read.</summary>
/// <param name="Name">The file.</param>
/// <param name="Loss">What that means for the records; null: it cannot have held any.</param>
internal sealed record JournalStray(string Name, string? Loss);

/// <summary>The bytes of one use of a journal file, and whether both copies of its head are undamaged.</summary>
internal sealed record JournalImage(string Name, JournalHead Head, bool IsHeadWhole, ReadOnlyMemory<byte> Bytes);
