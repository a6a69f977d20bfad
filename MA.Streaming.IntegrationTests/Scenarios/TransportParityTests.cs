using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Every mistake, and every failure behind the engine, has the same status, message and trailers whichever way the client comes.</summary>
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
        ["consumer group"] = (s, t) => s.ConnectAsync(new() { DataSource = "A", ConsumerGroup = new string('g', 250) }, t),
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

    private static readonly Dictionary<string, Func<StreamServer, GatedBroker, CancellationToken, Task>> Failures = new()
    {
        ["broker unreachable"] = (s, b, t) => Failing(b, BrokerError.Unavailable, () => s.WriteTextAsync("A", "one", "x", t)),
        ["broker full"] = (s, b, t) => Failing(b, BrokerError.Full, () => s.WriteTextAsync("A", "one", "x", t)),
        ["record too large for the broker"] = (s, b, t) => Failing(b, BrokerError.TooLarge, () => s.WriteTextAsync("A", "one", "x", t)),
        ["broker denies"] = (s, b, t) => Failing(b, BrokerError.Denied, () => s.WriteTextAsync("A", "one", "x", t)),
        ["session cannot be written"] = (s, b, t) => Failing(b, BrokerError.Unavailable, () => s.CreateSessionAsync("A", t)),
        ["format cannot be written"] = (s, b, t) => Failing(b, BrokerError.Full, () => s.EventIdAsync("A", "Gear", t)),
        ["info packet cannot be written"] = (s, b, t) => Failing(
            b, BrokerError.Full, async () => await s.Writer.WriteInfoPacketAsync(new() { Message = TextPacket("x") }, cancellationToken: t)),
        ["topic cannot be created"] = (s, b, t) =>
        {
            b.BeforeEnsure = _ => throw GatedBroker.Injected();
            return s.WriteTextAsync("New", "", "x", t);
        },
        ["one copy of an essential packet"] = (s, b, t) =>
        {
            b.AppendFails = (target, _) => (target.Topic == "A") ? GatedBroker.Injected() : null;
            return s.WriteAsync("A", "", TextPacket("x", essential: true), t);
        },
        ["client stream fails midway"] = async (s, b, t) =>
        {
            b.AppendFails = (_, record) => record.Value?.Span.IndexOf("third"u8) >= 0 ? GatedBroker.Injected() : null;
            using var call = s.Writer.WriteDataPackets(cancellationToken: t);
            foreach (var text in new[] { "first", "second", "third" })
                await call.RequestStream.WriteAsync(new() { Details = { Detail("A", "", TextPacket(text)) } }, t);
            await call.RequestStream.CompleteAsync();
            await call.ResponseAsync.WaitAsync(t);
        },
        ["read cannot be positioned"] = async (s, b, t) =>
        {
            var connection = await s.ConnectAsync(new() { DataSource = "A" }, t);
            b.WatermarksFail = () => GatedBroker.Injected();
            await EndAsync(s.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: t), t);
        },
        ["write waits too long"] = (s, b, t) =>
        {
            b.HoldAll();
            return s.WriteTextAsync("A", "", "x", t);
        },
        ["too many bytes wait"] = async (s, b, t) =>
        {
            await s.WriteTextAsync("A", "", "x", t);
            b.HoldAll();
            var waiting = s.WriteTextAsync("A", "", new string('x', 4_000), t);
            await b.HeldAsync(1, t);
            try
            {
                await s.WriteTextAsync("A", "", new string('y', 4_000), t);
            }
            finally
            {
                b.ReleaseAll();
                await waiting;
            }
        },
        ["too many connections"] = async (s, _, t) =>
        {
            for (var i = 0; i < 3; i++) await s.ConnectAsync(new() { DataSource = "A" }, t);
        },
        ["read while the server stops"] = async (s, _, t) =>
        {
            using var read = await s.ReadAsync(new() { DataSource = "A" }, t);
            await Task.WhenAll(read.ToEndAsync(), s.StopEngineAsync().AsTask()).WaitAsync(t);
        },
        ["notifications while the server stops"] = async (s, _, t) =>
        {
            using var starts = s.Sessions.GetSessionStartNotification(new() { DataSource = "A" }, cancellationToken: t);
            await starts.ResponseHeadersAsync.WaitAsync(t);
            await Task.WhenAll(starts.ResponseStream.MoveNext(t), s.StopEngineAsync().AsTask()).WaitAsync(t);
        },
        ["client stream while the server stops"] = async (s, b, t) =>
        {
            using var call = s.Writer.WriteDataPackets(cancellationToken: t);
            await call.RequestStream.WriteAsync(new() { Details = { Detail("A", "", TextPacket("x")) } }, t);
            await b.StoredAsync(new("A", 0), 1, t);
            await Task.WhenAll(call.ResponseAsync, s.StopEngineAsync().AsTask()).WaitAsync(t);
        },
    };

    /// <summary>What is refused before our code sees it: the words are each transport's own.</summary>
    private static readonly Dictionary<string, (StatusCode Code, Func<StreamServer, CancellationToken, Task> Call)> Transports = new()
    {
        ["message over 16 MiB"] = (StatusCode.ResourceExhausted, (s, t) => s.WriteTextAsync("A", "", new string('x', (16 << 20) + 1), t)),
        ["deadline"] = (StatusCode.DeadlineExceeded, async (s, t) =>
        {
            var connection = await s.ConnectAsync(new() { DataSource = "A" }, t);
            await EndAsync(s.Reader.ReadPackets(new() { Connection = connection }, deadline: DateTime.UtcNow.AddMilliseconds(100), cancellationToken: t), t);
        }
        ),
        ["cancelled by the client"] = (StatusCode.Cancelled, async (s, t) =>
        {
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(t);
            using var read = s.Reader.ReadPackets(new() { Connection = await s.ConnectAsync(new() { DataSource = "Quiet" }, t) }, cancellationToken: stop.Token);
            await read.ResponseHeadersAsync.WaitAsync(t);
            var next = read.ResponseStream.MoveNext(CancellationToken.None);
            await stop.CancelAsync();
            await next;
        }
        ),
        ["rpc that is not served"] = (StatusCode.Unimplemented, async (s, t) =>
        {
            var empty = Marshallers.Create<byte[]>(bytes => bytes, bytes => bytes);
            var method = new Method<byte[], byte[]>(MethodType.Unary, "ma.streaming.api.v1.PacketWriterService", "WriteEverything", empty, empty);
            await s.Invoker.AsyncUnaryCall(method, null, new CallOptions(cancellationToken: t), []);
        }
        ),
    };

    private readonly List<MemoryBroker> _brokers = [];
    private readonly List<StreamServer> _servers = [];

    public static IEnumerable<string> Names => Mistakes.Keys;

    public static IEnumerable<string> FailureNames => Failures.Keys;

    public static IEnumerable<string> TransportNames => Transports.Keys;

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

        AssertEqual(failures[0], failures[1]);
    }

    [TestCaseSource(nameof(FailureNames))]
    public async Task EveryRpc_AFailureBehindTheEngine_HasOneStatusOnEveryTransport(string name)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var configuration = new StreamingApiConfiguration(strategy, "memory:", [new("one", 1)])
        {
            DrainTimeoutSeconds = 5,
            Limits = StreamingApiLimits.Default with { ConnectionsMax = 2, PendingBytesMax = 6_000, WriteTimeout = TimeSpan.FromSeconds(2) },
        };
        var failures = new List<RpcException>();
        foreach (var transport in Enum.GetValues<Transport>())
        {
            await using var memory = new MemoryBroker();
            var broker = new GatedBroker(memory);
            await using var server = await StreamServer.StartAsync(transport, configuration, broker, null, limit.Token);
            failures.Add(await FailureOfAsync(() => Failures[name](server, broker, limit.Token)));
            broker.ReleaseAll();
        }

        AssertEqual(failures[0], failures[1]);
    }

    [TestCaseSource(nameof(TransportNames))]
    public async Task EveryRpc_RefusedByTheTransport_HasOneStatusCode(string name)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var (code, call) = Transports[name];
        foreach (var server in _servers)
            Assert.That((await FailureOfAsync(() => call(server, limit.Token))).StatusCode, Is.EqualTo(code));
    }

    [Test]
    public async Task Successes_OfEveryKindOfRpc_HaveTheSameHeadersTrailersAndStatus()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var token = limit.Token;
        var seen = new List<string[]>();
        foreach (var server in _servers)
        {
            var metadata = new List<string>();
            using var unary = server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Parity", "", TextPacket("x")) }, cancellationToken: token);
            await unary;
            metadata.Add(Shown("unary", await unary.ResponseHeadersAsync, unary.GetTrailers(), unary.GetStatus()));
            using var stream = server.Writer.WriteDataPackets(cancellationToken: token);
            await stream.RequestStream.CompleteAsync();
            await stream;
            metadata.Add(Shown("client stream", await stream.ResponseHeadersAsync, stream.GetTrailers(), stream.GetStatus()));
            var connection = await server.ConnectAsync(new() { DataSource = "Parity" }, token);
            using var read = server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: token);
            Assert.That(await read.ResponseStream.MoveNext(token));
            await server.CloseAsync(connection, token);
            Assert.That(await read.ResponseStream.MoveNext(token), Is.False);
            metadata.Add(Shown("server stream", await read.ResponseHeadersAsync, read.GetTrailers(), read.GetStatus()));
            seen.Add([.. metadata]);
        }

        Assert.That(seen[1], Is.EqualTo(seen[0]));
    }

    private static void AssertEqual(RpcException inProcess, RpcException network)
    {
        using var all = Assert.EnterMultipleScope();
        Assert.That(network.Status.StatusCode, Is.EqualTo(inProcess.Status.StatusCode));
        Assert.That(network.Status.Detail, Is.EqualTo(inProcess.Status.Detail).And.Not.Empty);
        Assert.That(Shown(network.Trailers), Is.EqualTo(Shown(inProcess.Trailers)));
    }

    private static string Shown(string kind, Metadata headers, Metadata trailers, Status status) =>
        $"{kind}: {status.StatusCode} '{status.Detail}' headers {string.Join(", ", Shown(headers))} trailers {string.Join(", ", Shown(trailers))}";

    // What HTTP adds is not ours; a call that fails at once has one block of both.
    private static IEnumerable<string> Shown(Metadata metadata) =>
        metadata.Where(entry => entry.Key is not ("date" or "server" or "content-length" or "content-type")).Select(entry => $"{entry.Key}={entry.Value}").Order(StringComparer.Ordinal);

    private static async Task Failing(GatedBroker broker, BrokerError error, Func<Task> call)
    {
        broker.AppendFails = (_, _) => GatedBroker.Injected(error);
        await call();
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
