using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class LogGuide
{
    [Test]
    public async Task Run()
    {
        var folder = Directory.CreateTempSubdirectory("stream-api-guide-");
        try
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            Assert.That(await AppendAsync(folder.FullName, limit.Token), Is.Zero);
            Assert.That(await AppendAsync(folder.FullName, limit.Token), Is.EqualTo(1));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    // <guide>
    // Returns the offset of the record, when the record is on the disk.
    private static async Task<long> AppendAsync(string folder, CancellationToken token)
    {
        await using var log = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = folder });
        await log.EnsureTopicAsync(new TopicSpec("Car44", 1), token);
        var appended = await log.AppendAsync(new TopicPartition("Car44", 0), new RecordData(null, Encoding.UTF8.GetBytes("Pit exit")), token);
        return appended.Offset;
    }
    // </guide>
}
