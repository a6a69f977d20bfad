using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Connections: what they take, what they echo, how they end.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class ConnectionTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task NewConnection_ManyTimes_GivesIdsThatJavaScriptKeeps()
    {
        var ids = new List<long>();
        for (var i = 0; i < 200; i++) ids.Add((await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit)).Id);

        Assert.That(ids, Is.All.InRange(1L, (1L << 53) - 1));
        Assert.That(ids, Is.Unique);
        Assert.That(ids.Max() - ids.Min(), Is.GreaterThan(1L << 40), "random, not counted");
    }

    [Test]
    public async Task GetConnection_OpenConnection_EchoesTheDetailsExactly()
    {
        var details = new ConnectionDetails
        {
            DataSource = DataSource,
            SessionKey = "run",
            Streams = { "one", "not-there-yet", "one" },
            StreamOffsets = { 5, -1 },
            MainOffset = -1,
            EssentialsOffset = 3,
            ExcludeMainStream = true,
        };
        var connection = await Server.ConnectAsync(details, Limit);

        Assert.That((await Server.Connections.GetConnectionAsync(new() { Connection = connection }, cancellationToken: Limit)).Details, Is.EqualTo(details));
    }

    [Test]
    public async Task GetConnection_UnknownId_AnswersWithoutDetails()
    {
        var response = await Server.Connections.GetConnectionAsync(new() { Connection = new() { Id = 42 } }, cancellationToken: Limit);

        Assert.That(response.Details, Is.Null);
    }

    [Test]
    public async Task CloseConnection_Twice_AnswersFalseTheSecondTime()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);

        Assert.That(await Server.CloseAsync(connection, Limit), Is.True);
        Assert.That(await Server.CloseAsync(connection, Limit), Is.False);
        Assert.That(await Server.CloseAsync(new Connection { Id = -3 }, Limit), Is.False);
        Assert.That((await Server.Connections.GetConnectionAsync(new() { Connection = connection }, cancellationToken: Limit)).Details, Is.Null);
    }

    [Test]
    public async Task EveryRpc_MissingSubMessage_IsRefused()
    {
        var calls = new (Func<Task> Call, string Word)[]
        {
            (async () => await Server.Connections.NewConnectionAsync(new(), cancellationToken: Limit), "details"),
            (async () => await Server.Connections.GetConnectionAsync(new(), cancellationToken: Limit), "connection"),
            (async () => await Server.Connections.CloseConnectionAsync(new(), cancellationToken: Limit), "connection"),
            (() => ReadToEndAsync(Server.Reader.ReadPackets(new(), cancellationToken: Limit)), "connection"),
            (() => ReadToEndAsync(Server.Reader.ReadEssentials(new(), cancellationToken: Limit)), "connection"),
            (() => ReadToEndAsync(Server.Reader.ReadDataPackets(new(), cancellationToken: Limit)), "request"),
            (() => ReadToEndAsync(Server.Reader.ReadDataPackets(new() { Request = new() }, cancellationToken: Limit)), "connection"),
        };
        foreach (var (call, word) in calls) AssertFailure(await FailureOfAsync(call), StatusCode.InvalidArgument, word, "missing");
    }

    [Test]
    public async Task EveryRead_UnknownConnection_IsNotFound()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        await Server.CloseAsync(connection, Limit);
        var calls = new Func<Task>[]
        {
            () => ReadToEndAsync(Server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: Limit)),
            () => ReadToEndAsync(Server.Reader.ReadEssentials(new() { Connection = connection }, cancellationToken: Limit)),
            () => ReadToEndAsync(Server.Reader.ReadDataPackets(new() { Request = new() { Connection = connection } }, cancellationToken: Limit)),
        };
        foreach (var call in calls) AssertFailure(await FailureOfAsync(call), StatusCode.NotFound, "connection", $"{connection.Id}");
    }

    [Test]
    public async Task NewConnection_BadOffsets_AreRefusedByFieldAndValue()
    {
        var bad = new (ConnectionDetails Details, string Field, string Value)[]
        {
            (new() { MainOffset = -2 }, "main_offset", "-2"),
            (new() { EssentialsOffset = long.MinValue }, "essentials_offset", $"{long.MinValue}"),
            (new() { Streams = { "one", "two" }, StreamOffsets = { 0, -7 } }, "stream_offsets[1]", "-7"),
            (new() { Streams = { "one" }, StreamOffsets = { 0, 0 } }, "stream_offsets", "2 entries for 1 streams"),
            (new() { StreamOffsets = { 0 } }, "stream_offsets", "1 entries for 0 streams"),
        };
        foreach (var (details, field, value) in bad)
        {
            details.DataSource = DataSource;
            var failure = await FailureOfAsync(() => Server.ConnectAsync(details, Limit));
            AssertFailure(failure, StatusCode.InvalidArgument, field, value, "allowed");
        }
    }

    [Test]
    public async Task NewConnection_MoreThanAllowed_IsResourceExhaustedUntilOneCloses()
    {
        var server = await StartAsync(Configure(limits: new StreamingApiLimits { ConnectionsMax = 3 }));
        var details = new ConnectionDetails { DataSource = DataSource };
        var first = await server.ConnectAsync(details, Limit);
        await server.ConnectAsync(details, Limit);
        await server.ConnectAsync(details, Limit);

        AssertFailure(await FailureOfAsync(() => server.ConnectAsync(details, Limit)), StatusCode.ResourceExhausted, "3", "connections");
        await server.CloseAsync(first, Limit);
        Assert.That((await server.ConnectAsync(details, Limit)).Id, Is.Positive);
    }

    [Test]
    public async Task ConnectionIdleTimeout_NoReadAndNoRpc_ClosesTheConnection()
    {
        var clock = new ManualClock();
        var configuration = new StreamingApiConfiguration(Strategy, "memory:") { ConnectionIdleTimeout = TimeSpan.FromMinutes(10) };
        var server = await StartAsync(configuration, options: new StreamApiOptions { Clock = clock });
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        var used = await server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, MainOffset = 1 }, Limit);
        var idle = await server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, MainOffset = 2 }, Limit);

        // Asking for the idle one would use it, so it is asked for once, long after its time; until then the other one is used.
        for (var minute = 0; minute < 100; minute++)
        {
            clock.Advance(TimeSpan.FromMinutes(1));
            var alive = await server.Connections.GetConnectionAsync(new() { Connection = used }, cancellationToken: Limit);
            Assert.That(alive.Details, Is.Not.Null);
        }

        var asked = await server.Connections.GetConnectionAsync(new() { Connection = idle }, cancellationToken: Limit);
        Assert.That(asked.Details, Is.Null);
        Assert.That((await server.Connections.GetConnectionAsync(new() { Connection = read.Connection }, cancellationToken: Limit)).Details, Is.Not.Null);
        await server.WriteTextAsync(DataSource, "", "hello", Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "hello" }), "a connection with an open read stays");
    }

    private async Task ReadToEndAsync<T>(AsyncServerStreamingCall<T> call)
    {
        using (call)
        {
            while (await call.ResponseStream.MoveNext(Limit))
            {
                // Nothing is expected.
            }
        }
    }
}
