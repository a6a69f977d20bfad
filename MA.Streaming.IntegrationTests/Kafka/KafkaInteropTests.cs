using System.Text;
using Confluent.Kafka;
using Confluent.Kafka.Admin;
using Google.Protobuf;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;
using TopicPartition = Confluent.Kafka.TopicPartition;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>What other clients of one Kafka see of our records, and what we make of theirs. They use Confluent.Kafka as it is.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
public sealed class KafkaInteropTests
{
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(10);

    private readonly List<IAsyncDisposable> _ofTest = [];
    private string _servers = "";
    private CancellationTokenSource _limit = null!;
    private IProducer<byte[]?, byte[]?> _producer = null!;
    private string _dataSource = "";

    private CancellationToken Limit => _limit.Token;

    [OneTimeSetUp]
    public async Task Connect()
    {
        _servers = TestKafka.Servers;
        await using (TestKafka.Open(_servers))
        {
            // Only to see that the native library is there.
        }

        _producer = new ProducerBuilder<byte[]?, byte[]?>(new ProducerConfig { BootstrapServers = _servers, CompressionType = CompressionType.Gzip }).Build();
    }

    [OneTimeTearDown]
    public void Disconnect() => _producer?.Dispose();

    [SetUp]
    public void Begin()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        _dataSource = $"Car{Guid.NewGuid():N}"[..12];
    }

    [TearDown]
    public async Task End()
    {
        for (var i = _ofTest.Count - 1; i >= 0; i--) await _ofTest[i].DisposeAsync();
        _ofTest.Clear();
        _limit.Dispose();
    }

    [Test]
    public async Task WriteDataPacket_SeenByOthers_IsThePacketUnderItsSessionKeyWithoutHeaders()
    {
        var server = await StartedAsync();
        var sent = new[] { TextPacket("detail's", "packet-key"), TextPacket("packet's", "packet-key"), TextPacket("nobody's") };

        // A field that this version does not know.
        sent[1].MergeFrom(new byte[] { 0xFA, 0x3E, 0x01, 0x78 });
        await server.WriteAsync(_dataSource, "one", sent[0], Limit, "detail-key");
        await server.WriteAsync(_dataSource, "one", sent[1], Limit);
        await server.WriteAsync(_dataSource, "one", sent[2], Limit);

        var seen = Seen($"{_dataSource}.one");
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = _dataSource }, Limit);
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
        await server.WriteAsync(_dataSource, "one", packet, Limit);

        foreach (var topic in new[] { $"{_dataSource}_essential", $"{_dataSource}.one" })
        {
            var record = Seen(topic).Single();
            Assert.That(record.Message.Value, Is.EqualTo(packet.ToByteArray()), topic);
            Assert.That(KeyOf(record), Is.EqualTo("run"), topic);
        }

        Assert.That(await SettingsAsync($"{_dataSource}_essential"), Is.EqualTo(("-1", "delete")));
        Assert.That(await SettingsAsync($"{_dataSource}.one"), Is.Not.EqualTo(("-1", "delete")));
    }

    [Test]
    public async Task Session_SeenByOthers_IsItsRecordsInOrder()
    {
        // A SessionInfo of its own, which nobody else may have made.
        var server = await StartedAsync(prefix: _dataSource);
        await server.WriteTextAsync(_dataSource, "one", "before", Limit);
        var key = await server.CreateSessionAsync(_dataSource, Limit);
        await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "Race" }, cancellationToken: Limit);
        await server.Sessions.EndSessionAsync(new() { SessionKey = key, DataSource = _dataSource }, cancellationToken: Limit);

        var records = Seen($"{_dataSource}SessionInfo");
        Assert.That(records.Select(record => KeyOf(record)), Is.All.EqualTo(key));
        var packets = records.Select(record => Packet.Parser.ParseFrom(record.Message.Value)).ToArray();
        Assert.That(packets.Select(packet => packet.Type), Is.EqualTo(new[] { "NewSession", "SessionInfo", "EndOfSession" }));
        var start = NewSessionPacket.Parser.ParseFrom(packets[0].Content);
        var end = EndOfSessionPacket.Parser.ParseFrom(packets[2].Content);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(packets.Select(packet => packet.SessionKey), Is.All.EqualTo(key));
            Assert.That(packets.Select(packet => packet.IsEssential), Is.All.False);
            Assert.That(start.DataSource, Is.EqualTo(_dataSource));
            Assert.That(start.TopicPartitionOffsets[$"{_dataSource}.one:0"], Is.EqualTo(1));
            Assert.That(
                SessionInfoPacket.Parser.ParseFrom(packets[1].Content), Is.EqualTo(new SessionInfoPacket { DataSource = _dataSource, Identifier = "Race" }), "only what changed");
            Assert.That(end.TopicPartitionOffsets[$"{_dataSource}.one:0"], Is.EqualTo(1));
            Assert.That(await SettingsAsync($"{_dataSource}SessionInfo"), Is.EqualTo(("-1", "delete")));
        }
    }

    [Test]
    public async Task DataFormat_SeenByOthers_IsAnEssentialPacketWithAnEmptyKey()
    {
        var server = await StartedAsync();
        var id = await server.ParametersIdAsync(_dataSource, Limit, "vCar", "nEngine");

        foreach (var topic in new[] { $"{_dataSource}_essential", _dataSource })
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
        using (var admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _servers }).Build())
            await admin.CreateTopicsAsync([new TopicSpecification { Name = $"{_dataSource}_essential", NumPartitions = 5, ReplicationFactor = 1 }]).WaitAsync(Limit);
        var server = await StartedAsync(StreamCreationStrategy.PartitionBased);
        await server.WriteTextAsync(_dataSource, "two", "on two", Limit);
        Assert.That(Seen(_dataSource).Select(record => record.Partition.Value), Is.EqualTo(new[] { 2 }));
        Assert.That(Partitions(_dataSource), Is.EqualTo(3));

        // By key as the default of librdkafka does it.
        for (var i = 0; i < 20; i++)
        {
            await server.WriteAsync(_dataSource, "two", TextPacket("x", $"key {i}", essential: true), Limit);
            await ProduceAsync($"{_dataSource}_essential", $"key {i}", TextPacket("x", $"key {i}", essential: true).ToByteArray());
        }

        var places = Seen($"{_dataSource}_essential").GroupBy(record => KeyOf(record)).ToArray();
        Assert.That(places, Has.Length.EqualTo(20));
        foreach (var place in places) Assert.That(place.Select(record => record.Partition.Value).Distinct().Count(), Is.EqualTo(1), place.Key);
        Assert.That(places.Select(place => place.First().Partition.Value).Distinct().Count(), Is.GreaterThan(1));
        Assert.That(await server.EssentialsNowAsync(new() { DataSource = _dataSource }, Limit), Has.Count.EqualTo(40));
    }

    [Test]
    public async Task ReadPackets_RecordsOfOthers_AreDeliveredAndWhatIsNoPacketIsSkipped()
    {
        var server = await StartedAsync();
        using var live = await server.ReadAsync(new ConnectionDetails { DataSource = _dataSource }, Limit);
        using var ofSession = await server.ReadAsync(new ConnectionDetails { DataSource = _dataSource, SessionKey = "run" }, Limit);
        await ProduceAsync(_dataSource, "run", TextPacket("with a key").ToByteArray());
        await ProduceAsync(_dataSource, null, TextPacket("without a key", "run").ToByteArray());
        await ProduceAsync(_dataSource, "run", null);
        await ProduceAsync(_dataSource, null, [0xFF, 0xFF, 0xFF]);
        await ProduceAsync(_dataSource, "run", TextPacket("with headers").ToByteArray(), new Headers { { "trace", [1, 2, 3] } });
        await server.WriteTextAsync(_dataSource, "", "ours", Limit, "run");

        var texts = new[] { "with a key", "without a key", "with headers", "ours" };
        Assert.That(await live.TextsAsync(4), Is.EqualTo(texts));
        Assert.That(await ofSession.TextsAsync(3), Is.EqualTo(texts.Where(text => text != "without a key")));
        using var later = await server.ReadAsync(new ConnectionDetails { DataSource = _dataSource }, Limit);
        Assert.That(await later.TextsAsync(4), Is.EqualTo(texts));
    }

    [Test]
    public async Task Read_TransactionsOfOthers_BringsTheCommittedOnesAndEndsAtTheWatermark()
    {
        var server = await StartedAsync();
        await server.Broker.EnsureTopicAsync(new TopicSpec($"{_dataSource}_essential"), Limit);
        using var live = await server.ReadAsync(new ConnectionDetails { DataSource = _dataSource }, Limit);
        using (var producer = new ProducerBuilder<byte[]?, byte[]?>(new ProducerConfig { BootstrapServers = _servers, TransactionalId = _dataSource }).Build())
        {
            producer.InitTransactions(AnswerTime);
            foreach (var (text, isKept) in new[] { ("a", true), ("lost", false), ("b", true) })
            {
                producer.BeginTransaction();
                foreach (var topic in new[] { _dataSource, $"{_dataSource}_essential" })
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
        var essentials = await server.EssentialsNowAsync(new() { DataSource = _dataSource }, Limit);
        Assert.That(essentials.Select(response => response.Packet.Content.ToStringUtf8()), Is.EqualTo(texts));
        await server.WriteTextAsync(_dataSource, "", "ours", Limit);
        Assert.That(await live.TextsAsync(1), Is.EqualTo(new[] { "ours" }));
    }

    [Test]
    public async Task SessionRecords_OfOthers_AreFoldedAndThoseWithoutAKeyIgnored()
    {
        var server = await StartedAsync();
        var (key, other) = ($"{Guid.NewGuid()}", $"{Guid.NewGuid()}");
        await ProduceAsync("SessionInfo", null, Record("NewSession", "", new NewSessionPacket { DataSource = _dataSource }));
        await ProduceAsync("SessionInfo", key, Record("NewSession", key, new NewSessionPacket { DataSource = _dataSource }));
        await ProduceAsync("SessionInfo", key, Record("SessionInfo", key, new SessionInfoPacket { Identifier = "Theirs", Details = { ["a"] = "1" } }));
        await ProduceAsync("SessionInfo", key, Record("SessionInfo", key, new SessionInfoPacket { Type = "Race", Details = { ["b"] = "2" } }));
        await ProduceAsync("SessionInfo", key, null);
        await ProduceAsync("SessionInfo", key, Record("EndOfSession", key, new EndOfSessionPacket { DataSource = _dataSource }));
        await ProduceAsync("SessionInfo", other, Record("NewSession", other, new NewSessionPacket { DataSource = _dataSource }));

        await Until.TrueAsync(async () => (await server.InfoAsync(other, Limit)).Success, Limit);
        var info = await server.InfoAsync(key, Limit);
        using (Assert.EnterMultipleScope())
        {
            Assert.That((info.Identifier, info.Type, info.IsComplete), Is.EqualTo(("Theirs", "Race", true)));
            Assert.That(info.Details, Is.EquivalentTo(new Dictionary<string, string> { ["a"] = "1", ["b"] = "2" }));
            var listed = await server.Sessions.GetCurrentSessionsAsync(new() { DataSource = _dataSource }, cancellationToken: Limit);
            Assert.That(listed.SessionKeys, Is.EqualTo(new[] { key, other }));
        }

        // And a server that comes later makes the same of them.
        var later = await StartedAsync();
        Assert.That(await later.InfoAsync(key, Limit), Is.EqualTo(info));
    }

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
            BootstrapServers = _servers,
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

    private async Task<StreamServer> StartedAsync(StreamCreationStrategy strategy = StreamCreationStrategy.TopicBased, string prefix = "")
    {
        var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _servers });
        _ofTest.Add(broker);
        var configuration = new StreamingApiConfiguration(
            strategy, _servers, [new("one", 1), new("two", 2)], batchingResponses: true, initialisationTimeoutSeconds: 10)
        {
            AutoRegisterDataFormats = false,
            DrainTimeoutSeconds = 5,
        };
        var server = await StreamServer.StartAsync(Transport.InProcess, configuration, prefix.Length == 0 ? broker : new PrefixedBroker(broker, prefix), null, Limit);
        _ofTest.Add(server);
        return server;
    }
}
