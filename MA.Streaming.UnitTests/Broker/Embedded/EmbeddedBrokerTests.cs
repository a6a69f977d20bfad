using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>What only a broker with a directory does: restart, ownership, a full and a failing disk.</summary>
public sealed class EmbeddedBrokerTests
{
    private string _directory = "";

    private static CancellationToken None => CancellationToken.None;

    [SetUp]
    public void SetUp() => _directory = Directory.CreateTempSubdirectory("stream-api-").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_directory, recursive: true);

    [Test]
    public async Task OpenAsync_DirectoryInUse_NamesItAndSaysWhatToDo()
    {
        await using var first = await OpenAsync();
        var exception = await Assert.ThrowsAsync<BrokerException>(OpenAsync);
        Assert.That(exception!.Message, Does.Contain(_directory).And.Contain("one process owns a log").And.Contain("remote client"));
    }

    [Test]
    public async Task OpenAsync_DirectoryIsAFile_SaysSo()
    {
        var path = Path.Combine(_directory, "file");
        File.WriteAllText(path, "");
        await AssertRefusedAsync(path, $"{path} is a file");
    }

    [Test]
    public async Task OpenAsync_DirectoryBelowAFile_SaysThatItCannotBeMade()
    {
        var path = Path.Combine(_directory, "file");
        File.WriteAllText(path, "");
        await AssertRefusedAsync(Path.Combine(path, "log"), $"the directory {Path.Combine(path, "log")} does not exist and cannot be made");
    }

    [Test]
    [Platform("Linux")]
    public async Task OpenAsync_DirectoryThatNobodyMayWriteTo_SaysSo()
    {
        // Not even the superuser makes files there.
        await AssertRefusedAsync("/proc/self/fd", "this process may not write to the directory /proc/self/fd");
        await AssertRefusedAsync("/proc/stream-api", "the directory /proc/stream-api does not exist and cannot be made");
    }

    [Test]
    [Platform("Linux")]
    public async Task Drain_TheSegmentWasRemovedByHand_IsMissedAndWhatComesGoesIntoANewOne()
    {
        var options = new EmbeddedBrokerOptions { Directory = _directory, DiskReserveBytes = 0 };
        var source = new TopicPartition("car", 0);
        await using (var broker = await EmbeddedBroker.OpenAsync(options).WithDeadline())
        {
            await broker.EnsureTopicAsync(new TopicSpec("car"), None).WithDeadline();
            await AppendAsync("first");
            await AppendAsync("second");
            Assert.That(Segments(), Has.Length.EqualTo(1), "the second went where the first is");
            File.Delete(Segments().Single());
            await AppendAsync("third");
            Assert.That(Segments().Select(Path.GetFileName), Is.EqualTo(new[] { "0-00000000000000000002.segment" }));

            async Task AppendAsync(string text)
            {
                await broker.AppendAsync(source, new RecordData(default(ReadOnlyMemory<byte>?), System.Text.Encoding.UTF8.GetBytes(text)), None).WithDeadline();
                await broker.DrainAsync().WithDeadline();
            }
        }

        await using var again = await EmbeddedBroker.OpenAsync(options).WithDeadline();
        await using var reading = new BrokerReading(again, source, toHighWatermark: true);
        var batches = await reading.ToEndAsync();
        Assert.That(batches.SelectMany(batch => batch.Records).Select(record => record.Text), Is.EqualTo(new[] { "third" }));
        Assert.That(batches.Select(batch => batch.Missing).OfType<MissingRange>().Single(), Is.EqualTo(new MissingRange(0, 2, MissingReason.Damage)));

        string[] Segments() => Directory.GetFiles(Path.Combine(_directory, "topics"), "*.segment", SearchOption.AllDirectories);
    }

    private static async Task AssertRefusedAsync(string directory, string message)
    {
        var exception = await Assert.ThrowsAsync<BrokerException>(() => EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = directory }).WithDeadline());
        Assert.That(exception!.Message, Does.Contain(message));
        Assert.That(exception.Error, Is.EqualTo(BrokerError.Unavailable));
    }

    [Test]
    public async Task OpenAsync_Again_HasTheSameIdAndEveryRecord()
    {
        var first = await OpenAsync();
        await first.EnsureTopicAsync(new TopicSpec("Car", 2, KeepForever: true), None).WithDeadline();
        await first.AppendAsync(new("Car", 1), new RecordData("k"u8.ToArray(), null), None).WithDeadline();
        await first.DisposeAsync().WithDeadline();

        await using var again = await OpenAsync();
        await using var reading = new BrokerReading(again, new TopicPartition("Car", 1), toHighWatermark: true);
        var record = (await reading.ToEndAsync()).SelectMany(batch => batch.Records).Single();
        Assert.Multiple(() =>
        {
            Assert.That(again.Info.Id, Is.EqualTo(first.Info.Id));
            Assert.That(record.Key, Is.EqualTo("k"u8.ToArray()));
            Assert.That(record.Value, Is.Null);
            Assert.That(again.Damages, Is.Zero);
        });
    }

    [Test]
    public async Task AppendAsync_DiskFull_IsRefusedUntilThereIsRoom()
    {
        var disk = new SimulatedDisk(1) { HasThreads = true };
        await using var broker = await OpenAsync(disk);
        await broker.EnsureTopicAsync(new TopicSpec("car"), None).WithDeadline();
        disk.Fault = (call, _) => call is DiskCall.Write ? new DiskFullException("no room") : null;
        disk.FreeBytes = 0;
        for (var i = 0; i < 3; i++)
        {
            var exception = await Assert.ThrowsAsync<BrokerException>(() => AppendAsync(broker, "refused"));
            Assert.That(exception!.Error, Is.EqualTo(BrokerError.Full));
        }

        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.False);
        disk.Fault = null;
        disk.FreeBytes = long.MaxValue;
        Assert.That((await AppendAsync(broker, "taken")).Offset, Is.Zero);
        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.True);
    }

    [Test]
    public async Task AppendAsync_JournalCannotBeFlushedAndIsNotHealed_AcknowledgesNothingMoreAndReadsGoOn()
    {
        var disk = new SimulatedDisk(1) { HasThreads = true };
        var broker = await OpenAsync(disk, heals: false);
        await broker.EnsureTopicAsync(new TopicSpec("car"), None).WithDeadline();
        await AppendAsync(broker, "before");
        disk.Fault = (call, path) => call is DiskCall.Flush && path.StartsWith("journal", StringComparison.Ordinal) ? new IOException("input/output error") : null;
        await Assert.ThrowsAsync<BrokerException>(() => AppendAsync(broker, "unknown"));
        disk.Fault = null;

        var exception = await Assert.ThrowsAsync<BrokerException>(() => AppendAsync(broker, "refused"));
        Assert.That(exception!.Error, Is.EqualTo(BrokerError.Unavailable));
        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.False);
        await using (var reading = new BrokerReading(broker, new TopicPartition("car", 0), toHighWatermark: true))
            Assert.That((await reading.ToEndAsync()).SelectMany(batch => batch.Records).Select(r => r.Text), Is.EqualTo(new[] { "before" }));
        await broker.DisposeAsync().WithDeadline();

        await using var again = await OpenAsync(disk);
        Assert.That((await AppendAsync(again, "after")).Offset, Is.GreaterThanOrEqualTo(1));
    }

    [Test]
    public async Task AppendAsync_SegmentsCannotBeWritten_WaitsThenRefusesAndResumes()
    {
        var disk = new SimulatedDisk(1) { HasThreads = true };
        await using var broker = await OpenAsync(disk);
        await broker.EnsureTopicAsync(new TopicSpec("car"), None).WithDeadline();
        disk.Fault = (_, path) => path.EndsWith(".segment", StringComparison.Ordinal) ? new DiskFullException("no room") : null;
        var accepted = new List<string>();
        BrokerException? refusal = null;
        for (var i = 0; i < 1000 && refusal is null; i++)
        {
            try
            {
                await AppendAsync(broker, $"{i}");
                accepted.Add($"{i}");
            }
            catch (BrokerException exception)
            {
                refusal = exception;
            }
        }

        Assert.That(refusal?.Error, Is.EqualTo(BrokerError.Full));
        disk.Fault = null;

        // A refused append starts the drain; it may be refused once more before that is done.
        await Until.SucceedsAsync<BrokerException>(() => AppendAsync(broker, "resumed"), _ => true, seconds: 20);
        await using var reading = new BrokerReading(broker, new TopicPartition("car", 0), toHighWatermark: true);
        var texts = (await reading.ToEndAsync()).SelectMany(batch => batch.Records).Select(r => r.Text);
        Assert.That(texts, Is.EqualTo(accepted.Append("resumed")));
    }

    private static Task<EmbeddedBroker> OpenAsync(SimulatedDisk disk, bool heals = true) => EmbeddedBroker.OpenAsync(
        new EmbeddedBrokerOptions
        {
            Directory = "simulated",
            GroupBytesMax = 2000,
            RecordBytesMax = 1000,
            JournalFileBytes = 8000,
            HealAfterFault = heals,
            UndrainedBytesMax = 2000,
            TailBytesMax = 0,
            DiskReserveBytes = 1,
        },
        disk.Boot);

    private static async Task<Appended> AppendAsync(EmbeddedBroker broker, string text) =>
        await broker.AppendAsync(new("car", 0), new RecordData(null, System.Text.Encoding.UTF8.GetBytes(text)), None).WithDeadline();

    private async Task<EmbeddedBroker> OpenAsync() =>
        await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = _directory, DiskReserveBytes = 0 }).WithDeadline();
}
