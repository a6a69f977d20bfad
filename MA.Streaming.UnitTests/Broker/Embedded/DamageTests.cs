using System.Globalization;
using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>
/// What is left of a log whose files were damaged, for every bit of 16 KiB and every length of 64 KiB: never a wrong record, never an
/// exception out of opening, every undamaged record, a word on the others, and no offset given twice. What must be left is told from
/// the undamaged file. The suite takes one in so many bits and lengths, other ones with each commit; the tests of category Long take all.
/// </summary>
public sealed class DamageTests
{
    private const int Partitions = 3;
    private const int SomeBits = 17;
    private const int SomeLengths = 13;

    private static EmbeddedBrokerOptions Options(int journalFileBytes) => new()
    {
        Directory = "simulated",
        GroupBytesMax = 2000,
        RecordBytesMax = 1000,
        JournalFileBytes = journalFileBytes,
        SegmentBytesMax = 1 << 20,
        DiskReserveBytes = 0,
        TailBytesMax = 0,
    };

    /// <summary>Two files of 8 KiB, one of them the last.</summary>
    [TestCase("journal-000001", false, SomeBits)]
    [TestCase("journal-000002", false, SomeBits)]
    [TestCase("journal-000001", true, SomeBits)]
    [TestCase("journal-000002", true, SomeBits)]
    [TestCase("journal-000001", false, 1, Category = "Long")]
    [TestCase("journal-000002", false, 1, Category = "Long")]
    [TestCase("journal-000001", true, 1, Category = "Long")]
    [TestCase("journal-000002", true, 1, Category = "Long")]
    public void Open_JournalWithAnyBitFlipped_RecoversAllButTheDamagedRecord(string name, bool isClean, int oneIn)
    {
        var log = WrittenLog.InJournal(Options(8 << 10), isClean);
        var places = log.Journal(name);
        Sample.Check((8 << 10) * 8, oneIn, bit =>
        {
            var at = bit / 8;
            var (opened, what) = (log.Open(name, bytes => bytes[at] ^= (byte)(1 << (bit % 8))), $"bit {bit} of {name}");
            var damaged = places.Find(place => place.From <= at && at < place.To);
            List<Place> lost = isClean ? []
                : damaged.IsRecord && damaged.IsInLastGroup ? places.FindAll(place => place.IsRecord && place.From >= damaged.From)
                : damaged.IsRecord ? [damaged]
                : damaged.IsInLastGroup ? places.FindAll(place => place.IsRecord && place.IsInLastGroup)
                : [];
            opened.AssertHasAllBut(lost, what);
            Check(opened.Damages.Count > 0 == (damaged.To > 0 && !isClean), $"{what}: {opened.Damages.Count} damages are reported");

            // What is cut in the last group was, as far as anyone can tell, never acknowledged.
            if (isClean || !damaged.IsInLastGroup) opened.AssertGivesNoOffsetTwice(what);
        });
    }

    /// <summary>Two files of 32 KiB, one of them the last.</summary>
    [TestCase("journal-000001", false, SomeLengths)]
    [TestCase("journal-000002", false, SomeLengths)]
    [TestCase("journal-000001", true, SomeLengths)]
    [TestCase("journal-000002", true, SomeLengths)]
    [TestCase("journal-000001", false, 1, Category = "Long")]
    [TestCase("journal-000002", false, 1, Category = "Long")]
    [TestCase("journal-000001", true, 1, Category = "Long")]
    [TestCase("journal-000002", true, 1, Category = "Long")]
    public void Open_JournalTruncatedAnywhere_RecoversWhatComesBefore(string name, bool isClean, int oneIn)
    {
        var log = WrittenLog.InJournal(Options(32 << 10), isClean);
        var places = log.Journal(name);
        Assert.That(log.Content[name], Has.Length.EqualTo(32 << 10));
        Sample.Check(32 << 10, oneIn, length =>
        {
            var (opened, what) = (log.Open(name, bytes => bytes[..length]), $"{length} bytes of {name}");

            // Without a head nobody can read the rest, and without a group's head its records have nothing that says they follow.
            var lost = isClean ? [] : places.FindAll(place => place.IsRecord && (place.To > length || length < FileHead.SectorBytes));
            opened.AssertHasAllBut(lost, what);
            Check(isClean || opened.Damages.Exists(damage => !damage.IsTornTail), $"{what}: no damage is reported");
            opened.AssertGivesNoOffsetTwice(what);
        });
    }

    /// <summary>A log that was not closed, with two journal files in use and a third that is free, each gone in turn, and all.</summary>
    [TestCase("journal-000001")]
    [TestCase("journal-000002")]
    [TestCase("journal-000001", "journal-000002")]
    public void Open_JournalFileGone_IsNamedAndGivesNoOffsetTwice(params string[] names)
    {
        var log = WrittenLog.InJournal(Options(8 << 10), isClean: false);
        var content = new Dictionary<string, byte[]>(log.Content, StringComparer.Ordinal);
        foreach (var name in names) content.Remove(name);

        var opened = log.Open(content);
        opened.AssertHasAllBut([.. names.SelectMany(log.Journal).Where(place => place.IsRecord)], string.Join(", ", names));
        Check(opened.Damages.Exists(damage => damage.File == "journal-*" && !damage.IsTornTail && damage.What.Contains("2 journal files", StringComparison.Ordinal)), "the loss is not named");
        opened.AssertGivesNoOffsetTwice(string.Join(", ", names));
    }

    [Test]
    public void Open_NewestJournalFileFromBefore_IsNamedAndGivesNoOffsetTwice()
    {
        // As many files as there were, one of them as it was before it was used.
        var log = WrittenLog.InJournal(Options(8 << 10), isClean: false);
        var opened = log.Open("journal-000002", bytes => new byte[bytes.Length]);
        opened.AssertHasAllBut(log.Journal("journal-000002").FindAll(place => place.IsRecord), "zeros");
        Check(opened.Damages.Exists(damage => damage.What.Contains("newest use", StringComparison.Ordinal)), "the loss is not named");
        opened.AssertGivesNoOffsetTwice("zeros");
    }

    [Test]
    public void Open_JournalFileGone_IsReportedOnce()
    {
        var log = WrittenLog.InJournal(Options(8 << 10), isClean: false);
        var content = new Dictionary<string, byte[]>(log.Content, StringComparer.Ordinal);
        content.Remove("journal-000002");
        var files = new ScratchFiles(content);
        var damages = new List<Damage>();
        Log.Open(files, Options(8 << 10), TimeProvider.System, damages.Add);
        Assert.That(damages, Is.Not.Empty);

        // Not closed: it crashed.
        damages.Clear();
        Log.Open(files, Options(8 << 10), TimeProvider.System, damages.Add);
        Assert.That(damages, Is.Empty);
    }

    /// <summary>Two segments change places, in every pair of them: no reader gets a record of another partition, and no bytes are destroyed.</summary>
    [TestCase(true)]
    [TestCase(false)]
    public void Open_AnyTwoSegmentsExchanged_ReadsAllOthersAndNamesBoth(bool hasCheckpoint)
    {
        var options = Options(16 << 10) with { SegmentBytesMax = 2500 };
        var log = WrittenLog.InSegments(options);
        var paths = log.Content.Keys.Where(path => path.EndsWith(".segment", StringComparison.Ordinal)).Order(StringComparer.Ordinal).ToArray();
        var last = paths.GroupBy(path => path[..path.LastIndexOf('-')]).Select(group => group.Last()).ToHashSet(StringComparer.Ordinal);
        Assert.That(paths, Has.Length.GreaterThanOrEqualTo(2 * Partitions));
        var pairs = (from a in paths from b in paths where string.CompareOrdinal(a, b) < 0 select (a, b)).ToArray();
        Sample.Check(pairs.Length, oneIn: 1, i =>
        {
            var (a, b) = pairs[i];
            var what = $"{a} and {b}";
            var content = new Dictionary<string, byte[]>(log.Content, StringComparer.Ordinal) { [a] = log.Content[b], [b] = log.Content[a] };
            if (!hasCheckpoint) content["checkpoint"] = [];
            if (!hasCheckpoint && (last.Contains(a) || last.Contains(b)))
            {
                var refused = Assert.Throws<BrokerException>(() => log.Open(content))!;
                Check(refused.Error == BrokerError.Corrupt && (refused.Message.Contains(a, StringComparison.Ordinal) || refused.Message.Contains(b, StringComparison.Ordinal)), $"{what}: {refused.Message}");
                return;
            }

            var opened = log.Open(content);
            var ofCar = new[] { a, b }.Where(path => path.Contains("-car/", StringComparison.Ordinal)).ToArray();
            opened.AssertHasAllBut([.. ofCar.SelectMany(log.SegmentAt)], what);
            foreach (var path in hasCheckpoint ? ofCar : [a, b]) Check(opened.Damages.Exists(damage => damage.File == path), $"{what}: {path} is not named");
            opened.AssertGivesNoOffsetTwice(what);
            Check(opened.Holds(log.Content[a]) && opened.Holds(log.Content[b]), $"{what}: a file was destroyed");
        });
    }

    [TestCase(false, SomeBits)]
    [TestCase(true, SomeBits)]
    [TestCase(false, 1, Category = "Long")]
    [TestCase(true, 1, Category = "Long")]
    public void Open_SegmentWithAnyBitFlipped_YieldsAllButTheDamagedRecordAndSaysSo(bool isClean, int oneIn)
    {
        var log = WrittenLog.InSegment(Options(16 << 10), 16 << 10, isClean);
        var (places, durable) = log.Segment();
        Assert.That(log.Content[log.SegmentPath], Has.Length.GreaterThanOrEqualTo(16 << 10));
        Sample.Check(log.Content[log.SegmentPath].Length * 8, oneIn, bit =>
        {
            var at = bit / 8;
            var (opened, what) = (log.Open(log.SegmentPath, bytes => bytes[at] ^= (byte)(1 << (bit % 8))), $"bit {bit}");
            var lost = places.FindAll(place => place.From <= at && at < place.To && at < durable);
            opened.AssertHasAllBut(lost, what);
            Check(opened.Missing.Sum(range => range.To - range.From) == lost.Count, $"{what}: readers miss {string.Join(", ", opened.Missing)}");
            Check(opened.Damages.Count == lost.Count, $"{what}: {opened.Damages.Count} damages are reported");
            opened.AssertGivesNoOffsetTwice(what);
        });
    }

    [TestCase(false, SomeLengths)]
    [TestCase(true, SomeLengths)]
    [TestCase(false, 1, Category = "Long")]
    [TestCase(true, 1, Category = "Long")]
    public void Open_SegmentTruncatedAnywhere_YieldsWhatComesBeforeAndSaysSo(bool isClean, int oneIn)
    {
        var log = WrittenLog.InSegment(Options(16 << 10), 64 << 10, isClean);
        var (places, durable) = log.Segment();
        Assert.That(log.Content[log.SegmentPath], Has.Length.GreaterThanOrEqualTo(64 << 10));
        Sample.Check(log.Content[log.SegmentPath].Length, oneIn, length =>
        {
            var (opened, what) = (log.Open(log.SegmentPath, bytes => bytes[..length]), $"{length} bytes");
            var lost = places.FindAll(place => place.From < durable && (place.To > length || length < FileHead.SectorBytes));
            opened.AssertHasAllBut(lost, what);
            Check(opened.Missing.Sum(range => range.To - range.From) == lost.Count, $"{what}: readers miss {string.Join(", ", opened.Missing)}");
            Check(opened.Damages.Count > 0 == length < durable, $"{what}: {opened.Damages.Count} damages are reported");
            opened.AssertGivesNoOffsetTwice(what);
        });
    }

    /// <summary>A segment that is closed ends where the next one begins, whatever its length says.</summary>
    [TestCase(SomeLengths)]
    [TestCase(1, Category = "Long")]
    public void Open_ClosedSegmentTruncatedAnywhere_YieldsWhatComesBeforeAndSaysSo(int oneIn)
    {
        var log = WrittenLog.InSegment(Options(16 << 10) with { SegmentBytesMax = 8 << 10 }, 16 << 10, isClean: true);
        var (places, _) = log.Segment();
        Sample.Check(log.Content[log.SegmentPath].Length, oneIn, length =>
        {
            var (opened, what) = (log.Open(log.SegmentPath, bytes => bytes[..length]), $"{length} bytes");
            var lost = places.FindAll(place => place.To > length || length < FileHead.SectorBytes);
            opened.AssertHasAllBut(lost, what);
            Check(opened.Missing.Sum(range => range.To - range.From) == lost.Count, $"{what}: readers miss {string.Join(", ", opened.Missing)}");
            Check(opened.Damages.Count > 0 == lost.Count > 0, $"{what}: {opened.Damages.Count} damages are reported");
            opened.AssertGivesNoOffsetTwice(what);
        });
    }

    [Test]
    public void Open_IndexDamagedAnywhere_ChangesNothing()
    {
        var log = WrittenLog.InSegment(Options(16 << 10), 512 << 10, isClean: true);
        var path = Path.ChangeExtension(log.SegmentPath, ".index");
        Assert.That(log.Content[path], Has.Length.GreaterThanOrEqualTo(3 * IndexEntry.Bytes));
        Sample.Check(log.Content[path].Length * 8, oneIn: 1, bit =>
        {
            var opened = log.Open(path, bytes => bytes[bit / 8] ^= (byte)(1 << (bit % 8)));
            opened.AssertHasAllBut([], $"bit {bit}");
            Check(opened.FindsLast(), $"bit {bit}: the last record is not found by its time");
        });
    }

    [Test]
    public void Open_CheckpointDamagedInOneCopy_LosesNothing()
    {
        var log = WrittenLog.InSegment(Options(16 << 10), 4 << 10, isClean: true);
        Sample.Check(log.Content["checkpoint"].Length * 8, oneIn: 1, bit =>
        {
            var opened = log.Open("checkpoint", bytes => bytes[bit / 8] ^= (byte)(1 << (bit % 8)));
            opened.AssertHasAllBut([], $"bit {bit}");
            Check(opened.Damages.Exists(damage => damage.File == "checkpoint"), $"bit {bit}: no damage is reported");
            opened.AssertGivesNoOffsetTwice($"bit {bit}");
        });
    }

    [TestCase(false)]
    [TestCase(true)]
    public void Open_CheckpointGone_IsRebuiltFromSegmentsAndJournal(bool isClean)
    {
        var log = WrittenLog.InSegment(Options(16 << 10), 64 << 10, isClean);
        foreach (var length in new[] { 0, 1, 20 })
        {
            var opened = log.Open("checkpoint", bytes => bytes[..length]);
            opened.AssertHasAllBut([], $"{length} bytes");
            Check(opened.Missing.Count == 0, $"readers miss {string.Join(", ", opened.Missing)}");
            opened.AssertGivesNoOffsetTwice($"{length} bytes");
        }
    }

    [TestCase(SomeBits)]
    [TestCase(1, Category = "Long")]
    public void Open_PayloadOfForgedRecords_NeverPassesAsRecords(int oneIn)
    {
        // The payload holds whole records of this very format; without the random id of the file their checksums are wrong.
        var forged = new byte[RecordFormat.SizeOf(10)];
        RecordFormat.Write(forged, 0, RecordFormatTests.RecordOf("key", "forgery"), 3, 1, 0);
        var log = WrittenLog.InJournal(Options(8 << 10), isClean: false, [.. Enumerable.Repeat(forged, 5).SelectMany(b => b)]);
        var places = log.Journal("journal-000001");
        Sample.Check((8 << 10) * 8, oneIn, bit =>
        {
            var at = bit / 8;
            var opened = log.Open("journal-000001", bytes => bytes[at] ^= (byte)(1 << (bit % 8)));
            opened.AssertHasAllBut(places.FindAll(place => place.IsRecord && place.From <= at && at < place.To), $"bit {bit}");
        });
    }

    [Test]
    public void Open_MetaOfANewerVersion_IsRefusedUntouched()
    {
        var disk = NewDisk();
        disk.SetContent("meta", new Meta(Meta.CurrentVersion + 1, Guid.NewGuid(), 9).ToBytes());
        var before = disk.Changes;
        var exception = Assert.Throws<BrokerException>(() => Log.Open(disk.Boot(), Options(16 << 10), new ManualClock(), _ => { }));
        Assert.That(exception!.Message, Does.Contain($"format {Meta.CurrentVersion + 1}"));
        Assert.That(disk.Changes, Is.EqualTo(before));
    }

    [Test]
    public void Open_MetaGone_IsRefusedUntouched()
    {
        var disk = NewDisk();
        disk.SetContent("meta", [1, 2, 3]);
        var before = disk.Changes;
        Assert.That(Assert.Throws<BrokerException>(() => Log.Open(disk.Boot(), Options(16 << 10), new ManualClock(), _ => { }))!.Error, Is.EqualTo(BrokerError.Corrupt));
        Assert.That(disk.Changes, Is.EqualTo(before));
    }

    private static SimulatedDisk NewDisk()
    {
        var disk = new SimulatedDisk(1);
        Log.Open(disk.Boot(), Options(16 << 10), new ManualClock(), _ => { }).Dispose();
        return disk;
    }

    private static void Check(bool holds, string failure)
    {
        if (!holds) throw new AssertionException(failure);
    }

    /// <summary>Some bytes of a file: a head, a record. Of a record, whose it is.</summary>
    private readonly record struct Place(int From, int To, bool IsRecord, bool IsInLastGroup, int Partition, long Offset);

    /// <summary>A log on disk, undamaged, and what it holds.</summary>
    private sealed class WrittenLog
    {
        private readonly EmbeddedBrokerOptions _options;
        private readonly List<byte[]>[] _records = [.. Enumerable.Range(0, Partitions).Select(_ => new List<byte[]>())];
        private readonly ManualClock _clock = new();
        private readonly byte[] _payload;
        private SimulatedDisk _disk = null!;
        private int _written;
        private int _bytes;

        private WrittenLog(EmbeddedBrokerOptions options, byte[] payload) => (_options, _payload) = (options, payload);

        public Dictionary<string, byte[]> Content { get; private set; } = [];

        public string SegmentPath { get; private set; } = "";

        /// <summary>Two journal files full of groups of three records, and nothing in segments but what a clean stop put there.</summary>
        public static WrittenLog InJournal(EmbeddedBrokerOptions options, bool isClean, byte[]? payload = null)
        {
            var written = new WrittenLog(options, payload ?? []);
            using var log = written.Begin();
            while (log.JournalBytes <= options.JournalFileBytes) written.Commit(log, Partitions);
            for (var i = 0; i < options.JournalFileBytes / 1000; i++) written.Commit(log, Partitions);
            return written.End(log, isClean);
        }

        /// <summary>A segment of so many bytes, which the checkpoint knows in part if the log was not closed.</summary>
        public static WrittenLog InSegment(EmbeddedBrokerOptions options, int segmentBytes, bool isClean)
        {
            var written = new WrittenLog(options, new byte[200]);
            using var log = written.Begin();
            written.Commit(log, Partitions);
            while (written._bytes < segmentBytes)
            {
                var before = log.JournalBytes;
                written.Commit(log, 1);
                if (log.JournalBytes > before && written._bytes < segmentBytes - 2000) log.Drain();
            }

            log.Drain();
            return written.End(log, isClean);
        }

        /// <summary>Several segments in each partition, and in another topic's; closed.</summary>
        public static WrittenLog InSegments(EmbeddedBrokerOptions options)
        {
            var written = new WrittenLog(options, new byte[200]);
            using var log = written.Begin();
            log.Commit([new Append(new TopicSpec("bus", 1))]);
            for (var i = 0; i < 20; i++)
            {
                written.Commit(log, Partitions);
                log.Commit([new Append(log.Find(new("bus", 0))!, new RecordData(null, new byte[200]))]);
            }

            return written.End(log, isClean: true);
        }

        /// <summary>What stands where in a journal file.</summary>
        public List<Place> Journal(string name)
        {
            var bytes = Content[name];
            Assert.That(JournalHead.TryRead(bytes, out var head), Is.True);
            List<Place> places = [new(0, FileHead.Bytes, false, false, 0, 0)];
            for (var at = FileHead.Bytes; at < bytes.Length && GroupFormat.TryRead(bytes.AsSpan(at), head.FileId, out var group);)
            {
                var isLast = name == Content.Keys.Where(path => path.StartsWith("journal", StringComparison.Ordinal)).Max()
                    && !GroupFormat.TryRead(bytes.AsSpan(at + GroupFormat.HeaderBytes + group.Bytes), head.FileId, out _);
                places.Add(new Place(at, at + GroupFormat.HeaderBytes, false, isLast, 0, 0));
                var end = at + GroupFormat.HeaderBytes + group.Bytes;
                for (at += GroupFormat.HeaderBytes; at < end;)
                {
                    Assert.That(RecordFormat.TryRead(bytes.AsSpan(at), head.FileId, out var record), Is.True);
                    places.Add(new Place(at, at + record.Length, true, isLast, record.Partition, record.Offset));
                    at += record.Length;
                }
            }

            Assert.That(places, Has.Count.GreaterThan(10));
            return places;
        }

        /// <summary>What stands where in the segment, and how much of it the checkpoint knows: the rest is in the journal too.</summary>
        public (List<Place> Places, long Durable) Segment()
        {
            var places = SegmentAt(SegmentPath);
            Assert.That(places, Has.Count.GreaterThan(5));
            var known = Checkpoint.Read(Content["checkpoint"], out _)!.Topics.Single().Partitions[0];
            return (places, known.ActiveBase == 0 ? known.ActiveLength : Content[SegmentPath].Length);
        }

        public List<Place> SegmentAt(string path)
        {
            var bytes = Content[path];
            var head = SegmentHead.Read(bytes)!;
            var places = new List<Place>();
            for (var at = FileHead.Bytes; at < bytes.Length && RecordFormat.TryRead(bytes.AsSpan(at), head.FileId, out var record); at += record.Length)
                places.Add(new Place(at, at + record.Length, true, false, record.Partition, record.Offset));
            return places;
        }

        /// <summary>Damages one file and opens the log.</summary>
        public OpenedLog Open(string path, Action<byte[]> damage) => Open(path, bytes =>
        {
            byte[] damaged = [.. bytes];
            damage(damaged);
            return damaged;
        });

        public OpenedLog Open(string path, Func<byte[], byte[]> damage) =>
            Open(new Dictionary<string, byte[]>(Content, StringComparer.Ordinal) { [path] = damage(Content[path]) });

        public OpenedLog Open(Dictionary<string, byte[]> content) => new(content, _options, _records);

        /// <summary>A topic that the checkpoint knows, and a record in each partition, so that nothing begins at zero.</summary>
        private Log Begin()
        {
            _disk = new SimulatedDisk(1);
            using (var log = Log.Open(_disk.Boot(), _options, _clock, _ => { }))
            {
                log.Commit([new Append(new TopicSpec("car", Partitions))]);
                log.CloseCleanly();
            }

            foreach (var path in _disk.Paths.Where(path => path.StartsWith("journal", StringComparison.Ordinal)).ToList()) _disk.Boot().Delete(path);
            return Log.Open(_disk.Boot(), _options, _clock, _ => { });
        }

        /// <summary>A record in each of the first partitions.</summary>
        private void Commit(Log log, int partitions)
        {
            _clock.Advance(TimeSpan.FromTicks(1));
            var appends = new List<Append>();
            foreach (var partition in log.FindTopic("car")!.Partitions.Take(partitions))
            {
                var text = string.Create(CultureInfo.InvariantCulture, $"{partition.Source} {_written++} {new string('.', _written % 7 * 40)}");
                byte[] value = [.. Encoding.UTF8.GetBytes(text), .. _payload];
                _records[partition.Source.Partition].Add(value);
                if (partition.Source.Partition == 0) _bytes += RecordFormat.SizeOf(value.Length);
                appends.Add(new Append(partition, new RecordData(null, value)));
            }

            log.Commit(appends);
            Assert.That(appends.Select(append => append.Task.Status), Is.All.EqualTo(TaskStatus.RanToCompletion));
        }

        private WrittenLog End(Log log, bool isClean)
        {
            if (isClean) log.CloseCleanly();
            _disk.Kill();
            Content = _disk.Paths.ToDictionary(path => path, path => _disk.Content(path), StringComparer.Ordinal);
            SegmentPath = _disk.Paths.FirstOrDefault(path => path.EndsWith("/0-00000000000000000000.segment", StringComparison.Ordinal)) ?? "";
            return this;
        }
    }

    /// <summary>A log that was opened, and everything a reader gets from it.</summary>
    private sealed class OpenedLog
    {
        private readonly Log _log;
        private readonly List<byte[]>[] _expected;
        private readonly bool[][] _found;

        public OpenedLog(Dictionary<string, byte[]> content, EmbeddedBrokerOptions options, List<byte[]>[] expected)
        {
            _expected = expected;
            var files = new ScratchFiles(content);
            Holds = files.Holds;
            _log = Log.Open(files, options, TimeProvider.System, Damages.Add);
            _found = [.. expected.Select(records => new bool[records.Count])];
            for (var p = 0; p < Partitions; p++) Read(p);
        }

        public List<Damage> Damages { get; } = [];

        public List<MissingRange> Missing { get; } = [];

        /// <summary>Each record that was written is there, but for these.</summary>
        public void AssertHasAllBut(List<Place> lost, string what)
        {
            foreach (var place in lost) Check(!_found[place.Partition][place.Offset], $"{what}: record {place.Offset} of partition {place.Partition} is there");
            var missing = _found.Sum(found => found.Count(isFound => !isFound));
            if (missing == lost.Count) return;
            var gone = from p in Enumerable.Range(0, Partitions)
                       from offset in Enumerable.Range(0, _found[p].Length)
                       where !_found[p][offset] && !lost.Exists(place => place.Partition == p && place.Offset == offset)
                       select $"{p}:{offset}";
            throw new AssertionException($"{what}: gone are {string.Join(", ", gone)}");
        }

        public void AssertGivesNoOffsetTwice(string what)
        {
            var appends = _log.FindTopic("car")!.Partitions.Select(partition => new Append(partition, new RecordData(null, new byte[1]))).ToArray();
            _log.Commit(appends);
            for (var p = 0; p < Partitions; p++)
            {
                Check(appends[p].Task.IsCompletedSuccessfully, $"{what}: nothing can be appended");
                Check(appends[p].Record.Offset >= _expected[p].Count, $"{what}: offset {appends[p].Record.Offset} of partition {p} is given twice");
            }
        }

        /// <summary>Some file begins with these bytes.</summary>
        public Func<byte[], bool> Holds { get; }

        /// <summary>The last record of a partition is found by its time.</summary>
        public bool FindsLast()
        {
            var partition = _log.Find(new("car", 0))!;
            return _log.FindOffset(partition, new DateTimeOffset(partition.DrainedTimestamp, TimeSpan.Zero)) == partition.High - 1;
        }

        private void Read(int index)
        {
            var partition = _log.Find(new("car", index));
            Check(partition is not null, "the topic is gone");
            var (next, missingTo) = (0L, 0L);
            var reader = new LogReader(_log, new ReadRequest([new Position(partition!.Source, 0)], 16 << 10, true));
            while (!reader.IsAtEnd)
            {
                var batch = reader.TakeBatch();
                if (reader.IsBehind) batch = reader.ReadSegment();
                if (batch is null) continue;
                if (batch.Missing is { } missing)
                {
                    Check(missing.Reason == MissingReason.Damage && missing.From == next, $"{missing} where {next} was due");
                    Missing.Add(missing);
                    next = missingTo = missing.To;
                }

                foreach (var record in batch.Records)
                {
                    Check(record.Offset == next, $"offset {record.Offset} where {next} was due");
                    Check(record.Offset < _expected[index].Count && record.Value!.Value.Span.SequenceEqual(_expected[index][(int)record.Offset]), $"a wrong record at {record.Offset}");
                    _found[index][record.Offset] = true;
                    next++;
                }
            }

            Check(next == partition.High, $"the read ends at {next}, before {partition.High}");
        }
    }
}
