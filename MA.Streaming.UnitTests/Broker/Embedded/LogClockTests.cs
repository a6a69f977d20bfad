using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>A system's clock that jumps, as seen by records and by retention.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public sealed class LogClockTests
{
    private static readonly EmbeddedBrokerOptions Options = new()
    {
        Directory = "simulated",
        GroupBytesMax = 2000,
        RecordBytesMax = 1000,
        JournalFileBytes = 8000,
        SegmentBytesMax = 1500,
        TailBytesMax = 0,
        DiskReserveBytes = 0,
        RetentionAge = TimeSpan.FromDays(1),
    };

    private readonly ManualClock _clock = new();
    private readonly List<ClockNews> _news = [];
    private readonly SimulatedDisk _disk = new(1);

    [Test]
    public void Retain_ClockAMonthAheadForAMoment_RemovesNothingAndStampsNothingAhead()
    {
        var right = _clock.GetUtcNow();
        using var log = Open();
        Fill(log, 30);
        _clock.JumpTo(right.AddDays(30));
        Fill(log, 30);
        log.Retain();
        _clock.JumpTo(right);
        _clock.Advance(TimeSpan.FromMinutes(1));
        Fill(log, 30);
        log.Retain();

        Assert.That(Car(log).GetWatermarks(), Is.EqualTo(new Watermarks(new("car", 0), 0, 90)));
        Assert.That(Stamps(log), Is.Ordered.And.All.InRange(right, right.AddMinutes(2)));
        Assert.That(_news, Is.Empty);
    }

    [Test]
    public void Retain_ClockAMonthAheadForTenMinutes_TakesItOverInOneStep()
    {
        var right = _clock.GetUtcNow();
        using var log = Open();
        Fill(log, 30);
        _clock.JumpTo(right.AddDays(30));
        Fill(log, 1);
        _clock.Advance(LogClock.LargeDifferenceLasts - TimeSpan.FromTicks(1));
        Fill(log, 1);
        Assert.That(_news, Is.Empty);
        _clock.Advance(TimeSpan.FromTicks(1));
        Fill(log, 1);

        Assert.That(_news, Is.EqualTo(new[] { ClockNews.Stepped }));
        Assert.That(Stamps(log)[^1], Is.EqualTo(_clock.GetUtcNow()));
    }

    [Test]
    public void Append_ClockADayBack_GoesOnFromWhereItWas()
    {
        var right = _clock.GetUtcNow();
        using var log = Open();
        Fill(log, 10);
        _clock.JumpTo(right.AddDays(-1));
        _clock.Advance(TimeSpan.FromSeconds(5));
        Fill(log, 10);

        Assert.That(Stamps(log), Is.Ordered);
        Assert.That(Stamps(log)[^1], Is.EqualTo(right.AddSeconds(5)));
    }

    [Test]
    public void Append_ClockHalfAMinuteOff_FollowsItSlowly()
    {
        var right = _clock.GetUtcNow();
        using var log = Open();
        _clock.JumpTo(right.AddSeconds(30));
        for (var i = 0; i < 100; i++)
        {
            _clock.Advance(TimeSpan.FromSeconds(1));
            Fill(log, 1);
        }

        // A hundred seconds, and a millisecond for each.
        Assert.That(Stamps(log)[^1], Is.EqualTo(right.AddSeconds(100.1)).Within(TimeSpan.FromTicks(100)));
        _clock.Advance(TimeSpan.FromHours(10));
        Fill(log, 1);
        Assert.That(Stamps(log)[^1], Is.EqualTo(_clock.GetUtcNow()).Within(TimeSpan.FromTicks(1)));
    }

    [Test]
    public void Open_ClockOf1970_BeginsAtTheNewestRecord()
    {
        var right = _clock.GetUtcNow();
        using (var log = Open())
        {
            Fill(log, 60);
            log.CloseCleanly();
        }

        _clock.JumpTo(DateTimeOffset.UnixEpoch);
        using var again = Open();
        Assert.That(_news, Is.EqualTo(new[] { ClockNews.SystemIsBehindLog }));
        Fill(again, 10);
        again.Retain();
        _clock.JumpTo(right.AddMinutes(5));
        _clock.Advance(TimeSpan.FromMinutes(1));
        Fill(again, 10);
        again.Retain();

        Assert.That(Stamps(again), Is.Ordered.And.All.InRange(right, right.AddMinutes(6)));
        Assert.That(Car(again).Low, Is.Zero);
    }

    [TestCase(false)]
    [TestCase(true)]
    public void Retain_AfterAWeekendSwitchedOff_WaitsADayUnlessTheClockIsTrusted(bool isTrusted)
    {
        using (var log = Open())
        {
            Fill(log, 60);
            log.CloseCleanly();
        }

        _clock.Advance(TimeSpan.FromDays(2.5));
        using var again = Open(Options with { TrustClock = isTrusted, RetentionBytes = 1 << 20 });
        again.Retain();
        Assert.That(Car(again).Low, isTrusted ? Is.Positive : Is.Zero);
        Assert.That(_news, isTrusted ? Is.Empty : Is.EqualTo(new[] { ClockNews.RetentionWaits }));
        _clock.Advance(LogClock.RetentionWait - TimeSpan.FromTicks(1));
        again.Retain();
        Assert.That(Car(again).Low, isTrusted ? Is.Positive : Is.Zero);
        _clock.Advance(TimeSpan.FromTicks(1));
        again.Retain();
        Assert.That(Car(again).Low, Is.Positive);
    }

    [Test]
    public void Retain_WhileAgeWaits_SizeStillCounts()
    {
        using (var log = Open())
        {
            Fill(log, 60);
            log.CloseCleanly();
        }

        _clock.Advance(TimeSpan.FromDays(2.5));
        using var again = Open(Options with { RetentionBytes = 5000 });
        again.Retain();
        Assert.That(Car(again).Low, Is.InRange(1, 59));
    }

    [Test]
    public void Retain_Again_OpensNoSealedSegment()
    {
        using var log = Open(Options with { RetentionBytes = 1 << 20 });
        Fill(log, 60);
        log.Retain();
        Fill(log, 5);
        log.Retain();
        var opened = new List<string>();
        _disk.Before = (call, path) =>
        {
            if (call == DiskCall.Open) opened.Add(path);
        };
        log.Retain();
        Assert.That(opened, Is.Empty);
    }

    private static PartitionLog Car(Log log) => log.Find(new("car", 0))!;

    private static void Fill(Log log, int count)
    {
        log.Commit([new Append(new TopicSpec("car"))]);
        for (var i = 0; i < count; i++)
        {
            var append = new Append(Car(log), new RecordData(null, new byte[100]));
            log.Commit([append]);
            Assert.That(append.Task.IsCompletedSuccessfully, Is.True);
        }

        log.Drain();
    }

    private static List<DateTimeOffset> Stamps(Log log)
    {
        var stamps = new List<DateTimeOffset>();
        using var reader = new LogReader(log, new ReadRequest([new Position(new("car", 0), Car(log).Low)], 16 << 10, true));
        while (!reader.IsAtEnd)
        {
            var batch = reader.TakeBatch();
            if (reader.IsBehind) batch = reader.ReadSegment();
            if (batch is not null) stamps.AddRange(batch.Records.Select(record => record.Timestamp));
        }

        return stamps;
    }

    private Log Open() => Open(Options);

    private Log Open(EmbeddedBrokerOptions options) => Log.Open(_disk.Boot(), options, _clock, _ => { }, clockNews: (news, _, _) => _news.Add(news));
}
