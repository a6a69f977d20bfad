using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

public sealed class RetentionTests
{
    private static readonly EmbeddedBrokerOptions Options = new()
    {
        Directory = "simulated",
        GroupBytesMax = 2000,
        RecordBytesMax = 1000,
        JournalFileBytes = 8000,
        SegmentBytesMax = 3000,
        TailBytesMax = 0,
        DiskReserveBytes = 0,
    };

    private readonly ManualClock _clock = new();

    [Test]
    public void Retain_ByAge_RemovesOldSegmentsOnlyAndOnlyWhereItMay()
    {
        var disk = new SimulatedDisk(1);
        using (var log = Open(disk, Options with { RetentionAge = TimeSpan.FromHours(1) }))
        {
            Fill(log, 40);
            _clock.Advance(TimeSpan.FromHours(2));
            Fill(log, 40);
            log.Retain();
            AssertLows(log, young: 40);
            Assert.That(CountFiles(disk, "-car/"), Is.LessThan(CountFiles(disk, "-kept/")));
        }

        disk.LosePower();
        using var again = Open(disk, Options);
        AssertLows(again, young: 40);
    }

    [Test]
    public async Task RetentionAge_NobodyWritesAnyMore_OldRecordsGoAllTheSame()
    {
        var broker = await EmbeddedBroker.OpenAsync(Options with { RetentionAge = TimeSpan.FromHours(1) }, new SimulatedDisk(1) { HasThreads = true }.Boot, _clock)
            .WithDeadline();
        await using var disposing = broker;
        var car = new TopicPartition("car", 0);
        await broker.EnsureTopicAsync(new TopicSpec(car.Topic), CancellationToken.None).WithDeadline();
        await broker.AppendAsync(car, new RecordData(null, new byte[100]), CancellationToken.None).WithDeadline();
        _clock.Advance(TimeSpan.FromHours(2));
        await Until.TrueAsync(async () => (await WatermarksAsync()).Low == 1, seconds: 20);
        Assert.That((await WatermarksAsync()).High, Is.EqualTo(1));

        async Task<Watermarks> WatermarksAsync() => (await broker.GetWatermarksAsync([car], CancellationToken.None).WithDeadline())[0];
    }

    [Test]
    public void Retain_BySize_RemovesTheOldestSegmentsUntilTheRestFits()
    {
        using var log = Open(new SimulatedDisk(1), Options with { RetentionBytes = 8000 });
        Fill(log, 100);
        log.Retain();
        var marks = log.Find(new("car", 0))!.GetWatermarks();
        Assert.That(marks.High, Is.EqualTo(100));
        Assert.That(marks.Low, Is.InRange(25, 95));
        Assert.That(log.Find(new("kept", 0))!.Low, Is.Zero);
    }

    [Test]
    public void Retain_EverythingTooOld_GivesNoOffsetTwice()
    {
        var disk = new SimulatedDisk(1);
        using (var log = Open(disk, Options with { RetentionAge = TimeSpan.FromHours(1) }))
        {
            Fill(log, 40);
            _clock.Advance(TimeSpan.FromHours(2));
            log.Retain();
            Assert.That(log.Find(new("car", 0))!.GetWatermarks(), Is.EqualTo(new Watermarks(new("car", 0), 40, 40)));
        }

        disk.LosePower();
        using var again = Open(disk, Options);
        Assert.That(again.Find(new("car", 0))!.GetWatermarks(), Is.EqualTo(new Watermarks(new("car", 0), 40, 40)));
        Fill(again, 1);
        Assert.That(again.Find(new("car", 0))!.High, Is.EqualTo(41));
    }

    [Test]
    public void Inspect_DrainedAndUndrained_ListsThemAndChangesNothing()
    {
        var disk = new SimulatedDisk(1);
        var log = Open(disk, Options);
        Fill(log, 40);
        Commit(log, new Append(log.Find(new("car", 0))!, new RecordData(null, new byte[100])));
        var changes = disk.Changes;

        var inspection = Log.Inspect(disk.Boot(), Options);

        var car = inspection.Topics.Single(topic => topic.Name == "car");
        Assert.Multiple(() =>
        {
            Assert.That(disk.Changes, Is.EqualTo(changes));
            Assert.That(inspection.LogId, Is.EqualTo(log.Id));
            Assert.That(inspection.Damages, Is.Empty);
            Assert.That(inspection.Topics.Single(topic => topic.Name == "kept").KeepForever, Is.True);
            Assert.That(car.Partitions.Single().Marks, Is.EqualTo(new Watermarks(new("car", 0), 0, 41)));
            Assert.That(car.Partitions.Single().Damaged, Is.Empty);
            Assert.That(inspection.UndrainedBytes, Is.EqualTo(RecordFormat.SizeOf(100)));
        });
    }

    [Test]
    public void Inspect_DamagedSegment_NamesTheOffset()
    {
        var disk = new SimulatedDisk(1);
        var log = Open(disk, Options);
        Fill(log, 10);
        log.CloseCleanly();
        var path = disk.Paths.First(path => path.Contains("-car/", StringComparison.Ordinal) && path.EndsWith(".segment", StringComparison.Ordinal));
        var content = disk.Content(path);
        content[FileHead.Bytes + 400] ^= 1;
        disk.SetContent(path, content);
        var damaged = Log.Inspect(disk.Boot(), Options).Topics.Single(topic => topic.Name == "car").Partitions.Single().Damaged;
        Assert.That(damaged, Is.EqualTo(new[] { new MissingRange(2, 3, MissingReason.Damage) }));
    }

    private static int CountFiles(SimulatedDisk disk, string topic) => disk.Paths.Count(path => path.Contains(topic, StringComparison.Ordinal));

    private static void AssertLows(Log log, long young)
    {
        var car = log.Find(new("car", 0))!;
        Assert.That(car.Low, Is.InRange(1, young), "no young record goes");
        Assert.That(log.Find(new("kept", 0))!.Low, Is.Zero);
    }

    private static void Fill(Log log, int count)
    {
        Commit(log, new Append(new TopicSpec("car")), new Append(new TopicSpec("kept", 1, KeepForever: true)));
        for (var i = 0; i < count; i++)
        {
            foreach (var name in new[] { "car", "kept" }) Commit(log, new Append(log.Find(new(name, 0))!, new RecordData(null, new byte[100])));
        }

        log.Drain();
    }

    private static void Commit(Log log, params Append[] appends)
    {
        log.Commit(appends);
        Assert.That(appends.Select(append => append.Task.IsCompletedSuccessfully), Is.All.True);
    }

    private Log Open(SimulatedDisk disk, EmbeddedBrokerOptions options) => Log.Open(disk.Boot(), options, _clock, _ => { });
}
