using System.Security.Cryptography;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>Looking at a log that others own, or nobody: nothing is changed, nothing is locked.</summary>
public sealed class InspectionTests
{
    private string _directory = "";

    private string Log => Path.Combine(_directory, "log");

    [SetUp]
    public void SetUp() => _directory = Directory.CreateTempSubdirectory("stream-api-").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_directory, recursive: true);

    [Test]
    public async Task InspectAsync_AnotherProcessWrites_SeesItsTopicsAndKeepsNothingFromIt()
    {
        using var process = WritingProcess.Start(Log);
        await process.ReachAsync(500);
        var high = 0L;
        for (var look = 0; look < 20; look++)
        {
            var inspection = await EmbeddedBroker.InspectAsync(Log).WithDeadline();
            Assert.That(inspection.IsSound, Is.True, string.Join('\n', inspection.Damages));
            var car = inspection.Topics.Single();
            Assert.That((car.Name, car.Partitions.Count), Is.EqualTo(("car", WritingProcess.Writers)));
            var sum = car.Partitions.Sum(partition => partition.Marks.High);
            Assert.That(sum, Is.GreaterThanOrEqualTo(high));
            high = sum;
        }

        Assert.That(high, Is.GreaterThanOrEqualTo(500));
        await process.ReachAsync(1000 + (int)high);
        var acknowledged = await process.KillAsync();

        // After the kill the journal holds what no segment has; looking changes no byte of it.
        var before = Fingerprint();
        var last = await EmbeddedBroker.InspectAsync(Log).WithDeadline();
        Assert.That(Fingerprint(), Is.EqualTo(before));
        Assert.That(last.Topics.Single().Partitions.Sum(partition => partition.Marks.High), Is.GreaterThanOrEqualTo(acknowledged.Count));
        Assert.That(last.UndrainedBytes, Is.GreaterThan(0));
        Assert.That(last.Epoch, Is.EqualTo(1));
    }

    [Test]
    public async Task InspectAsync_ThisProcessOwnsIt_AgreesWithTheBroker()
    {
        await using var broker = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = Log, DiskReserveBytes = 0, SegmentBytesMax = 4000 });
        await broker.EnsureTopicAsync(new TopicSpec("car", 2, KeepForever: true), default);
        for (var i = 0; i < 100; i++) await broker.AppendAsync(new("car", i % 2), new RecordData(null, new byte[100]), default).WithDeadline();
        await broker.DrainAsync().WithDeadline();
        for (var i = 0; i < 10; i++) await broker.AppendAsync(new("car", 0), new RecordData(null, new byte[100]), default).WithDeadline();

        var before = Fingerprint();
        var inspection = await EmbeddedBroker.InspectAsync(Log).WithDeadline();
        Assert.That(Fingerprint(), Is.EqualTo(before));
        var car = inspection.Topics.Single();
        Assert.Multiple(() =>
        {
            Assert.That(inspection.LogId.ToString("D"), Is.EqualTo(broker.Info.Id));
            Assert.That(inspection.IsSound, Is.True);
            Assert.That(car.KeepForever, Is.True);
            Assert.That(car.Partitions.Select(partition => (partition.Marks.Low, partition.Marks.High)), Is.EqualTo(new[] { (0L, 60L), (0L, 50L) }));
            Assert.That(inspection.UndrainedBytes, Is.GreaterThanOrEqualTo(10 * RecordFormat.SizeOf(100)));
        });
    }

    [Test]
    public async Task InspectAsync_Closed_CountsSegmentsAndFindsNothingUndrained()
    {
        await using (var broker = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = Log, DiskReserveBytes = 0, SegmentBytesMax = 4000 }))
        {
            await broker.EnsureTopicAsync(new TopicSpec("car"), default);
            for (var i = 0; i < 100; i++) await broker.AppendAsync(new("car", 0), new RecordData(null, new byte[100]), default).WithDeadline();
        }

        var inspection = await EmbeddedBroker.InspectAsync(Log).WithDeadline();
        var partition = inspection.Topics.Single().Partitions.Single();
        var files = Directory.GetFiles(Path.Combine(Log, "topics"), "*.segment", SearchOption.AllDirectories);
        Assert.Multiple(() =>
        {
            Assert.That(inspection.UndrainedBytes, Is.Zero);
            Assert.That(partition.Segments, Is.EqualTo(files.Length).And.GreaterThan(3));
            Assert.That(partition.SegmentBytes, Is.EqualTo(files.Sum(file => new FileInfo(file).Length)));
        });
    }

    [Test]
    public async Task InspectAsync_NoLog_SaysSo()
    {
        Assert.That((await Assert.ThrowsAsync<BrokerException>(() => EmbeddedBroker.InspectAsync(Log)))!.Message, Does.Contain($"there is no log in {Log}"));
        Assert.That(Directory.Exists(Log), Is.False);
    }

    /// <summary>Names, times and contents of all files.</summary>
    private List<string> Fingerprint() =>
        [.. Directory.EnumerateFiles(Log, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
            .Select(path => $"{path} {File.GetLastWriteTimeUtc(path):O} {Convert.ToHexString(Hash(path))}")];

    private static byte[] Hash(string path)
    {
        if (Path.GetFileName(path) == "lock") return [];
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        return SHA256.HashData(file);
    }
}
