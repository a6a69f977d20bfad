using System.Globalization;
using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>
/// Logs as released versions wrote them, in Fixtures: every later version opens them and reads what they hold. Those of version 1 were
/// made with
/// <code>dotnet test MA.Streaming.UnitTests -c Release --filter Name~GoldenFiles_WrittenAnew -- 'TestRunParameters.Parameter(name="GoldenFiles", value="DIRECTORY")'</code>
/// A new version adds its own and leaves the old ones alone.
/// </summary>
public sealed class GoldenFileTests
{
    private static readonly EmbeddedBrokerOptions Written = new()
    {
        Directory = "",
        GroupBytesMax = 4000,
        RecordBytesMax = 1000,
        JournalFileBytes = 16 << 10,
        SegmentBytesMax = 80_000,
        TailBytesMax = 0,
        DiskReserveBytes = 0,
    };

    private string _directory = "";

    [SetUp]
    public void SetUp() => _directory = Directory.CreateTempSubdirectory("stream-api-").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_directory, recursive: true);

    [TestCase("version-1-clean", 1, true)]
    [TestCase("version-1-unclean", 1, false)]
    public async Task GoldenFiles_OfEveryVersion_AreReadAndWrittenOn(string name, int version, bool isClean)
    {
        Copy(Path.Combine(TestContext.CurrentContext.TestDirectory, "Broker", "Embedded", "Fixtures", name), _directory);
        await AssertHoldsEverythingAsync(version, isClean);
    }

    [TestCase("version-1-clean", true)]
    [TestCase("version-1-unclean", false)]
    public async Task GoldenFiles_WrittenAnew_AreReadAndWrittenOn(string name, bool isClean)
    {
        Write(_directory, isClean);
        if (TestContext.Parameters.Get("GoldenFiles") is { } kept) Write(Path.Combine(kept, name), isClean);
        await AssertHoldsEverythingAsync(Meta.CurrentVersion, isClean);
    }

    private async Task AssertHoldsEverythingAsync(int version, bool isClean)
    {
        var inspection = await EmbeddedBroker.InspectAsync(_directory).WithDeadline();
        Assert.Multiple(() =>
        {
            Assert.That(inspection.FormatVersion, Is.EqualTo(version));
            Assert.That(inspection.Epoch, Is.EqualTo(2));
            Assert.That(inspection.IsSound, Is.True);
            Assert.That(inspection.Topics.Select(topic => (topic.Name, topic.KeepForever, topic.Partitions.Count)), Is.EqualTo(new[] { ("Car.1", false, 2), ("Kept", true, 1) }));
            Assert.That(inspection.UndrainedBytes, isClean ? Is.Zero : Is.GreaterThan(1000));
            Assert.That(inspection.Topics[0].Partitions[0].Segments, Is.EqualTo(isClean ? 2 : 1));
        });
        for (var start = 0; start < 2; start++)
        {
            await using var broker = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = _directory, DiskReserveBytes = 0 }).WithDeadline();
            Assert.That(broker.Info.Id, Is.EqualTo(inspection.LogId.ToString("D")));
            Assert.That(broker.Damages, Is.Zero);
            foreach (var records in Records().GroupBy(record => record.Source))
            {
                await using var reading = new BrokerReading(broker, records.Key, toHighWatermark: true);
                var found = (await reading.ToEndAsync()).SelectMany(batch => batch.Records).Select(record => (record.Timestamp, Show(record.Key), Show(record.Value))).ToList();
                Assert.That(found.Take(records.Count()), Is.EqualTo(records.Select(record => (record.Timestamp, Show(record.Key), Show(record.Value)))), $"{records.Key}");
                Assert.That(found, Has.Count.EqualTo(records.Count() + start));
                var last = records.Last();
                Assert.That(await broker.FindOffsetsAsync([records.Key], last.Timestamp, default), Is.EqualTo(new[] { records.Count() - 1L }));
                var appended = await broker.AppendAsync(records.Key, new RecordData(null, new byte[] { 1 }), default).WithDeadline();
                Assert.That(appended.Offset, Is.EqualTo(records.Count() + start));
            }
        }
    }

    /// <summary>A log that was opened twice, with segments, an index, a record of every shape; closed, or left with a part in the journal.</summary>
    private static void Write(string directory, bool isClean)
    {
        var options = Written with { Directory = directory };
        var clock = new ManualClock();
        using (var log = Log.Open(new OsLogFiles(directory), options, clock, _ => { }))
        {
            log.Commit([new Append(new TopicSpec("Car.1", 2)), new Append(new TopicSpec("Kept", 1, KeepForever: true))]);
            log.CloseCleanly();
        }

        using (var log = Log.Open(new OsLogFiles(directory), options, clock, _ => { }))
        {
            var left = Records().Count;
            foreach (var record in Records())
            {
                clock.Advance(record.Timestamp - clock.GetUtcNow());
                var append = new Append(log.Find(record.Source)!, new RecordData(Memory(record.Key), Memory(record.Value)));
                log.Commit([append]);
                Assert.That(append.Task.IsCompletedSuccessfully, Is.True);
                if (left-- % 30 == 0 && left > 10) log.Drain();
            }

            if (isClean) log.CloseCleanly();
        }

        File.Delete(Path.Combine(directory, "lock"));
    }

    /// <summary>More than a segment of one partition, and in the others null, empty and short keys and values.</summary>
    private static List<(TopicPartition Source, DateTimeOffset Timestamp, byte[]? Key, byte[]? Value)> Records()
    {
        var time = new ManualClock().GetUtcNow();
        var records = new List<(TopicPartition, DateTimeOffset, byte[]?, byte[]?)>();
        for (var i = 0; i < 100; i++)
        {
            var text = Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"record {i} {new string((char)('a' + (i % 26)), 900)}"));
            records.Add((new("Car.1", 0), time.AddMilliseconds(i), Encoding.UTF8.GetBytes($"key {i % 7}"), text));
            if (i % 10 != 3) continue;
            records.Add((new("Car.1", 1), time.AddMilliseconds(i), null, i == 3 ? null : text[..i]));
            records.Add((new("Kept", 0), time.AddMilliseconds(i), i == 13 ? [] : text[..5], i == 23 ? [] : text[^i..]));
        }

        return records;
    }

    private static ReadOnlyMemory<byte>? Memory(byte[]? bytes) => bytes is null ? default(ReadOnlyMemory<byte>?) : bytes;

    private static string Show(byte[]? bytes) => bytes is null ? "null" : Convert.ToHexString(bytes);

    private static void Copy(string from, string to)
    {
        foreach (var path in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            var copy = Path.Combine(to, Path.GetRelativePath(from, path));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(path, copy);
        }
    }
}
