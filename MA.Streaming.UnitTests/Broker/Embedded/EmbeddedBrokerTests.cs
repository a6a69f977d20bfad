using System.Diagnostics;
using System.Runtime.CompilerServices;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>What only a broker with a directory does: restart, ownership, a full and a failing disk, the death of its process.</summary>
public sealed class EmbeddedBrokerTests
{
    private const string KillDirectoryVariable = "STREAM_API_TEST_KILL_DIRECTORY";
    private const int Writers = 16;

    private string _directory = "";

    private static CancellationToken None => CancellationToken.None;

    [SetUp]
    public void SetUp() => _directory = Directory.CreateTempSubdirectory("stream-api-").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_directory, recursive: true);

    /// <summary>In the process that is to be killed, writing is all there is. A thread keeps it alive, because an initializer must not wait.</summary>
    [ModuleInitializer]
    internal static void WriteUntilKilled()
    {
        if (Environment.GetEnvironmentVariable(KillDirectoryVariable) is { } directory)
            new Thread(() => WriteUntilKilledAsync(directory).GetAwaiter().GetResult()) { Name = "writer to be killed" }.Start();
    }

    [Test]
    public async Task OpenAsync_DirectoryInUse_NamesItAndSaysWhatToDo()
    {
        await using var first = await OpenAsync();
        var exception = Assert.ThrowsAsync<BrokerException>(OpenAsync);
        Assert.That(exception!.Message, Does.Contain(_directory).And.Contain("one process owns a log").And.Contain("remote client"));
    }

    [Test]
    public void OpenAsync_DirectoryIsAFile_SaysSo()
    {
        var path = Path.Combine(_directory, "file");
        File.WriteAllText(path, "");
        AssertRefused(path, $"{path} is a file");
    }

    [Test]
    public void OpenAsync_DirectoryBelowAFile_SaysThatItCannotBeMade()
    {
        var path = Path.Combine(_directory, "file");
        File.WriteAllText(path, "");
        AssertRefused(Path.Combine(path, "log"), $"the directory {Path.Combine(path, "log")} does not exist and cannot be made");
    }

    [Test]
    [Platform("Linux")]
    public void OpenAsync_DirectoryThatNobodyMayWriteTo_SaysSo()
    {
        // Not even the superuser makes files there.
        AssertRefused("/proc/self/fd", "this process may not write to the directory /proc/self/fd");
        AssertRefused("/proc/stream-api", "the directory /proc/stream-api does not exist and cannot be made");
    }

    private static void AssertRefused(string directory, string message)
    {
        var exception = Assert.ThrowsAsync<BrokerException>(() => EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = directory }).WithDeadline());
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
            var exception = Assert.ThrowsAsync<BrokerException>(() => AppendAsync(broker, "refused"));
            Assert.That(exception!.Error, Is.EqualTo(BrokerError.Full));
        }

        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.False);
        disk.Fault = null;
        disk.FreeBytes = long.MaxValue;
        Assert.That((await AppendAsync(broker, "taken")).Offset, Is.Zero);
        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.True);
    }

    [Test]
    public async Task AppendAsync_JournalCannotBeFlushed_AcknowledgesNothingMoreAndReadsGoOn()
    {
        var disk = new SimulatedDisk(1) { HasThreads = true };
        var broker = await OpenAsync(disk);
        await broker.EnsureTopicAsync(new TopicSpec("car"), None).WithDeadline();
        await AppendAsync(broker, "before");
        disk.Fault = (call, path) => call is DiskCall.Flush && path.StartsWith("journal", StringComparison.Ordinal) ? new IOException("input/output error") : null;
        Assert.ThrowsAsync<BrokerException>(() => AppendAsync(broker, "unknown"));
        disk.Fault = null;

        var exception = Assert.ThrowsAsync<BrokerException>(() => AppendAsync(broker, "refused"));
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
        await Task.Run(async () =>
        {
            // A refused append starts the drain; it may be refused once more before that is done.
            while (true)
            {
                try
                {
                    await AppendAsync(broker, "resumed");
                    return;
                }
                catch (BrokerException)
                {
                    await Task.Yield();
                }
            }
        }).WithDeadline(20);
        await using var reading = new BrokerReading(broker, new TopicPartition("car", 0), toHighWatermark: true);
        var texts = (await reading.ToEndAsync()).SelectMany(batch => batch.Records).Select(r => r.Text);
        Assert.That(texts, Is.EqualTo(accepted.Append("resumed")));
    }

    [Test]
    public async Task OpenAsync_ProcessKilledUnderLoad_HasEverythingAcknowledgedOnce()
    {
        for (var round = 0; round < TestContext.Parameters.Get("Kills", 15); round++)
        {
            await KillUnderLoadAsync(300 + (round * 117));
            await using var broker = await EmbeddedBroker.OpenAsync(KillOptions(_directory));
            for (var writer = 0; writer < Writers; writer++)
            {
                var acknowledged = await AcknowledgedAsync(writer);
                await using var reading = new BrokerReading(broker, new TopicPartition("car", writer), toHighWatermark: true);
                var batches = await reading.ToEndAsync();
                Assert.That(batches.Select(batch => batch.Missing), Is.All.Null);
                var found = batches.SelectMany(batch => batch.Records).ToDictionary(r => r.Offset, r => BitConverter.ToInt64(r.Value));
                Assert.That(found.Values, Is.Unique, $"round {round}, writer {writer}");
                Assert.That(found.OrderBy(r => r.Key).Select(r => r.Value), Is.Ordered.Ascending, $"round {round}, writer {writer}");
                foreach (var (number, offset) in acknowledged)
                    Assert.That(found.GetValueOrDefault(offset, -1), Is.EqualTo(number), $"round {round}, writer {writer}, offset {offset}");
            }
        }
    }

    private static EmbeddedBrokerOptions KillOptions(string directory) => new()
    {
        Directory = Path.Combine(directory, "log"),
        JournalFileBytes = 1 << 20,
        GroupBytesMax = 64 << 10,
        RecordBytesMax = 64 << 10,
        UndrainedBytesMax = 64 << 10,
        TailBytesMax = 0,
        SegmentBytesMax = 100_000,
        DiskReserveBytes = 0,
    };

    private static async Task WriteUntilKilledAsync(string directory)
    {
        await using var broker = await EmbeddedBroker.OpenAsync(KillOptions(directory));
        await broker.EnsureTopicAsync(new TopicSpec("car", Writers), None);
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(async writer =>
        {
            using var acknowledged = File.OpenHandle(Path.Combine(directory, $"acknowledged-{writer}"), FileMode.OpenOrCreate, FileAccess.Write);
            var at = RandomAccess.GetLength(acknowledged) / 16 * 16;
            var source = new TopicPartition("car", writer);
            var value = new byte[8 + (writer * 40)];
            for (var number = (await broker.GetWatermarksAsync([source], None))[0].High; ; number++)
            {
                value = [.. value];
                BitConverter.TryWriteBytes(value, number);
                var appended = await broker.AppendAsync(source, new RecordData(null, value), None);
                RandomAccess.Write(acknowledged, [.. BitConverter.GetBytes(number), .. BitConverter.GetBytes(appended.Offset)], at);
                at += 16;
            }
        }));
    }

    private async Task KillUnderLoadAsync(int acknowledgements)
    {
        var before = Acknowledgements();
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["exec", typeof(EmbeddedBrokerTests).Assembly.Location])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment[KillDirectoryVariable] = _directory;
        using var process = Process.Start(start)!;
        try
        {
            var watch = Stopwatch.StartNew();
            while (Acknowledgements() < before + acknowledgements)
            {
                if (process.HasExited) Assert.Fail($"the writing process ended: {await process.StandardError.ReadToEndAsync().WithDeadline()}");
                if (watch.Elapsed > TimeSpan.FromSeconds(60)) Assert.Fail($"{Acknowledgements() - before} of {acknowledgements} records were acknowledged in a minute");
                await Task.Yield();
            }
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync().WithDeadline();
        }
    }

    private long Acknowledgements() => Directory.EnumerateFiles(_directory, "acknowledged-*").Sum(path => new FileInfo(path).Length / 16);

    private async Task<List<(long Number, long Offset)>> AcknowledgedAsync(int writer)
    {
        var bytes = await File.ReadAllBytesAsync(Path.Combine(_directory, $"acknowledged-{writer}"));
        return [.. Enumerable.Range(0, bytes.Length / 16).Select(i => (BitConverter.ToInt64(bytes, i * 16), BitConverter.ToInt64(bytes, (i * 16) + 8)))];
    }

    private static Task<EmbeddedBroker> OpenAsync(SimulatedDisk disk) => EmbeddedBroker.OpenAsync(
        new EmbeddedBrokerOptions
        {
            Directory = "simulated",
            GroupBytesMax = 2000,
            RecordBytesMax = 1000,
            JournalFileBytes = 8000,
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
