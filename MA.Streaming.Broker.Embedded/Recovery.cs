namespace MA.Streaming.Broker.Embedded;

/// <summary>A place where bytes were not what was written.</summary>
/// <param name="File">The file, relative to the log's directory.</param>
/// <param name="Position">Where in it.</param>
/// <param name="What">What it means for the records, in words.</param>
internal sealed record Damage(string File, long Position, string What)
{
    /// <summary>It is what a crash leaves: nothing that was acknowledged is lost, as far as can be told.</summary>
    public bool IsTornTail { get; init; }
}

/// <summary>How a part of a recovery goes on.</summary>
internal readonly record struct RecoveryProgress(string What, long Bytes, long TotalBytes, double BytesPerSecond, TimeSpan Left);

/// <summary>Says how a recovery goes on when it takes long: once a second.</summary>
internal sealed class RecoveryWatch(TimeProvider clock, Action<RecoveryProgress> say)
{
    private static readonly TimeSpan Every = TimeSpan.FromSeconds(1);

    private string _what = "";
    private long _bytes;
    private long _total;
    private long _begun;
    private long _said;

    public void Begin(string what, long totalBytes)
    {
        (_what, _bytes, _total) = (what, 0, totalBytes);
        _begun = _said = clock.GetTimestamp();
    }

    public void Add(long bytes)
    {
        _bytes += bytes;
        var now = clock.GetTimestamp();
        if (_bytes >= _total || clock.GetElapsedTime(_said, now) < Every) return;
        _said = now;
        var rate = _bytes / clock.GetElapsedTime(_begun, now).TotalSeconds;
        say(new RecoveryProgress(_what, _bytes, _total, rate, TimeSpan.FromSeconds((_total - _bytes) / rate)));
    }
}

/// <summary>A record found in a journal. <see cref="LostBefore"/>: how many records before it, since the one found before, are lost.</summary>
internal readonly record struct Found(RecordHeader Header, ReadOnlyMemory<byte> Bytes, long LostBefore);

/// <summary>
/// What the journal says, as a pure function of its bytes. Groups follow one another without a gap. Damage with a valid group
/// after it is rot, because one group is in flight at a time: the damaged record is skipped. Damage with none after it is a torn
/// tail: what follows in it was never acknowledged, and is cut. A file that is shorter than it was tells that somebody cut it.
/// </summary>
internal sealed class JournalScan
{
    private readonly List<Item> _items = [];
    private readonly bool _isFirstKnown;
    private readonly int _fileBytes;
    private long _first = -1;
    private long _expected;

    private JournalScan(bool isFirstKnown, int fileBytes) => (_isFirstKnown, _fileBytes) = (isFirstKnown, fileBytes);

    public List<Found> Records { get; } = [];

    public List<Damage> Damages { get; } = [];

    /// <summary>The largest number of a group that is there, or may have been.</summary>
    public long LastGroup { get; private set; }

    /// <summary>The largest sequence number that is there, or may have been.</summary>
    public long LastSequence { get; private set; }

    /// <summary>Records lost after the last one found: their sequence numbers say that there were some, or a file that was cut may have had as many.</summary>
    public long LostAtEnd { get; private set; }

    /// <param name="images">The uses that count, in order.</param>
    /// <param name="strays">Files that may have been uses that count, and cannot be read.</param>
    /// <param name="isFirstKnown">The first image is the first that counts; otherwise there may be older ones before it, with gaps.</param>
    /// <param name="fileBytes">How long a file may have been at most.</param>
    public static JournalScan Run(IReadOnlyList<JournalImage> images, IReadOnlyList<JournalStray> strays, bool isFirstKnown, int fileBytes)
    {
        var scan = new JournalScan(isFirstKnown, fileBytes);
        for (var i = 0; i < images.Count; i++)
            scan.Read(images[i], i + 1 < images.Count ? images[i + 1].Head.FirstGroup : long.MaxValue);
        scan.Decide(images);
        foreach (var stray in strays)
        {
            if (stray.Loss is null) continue;
            scan.Damages.Add(new Damage(stray.Name, 0, stray.Loss));
            scan.LostAtEnd = Math.Max(scan.LostAtEnd, RecordsIn(fileBytes));
        }

        return scan;
    }

    private static long RecordsIn(long bytes) => (bytes / RecordFormat.HeaderBytes) + 1;

    private void Read(JournalImage image, long voidFrom)
    {
        var bytes = image.Bytes.Span;
        var id = image.Head.FileId;
        var number = image.Head.FirstGroup;
        var at = FileHead.Bytes;
        long length = Journal.FileBytesMin;
        LastGroup = Math.Max(LastGroup, number);
        while (at < bytes.Length && number < voidFrom)
        {
            if (GroupFormat.TryRead(bytes[at..], id, out var group) && group.Number == number)
            {
                var end = (int)Math.Min(bytes.Length, (long)at + GroupFormat.HeaderBytes + group.Bytes);
                if (_first < 0) _first = group.FirstSequence;
                _expected = group.FirstSequence + group.Count;
                length = Math.Max(length, group.FileBytes);
                ReadRecords(image, at + GroupFormat.HeaderBytes, end, number, group.FirstSequence, group.FirstSequence + group.Count, isWhole: true);
                _items.Add(new Item(Kind.GroupEnd, image, end, default, number) { Sequence = group.FirstSequence + group.Count });
                if (end < (long)at + GroupFormat.HeaderBytes + group.Bytes) _items.Add(new Item(Kind.Damage, image, end, default, number));
                at = end;
                number++;
                continue;
            }

            // Not the group that is due: the end of what this use wrote, a torn group, or a damaged head.
            var next = FindGroup(bytes, at + 1, id, number, voidFrom, out var found);
            var stop = next < 0 ? bytes.Length : next;
            var before = _items.Count;
            _items.Add(new Item(Kind.Damage, image, at, default, number));
            ReadRecords(image, at, stop, number, _expected, next < 0 ? long.MaxValue : found.FirstSequence, isWhole: false);
            if (next < 0)
            {
                if (_items.Count == before + 1) _items.RemoveAt(before);
                else number++;
                break;
            }

            at = next;
            number = found.Number;
        }

        if (bytes.Length < length) _items.Add(new Item(Kind.Cut, image, bytes.Length, default, number) { Sequence = length });
        if (voidFrom == long.MaxValue || number >= voidFrom) return;
        _items.Add(new Item(_isFirstKnown ? Kind.Damage : Kind.Gap, image, Math.Min(at, bytes.Length), default, number));
    }

    /// <summary>Records between two places; where one is damaged, the next good one is looked for.</summary>
    private void ReadRecords(JournalImage image, int at, int end, long group, long firstSequence, long endSequence, bool isWhole)
    {
        var bytes = image.Bytes.Span[..end];
        var isDamaged = !isWhole;
        while (at < end)
        {
            if (RecordFormat.TryPeek(bytes[at..], out var header)
                && header.Sequence >= firstSequence && header.Sequence < endSequence
                && RecordFormat.TryRead(bytes[at..], image.Head.FileId, out header))
            {
                _items.Add(new Item(Kind.Record, image, at, header, group) { Sequence = header.Sequence });
                firstSequence = header.Sequence + 1;
                at += header.Length;
                isDamaged = false;
                continue;
            }

            if (!isDamaged) _items.Add(new Item(Kind.Damage, image, at, default, group));
            isDamaged = true;
            var skip = bytes[(at + 1)..].IndexOf(RecordFormat.MagicBytes);
            if (skip < 0) return;
            at += 1 + skip;
        }
    }

    private static int FindGroup(ReadOnlySpan<byte> bytes, int at, ulong id, long number, long voidFrom, out GroupHeader group)
    {
        group = default;
        while (at < bytes.Length && bytes[at..].IndexOf(GroupFormat.MagicBytes) is var skip and >= 0)
        {
            at += skip;
            if (GroupFormat.TryRead(bytes[at..], id, out group) && group.Number >= number && group.Number < voidFrom) return at;
            at++;
        }

        return -1;
    }

    private void Decide(IReadOnlyList<JournalImage> images)
    {
        // The last group that must have been durable: there is a later one, or a file that begins with a later one.
        var proven = _items.Where(item => item.Kind == Kind.GroupEnd).Select(item => item.Group - 1).DefaultIfEmpty(0).Max();
        if (images.Count > 0) proven = Math.Max(proven, images[^1].Head.FirstGroup - 1);
        foreach (var image in images.Where(image => !image.IsHeadWhole && image.Bytes.Length >= FileHead.Bytes))
            Damages.Add(new Damage(image.Name, 0, "one of the two copies of its head is damaged") { IsTornTail = image.Head.FirstGroup > proven });
        var cut = _items.Where(item => item.Kind == Kind.Cut).Select(item => item.Image).ToHashSet();
        var (expected, kept) = (_first, 0L);
        var isTorn = false;
        foreach (var item in _items)
        {
            LastGroup = Math.Max(LastGroup, item.Group);
            if (item.Kind == Kind.Record) LastSequence = Math.Max(LastSequence, item.Sequence);
            if (isTorn && item.Kind != Kind.Cut) continue;
            if (item.Position < kept) kept = 0;
            switch (item.Kind)
            {
                case Kind.Damage when item.Group > proven:
                    if (!cut.Contains(item.Image))
                        Damages.Add(new Damage(item.Image.Name, item.Position, $"torn tail of commit group {item.Group}: never acknowledged, cut") { IsTornTail = true });
                    isTorn = true;
                    break;
                case Kind.Cut:
                    Damages.Add(new Damage(item.Image.Name, item.Position, $"the file has {item.Position} bytes and had {item.Sequence} or more: what stood behind is lost"));
                    if (item.Image == images[^1]) LostAtEnd = Math.Max(LostAtEnd, RecordsIn(Math.Max(item.Sequence, _fileBytes) - kept));
                    break;
                case Kind.Gap:
                    (expected, LostAtEnd) = (-1, 0);
                    break;
                case Kind.Damage:
                    Damages.Add(new Damage(item.Image.Name, item.Position, $"damage in commit group {item.Group}: skipped"));
                    break;
                case Kind.Record:
                    Records.Add(new Found(
                        item.Header, item.Image.Bytes.Slice(item.Position, item.Header.Length), expected < 0 ? 0 : Math.Max(0, item.Sequence - expected)));
                    (expected, kept) = (item.Sequence + 1, item.Position + item.Header.Length);
                    break;
                default:
                    LastSequence = Math.Max(LastSequence, item.Sequence - 1);
                    LostAtEnd = expected < 0 ? 0 : item.Sequence - expected;
                    break;
            }
        }
    }

    private enum Kind
    {
        Record,
        GroupEnd,
        Damage,

        /// <summary>The file ends here, and did not when it was written.</summary>
        Cut,

        /// <summary>What comes next need not follow what was before.</summary>
        Gap,
    }

    private readonly record struct Item(Kind Kind, JournalImage Image, int Position, RecordHeader Header, long Group)
    {
        public long Sequence { get; init; }
    }
}
