using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
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

    [Test]
    public void IsDrainDue_InTheMiddleOfADrain_CountsOnlyWhatCameSince()
    {
        var disk = new SimulatedDisk(1);
        using var log = Open(disk, Options with { UndrainedBytesMax = 8_000 });
        var (first, second) = (Create(log, "first"), Create(log, "second"));
        Append(log, first, 10, bytes: 500);
        Append(log, second, 1);
        Assert.That(log.IsDrainDue, Is.True, "5 of 8 KB");
        bool? isDue = null;
        disk.Meanwhile = (3, Look);
        log.Drain();
        Assert.That(isDue, Is.False, "what the drain has taken is no reason for another");
        Assert.That(log.IsDrainDue, Is.False, "after it");
        Append(log, second, 10, bytes: 500);
        Assert.That(log.IsDrainDue, Is.True, "as much again");

        void Look()
        {
            Append(log, second, 1);
            isDue = log.IsDrainDue;
        }
    }

    [Test]
    public void IsDrainDue_ADrainFailed_CountsWhatItHadTaken()
    {
        var disk = new SimulatedDisk(1);
        using var log = Open(disk, Options with { UndrainedBytesMax = 8_000 });
        var car = Create(log, "car");
        Append(log, car, 10, bytes: 500);
        disk.Fault = (call, path) => call == DiskCall.Flush && path.EndsWith(".segment", StringComparison.Ordinal) ? new IOException("no") : null;
        Assert.That(() => log.Drain(), Throws.InstanceOf<IOException>());
        Assert.That(log.IsDrainDue, Is.True);
        disk.Fault = null;
        log.Drain();
        Assert.That(log.IsDrainDue, Is.False);
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
    public void Drain_SegmentThatCouldNotBeFlushed_IsNotWrittenToAgain()
    {
        var disk = new SimulatedDisk(1);
        using var log = Open(disk);
        var car = Create(log, "car");
        Append(log, car, 5);
        log.Drain();
        Append(log, car, 5);
        var writes = new List<string>();
        disk.Fault = (call, path) =>
        {
            if (call == DiskCall.Write && path.EndsWith(".segment", StringComparison.Ordinal)) writes.Add(path);
            return call == DiskCall.Flush && path.EndsWith(".segment", StringComparison.Ordinal) ? new IOException("input/output error") : null;
        };
        Assert.That(log.Drain, Throws.TypeOf<IOException>());
        Assert.That(writes.Distinct().Single(), Does.EndWith("0-00000000000000000000.segment"));
        writes.Clear();
        Assert.That(log.Drain, Throws.TypeOf<IOException>());
        Assert.That(writes.Distinct().Single(), Does.EndWith("0-00000000000000000005.segment"));
        disk.Fault = null;
        log.Drain();
        Assert.That(log.UndrainedBytes, Is.Zero);
    }

    [Test]
    public void Drain_MuchAtOnce_FlushesItInParts()
    {
        var disk = new SimulatedDisk(1);
        var options = Options with { RecordBytesMax = 1 << 20, GroupBytesMax = 1 << 20, JournalFileBytes = 32 << 20, JournalBytesMax = 64 << 20, SegmentBytesMax = 64 << 20 };
        using var log = Log.Open(disk.Boot(), options, _clock, damage => Assert.Fail($"{damage}"));
        var car = Create(log, "car");
        Append(log, car, 40, bytes: 500_000);
        var (writes, most, flushes) = (0, 0, 0);
        disk.Fault = (call, path) =>
        {
            if (!path.EndsWith(".segment", StringComparison.Ordinal)) return null;
            if (call == DiskCall.Write) most = Math.Max(most, ++writes);
            if (call == DiskCall.Flush) (writes, flushes) = (0, flushes + 1);
            return null;
        };
        log.Drain();

        // Records of this size are written one by one, and flushed when they are more than 2 MiB.
        Assert.That(most, Is.InRange(2, 6));
        Assert.That(flushes, Is.InRange(8, 9));
    }

    [Test]
    public void Open_AfterACleanStop_ReadsNoJournal()
    {
        var disk = new SimulatedDisk(1);
        using (var log = Open(disk))
        {
            Append(log, Create(log, "car"), 100);
            log.CloseCleanly();
        }

        var read = 0;
        disk.Fault = (call, path) =>
        {
            if (call == DiskCall.Read && path.StartsWith("journal", StringComparison.Ordinal)) read++;
            return null;
        };
        using var again = Open(disk);
        var files = disk.Paths.Count(path => path.StartsWith("journal", StringComparison.Ordinal));
        Assert.That(read, Is.EqualTo(files).And.GreaterThan(0), "one head each");
        Assert.That(again.Find(new("car", 0))!.High, Is.EqualTo(100));
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

    private Log Open(SimulatedDisk disk, EmbeddedBrokerOptions? options = null) => Log.Open(disk.Boot(), options ?? Options, _clock, damage => Assert.Fail($"{damage}"));

    /// <summary>Every look at it takes some time.</summary>
    private sealed class SlowClock(TimeSpan look) : TimeProvider
    {
        private long _ticks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _ticks += look.Ticks;
    }
}
