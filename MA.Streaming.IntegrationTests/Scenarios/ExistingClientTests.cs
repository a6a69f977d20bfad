using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;
using static MA.Streaming.IntegrationTests.Support.DataPackets;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>What clients in the field do.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class ExistingClientTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task Writer_PublishingItsOwnSessionPackets_WritesOrdinaryData()
    {
        var before = await Server.CreateSessionAsync(DataSource, Limit);
        var start = new Packet { Type = "NewSession", SessionKey = "own", Content = new NewSessionPacket { DataSource = DataSource }.ToByteString() };
        var end = new Packet { Type = "EndOfSession", SessionKey = "own", Content = new EndOfSessionPacket { DataSource = DataSource }.ToByteString() };
        await Server.WriteAsync(DataSource, "one", start, Limit);
        await Server.WriteAsync(DataSource, "one", end, Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);

        Assert.That((await read.TakeAsync(2)).Select(p => p.Packet), Is.EqualTo(new[] { start, end }));
        var listed = await Server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(listed.SessionKeys, Is.EqualTo(new[] { before }));
    }

    [Test]
    public async Task Reader_AskingForConnectionAndSessionAfterEveryMessage_IsAnswered()
    {
        var key = await Server.CreateSessionAsync(DataSource, Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, SessionKey = key }, Limit);
        for (var i = 0; i < 100; i++)
        {
            await Server.WriteTextAsync(DataSource, "one", $"{i}", Limit, key);
            Assert.That((await read.NextAsync()).Packet.Content.ToStringUtf8(), Is.EqualTo($"{i}"));
            var connection = await Server.Connections.GetConnectionAsync(new() { Connection = read.Connection }, cancellationToken: Limit);
            Assert.That(connection.Details.SessionKey, Is.EqualTo(key));
            Assert.That((await Server.InfoAsync(key, Limit)).Success, Is.True);
        }
    }

    [Test]
    public async Task Reader_EssentialsAndPacketsOnOneConnection_GetsBoth()
    {
        await Server.WriteAsync(DataSource, "one", TextPacket("config", type: "Configuration", essential: true), Limit);
        await Server.WriteTextAsync(DataSource, "one", "data", Limit);
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var packets = await Server.ReadPacketsAsync(connection, Limit);
        using var essentials = await Server.ReadEssentialsAsync(connection, Limit);

        Assert.That((await essentials.ToEndAsync()).Select(p => p.Packet.Content.ToStringUtf8()), Is.EqualTo(new[] { "config" }));
        Assert.That(await packets.TextsAsync(2), Is.EqualTo(new[] { "config", "data" }));
    }

    [Test]
    public async Task Reader_ClosingTheConnectionAndThenCancelling_SeesNoError()
    {
        using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(Limit);
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var call = Server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: cancellation.Token);
        await call.ResponseHeadersAsync.WaitAsync(Limit);
        var next = call.ResponseStream.MoveNext(Limit);
        await Server.CloseAsync(connection, Limit);
        Assert.That(await next, Is.False);
        await cancellation.CancelAsync();

        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
        Assert.That(await Server.CloseAsync(connection, Limit), Is.False);
    }

    [Test]
    public async Task Reader_EchoingDetailsExtendedByStreams_ReadsThemAll()
    {
        await Server.WriteTextAsync(DataSource, "one", "1", Limit);
        var first = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "one" }, ExcludeMainStream = true }, Limit);
        var details = (await Server.Connections.GetConnectionAsync(new() { Connection = first }, cancellationToken: Limit)).Details;
        details.Streams.Add("two");
        await Server.WriteTextAsync(DataSource, "two", "2", Limit);
        using var read = await Server.ReadAsync(details, Limit);

        Assert.That(await read.TextsAsync(2), Is.EquivalentTo(new[] { "1", "2" }));
    }

    [Test]
    public async Task Reader_PollingForTheIdentifier_SeesItOnceItIsSet()
    {
        var key = await Server.CreateSessionAsync(DataSource, Limit);
        Assert.That((await Server.InfoAsync(key, Limit)).Identifier, Is.Empty);
        var update = Server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "Run" }, cancellationToken: Limit).ResponseAsync;
        while ((await Server.InfoAsync(key, Limit)).Identifier.Length == 0) Limit.ThrowIfCancellationRequested();

        Assert.That((await update).Success, Is.True);
    }

    [Test]
    public async Task Reader_WantingAllFormats_ReadsEssentialsOfADataSourceOnlyConnection()
    {
        var ids = new[]
        {
            await Server.ParametersIdAsync(DataSource, Limit, "a"), await Server.ParametersIdAsync(DataSource, Limit, "b"), await Server.EventIdAsync(DataSource, "e", Limit),
        };
        var packets = await Server.EssentialsNowAsync(new ConnectionDetails { DataSource = DataSource }, Limit);

        Assert.That(packets.Select(p => DataFormatDefinitionPacket.Parser.ParseFrom(p.Packet.Content).Identifier), Is.EqualTo(ids));
    }

    [Test]
    public async Task Writer_JsonAsPeriodicData_IsReadAsItIs()
    {
        var packet = Json(1, """{"speed": [1, 2, 3]}""");
        await Server.WriteAsync(DataSource, "one", packet, Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);

        Assert.That((await read.NextAsync()).Packet, Is.EqualTo(packet));
    }

    [Test]
    public async Task QuickStart_KeyInThePacketOnly_IsSeenByTheReaderOfTheSession()
    {
        var created = await Server.Sessions.CreateSessionAsync(
            new() { DataSource = DataSource, SessionKey = $"my-{DataSource}", SessionInfo = new() { Identifier = "Quick start" } }, cancellationToken: Limit);
        await Server.WriteAsync(DataSource, "one", TextPacket("hello", created.SessionKey), Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, SessionKey = created.SessionKey }, Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "hello" }));

        Assert.That((await Server.Sessions.EndSessionAsync(new() { SessionKey = created.SessionKey }, cancellationToken: Limit)).Success, Is.True);
    }

    [Test]
    public async Task Packet_ReusedRightAfterTheCall_IsStoredAsItWas()
    {
        // Writers fill one message again and again.
        var packet = TextPacket("");
        var request = new WriteDataPacketRequest { Detail = Detail(DataSource, "one", packet) };
        var calls = new List<Task>();
        for (var i = 0; i < 100; i++)
        {
            packet.Content = ByteString.CopyFromUtf8($"{i}");
            calls.Add(Server.Writer.WriteDataPacketAsync(request, cancellationToken: Limit).ResponseAsync);
            if (Transport == Transport.Kestrel) await calls[^1];
        }

        await Task.WhenAll(calls);
        using var stream = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        var message = new WriteDataPacketsRequest { Details = { Detail(DataSource, "one", packet) } };
        for (var i = 100; i < 200; i++)
        {
            packet.Content = ByteString.CopyFromUtf8($"{i}");
            await stream.RequestStream.WriteAsync(message, Limit);
        }

        await stream.RequestStream.CompleteAsync().WaitAsync(Limit);
        await stream.ResponseAsync.WaitAsync(Limit);
        Assert.That((await StoredAsync(DataSource, "one")).Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 200).Select(i => $"{i}")));
    }

    [Test]
    public async Task ConnectionDetails_ReusedAfterTheCall_AreEchoedAsTheyWere()
    {
        var details = new ConnectionDetails { DataSource = DataSource, Streams = { "one" } };
        var connection = await Server.ConnectAsync(details, Limit);
        details.Streams.Add("two");
        var echoed = (await Server.Connections.GetConnectionAsync(new() { Connection = connection }, cancellationToken: Limit)).Details;
        echoed.Streams.Add("three");

        var again = (await Server.Connections.GetConnectionAsync(new() { Connection = connection }, cancellationToken: Limit)).Details;
        Assert.That(again.Streams, Is.EqualTo(new[] { "one" }));
    }

    [Test]
    public async Task Answers_ChangedByTheClient_LeaveTheServersStateAlone()
    {
        var created = await Server.Sessions.CreateSessionAsync(new() { DataSource = DataSource, Details = { ["a"] = "1" } }, cancellationToken: Limit);
        created.NewSession.SessionInfo.Details["a"] = "2";
        created.NewSession.CreationTime.Seconds = 1;
        var info = await Server.InfoAsync(created.SessionKey, Limit);
        info.Details.Clear();
        info.UtcOffset.Seconds = 99;

        var again = await Server.InfoAsync(created.SessionKey, Limit);
        Assert.That(again.Details["a"], Is.EqualTo("1"));
        Assert.That(again.UtcOffset.Seconds, Is.Zero);
        Assert.That(again.CreationTime.Seconds, Is.GreaterThan(1));
    }

    [Test]
    public async Task ReadPackets_PacketChangedByOneReader_ReachesTheOtherUnchanged()
    {
        await Server.WriteTextAsync(DataSource, "one", "hello", Limit);
        using var first = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var second = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        (await first.NextAsync()).Packet.Content = ByteString.CopyFromUtf8("changed");

        Assert.That(await second.TextsAsync(1), Is.EqualTo(new[] { "hello" }));
    }
}
