using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Google.Protobuf;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>What programs that share no code with us see of our records, and what we make of theirs: kcat, and Kafka's own tools.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
public sealed partial class KafkaToolTests : KafkaInteropFixture
{
    private const string Producer = "org.apache.kafka.tools.ConsoleProducer";
    private const string Consumer = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    private const string LogDirs = "org.apache.kafka.tools.LogDirsCommand";
    private const string DumpLog = "org.apache.kafka.tools.DumpLogSegments";

    [Test]
    public async Task WriteDataPacket_ReadByKcat_IsThePacketUnderItsKeyWithTimeAndNoHeaders()
    {
        var server = await StartedAsync();
        var sent = new[] { TextPacket("detail's", "packet-key"), TextPacket("packet's", "packet-key"), TextPacket("nobody's") };
        await server.WriteAsync(DataSource, "one", sent[0], Limit, "detail-key");
        await server.WriteAsync(DataSource, "one", sent[1], Limit);
        await server.WriteAsync(DataSource, "one", sent[2], Limit);

        var seen = await KafkaTools.ReadWithKcatAsync(Servers, $"{DataSource}.one");
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        var times = (await read.TakeAsync(3)).Select(response => response.SubmitTime.ToDateTimeOffset().ToUnixTimeMilliseconds());
        using (Assert.EnterMultipleScope())
        {
            Assert.That(seen.Select(record => record.Value), Is.EqualTo(sent.Select(packet => packet.ToByteArray())));
            Assert.That(seen.Select(record => record.Key), Is.EqualTo(new[] { "detail-key", "packet-key", "" }));
            Assert.That(seen.Select(record => (record.Partition, record.Offset)), Is.EqualTo(new[] { (0, 0L), (0, 1L), (0, 2L) }));
            Assert.That(seen.Select(record => record.Timestamp), Is.EqualTo(times));
            Assert.That(seen.Select(record => record.Headers), Is.All.Empty);
        }
    }

    [Test]
    public async Task EssentialAndFormat_ReadByKcat_StandTwiceAndInOrder()
    {
        var server = await StartedAsync();
        var id = await server.ParametersIdAsync(DataSource, Limit, "vCar", "nEngine");
        var packet = TextPacket("config", "run", "Configuration", essential: true);
        await server.WriteAsync(DataSource, "", packet, Limit);

        var (essentials, main) = (await KafkaTools.ReadWithKcatAsync(Servers, $"{DataSource}_essential"), await KafkaTools.ReadWithKcatAsync(Servers, DataSource));
        Assert.That(essentials.Select(record => record.Value), Is.EqualTo(main.Select(record => record.Value)), "the same bytes");
        foreach (var records in new[] { essentials, main })
        {
            Assert.That(records.Select(record => record.Key), Is.EqualTo(new[] { "", "run" }));
            var definition = Packet.Parser.ParseFrom(records[0].Value);
            Assert.That((definition.Type, definition.IsEssential), Is.EqualTo(("DataFormatDefinition", true)));
            Assert.That(DataFormatDefinitionPacket.Parser.ParseFrom(definition.Content).Identifier, Is.EqualTo(id));
            Assert.That(records[1].Value, Is.EqualTo(packet.ToByteArray()));
        }
    }

    [Test]
    public async Task Session_ReadByKcat_IsItsRecordsInOrder()
    {
        // A SessionInfo of its own, which nobody else may have made.
        var server = await StartedAsync(prefix: DataSource);
        var key = await server.CreateSessionAsync(DataSource, Limit);
        await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "Race" }, cancellationToken: Limit);
        await server.Sessions.EndSessionAsync(new() { SessionKey = key, DataSource = DataSource }, cancellationToken: Limit);

        var records = await KafkaTools.ReadWithKcatAsync(Servers, $"{DataSource}SessionInfo");
        Assert.That(records.Select(record => record.Key), Is.All.EqualTo(key));
        Assert.That(records.Select(record => Packet.Parser.ParseFrom(record.Value).Type), Is.EqualTo(new[] { "NewSession", "SessionInfo", "EndOfSession" }));
        Assert.That(records.Select(record => record.Timestamp), Is.Ordered);
    }

    [Test]
    public async Task PartitionBased_KeysOfKcat_StandWhereOursDo()
    {
        var server = await StartedAsync(StreamCreationStrategy.PartitionBased);
        await server.WriteTextAsync(DataSource, "two", "on two", Limit);
        Assert.That((await KafkaTools.ReadWithKcatAsync(Servers, DataSource)).Select(record => record.Partition), Is.EqualTo(new[] { 2 }));

        // By key, where kcat's librdkafka puts it.
        var topic = $"{DataSource}_essential";
        await server.Broker.EnsureTopicAsync(new TopicSpec(topic, 5), Limit);
        var lines = new StringBuilder();
        for (var i = 0; i < 20; i++)
        {
            await server.WriteAsync(DataSource, "two", TextPacket("x", $"key {i}", essential: true), Limit);
            lines.Append(CultureInfo.InvariantCulture, $"key {i}:x\n");
        }

        await KafkaTools.KcatAsync(Servers, Encoding.UTF8.GetBytes(lines.ToString()), "-P", "-t", topic, "-K", ":");
        var places = (await KafkaTools.ReadWithKcatAsync(Servers, topic)).ToLookup(record => record.Key, record => record.Partition);
        Assert.That(places, Has.Count.EqualTo(20));
        foreach (var place in places)
        {
            Assert.That(place.Count(), Is.EqualTo(2), place.Key);
            Assert.That(place.Distinct().Count(), Is.EqualTo(1), place.Key);
        }

        Assert.That(places.Select(place => place.First()).Distinct().Count(), Is.GreaterThan(1));
    }

    [Test]
    public async Task ReadPackets_RecordsOfKcat_AreDeliveredAndTombstonesSkipped()
    {
        var server = await StartedAsync();
        await server.WriteTextAsync(DataSource, "", "first", Limit, "run");
        using var live = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var ofSession = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource, SessionKey = "run" }, Limit);
        await KcatWritesAsync("with a key", "-k", "run");
        await KcatWritesAsync("without a key");
        await KafkaTools.KcatAsync(Servers, "run:\n"u8.ToArray(), "-P", "-t", DataSource, "-K", ":", "-Z");
        await KafkaTools.KcatAsync(Servers, "no packet"u8.ToArray(), "-P", "-t", DataSource);
        await KcatWritesAsync("compressed", "-k", "run", "-z", "lz4");
        await KcatWritesAsync("with headers", "-k", "run", "-H", "trace=1");
        await server.WriteTextAsync(DataSource, "", "ours", Limit, "run");

        string[] texts = ["first", "with a key", "without a key", "compressed", "with headers", "ours"];
        Assert.That(await live.TextsAsync(6), Is.EqualTo(texts));
        Assert.That(await ofSession.TextsAsync(5), Is.EqualTo(texts.Where(text => text != "without a key")));

        // What kcat itself says of what it wrote: that there was something to skip.
        var seen = await KafkaTools.ReadWithKcatAsync(Servers, DataSource);
        Assert.That(seen.Select(record => record.Key), Is.EqualTo(new[] { "run", "run", null, "run", null, "run", "run", "run" }));
        Assert.That(seen[3].Value, Is.Null);
        Assert.That(seen.Select(record => record.Headers), Is.EqualTo(new[] { "", "", "", "", "", "", "trace=1", "" }));
    }

    [Test]
    public async Task ConsoleTools_OfKafka_ReadOursAndAreReadByUs()
    {
        var server = await StartedAsync();
        await server.WriteAsync(DataSource, "one", TextPacket("ours", "run"), Limit);
        await server.WriteAsync(DataSource, "one", TextPacket("nobody's"), Limit);

        // Lines of text, so a packet without a type, whose tag is a line's end.
        var theirs = new Packet { SessionKey = "run", Content = ByteString.CopyFromUtf8("of the console") }.ToByteArray();
        await KafkaTools.OfKafkaAsync(
            Producer,
            [.. "run|"u8, .. theirs, .. "\n|"u8, .. theirs, .. "\nrun|NULL\n"u8],
            ["--bootstrap-server", Servers, "--topic", $"{DataSource}.one", "--reader-property", "parse.key=true", "--reader-property", "key.separator=|", "--reader-property", "null.marker=NULL"]);
        await server.WriteAsync(DataSource, "one", TextPacket("last", "run"), Limit);

        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        Assert.That(await read.TextsAsync(5), Is.EqualTo(new[] { "ours", "nobody's", "of the console", "of the console", "last" }));

        var shown = await KafkaTools.OfKafkaAsync(
            Consumer,
            [],
            [
                "--bootstrap-server", Servers, "--topic", $"{DataSource}.one", "--from-beginning", "--max-messages", "6", "--timeout-ms", "15000",
                .. new[] { "print.key=true", "print.partition=true", "print.offset=true", "print.headers=true", "print.value=true", "null.literal=NULL", "line.separator=~", "key.separator=|" }.SelectMany(property => new[] { "--formatter-property", property }),
            ]);
        var records = shown.Split('~')[..6].Select(record => record.Split('|')).ToArray();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(records.Select(record => record[0]), Is.All.EqualTo("Partition:0"));
            Assert.That(records.Select(record => record[1]), Is.EqualTo(Enumerable.Range(0, 6).Select(i => $"Offset:{i}")));
            Assert.That(records.Select(record => record[2]), Is.All.EqualTo("NO_HEADERS"));
            Assert.That(records.Select(record => record[3]), Is.EqualTo(new[] { "run", "", "run", "", "run", "run" }));
            Assert.That(records[0][4], Is.EqualTo(Encoding.UTF8.GetString(TextPacket("ours", "run").ToByteArray())));
            Assert.That(records[4][4], Is.EqualTo("NULL"));
        }
    }

    [Test]
    public async Task WriteDataPacket_InTheLogOfKafka_IsInBatchesOfZstd()
    {
        var server = await StartedAsync();
        var text = new string('x', 10_000);
        await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => server.WriteTextAsync(DataSource, "one", text, Limit)));

        var described = await KafkaTools.OfKafkaAsync(LogDirs, [], "--bootstrap-server", Servers, "--describe", "--topic-list", $"{DataSource}.one");
        var folders = JsonDocument.Parse(described.Split('\n').Single(line => line.StartsWith('{'))).RootElement.GetProperty("brokers").EnumerateArray()
            .SelectMany(broker => broker.GetProperty("logDirs").EnumerateArray()).Where(folder => folder.GetProperty("partitions").GetArrayLength() > 0).ToArray();
        foreach (var folder in folders)
            Assert.That(folder.GetProperty("partitions")[0].GetProperty("size").GetInt64(), Is.InRange(1, 50_000), "compressed");

        var log = Path.Combine(folders[0].GetProperty("logDir").GetString()!, $"{DataSource}.one-0", "00000000000000000000.log");
        if (!File.Exists(log)) Assert.Ignore("this Kafka's log is on another machine");
        var batches = Batch().Matches(await KafkaTools.OfKafkaAsync(DumpLog, [], "--files", log));
        Assert.That(batches.Select(batch => batch.Groups["codec"].Value), Is.Not.Empty.And.All.EqualTo("zstd"));
        Assert.That(batches.Sum(batch => int.Parse(batch.Groups["count"].Value, CultureInfo.InvariantCulture)), Is.EqualTo(50));
        Assert.That(batches.Select(batch => batch.Groups["id"].Value), Is.All.Not.EqualTo("-1"), "idempotent");
    }

    private async Task KcatWritesAsync(string text, params string[] options)
    {
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllBytesAsync(file, TextPacket(text).ToByteArray(), Limit);
            await KafkaTools.KcatAsync(Servers, [], ["-P", "-t", DataSource, .. options, file]);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [GeneratedRegex(@"^baseOffset: .* count: (?<count>\d+) .* producerId: (?<id>-?\d+) .* compresscodec: (?<codec>\w+)", RegexOptions.Multiline)]
    private static partial Regex Batch();
}
