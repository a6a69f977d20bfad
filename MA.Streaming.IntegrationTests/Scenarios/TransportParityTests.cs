using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Every mistake has the same status, message and trailers whichever way the client comes.</summary>
[TestFixture(StreamCreationStrategy.TopicBased)]
[TestFixture(StreamCreationStrategy.PartitionBased)]
[Parallelizable(ParallelScope.Self)]
public sealed class TransportParityTests(StreamCreationStrategy strategy)
{
    private static readonly Dictionary<string, Func<StreamServer, CancellationToken, Task>> Mistakes = new()
    {
        ["no detail"] = async (s, t) => await s.Writer.WriteDataPacketAsync(new(), cancellationToken: t),
        ["no message"] = async (s, t) => await s.Writer.WriteDataPacketAsync(new() { Detail = new() { DataSource = "A" } }, cancellationToken: t),
        ["no data source"] = (s, t) => s.WriteTextAsync("", "", "x", t),
        ["bad character"] = (s, t) => s.WriteTextAsync("Größe 1", "", "x", t),
        ["control character"] = (s, t) => s.WriteTextAsync("a\nb", "", "x", t),
        ["half a character"] = (s, t) => s.WriteTextAsync("a\U0001F600b", "", "x", t),
        ["percent"] = (s, t) => s.WriteTextAsync("100%41", "", "x", t),
        ["system topic"] = (s, t) => s.WriteTextAsync("SessionInfo", "", "x", t),
        ["essential suffix"] = (s, t) => s.WriteTextAsync("A_essential", "", "x", t),
        ["too long"] = (s, t) => s.WriteTextAsync(new string('x', 300), "", "x", t),
        ["too large"] = (s, t) => s.WriteTextAsync("A", "", new string('x', 3_700_000), t),
        ["bad packet in a stream"] = WriteBadStreamAsync,
        ["info without message"] = async (s, t) => await s.Writer.WriteInfoPacketAsync(new(), cancellationToken: t),
        ["info of an unknown type"] = async (s, t) => await s.Writer.WriteInfoPacketAsync(new() { Message = TextPacket("x"), Type = (InfoType)7 }, cancellationToken: t),
        ["no details"] = async (s, t) => await s.Connections.NewConnectionAsync(new(), cancellationToken: t),
        ["bad offset"] = (s, t) => s.ConnectAsync(new() { DataSource = "A", MainOffset = -5 }, t),
        ["too many offsets"] = (s, t) => s.ConnectAsync(new() { DataSource = "A", StreamOffsets = { 1, 2 } }, t),
        ["consumer group"] = (s, t) => s.ConnectAsync(new() { DataSource = "A", ConsumerGroup = "g" }, t),
        ["close nothing"] = async (s, t) => await s.Connections.CloseConnectionAsync(new(), cancellationToken: t),
        ["read nothing"] = (s, t) => EndAsync(s.Reader.ReadPackets(new(), cancellationToken: t), t),
        ["read an unknown connection"] = (s, t) => EndAsync(s.Reader.ReadEssentials(new() { Connection = new() { Id = 7 } }, cancellationToken: t), t),
        ["headers before a failure"] = async (s, t) =>
        {
            using var call = s.Reader.ReadPackets(new() { Connection = new() { Id = 7 } }, cancellationToken: t);
            Assert.That((await call.ResponseHeadersAsync.WaitAsync(t)).GetValue("durable-packets"), Is.Null);
            await call.ResponseStream.MoveNext(t);
        },
        ["no request"] = (s, t) => EndAsync(s.Reader.ReadDataPackets(new(), cancellationToken: t), t),
        ["bad pattern"] = BadPatternAsync,
        ["session without data source"] = (s, t) => s.CreateSessionAsync("", t),
        ["session key taken"] = TakenKeyAsync,
        ["no session info"] = async (s, t) => await s.Sessions.UpdateSessionInfoAsync(new(), cancellationToken: t),
        ["notification without data source"] = (s, t) => EndAsync(s.Sessions.GetSessionStopNotification(new(), cancellationToken: t), t),
        ["no parameters"] = (s, t) => s.ParametersIdAsync("A", t),
        ["no event"] = (s, t) => s.EventIdAsync("A", "", t),
        ["format without data source"] = (s, t) => s.ParametersAsync("", 1, t),
    };

    private readonly List<MemoryBroker> _brokers = [];
    private readonly List<StreamServer> _servers = [];

    public static IEnumerable<string> Names => Mistakes.Keys;

    [OneTimeSetUp]
    public async Task StartBoth()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        foreach (var transport in Enum.GetValues<Transport>())
        {
            _brokers.Add(new MemoryBroker());
            _servers.Add(await StreamServer.StartAsync(transport, new StreamingApiConfiguration(strategy, "memory:"), _brokers[^1], null, limit.Token));
        }
    }

    [OneTimeTearDown]
    public async Task StopBoth()
    {
        foreach (var server in _servers) await server.DisposeAsync();
        foreach (var broker in _brokers) await broker.DisposeAsync();
    }

    [TestCaseSource(nameof(Names))]
    public async Task EveryRpc_AMistake_HasOneStatusOnEveryTransport(string name)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var failures = new List<RpcException>();
        foreach (var server in _servers) failures.Add(await FailureOfAsync(() => Mistakes[name](server, limit.Token)));

        Assert.That(failures[1].Status.StatusCode, Is.EqualTo(failures[0].Status.StatusCode));
        Assert.That(failures[1].Status.Detail, Is.EqualTo(failures[0].Status.Detail).And.Not.Empty);
        Assert.That(failures[1].Trailers.GetValue("durable-packets"), Is.EqualTo(failures[0].Trailers.GetValue("durable-packets")));
    }

    private static async Task WriteBadStreamAsync(StreamServer server, CancellationToken token)
    {
        using var call = server.Writer.WriteDataPackets(cancellationToken: token);
        await call.RequestStream.WriteAsync(new() { Details = { Detail("A", "", TextPacket("x")) } }, token);
        await call.RequestStream.WriteAsync(new() { Details = { Detail("A/B", "", TextPacket("x")) } }, token);
        await call.ResponseAsync.WaitAsync(token);
    }

    private static async Task BadPatternAsync(StreamServer server, CancellationToken token)
    {
        var connection = await server.ConnectAsync(new() { DataSource = "A" }, token);
        await EndAsync(server.Reader.ReadDataPackets(new() { Request = new() { Connection = connection, IncludeEvents = { "a(b[" } } }, cancellationToken: token), token);
    }

    private static async Task TakenKeyAsync(StreamServer server, CancellationToken token)
    {
        await server.Sessions.CreateSessionAsync(new() { DataSource = "A", SessionKey = "run", Identifier = "1" }, cancellationToken: token);
        await server.Sessions.CreateSessionAsync(new() { DataSource = "A", SessionKey = "run", Identifier = "2" }, cancellationToken: token);
    }

    private static async Task EndAsync<T>(AsyncServerStreamingCall<T> call, CancellationToken token)
    {
        using (call)
        {
            while (await call.ResponseStream.MoveNext(token))
            {
                // To the end.
            }
        }
    }
}
