using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>
/// What is left of a log whose files were damaged: never a wrong record, never an exception out of opening, every undamaged record,
/// and a word on the others.
/// </summary>
public sealed class DamageTests
{
    private static readonly EmbeddedBrokerOptions Options = new()
    {
        Directory = "simulated",
        GroupBytesMax = 2000,
        RecordBytesMax = 2000,
        JournalFileBytes = 40_000,
        SegmentBytesMax = 20_000,
        DiskReserveBytes = 0,
    };

    private readonly List<Damage> _damages = [];

    [Test]
    public void Open_JournalWithAnyBitFlipped_RecoversAllButTheDamagedRecord()
    {
        // Groups of three records, one partition each.
        var disk = Written(groups: 20, drain: false, out var expected);
        var journal = disk.Content("journal-000001");
        var used = Array.FindLastIndex(journal, b => b != 0) + 1;
        Assert.That(used, Is.GreaterThan(4000));
        for (var bit = 0; bit < used * 8; bit += Step)
        {
            var damaged = disk.Copy();
            damaged.SetContent("journal-000001", Flipped(journal, bit));
            var found = ReadAfterOpening(damaged, out var log);

            // Of one partition at most one record is gone; in the last group, those from there on; a group head takes none.
            var lost = expected.Values.Sum(records => records.Count) - found.Values.Sum(records => records.Count);
            Assert.That(lost, Is.LessThanOrEqualTo(3), $"bit {bit}");
            var isLastGroup = bit / 8 > used - 400;
            if (!isLastGroup) Assert.That(lost, Is.LessThanOrEqualTo(1), $"bit {bit}");
            AssertGenuine(found, expected, $"bit {bit}");
            if (lost > 0) Assert.That(_damages, Is.Not.Empty, $"bit {bit}");
            if (!isLastGroup) AssertNoOffsetTwice(log, expected, $"bit {bit}");
        }
    }

    [Test]
    public void Open_JournalTruncatedAnywhere_RecoversWhatComesBefore()
    {
        var disk = Written(groups: 20, drain: false, out var expected);
        var journal = disk.Content("journal-000001");
        var used = Array.FindLastIndex(journal, b => b != 0) + 1;
        var least = 0;
        for (var length = 0; length <= used; length += length < used - 64 ? Step : 1)
        {
            var damaged = disk.Copy();
            damaged.SetContent("journal-000001", journal[..length]);
            var found = ReadAfterOpening(damaged, out _);
            var count = found.Values.Sum(records => records.Count);
            Assert.That(count, Is.GreaterThanOrEqualTo(least), $"{length} bytes");
            least = count;
            foreach (var (source, records) in found) Assert.That(records, Is.EqualTo(expected[source].Take(records.Count)), $"{length} bytes, {source}");
        }

        Assert.That(least, Is.EqualTo(60));
    }

    [Test]
    public void Open_SegmentWithAnyBitFlipped_YieldsAllButTheDamagedRecordAndSaysSo()
    {
        var disk = Written(groups: 30, drain: true, out var expected);
        var path = disk.Paths.First(path => path.EndsWith(".segment", StringComparison.Ordinal));
        var segment = disk.Content(path);
        for (var bit = 0; bit < segment.Length * 8; bit += Step)
        {
            var damaged = disk.Copy();
            damaged.SetContent(path, Flipped(segment, bit));
            var found = ReadAfterOpening(damaged, out var log, out var missing);
            var lost = expected.Values.Sum(records => records.Count) - found.Values.Sum(records => records.Count);
            Assert.That(lost, Is.LessThanOrEqualTo(1), $"bit {bit}");
            Assert.That(missing.Sum(range => range.To - range.From), Is.EqualTo(lost), $"bit {bit}");
            Assert.That(missing.Select(range => range.Reason), Is.All.EqualTo(MissingReason.Damage));
            AssertGenuine(found, expected, $"bit {bit}");
            AssertNoOffsetTwice(log, expected, $"bit {bit}");
        }
    }

    [Test]
    public void Open_SegmentTruncatedAnywhere_YieldsWhatComesBeforeAndSaysSo()
    {
        var disk = Written(groups: 30, drain: true, out var expected);
        var path = disk.Paths.First(path => path.EndsWith(".segment", StringComparison.Ordinal));
        var segment = disk.Content(path);
        for (var length = 0; length < segment.Length; length += Step)
        {
            var damaged = disk.Copy();
            damaged.SetContent(path, segment[..length]);
            var found = ReadAfterOpening(damaged, out var log, out var missing);
            var lost = expected.Values.Sum(records => records.Count) - found.Values.Sum(records => records.Count);
            Assert.That(missing.Sum(range => range.To - range.From), Is.EqualTo(lost), $"{length} bytes");
            AssertGenuine(found, expected, $"{length} bytes");
            AssertNoOffsetTwice(log, expected, $"{length} bytes");
        }
    }

    [Test]
    public void Open_CheckpointDamagedOrGone_IsRebuiltFromSegmentsAndJournal()
    {
        var disk = Written(groups: 30, drain: true, out var expected);
        var damaged = disk.Copy();
        damaged.SetContent("checkpoint", Flipped(damaged.Content("checkpoint"), 200));
        var found = ReadAfterOpening(damaged, out var log);
        Assert.That(found.ToDictionary(), Is.EqualTo(expected));
        AssertNoOffsetTwice(log, expected, "");
        Assert.That(_damages, Has.Some.Property(nameof(Damage.File)).EqualTo("checkpoint"));
    }

    [Test]
    public void Open_PayloadOfForgedRecords_NeverPassesAsRecords()
    {
        // The payload holds whole records of this very format; without the random id of the file their checksums are wrong.
        var forged = new byte[RecordFormat.SizeOf(10)];
        RecordFormat.Write(forged, 0, RecordFormatTests.RecordOf("key", "forgery"), 3, 1, 0);
        var disk = new SimulatedDisk(1);
        using (var log = Open(disk))
        {
            Commit(log, new Append(new TopicSpec("car")));
            for (var i = 0; i < 10; i++)
                Commit(log, new Append(log.Find(new("car", 0))!, new RecordData(null, (byte[])[.. Enumerable.Repeat(forged, 5).SelectMany(b => b)])));
        }

        var journal = disk.Content("journal-000001");
        for (var bit = FileHead.Bytes * 8; bit < FileHead.Bytes * 8 + 16_000; bit += Step)
        {
            var damaged = disk.Copy();
            damaged.SetContent("journal-000001", Flipped(journal, bit));
            var found = ReadAfterOpening(damaged, out _);
            Assert.That(found.Values.SelectMany(records => records), Has.None.Contains("7:forgery"), $"bit {bit}");
            Assert.That(found.Values.Sum(records => records.Count), Is.InRange(9, 10), $"bit {bit}");
        }
    }

    [Test]
    public void Open_MetaOfANewerVersion_IsRefusedUntouched()
    {
        var disk = Written(groups: 2, drain: true, out _);
        disk.SetContent("meta", new Meta(Meta.CurrentVersion + 1, Guid.NewGuid(), 9).ToBytes());
        var before = disk.Changes;
        var exception = Assert.Throws<BrokerException>(() => Open(disk));
        Assert.That(exception!.Message, Does.Contain($"format {Meta.CurrentVersion + 1}"));
        Assert.That(disk.Changes, Is.EqualTo(before));
    }

    [Test]
    public void Open_MetaGone_IsRefusedUntouched()
    {
        var disk = Written(groups: 2, drain: true, out _);
        disk.SetContent("meta", [1, 2, 3]);
        var before = disk.Changes;
        Assert.That(Assert.Throws<BrokerException>(() => Open(disk))!.Error, Is.EqualTo(BrokerError.Corrupt));
        Assert.That(disk.Changes, Is.EqualTo(before));
    }

    /// <summary>A prime, so that over a file every bit of a byte has its turn; 1 in the long form.</summary>
    private static int Step => TestContext.Parameters.Get("DamageStep", 13);

    private static byte[] Flipped(byte[] bytes, int bit)
    {
        byte[] flipped = [.. bytes];
        flipped[bit / 8] ^= (byte)(1 << (bit % 8));
        return flipped;
    }

    private static void Commit(Log log, params Append[] appends)
    {
        log.Commit(appends);
        Assert.That(appends.Select(append => append.Task.Status), Is.All.EqualTo(TaskStatus.RanToCompletion));
    }

    /// <summary>A log of three partitions, a record of each in every group, left as a kill leaves it.</summary>
    private SimulatedDisk Written(int groups, bool drain, out Dictionary<TopicPartition, List<string>> expected)
    {
        var disk = new SimulatedDisk(1);
        expected = Enumerable.Range(0, 3).ToDictionary(p => new TopicPartition("car", p), _ => new List<string>());
        using var log = Open(disk);
        Commit(log, new Append(new TopicSpec("car", 3)));
        for (var i = 0; i < groups; i++)
        {
            var appends = expected.Keys.Select(source => new Append(log.Find(source)!, new RecordData(null, Encoding.UTF8.GetBytes($"{source} {i}")))).ToArray();
            Commit(log, appends);
            foreach (var append in appends) expected[append.Partition!.Source].Add($"{append.Record.Offset}:{append.Partition.Source} {i}");
        }

        if (drain) log.CloseCleanly();
        disk.Kill();
        return disk;
    }

    private Log Open(SimulatedDisk disk)
    {
        _damages.Clear();
        return Log.Open(disk.Boot(), Options, new ManualClock(), _damages.Add);
    }

    private Dictionary<TopicPartition, List<string>> ReadAfterOpening(SimulatedDisk disk, out Log log) => ReadAfterOpening(disk, out log, out _);

    private Dictionary<TopicPartition, List<string>> ReadAfterOpening(SimulatedDisk disk, out Log log, out List<MissingRange> missing)
    {
        log = Open(disk);
        missing = [];
        var found = new Dictionary<TopicPartition, List<string>>();
        foreach (var partition in log.Topics.SelectMany(topic => topic.Partitions))
        {
            var records = found[partition.Source] = [];
            var reader = new LogReader(log, new ReadRequest([new Position(partition.Source, partition.Low)], 500, true));
            while (!reader.IsAtEnd)
            {
                var batch = reader.TakeBatch();
                if (reader.IsBehind) batch = reader.ReadSegment();
                if (batch?.Missing is { } range) missing.Add(range);
                if (batch is not null) records.AddRange(batch.Records.Select(record => $"{record.Offset}:{Encoding.UTF8.GetString(record.Value!.Value.Span)}"));
            }
        }

        return found;
    }

    private static void AssertGenuine(Dictionary<TopicPartition, List<string>> found, Dictionary<TopicPartition, List<string>> expected, string what)
    {
        foreach (var (source, records) in found)
        {
            Assert.That(records, Is.SubsetOf(expected[source]), what);
            Assert.That(records.Select(record => long.Parse(record.Split(':')[0])), Is.Ordered.Ascending.And.Unique, what);
        }
    }

    private static void AssertNoOffsetTwice(Log log, Dictionary<TopicPartition, List<string>> expected, string what)
    {
        foreach (var (source, records) in expected)
        {
            var append = new Append(log.Find(source)!, new RecordData(null, new byte[1]));
            Commit(log, append);
            Assert.That(append.Record.Offset, Is.GreaterThanOrEqualTo(records.Count), $"{what}, {source}");
        }
    }
}
