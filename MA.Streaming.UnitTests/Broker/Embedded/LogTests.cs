using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>The log as a state machine: what other threads do in the middle of a call, what memory and files it uses.</summary>
public sealed class LogTests
{
    private static readonly EmbeddedBrokerOptions Options = new()
    {
        Directory = "simulated",
        GroupBytesMax = 2000,
        RecordBytesMax = 1000,
        JournalFileBytes = 8000,
        JournalBytesMax = 1 << 20,
        SegmentBytesMax = 3000,
        TailBytesMax = 0,
        DiskReserveBytes = 0,
    };

    private readonly ManualClock _clock = new();

    [Test]
    public void FindOffset_RecordsLeaveMemoryMeanwhile_FindsThemInSegments()
    {
        var disk = new SimulatedDisk(1);
        using var log = Open(disk);
        var car = Create(log, "car");
        Append(log, car, 10);
        log.Drain();
        _clock.Advance(TimeSpan.FromSeconds(1));
        var time = _clock.GetUtcNow();
        Append(log, car, 10);
        for (var calls = 0; calls < 8; calls++)
        {
            disk.Meanwhile = (calls, () => log.Drain());
            Assert.That(log.FindOffset(car, time), Is.EqualTo(10), $"after {calls} calls");
        }
    }

    [Test]
    public void Drain_AllMemoryEvicted_CountsNone()
    {
        using var log = Open(new SimulatedDisk(1));
        var car = Create(log, "car");
        for (var i = 0; i < 10; i++)
        {
            Append(log, car, 50);
            log.Drain();
        }

        Assert.That(log.UndrainedBytes, Is.Zero);
        Assert.That(log.TailBytes, Is.Zero);
    }

    [Test]
    public void Drain_PartitionThatIsWrittenMeanwhile_KeepsNoOthersInMemory()
    {
        var disk = new SimulatedDisk(1);
        using var log = Open(disk);
        var (busy, idle) = (Create(log, "busy"), Create(log, "idle"));
        Append(log, busy, 1);
        Append(log, idle, 100, bytes: 500);

        // The oldest chunk in memory is the one that goes on.
        disk.Meanwhile = (3, () => Append(log, busy, 1));
        log.Drain();
        Assert.That(log.UndrainedBytes, Is.EqualTo(RecordFormat.SizeOf(8)), "the record that came meanwhile");
        Assert.That(log.TailBytes, Is.LessThan(1000));
    }

    [TestCase(typeof(UnauthorizedAccessException))]
    [TestCase(typeof(OutOfMemoryException))]
    public void Drain_UnexpectedError_ForgetsNothing(Type error)
    {
        var disk = new SimulatedDisk(1);
        using (var log = Open(disk))
        {
            var car = Create(log, "car");
            Append(log, car, 100);
            disk.Fault = (_, path) => path.EndsWith(".segment", StringComparison.Ordinal) ? (Exception)Activator.CreateInstance(error)! : null;
            Assert.That(log.Drain, Throws.TypeOf(error));
            disk.Fault = null;

            // The next drain must still know of them, or the checkpoint would give up their journal files.
            Append(log, car, 100);
            log.Drain();
            Assert.That(log.UndrainedBytes, Is.Zero);
        }

        disk.LosePower();
        using var again = Open(disk);
        Assert.That(again.Find(new("car", 0))!.High, Is.EqualTo(200));
    }

    [Test]
    public void Commit_WritesFailForLong_MakeNoMoreFiles()
    {
        var disk = new SimulatedDisk(1);
        using var log = Open(disk);
        var car = Create(log, "car");
        Append(log, car, 5);
        disk.Fault = (call, path) => call == DiskCall.Write && path.StartsWith("journal", StringComparison.Ordinal) ? new IOException("input/output error") : null;
        for (var i = 0; i < 100; i++)
        {
            var refused = new Append(car, new RecordData(null, new byte[10]));
            log.Commit([refused]);
            Assert.That(refused.Task.IsFaulted, Is.True);
        }

        disk.Fault = null;
        Append(log, car, 5);
        Assert.That(car.High, Is.EqualTo(10));
        Assert.That(disk.Paths.Count(path => path.StartsWith("journal", StringComparison.Ordinal)), Is.LessThanOrEqualTo(3));
    }

    [Test]
    public void Commit_TopicsOnly_JournalStaysBounded()
    {
        var disk = new SimulatedDisk(1);
        using var log = Open(disk);
        for (var i = 0; i < 500; i++)
        {
            Create(log, $"topic-{i}");
            if (log.JournalBytes > Options.JournalFileBytes * 2) log.Drain();
            Assert.That(log.JournalBytes, Is.LessThanOrEqualTo(Options.JournalFileBytes * 3));
        }

        disk.LosePower();
        using var again = Open(disk);
        Assert.That(again.Topics, Has.Count.EqualTo(500));
    }

    [Test]
    public void Open_RecoveryThatTakesLong_SaysHowItGoesOnOnceASecond()
    {
        var disk = new SimulatedDisk(1);
        using (var log = Open(disk))
        {
            var car = Create(log, "car");
            Append(log, car, 300, bytes: 100);
        }

        disk.LosePower();
        var files = disk.Paths.Count(path => path.StartsWith("journal", StringComparison.Ordinal));
        var said = new List<RecoveryProgress>();
        using var slow = Log.Open(disk.Boot(), Options, new SlowClock(TimeSpan.FromMilliseconds(200)), _ => { }, said.Add);
        var moving = said.Where(progress => progress.What.StartsWith("moving", StringComparison.Ordinal)).ToList();
        Assert.Multiple(() =>
        {
            Assert.That(moving, Has.Count.InRange(20, 60), "a look takes 0.2 s, and there is one a record");
            Assert.That(moving.Select(progress => progress.Bytes), Is.Ordered.Ascending.And.Unique);
            Assert.That(moving[^1].TotalBytes, Is.GreaterThan(300 * RecordFormat.SizeOf(100)));
            Assert.That(moving[0].Left.TotalSeconds, Is.EqualTo((moving[0].TotalBytes - moving[0].Bytes) / moving[0].BytesPerSecond).Within(0.01));
            Assert.That(files, Is.GreaterThan(5));
            Assert.That(said.Any(progress => progress.What == "reading the journal"), Is.True);
        });
    }

    private static PartitionLog Create(Log log, string topic)
    {
        log.Commit([new Append(new TopicSpec(topic))]);
        return log.Find(new(topic, 0))!;
    }

    private static void Append(Log log, PartitionLog partition, int count, int bytes = 8)
    {
        for (var i = 0; i < count; i++)
        {
            var append = new Append(partition, new RecordData(null, new byte[bytes]));
            log.Commit([append]);
            Assert.That(append.Task.IsCompletedSuccessfully, Is.True);
        }
    }

    private Log Open(SimulatedDisk disk) => Log.Open(disk.Boot(), Options, _clock, damage => Assert.Fail($"{damage}"));

    /// <summary>Every look at it takes some time.</summary>
    private sealed class SlowClock(TimeSpan look) : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks += look.Ticks;
    }
}
