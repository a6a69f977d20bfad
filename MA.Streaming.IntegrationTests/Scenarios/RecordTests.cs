using Google.Protobuf;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>What stands in the broker after a write: topic, partition, key, value, order.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class RecordTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [TestCase("")]
    [TestCase("one")]
    [TestCase("two")]
    [TestCase("twin")]
    [TestCase("other")]
    public async Task WriteDataPacket_AnyStream_StandsWhereTheStrategyPlacesIt(string stream)
    {
        await Server.WriteTextAsync(DataSource, stream, "hello", Limit);

        var stored = await StoredAsync(DataSource, stream);
        Assert.That(stored.Select(r => r.Text), Is.EqualTo(new[] { "hello" }));
    }

    [Test]
    public async Task WriteDataPacket_FirstOfADataSource_CreatesItsTopicWithItsPartitions()
    {
        await Server.WriteTextAsync(DataSource, "one", "hello", Limit);

        var topics = await Server.Broker.TopicsAsync(Limit);
        var own = topics.Where(t => t.Key.StartsWith(DataSource, StringComparison.Ordinal)).ToDictionary();
        Assert.That(own, Is.EqualTo(
            IsPartitionBased
                ? new Dictionary<string, int> { [DataSource] = 3 }
                : new Dictionary<string, int> { [$"{DataSource}.one"] = 1 }));
    }

    [TestCase("detail", "packet", "detail")]
    [TestCase("", "packet", "packet")]
    [TestCase("detail", "", "detail")]
    [TestCase("", "", "")]
    public async Task WriteDataPacket_SessionKeys_TheDetailsKeyWinsThenThePackets(string ofDetail, string ofPacket, string expected)
    {
        await Server.WriteAsync(DataSource, "one", TextPacket("hello", ofPacket), Limit, ofDetail);

        var record = (await StoredAsync(DataSource, "one")).Single();
        Assert.That(record.Key, Is.EqualTo(expected).And.Not.Null);
        Assert.That(record.Packet.SessionKey, Is.EqualTo(ofPacket));
    }

    [Test]
    public async Task WriteDataPacket_UnknownFields_AreKeptByteForByte()
    {
        // Field 900, varint 7, then a packet of a type nobody knows.
        var bytes = new Packet { Type = "Weather", Id = 77, Content = ByteString.CopyFrom(0, 1, 255) }.ToByteArray();
        byte[] extended = [.. bytes, 0xA0, 0x38, 7];
        await Server.WriteAsync(DataSource, "one", Packet.Parser.ParseFrom(extended), Limit);

        var record = (await StoredAsync(DataSource, "one")).Single();
        Assert.That(record.Value, Is.EqualTo(extended));
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        Assert.That((await read.NextAsync()).Packet.ToByteArray(), Is.EqualTo(extended));
    }

    [Test]
    public async Task WriteDataPacket_Essential_StandsInBothTopicsWithTheSameBytes()
    {
        // The first one makes the topics, at whatever pace each is made.
        for (var i = 0; i < 2; i++) await Server.WriteAsync(DataSource, "one", TextPacket("config", "run", "Configuration", essential: true), Limit);

        var stream = await StoredAsync(DataSource, "one");
        var essentials = await EssentialsAsync(DataSource);
        Assert.That((stream.Count, essentials.Count), Is.EqualTo((2, 2)));
        var (inStream, inEssentials) = (stream[1], essentials[1]);
        Assert.That(inEssentials.Value, Is.EqualTo(inStream.Value));
        Assert.That(inEssentials.Key, Is.EqualTo("run"));
        Assert.That(inStream.Key, Is.EqualTo("run"));
        Assert.That(inEssentials.Timestamp, Is.LessThanOrEqualTo(inStream.Timestamp), "essentials first");
        Assert.That(inStream.Packet.IsEssential, Is.True);
    }

    [Test]
    public async Task WriteDataPackets_MixedMessage_StandsInOrderPerStream()
    {
        using var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 10; i++)
        {
            var request = new WriteDataPacketsRequest();
            foreach (var stream in new[] { "one", "two", "" }) request.Details.Add(Detail(DataSource, stream, TextPacket($"{stream}{i}")));
            await call.RequestStream.WriteAsync(request, Limit);
        }

        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        await call.ResponseAsync.WaitAsync(Limit);

        foreach (var stream in new[] { "one", "two", "" })
        {
            var stored = await StoredAsync(DataSource, stream);
            Assert.That(stored.Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 10).Select(i => $"{stream}{i}")));
        }
    }

    [Test]
    public async Task WriteDataPacket_SessionThatNeverWas_IsWritten()
    {
        await Server.WriteAsync(DataSource, "one", TextPacket("hello"), Limit, "no-such-session");

        Assert.That((await StoredAsync(DataSource, "one")).Single().Key, Is.EqualTo("no-such-session"));
    }

    [Test]
    public async Task CreateSession_Record_IsANewSessionUnderItsKey()
    {
        var server = await StartAsync(Configure());
        var key = await server.CreateSessionAsync(DataSource, Limit);

        var record = (await server.Broker.StoredAsync(new("SessionInfo", 0), Limit)).Single();
        Assert.That(record.Key, Is.EqualTo(key));
        Assert.That(record.Packet.Type, Is.EqualTo("NewSession"));
        Assert.That(record.Packet.SessionKey, Is.EqualTo(key));
        Assert.That(record.Packet.IsEssential, Is.False);
        var content = NewSessionPacket.Parser.ParseFrom(record.Packet.Content);
        Assert.That(content.DataSource, Is.EqualTo(DataSource));
        Assert.That(content.CreationTime, Is.Not.Null);
    }

    [Test]
    public async Task SessionRpcs_Records_CarryOnlyWhatChangedAndTheWholeAssociateList()
    {
        var server = await StartAsync(Configure());
        var created = await server.Sessions.CreateSessionAsync(
            new CreateSessionRequest { DataSource = DataSource, Identifier = "Run 1", Details = { ["driver"] = "A", ["track"] = "B" } }, cancellationToken: Limit);
        var key = created.SessionKey;
        await server.Sessions.AddAssociateSessionAsync(new() { SessionKey = key, AssociateSessionKey = "first" }, cancellationToken: Limit);
        await server.Sessions.AddAssociateSessionAsync(new() { SessionKey = key, AssociateSessionKey = "second" }, cancellationToken: Limit);
        await server.Sessions.UpdateSessionDetailsAsync(
            new() { SessionKey = key, Details = { ["driver"] = "A", ["track"] = "C" } }, cancellationToken: Limit);
        await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "Run 2" }, cancellationToken: Limit);
        await server.Sessions.EndSessionAsync(new() { DataSource = DataSource, SessionKey = key }, cancellationToken: Limit);

        var stored = await server.Broker.StoredAsync(new("SessionInfo", 0), Limit);
        Assert.That(stored.Select(r => r.Key), Is.All.EqualTo(key));
        Assert.That(
            stored.Select(r => r.Packet.Type),
            Is.EqualTo(new[] { "NewSession", "SessionInfo", "SessionInfo", "SessionInfo", "SessionInfo", "EndOfSession" }));
        var updates = stored.Skip(1).Take(4).Select(r => SessionInfoPacket.Parser.ParseFrom(r.Packet.Content)).ToList();
        Assert.That(updates, Is.EqualTo(new SessionInfoPacket[]
        {
            new() { DataSource = DataSource, AssociateSessionKeys = { "first" } },
            new() { DataSource = DataSource, AssociateSessionKeys = { "first", "second" } },
            new() { DataSource = DataSource, Details = { ["track"] = "C" } },
            new() { DataSource = DataSource, Identifier = "Run 2" },
        }));
    }

    [Test]
    public async Task GetParameterDataFormatId_Record_IsADefinitionInTheEssentialsAndTheMainStream()
    {
        var id = await Server.ParametersIdAsync(DataSource, Limit, "a", "b");

        var inEssentials = (await EssentialsAsync(DataSource)).Single();
        var inMain = (await StoredAsync(DataSource, "")).Single();
        Assert.That(inMain.Value, Is.EqualTo(inEssentials.Value));
        Assert.That((inMain.Key, inEssentials.Key), Is.EqualTo(("", "")));
        Assert.That(inMain.Packet.Type, Is.EqualTo("DataFormatDefinition"));
        Assert.That(inMain.Packet.IsEssential, Is.True);
        Assert.That(DataFormatDefinitionPacket.Parser.ParseFrom(inMain.Packet.Content), Is.EqualTo(new DataFormatDefinitionPacket
        {
            Identifier = id,
            Type = DataFormatType.Parameter,
            ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { "a", "b" } },
        }));
    }

    [Test]
    public async Task GetEventDataFormatId_Record_IsADefinitionOfTheEvent()
    {
        var id = await Server.EventIdAsync(DataSource, "Lap:Timing", Limit);

        var record = (await EssentialsAsync(DataSource)).Single();
        Assert.That(
            DataFormatDefinitionPacket.Parser.ParseFrom(record.Packet.Content),
            Is.EqualTo(new DataFormatDefinitionPacket { Identifier = id, Type = DataFormatType.Event, EventIdentifier = "Lap:Timing" }));
    }

    [TestCase(InfoType.Unspecified, "SessionInfo")]
    [TestCase(InfoType.SessionInfo, "SessionInfo")]
    [TestCase(InfoType.SystemStatus, "SystemStatus")]
    public async Task WriteInfoPacket_EachType_StandsInItsTopicOnly(InfoType type, string topic)
    {
        var server = await StartAsync(Configure());
        var packet = TextPacket("status", "the-key", "SystemStatusMessage", essential: true);
        await server.Writer.WriteInfoPacketAsync(new WriteInfoPacketRequest { Message = packet, Type = type }, cancellationToken: Limit);

        var record = (await server.Broker.StoredAsync(new(topic, 0), Limit)).Single();
        Assert.That(record.Key, Is.EqualTo("the-key"));
        Assert.That(record.Packet, Is.EqualTo(packet));
        Assert.That(await server.Broker.TopicsAsync(Limit), Is.EqualTo(new Dictionary<string, int> { [topic] = 1 }));
    }

    [Test]
    public async Task WriteInfoPackets_Stream_StandsInOrder()
    {
        var server = await StartAsync(Configure());
        using var call = server.Writer.WriteInfoPackets(cancellationToken: Limit);
        for (var i = 0; i < 5; i++)
        {
            await call.RequestStream.WriteAsync(
                new WriteInfoPacketsRequest { Message = TextPacket($"{i}", "key"), Type = InfoType.SystemStatus }, Limit);
        }

        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        await call.ResponseAsync.WaitAsync(Limit);

        var stored = await server.Broker.StoredAsync(new("SystemStatus", 0), Limit);
        Assert.That(stored.Select(r => r.Text), Is.EqualTo(new[] { "0", "1", "2", "3", "4" }));
    }

    [Test]
    public async Task SubmitTimeOffsetAndPartition_OfAReadPacket_AreThoseOfTheRecord()
    {
        await Server.WriteTextAsync(DataSource, "two", "first", Limit);
        await Server.WriteTextAsync(DataSource, "two", "second", Limit);

        var record = (await StoredAsync(DataSource, "two"))[1];
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "two" }, ExcludeMainStream = true }, Limit);
        var packet = (await read.TakeAsync(2))[1];
        Assert.That(packet.SubmitTime.ToDateTimeOffset(), Is.EqualTo(record.Timestamp));
        Assert.That(packet.Offset, Is.EqualTo(record.Offset));
        Assert.That(packet.Partition, Is.EqualTo(record.Source.Partition));
        Assert.That(packet.Stream, Is.EqualTo("two"));
    }
}
