using System.Diagnostics;
using System.Globalization;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>Ten thousand topics, and sixty-four readers far behind: what they cost does not grow with them.</summary>
[Timing]
public sealed class ScaleTests
{
    private string _directory = "";

    private static CancellationToken None => CancellationToken.None;

    [SetUp]
    public void SetUp() => _directory = Directory.CreateTempSubdirectory("stream-api-").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_directory, recursive: true);

    [Test]
    public async Task TenThousandTopics_OpenFastWithFewFilesAndLittleMemory()
    {
        const int topics = 10_000;
        MoveToMemory();
        var options = new EmbeddedBrokerOptions { Directory = _directory, DiskReserveBytes = 0, TailBytesMax = 1 << 20 };
        var most = 0;
        var watch = Stopwatch.StartNew();
        await using (var broker = await EmbeddedBroker.OpenAsync(options).WithDeadline())
        {
            await Task.WhenAll(Enumerable.Range(0, topics).Select(i => broker.EnsureTopicAsync(new TopicSpec(Name(i)), None).AsTask())).WithDeadline(60);
            await Task.WhenAll(Enumerable.Range(0, topics).Select(i => AppendAsync(broker, i))).WithDeadline(60);
            await Until.DoneAsync(
                Task.Run(broker.DrainAsync),
                () =>
                {
                    most = Math.Max(most, OpenFiles());
                    return Task.CompletedTask;
                },
                seconds: 60);
        }

        TestContext.Out.WriteLine($"made and closed in {watch.ElapsedMilliseconds} ms");
        watch.Restart();
        var before = GC.GetTotalMemory(forceFullCollection: true);
        await using (var broker = await EmbeddedBroker.OpenAsync(options).WithDeadline())
        {
            var opened = watch.Elapsed;
            var memory = GC.GetTotalMemory(forceFullCollection: true) - before;
            TestContext.Out.WriteLine($"opened in {opened.TotalMilliseconds:F0} ms; {memory} bytes, {OpenFiles()} files, {most} while it drained");
            Assert.Multiple(() =>
            {
                Assert.That(opened, Is.LessThan(TimeSpan.FromSeconds(1)));
                Assert.That(memory, Is.LessThan(64 << 20));
                Assert.That(OpenFiles(), Is.LessThan(20));
                Assert.That(most, Is.LessThan(600), "while it drained");
            });
            foreach (var topic in new[] { 0, 4321, topics - 1 })
            {
                await using var reading = new BrokerReading(broker, new TopicPartition(Name(topic), 0), toHighWatermark: true);
                Assert.That((await reading.ToEndAsync()).Sum(batch => batch.Records.Count), Is.EqualTo(1));
            }

            await Task.WhenAll(Enumerable.Range(0, 1000).Select(i => AppendAsync(broker, i * 10))).WithDeadline(60);
            Assert.That(OpenFiles(), Is.LessThan(20));
        }
    }

    [Test]
    public async Task SixtyFourReadersBehind_WriterGoesOnAsBefore()
    {
        const int readers = 64, written = 20_000;
        var options = new EmbeddedBrokerOptions { Directory = _directory, DiskReserveBytes = 0, TailBytesMax = 0, UndrainedBytesMax = 4 << 20, SegmentBytesMax = 4 << 20 };
        await using var broker = await EmbeddedBroker.OpenAsync(options).WithDeadline();
        await broker.EnsureTopicAsync(new TopicSpec("car"), None).WithDeadline();
        var source = new TopicPartition("car", 0);
        for (var i = 0; i < written; i += 1000)
            await Task.WhenAll(Enumerable.Range(0, 1000).Select(_ => broker.AppendAsync(source, new RecordData(null, new byte[1000]), None).AsTask())).WithDeadline(60);
        await broker.DrainAsync().WithDeadline(30);

        var (alone, beside) = (new List<double>(), new List<double>());
        var read = new long[readers];
        for (var round = 0; round < 3; round++)
        {
            await AppendAsync(alone);
            using var stop = new CancellationTokenSource();
            var reads = Enumerable.Range(0, readers).Select(reader => Task.Run(() => ReadAsync(reader, stop.Token))).ToArray();
            await AppendAsync(beside);
            await stop.CancelAsync();
            await Task.WhenAll(reads).WithDeadline();
        }

        var (without, with) = (Median(alone), Median(beside));
        TestContext.Out.WriteLine($"an append takes {without:F3} ms, beside {readers} readers {with:F3} ms; they read {read.Sum()} records");
        Assert.That(read, Has.All.GreaterThan(0));
        Assert.That(with, Is.LessThan((3 * without) + 1));

        async Task AppendAsync(List<double> times)
        {
            for (var i = 0; i < 150; i++)
            {
                var start = Stopwatch.GetTimestamp();
                await broker.AppendAsync(source, new RecordData(null, new byte[1000]), None).WithDeadline();
                times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            }
        }

        // Each at a place of its own, with a pause after each batch as a consumer has it, over and over.
        async Task ReadAsync(int reader, CancellationToken stopped)
        {
            try
            {
                while (true)
                {
                    var from = new Position(source, reader * (long)written / readers);
                    await foreach (var batch in broker.ReadAsync(new ReadRequest([from], 16 << 10, true), stopped))
                    {
                        read[reader] += batch.Records.Count;
                        await Task.Delay(10, stopped);
                    }
                }
            }
            catch (OperationCanceledException)
            {
                // Enough.
            }
        }
    }

    /// <summary>Twenty thousand small files take a disk long to make and to remove, which is not what is asked here.</summary>
    private void MoveToMemory()
    {
        const string memory = "/dev/shm";
        if (!Directory.Exists(memory) || new DriveInfo(memory).AvailableFreeSpace < 512 << 20) return;
        Directory.Delete(_directory);
        _directory = Directory.CreateDirectory(Path.Combine(memory, Path.GetFileName(_directory))).FullName;
    }

    private static double Median(List<double> times) => times.Order().ElementAt(times.Count / 2);

    private static string Name(int topic) => string.Create(CultureInfo.InvariantCulture, $"topic-{topic:D5}");

    private static async Task<Appended> AppendAsync(EmbeddedBroker broker, int topic) =>
        await broker.AppendAsync(new(Name(topic), 0), new RecordData(null, new byte[100]), None);

    /// <summary>How many files of the log this process has open; where the system does not say, none.</summary>
    private int OpenFiles() => !Directory.Exists("/proc/self/fd") ? 0
        : Directory.EnumerateFileSystemEntries("/proc/self/fd").Count(file => new FileInfo(file).LinkTarget?.StartsWith(_directory, StringComparison.Ordinal) ?? false);
}
