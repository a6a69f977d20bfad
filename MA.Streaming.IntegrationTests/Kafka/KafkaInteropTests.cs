using System.Text;
using Confluent.Kafka;
using Confluent.Kafka.Admin;
using Google.Protobuf;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;
using TopicPartition = Confluent.Kafka.TopicPartition;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>What other clients of one Kafka see of our records, and what we make of theirs. They use Confluent.Kafka as it is.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
public sealed class KafkaInteropTests : KafkaInteropFixture
{
    private IProducer<byte[]?, byte[]?> _producer = null!;

    [OneTimeSetUp]
    public void Connect() =>
        _producer = new ProducerBuilder<byte[]?, byte[]?>(new ProducerConfig { BootstrapServers = Servers, CompressionType = CompressionType.Gzip }).Build();

    [OneTimeTearDown]
    public void Disconnect() => _producer?.Dispose();

    [Test]
    public async Task WriteDataPacket_SeenByOthers_IsThePacketUnderItsSessionKeyWithoutHeaders()
    {
        var server = await StartedAsync();
        var sent = new[] { TextPacket("detail's", "packet-key"), TextPacket("packet's", "packet-key"), TextPacket("nobody's") };

        // A field that this version does not know.
        sent[1].MergeFrom(new byte[] { 0xFA, 0x3E, 0x01, 0x78 });
        await server.WriteAsync(DataSource, "one", sent[0], Limit, "detail-key");
        await server.WriteAsync(DataSource, "one", sent[1], Limit);
        await server.WriteAsync(DataSource, "one", sent[2], Limit);

        var seen = Seen($"{DataSource}.one");
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        var times = (await read.TakeAsync(3)).Select(response => response.SubmitTime.ToDateTime());
        using (Assert.EnterMultipleScope())
        {
            Assert.That(seen.Select(record => record.Message.Value), Is.EqualTo(sent.Select(packet => packet.ToByteArray())));
            Assert.That(seen.Select(record => KeyOf(record)), Is.EqualTo(new[] { "detail-key", "packet-key", "" }));
            Assert.That(seen.Select(record => record.Message.Headers?.Count ?? 0), Is.All.Zero);
            Assert.That(seen.Select(record => record.Partition.Value), Is.All.Zero);
            Assert.That(seen.Select(record => record.Message.Timestamp.UtcDateTime), Is.EqualTo(times));
        }
    }

    [Test]
    public async Task WriteDataPacket_Essential_StandsTwiceAndIsKeptForEver()
    {
        var server = await StartedAsync();
        var packet = TextPacket("config", "run", "Configuration", essential: true);
        await server.WriteAsync(DataSource, "one", packet, Limit);

        foreach (var topic in new[] { $"{DataSource}_essential", $"{DataSource}.one" })
        {
            var record = Seen(topic).Single();
            Assert.That(record.Message.Value, Is.EqualTo(packet.ToByteArray()), topic);
            Assert.That(KeyOf(record), Is.EqualTo("run"), topic);
        }

        Assert.That(await SettingsAsync($"{DataSource}_essential"), Is.EqualTo(("-1", "delete")));
        Assert.That(await SettingsAsync($"{DataSource}.one"), Is.Not.EqualTo(("-1", "delete")));
    }

    [Test]
    public async Task Session_SeenByOthers_IsItsRecordsInOrder()
    {
        // A SessionInfo of its own, which nobody else may have made.
        var server = await StartedAsync(prefix: DataSource);
        await server.WriteTextAsync(DataSource, "one", "before", Limit);
        var key = await server.CreateSessionAsync(DataSource, Limit);
        await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "Race" }, cancellationToken: Limit);
        await server.Sessions.EndSessionAsync(new() { SessionKey = key, DataSource = DataSource }, cancellationToken: Limit);

        var records = Seen($"{DataSource}SessionInfo");
        Assert.That(records.Select(record => KeyOf(record)), Is.All.EqualTo(key));
        var packets = records.Select(record => Packet.Parser.ParseFrom(record.Message.Value)).ToArray();
        Assert.That(packets.Select(packet => packet.Type), Is.EqualTo(new[] { "NewSession", "SessionInfo", "EndOfSession" }));
        var start = NewSessionPacket.Parser.ParseFrom(packets[0].Content);
        var end = EndOfSessionPacket.Parser.ParseFrom(packets[2].Content);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(packets.Select(packet => packet.SessionKey), Is.All.EqualTo(key));
            Assert.That(packets.Select(packet => packet.IsEssential), Is.All.False);
            Assert.That(start.DataSource, Is.EqualTo(DataSource));
            Assert.That(start.TopicPartitionOffsets[$"{DataSource}.one:0"], Is.EqualTo(1));
            Assert.That(
                SessionInfoPacket.Parser.ParseFrom(packets[1].Content), Is.EqualTo(new SessionInfoPacket { DataSource = DataSource, Identifier = "Race" }), "only what changed");
            Assert.That(end.TopicPartitionOffsets[$"{DataSource}.one:0"], Is.EqualTo(1));
            Assert.That(await SettingsAsync($"{DataSource}SessionInfo"), Is.EqualTo(("-1", "delete")));
        }
    }

    [Test]
    public async Task DataFormat_SeenByOthers_IsAnEssentialPacketWithAnEmptyKey()
    {
        var server = await StartedAsync();
        var id = await server.ParametersIdAsync(DataSource, Limit, "vCar", "nEngine");

        foreach (var topic in new[] { $"{DataSource}_essential", DataSource })
        {
            var record = Seen(topic).Single();
            var packet = Packet.Parser.ParseFrom(record.Message.Value);
            var definition = DataFormatDefinitionPacket.Parser.ParseFrom(packet.Content);
            Assert.That((KeyOf(record), packet.Type, packet.IsEssential), Is.EqualTo(("", "DataFormatDefinition", true)), topic);
            Assert.That((definition.Identifier, definition.Type), Is.EqualTo((id, DataFormatType.Parameter)), topic);
            Assert.That(definition.ParameterIdentifiers.ParameterIdentifiers, Is.EqualTo(new[] { "vCar", "nEngine" }), topic);
        }
    }

    [Test]
    public async Task PartitionBased_StreamsAndKeys_StandWhereOthersPutThem()
    {
        using (var admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = Servers }).Build())
            await admin.CreateTopicsAsync([new TopicSpecification { Name = $"{DataSource}_essential", NumPartitions = 5, ReplicationFactor = 1 }]).WaitAsync(Limit);
        var server = await StartedAsync(StreamCreationStrategy.PartitionBased);
        await server.WriteTextAsync(DataSource, "two", "on two", Limit);
        Assert.That(Seen(DataSource).Select(record => record.Partition.Value), Is.EqualTo(new[] { 2 }));
        Assert.That(Partitions(DataSource), Is.EqualTo(3));

        // By key as the default of librdkafka does it.
        for (var i = 0; i < 20; i++)
        {
            await server.WriteAsync(DataSource, "two", TextPacket("x", $"key {i}", essential: true), Limit);
            await ProduceAsync($"{DataSource}_essential", $"key {i}", TextPacket("x", $"key {i}", essential: true).ToByteArray());
        }

        var places = Seen($"{DataSource}_essential").GroupBy(record => KeyOf(record)).ToArray();
        Assert.That(places, Has.Length.EqualTo(20));
        foreach (var place in places) Assert.That(place.Select(record => record.Partition.Value).Distinct().Count(), Is.EqualTo(1), place.Key);
        Assert.That(places.Select(place => place.First().Partition.Value).Distinct().Count(), Is.GreaterThan(1));
        Assert.That(await server.EssentialsNowAsync(new() { DataSource = DataSource }, Limit), Has.Count.EqualTo(40));
    }

    [Test]
    public async Task ReadPackets_RecordsOfOthers_AreDeliveredAndWhatIsNoPacketIsSkipped()
    {
        var server = await StartedAsync();
        using var live = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var ofSession = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource, SessionKey = "run" }, Limit);
        await ProduceAsync(DataSource, "run", TextPacket("with a key").ToByteArray());
        await ProduceAsync(DataSource, null, TextPacket("without a key", "run").ToByteArray());
        await ProduceAsync(DataSource, "run", null);
        await ProduceAsync(DataSource, null, [0xFF, 0xFF, 0xFF]);
        await ProduceAsync(DataSource, "run", TextPacket("with headers").ToByteArray(), new Headers { { "trace", [1, 2, 3] } });
        await server.WriteTextAsync(DataSource, "", "ours", Limit, "run");

        var texts = new[] { "with a key", "without a key", "with headers", "ours" };
        Assert.That(await live.TextsAsync(4), Is.EqualTo(texts));
        Assert.That(await ofSession.TextsAsync(3), Is.EqualTo(texts.Where(text => text != "without a key")));
        using var later = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        Assert.That(await later.TextsAsync(4), Is.EqualTo(texts));
    }

    [Test]
    public async Task Read_TransactionsOfOthers_BringsTheCommittedOnesAndEndsAtTheWatermark()
    {
        var server = await StartedAsync();
        await server.Broker.EnsureTopicAsync(new TopicSpec($"{DataSource}_essential"), Limit);
        using var live = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using (var producer = new ProducerBuilder<byte[]?, byte[]?>(new ProducerConfig { BootstrapServers = Servers, TransactionalId = DataSource }).Build())
        {
            producer.InitTransactions(AnswerTime);
            foreach (var (text, isKept) in new[] { ("a", true), ("lost", false), ("b", true) })
            {
                producer.BeginTransaction();
                foreach (var topic in new[] { DataSource, $"{DataSource}_essential" })
                {
                    for (var i = 0; i < 10; i++)
                        producer.Produce(new TopicPartition(topic, 0), new Message<byte[]?, byte[]?> { Key = [], Value = TextPacket($"{text}{i}").ToByteArray() });
                }

                if (isKept) producer.CommitTransaction(AnswerTime);
                else producer.AbortTransaction(AnswerTime);
            }
        }

        var texts = new[] { "a", "b" }.SelectMany(text => Enumerable.Range(0, 10).Select(i => $"{text}{i}")).ToArray();
        Assert.That(await live.TextsAsync(20), Is.EqualTo(texts));

        // The last record of the log is the mark of the last commit, which nobody is given.
        var essentials = await server.EssentialsNowAsync(new() { DataSource = DataSource }, Limit);
        Assert.That(essentials.Select(response => response.Packet.Content.ToStringUtf8()), Is.EqualTo(texts));
        await server.WriteTextAsync(DataSource, "", "ours", Limit);
        Assert.That(await live.TextsAsync(1), Is.EqualTo(new[] { "ours" }));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task Read_OpenTransactionOfAnother_WaitsForItsEndAndLosesNothing(bool isCommitted)
    {
        var server = await StartedAsync();
        await server.Broker.EnsureTopicAsync(new TopicSpec($"{DataSource}_essential"), Limit);
        using var live = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        var packet = TextPacket("before", essential: true);
        await server.WriteAsync(DataSource, "", packet, Limit);
        Assert.That(await live.TextsAsync(1), Is.EqualTo(new[] { "before" }));

        using var producer = new ProducerBuilder<byte[]?, byte[]?>(new ProducerConfig { BootstrapServers = Servers, TransactionalId = DataSource }).Build();
        producer.InitTransactions(AnswerTime);
        producer.BeginTransaction();
        foreach (var topic in new[] { DataSource, $"{DataSource}_essential" })
        {
            for (var i = 0; i < 10; i++)
                producer.Produce(new TopicPartition(topic, 0), new Message<byte[]?, byte[]?> { Key = [], Value = TextPacket($"theirs{i}").ToByteArray() });
        }

        Assert.That(producer.Flush(AnswerTime), Is.Zero);

        // A write is acknowledged behind it, and is not to be seen before it ends.
        await server.WriteAsync(DataSource, "", TextPacket("ours", essential: true), Limit);
        var marks = await server.Broker.GetWatermarksAsync([new(DataSource, 0), new($"{DataSource}_essential", 0)], Limit);
        Assert.That(marks.Select(mark => mark.High), Is.EqualTo(new[] { 1L, 1L }));
        var next = live.NextAsync();

        // What is bounded ends before it, and does not wait for it.
        Assert.That((await server.EssentialsNowAsync(new() { DataSource = DataSource }, Limit)).Select(TextOf), Is.EqualTo(new[] { "before" }));
        await Until.TrueAsync(
            async () => (await server.Broker.CheckAsync(Limit)).Detail is { } detail
                && detail.Contains(DataSource, StringComparison.Ordinal) && detail.Contains("open transaction", StringComparison.Ordinal),
            Limit);
        Assert.That((await server.Broker.CheckAsync(Limit)).IsHealthy, Is.True);
        Assert.That(next.IsCompleted, Is.False, "delivered before the transaction ended");

        if (isCommitted) producer.CommitTransaction(AnswerTime);
        else producer.AbortTransaction(AnswerTime);
        string[] texts = [.. isCommitted ? Enumerable.Range(0, 10).Select(i => $"theirs{i}") : [], "ours"];
        Assert.That(TextOf(await next), Is.EqualTo(texts[0]));
        Assert.That(await live.TextsAsync(texts.Length - 1), Is.EqualTo(texts[1..]));
        await server.WriteTextAsync(DataSource, "", "after", Limit);
        Assert.That(await live.TextsAsync(1), Is.EqualTo(new[] { "after" }));
        await Until.TrueAsync(
            async () => (await server.EssentialsNowAsync(new() { DataSource = DataSource }, Limit)).Select(TextOf).SequenceEqual(["before", .. texts]), Limit);
        await Until.TrueAsync(async () => (await server.Broker.CheckAsync(Limit)).Detail is { } detail && !detail.Contains("open transaction", StringComparison.Ordinal), Limit);
    }

    [Test]
    public async Task SessionRecords_OfOthers_AreFoldedAndThoseWithoutAKeyIgnored()
    {
        var server = await StartedAsync();
        var (key, other) = ($"{Guid.NewGuid()}", $"{Guid.NewGuid()}");
        await ProduceAsync("SessionInfo", null, Record("NewSession", "", new NewSessionPacket { DataSource = DataSource }));
        await ProduceAsync("SessionInfo", key, Record("NewSession", key, new NewSessionPacket { DataSource = DataSource }));
        await ProduceAsync("SessionInfo", key, Record("SessionInfo", key, new SessionInfoPacket { Identifier = "Theirs", Details = { ["a"] = "1" } }));
        await ProduceAsync("SessionInfo", key, Record("SessionInfo", key, new SessionInfoPacket { Type = "Race", Details = { ["b"] = "2" } }));
        await ProduceAsync("SessionInfo", key, null);
        await ProduceAsync("SessionInfo", key, Record("EndOfSession", key, new EndOfSessionPacket { DataSource = DataSource }));
        await ProduceAsync("SessionInfo", other, Record("NewSession", other, new NewSessionPacket { DataSource = DataSource }));

        await Until.TrueAsync(async () => (await server.InfoAsync(other, Limit)).Success, Limit);
        var info = await server.InfoAsync(key, Limit);
        using (Assert.EnterMultipleScope())
        {
            Assert.That((info.Identifier, info.Type, info.IsComplete), Is.EqualTo(("Theirs", "Race", true)));
            Assert.That(info.Details, Is.EquivalentTo(new Dictionary<string, string> { ["a"] = "1", ["b"] = "2" }));
            var listed = await server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
            Assert.That(listed.SessionKeys, Is.EqualTo(new[] { key, other }));
        }

        // And a server that comes later makes the same of them.
        var later = await StartedAsync();
        Assert.That(await later.InfoAsync(key, Limit), Is.EqualTo(info));
    }

    private static string TextOf(PacketResponse response) => response.Packet.Content.ToStringUtf8();

    private static string? KeyOf(ConsumeResult<byte[]?, byte[]?> record) => record.Message.Key is { } key ? Encoding.UTF8.GetString(key) : null;

    private static byte[] Record(string type, string sessionKey, IMessage content) =>
        new Packet { Type = type, SessionKey = sessionKey, Content = content.ToByteString() }.ToByteArray();

    private Task ProduceAsync(string topic, string? key, byte[]? value, Headers? headers = null) => _producer.ProduceAsync(
        topic, new Message<byte[]?, byte[]?> { Key = key is null ? null : Encoding.UTF8.GetBytes(key), Value = value, Headers = headers }, Limit);

    private int Partitions(string topic)
    {
        using var admin = new DependentAdminClientBuilder(_producer.Handle).Build();
        return admin.GetMetadata(topic, AnswerTime).Topics.Single().Partitions.Count;
    }

    // Every record of a topic, by partition, as a consumer without any settings of ours gets them.
    private List<ConsumeResult<byte[]?, byte[]?>> Seen(string topic)
    {
        using var consumer = new ConsumerBuilder<byte[]?, byte[]?>(new ConsumerConfig
        {
            BootstrapServers = Servers,
            GroupId = "unused",
            EnableAutoCommit = false,
            EnablePartitionEof = true,
            AutoOffsetReset = AutoOffsetReset.Error,
        }).Build();
        var partitions = Partitions(topic);
        consumer.Assign(Enumerable.Range(0, partitions).Select(partition => new TopicPartitionOffset(topic, partition, Offset.Beginning)));
        var records = new List<ConsumeResult<byte[]?, byte[]?>>();
        for (var ended = 0; ended < partitions;)
        {
            var result = consumer.Consume(Limit);
            if (result.IsPartitionEOF) ended++;
            else records.Add(result);
        }

        return records;
    }

    private async Task<(string Retention, string Policy)> SettingsAsync(string topic)
    {
        using var admin = new DependentAdminClientBuilder(_producer.Handle).Build();
        var results = await admin.DescribeConfigsAsync([new ConfigResource { Type = ResourceType.Topic, Name = topic }]).WaitAsync(Limit);
        return (results[0].Entries["retention.ms"].Value, results[0].Entries["cleanup.policy"].Value);
    }
}
