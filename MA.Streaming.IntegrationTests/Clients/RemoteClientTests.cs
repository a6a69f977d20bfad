using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.KeyGenerator;
using MA.Streaming.Proto.Client.Remote;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The client of a server: how it connects, what it does when the server is lost, and what it never does on its own.</summary>
[Parallelizable(ParallelScope.All)]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public sealed class RemoteClientTests : IAsyncDisposable
{
    private static readonly HashSet<string> Repeatable =
    [
        "GetConnection", "GetCurrentSessions", "GetSessionInfo", "GetParametersList", "GetEvent", "GetParameterDataFormatId", "GetEventDataFormatId",
        "GenerateUniqueKey",
    ];

    private readonly List<IAsyncDisposable> _ofTest = [];
    private readonly CancellationTokenSource _limit = new(TimeSpan.FromSeconds(30));

    public static IEnumerable<TestCaseData> Rpcs { get; } =
        from service in ApiReflection.Descriptor.Services.Concat(KeyGeneratorReflection.Descriptor.Services)
        from method in service.Methods
        select new TestCaseData(method).SetArgDisplayNames(method.Name);

    private CancellationToken Limit => _limit.Token;

    public async ValueTask DisposeAsync()
    {
        for (var i = _ofTest.Count - 1; i >= 0; i--) await _ofTest[i].DisposeAsync();
        _limit.Dispose();
    }

    [Test]
    public async Task Clients_OfOneServer_CreateWriteAndRead()
    {
        var server = await StartServerAsync();
        using var api = RemoteStreamingApi.Connect(server.Address);
        var session = await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car", Identifier = "FP1" }, cancellationToken: Limit);
        await WriteAsync(api, "first", session.SessionKey);
        var id = (await api.GetDataFormatManagerClient().GetEventDataFormatIdAsync(new() { DataSource = "Car", Event = "Gear" }, cancellationToken: Limit)).DataFormatIdentifier;
        var connection = await ConnectAsync(api, session.SessionKey);
        using var read = api.GetPacketReaderClient().ReadPackets(new() { Connection = connection }, cancellationToken: Limit);

        Assert.That(await read.ResponseStream.MoveNext(Limit));
        Assert.That(read.ResponseStream.Current.Response.Single().Packet.Content.ToStringUtf8(), Is.EqualTo("first"));
        var format = await api.GetDataFormatManagerClient().GetEventAsync(new() { DataSource = "Car", DataFormatIdentifier = id }, cancellationToken: Limit);
        Assert.That(format.Event, Is.EqualTo("Gear"));
        await api.GetConnectionManagerClient().CloseConnectionAsync(new() { Connection = connection }, cancellationToken: Limit);
        Assert.That(await read.ResponseStream.MoveNext(Limit), Is.False);
    }

    [Test]
    public async Task Dispose_OpenRead_EndsAsCancelled()
    {
        var server = await StartServerAsync();
        var api = RemoteStreamingApi.Connect(server.Address);
        using var read = await OpenAsync(api, await ConnectAsync(api, ""));
        var next = read.ResponseStream.MoveNext(CancellationToken.None);
        api.Dispose();

        AssertFailure(await FailureOfAsync(() => next.WaitAsync(Limit)), StatusCode.Cancelled);
    }

    [Test]
    public async Task Connect_ServerThatComesLater_IsFoundByTheNextCall()
    {
        using var refused = new RefusedPort();
        using var api = RemoteStreamingApi.Connect(refused.Address);
        AssertFailure(await FailureOfAsync(() => WriteAsync(api, "too early")), StatusCode.Unavailable);

        refused.Dispose();
        await StartServerAsync(port: refused.Port);
        await WriteAsync(api, "in time");
    }

    [Test]
    public async Task Reads_TwoThousandOnOneChannel_AllFlowOverOneTcpConnection()
    {
        const int Reads = 2_000;
        var server = await StartServerAsync();
        using var api = RemoteStreamingApi.Connect(server.Address);

        // After the first call the client knows how many calls a connection takes; before, it would open a second one.
        await ConnectAsync(api, "");
        var reads = await Task.WhenAll(Enumerable.Range(0, Reads).Select(async _ =>
        {
            var connection = await ConnectAsync(api, "");
            var read = api.GetPacketReaderClient().ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
            await read.ResponseHeadersAsync;
            return (connection, read);
        })).WaitAsync(Limit);
        await WriteAsync(api, "for all");
        var texts = await Task.WhenAll(reads.Select(async r =>
        {
            await r.read.ResponseStream.MoveNext(Limit);
            return r.read.ResponseStream.Current.Response.Single().Packet.Content.ToStringUtf8();
        })).WaitAsync(Limit);
        foreach (var (connection, _) in reads) await api.GetConnectionManagerClient().CloseConnectionAsync(new() { Connection = connection }, cancellationToken: Limit);

        Assert.That(texts, Has.Length.EqualTo(Reads).And.All.EqualTo("for all"));
        foreach (var (_, read) in reads)
        {
            Assert.That(await read.ResponseStream.MoveNext(Limit), Is.False);
            read.Dispose();
        }

        Assert.That(server.TcpConnections, Is.EqualTo(1));
    }

    [Test]
    public async Task Calls_MoreThanAProxyTakesAtOnce_OpenASecondConnection()
    {
        var all = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var arrived = 0;
        var server = await StartRawAsync(
            async context =>
            {
                if (Interlocked.Increment(ref arrived) == 5) all.TrySetResult();
                await all.Task;
                await RawServer.Status(context, StatusCode.NotFound);
            },
            streamsMax: 2);
        using var api = RemoteStreamingApi.Connect(server.Address);
        var calls = Enumerable.Range(0, 5).Select(_ => FailureOfAsync(() => WriteAsync(api, "x"))).ToArray();

        foreach (var failure in await Task.WhenAll(calls).WaitAsync(Limit)) AssertFailure(failure, StatusCode.NotFound);
        Assert.That(server.Connections, Is.EqualTo(3));
    }

    [TestCaseSource(nameof(Rpcs))]
    public async Task Retry_ServerUnavailable_RepeatsOnlyWhatChangesNothing(MethodDescriptor method)
    {
        var server = await StartRawAsync(context => RawServer.Status(context, StatusCode.Unavailable));
        await CallAndFailAsync(server, method, StatusCode.Unavailable);
        Assert.That(server.RequestsOf(Path(method)), Is.EqualTo(Repeatable.Contains(method.Name) ? 4 : 1));
    }

    [TestCaseSource(nameof(Rpcs))]
    public async Task Retry_ConnectionBreaksWhenTheServerHasTheRequest_RepeatsOnlyWhatChangesNothing(MethodDescriptor method)
    {
        var server = await StartRawAsync(RawServer.TakeAndBreak);
        await CallAndFailAsync(server, method, StatusCode.Unavailable);
        Assert.That(server.RequestsOf(Path(method)), Is.EqualTo(Repeatable.Contains(method.Name) ? 4 : 1));
    }

    [TestCaseSource(nameof(Rpcs))]
    public async Task Retry_AnyOtherStatus_IsPassedOnAtOnce(MethodDescriptor method)
    {
        var server = await StartRawAsync(context => RawServer.Status(context, StatusCode.ResourceExhausted));
        await CallAndFailAsync(server, method, StatusCode.ResourceExhausted);
        Assert.That(server.RequestsOf(Path(method)), Is.EqualTo(1));
    }

    [Test]
    public async Task Retry_ServerIsBackInTime_TheCallSucceeds()
    {
        var calls = 0;
        var server = await StartRawAsync(context => Interlocked.Increment(ref calls) < 3
            ? RawServer.Status(context, StatusCode.Unavailable)
            : RawServer.Message(context, new GetEventResponse { Event = "Gear" }.ToByteArray()));
        using var api = RemoteStreamingApi.Connect(server.Address);
        var response = await api.GetDataFormatManagerClient().GetEventAsync(new() { DataSource = "Car", DataFormatIdentifier = 1 }, cancellationToken: Limit);

        Assert.That(response.Event, Is.EqualTo("Gear"));
        Assert.That(calls, Is.EqualTo(3));
    }

    [TestCase(15, StatusCode.OK)]
    [TestCase(17, StatusCode.ResourceExhausted)]
    public async Task Responses_UpToSixteenMebibytes_AreTaken(int mebibytes, StatusCode status)
    {
        var message = new GetParametersListResponse { Parameters = { new string('x', mebibytes << 20) } }.ToByteArray();
        var server = await StartRawAsync(context => RawServer.Message(context, message));
        using var api = RemoteStreamingApi.Connect(server.Address);
        var call = api.GetDataFormatManagerClient().GetParametersListAsync(new() { DataSource = "Car" }, cancellationToken: Limit);
        if (status == StatusCode.OK) Assert.That((await call).Parameters.Single(), Has.Length.EqualTo(mebibytes << 20));
        else AssertFailure(await FailureOfAsync(async () => await call), status);
    }

    [Test]
    public async Task KeepAlive_PeerFallsSilent_OpenReadEndsAndTheNextCallConnectsAnew()
    {
        var server = await StartServerAsync();
        var proxy = Own(new Proxy(server.Address));
        var options = new RemoteStreamingApiOptions { KeepAlivePingDelay = TimeSpan.FromSeconds(1), KeepAlivePingTimeout = TimeSpan.FromSeconds(1) };
        using var api = RemoteStreamingApi.Connect($"{proxy.Address},{server.Address}", options);
        using var read = await OpenAsync(api, await ConnectAsync(api, ""));
        proxy.FallSilent();

        AssertFailure(await FailureOfAsync(() => read.ResponseStream.MoveNext(Limit)), StatusCode.Internal, "ping");
        await proxy.DisposeAsync();
        await WriteAsync(api, "the server itself");
    }

    [Test]
    public async Task Addresses_Several_OnlyTheFirstIsUsed()
    {
        var servers = new List<RawServer>();
        for (var i = 0; i < 3; i++) servers.Add(await StartRawAsync(context => RawServer.Message(context, [])));
        using var api = RemoteStreamingApi.Connect(string.Join(',', servers.Select(s => s.Address)));
        for (var i = 0; i < 50; i++) await WriteAsync(api, $"{i}");
        await Task.WhenAll(Enumerable.Range(0, 200).Select(i => WriteAsync(api, $"{i}"))).WaitAsync(Limit);

        Assert.That(servers.Select(s => s.Requests), Is.EqualTo(new[] { 250, 0, 0 }));
    }

    [Test]
    public async Task Addresses_FirstRefuses_TheNextIsUsed()
    {
        using var refused = new RefusedPort();
        var server = await StartServerAsync();
        using var api = RemoteStreamingApi.Connect($"{refused.Address}, {server.Address}");
        await WriteAsync(api, "x");
    }

    [Test]
    public async Task Addresses_FirstNeverAnswers_TheNextIsUsedAfterTheConnectTimeout()
    {
        // Its queue of connections is full, so that the system does not answer either.
        using var mute = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        mute.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        mute.Listen(0);
        using var filler = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await filler.ConnectAsync(mute.LocalEndPoint!, Limit);
        var server = await StartServerAsync();
        using var api = RemoteStreamingApi.Connect(
            $"{mute.LocalEndPoint}, {server.Address}", new RemoteStreamingApiOptions { ConnectTimeout = TimeSpan.FromSeconds(1) });

        await WriteAsync(api, "x");
    }

    [Test]
    public async Task Addresses_NoneWorks_FailsWithUnavailableAndFindsTheOneThatComesBack()
    {
        using var first = new RefusedPort();
        using var second = new RefusedPort();
        using var api = RemoteStreamingApi.Connect($"{first.Address},{second.Address}");
        AssertFailure(
            await FailureOfAsync(() => WriteAsync(api, "x")), StatusCode.Unavailable, $"{first.Address}: Connection refused", $"{second.Address}: Connection refused");

        second.Dispose();
        await StartServerAsync(port: second.Port);
        await WriteAsync(api, "x");
    }

    [Test]
    public async Task Addresses_ServerDies_ReadsEndAndTheNextCallsGoToTheOtherAndStayThere()
    {
        var broker = Own(new MemoryBroker());
        var first = Own(new Proxy((await StartServerAsync(broker)).Address));
        var second = await StartServerAsync(broker);
        using var api = RemoteStreamingApi.Connect($"{first.Address},{second.Address}");
        await WriteAsync(api, "one");
        var connection = await ConnectAsync(api, "");
        using var read = await OpenAsync(api, connection);
        Assert.That(await read.ResponseStream.MoveNext(Limit));
        Assert.That((first.Connections, second.TcpConnections), Is.EqualTo((1, 0)));
        await first.DisposeAsync();
        AssertFailure(await FailureOfAsync(() => read.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable);

        // The other server, on the same broker: the packets are there, the connection is not.
        await WriteAsync(api, "two");
        using var unknown = await OpenAsync(api, connection);
        AssertFailure(await FailureOfAsync(() => unknown.ResponseStream.MoveNext(Limit)), StatusCode.NotFound);
        using var again = await OpenAsync(api, await ConnectAsync(api, ""));
        var texts = new List<string>();
        while (texts.Count < 2 && await again.ResponseStream.MoveNext(Limit)) texts.Add(again.ResponseStream.Current.Response.Single().Packet.Content.ToStringUtf8());
        Assert.That(texts, Is.EqualTo(new[] { "one", "two" }));

        // The first one is back: nobody moves, because connections live on one server.
        var returned = Own(new Proxy(second.Address, first.Port));
        for (var i = 0; i < 20; i++) await WriteAsync(api, "x");
        Assert.That((returned.Connections, second.TcpConnections), Is.EqualTo((0, 1)));
    }

    [Test]
    public async Task Addresses_ServerDies_AWriteIsNotSentToTheOther()
    {
        var first = await StartRawAsync(RawServer.TakeAndBreak);
        var second = await StartRawAsync(context => RawServer.Message(context, []));
        using var api = RemoteStreamingApi.Connect($"{first.Address},{second.Address}");
        AssertFailure(await FailureOfAsync(() => WriteAsync(api, "x")), StatusCode.Unavailable);
        Assert.That((first.Requests, second.Requests), Is.EqualTo((1, 0)));
    }

    [Test]
    public async Task Tls_TrustedCertificate_WorksWithOneAndWithSeveralAddresses()
    {
        using var certificate = NewCertificate();
        var server = await StartRawAsync(context => RawServer.Message(context, []), certificate);
        using var refused = new RefusedPort();
        var port = new Uri($"https://{server.Address}").Port;
        foreach (var address in new[] { $"https://localhost:{port}", $"https://localhost:{refused.Port},https://localhost:{port}" })
        {
            using var api = RemoteStreamingApi.Connect(address, Trusting(certificate));
            await WriteAsync(api, "x");
        }

        Assert.That(server.Requests, Is.EqualTo(2));
    }

    [TestCase("localhost", false)]
    [TestCase("127.0.0.1", true)]
    public async Task Tls_UntrustedCertificateOrAnotherName_IsRefused(string host, bool trusted)
    {
        using var certificate = NewCertificate();
        var server = await StartRawAsync(context => RawServer.Message(context, []), certificate);
        var options = trusted ? Trusting(certificate) : new RemoteStreamingApiOptions();
        using var api = RemoteStreamingApi.Connect($"https://{host}:{new Uri($"https://{server.Address}").Port}", options);

        AssertFailure(await FailureOfAsync(() => WriteAsync(api, "x")), StatusCode.Unavailable, "certificate");
        Assert.That(server.Requests, Is.Zero);
    }

    private static string Path(MethodDescriptor method) => $"/{method.Service.FullName}/{method.Name}";

    private static X509Certificate2 NewCertificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(1));
    }

    private static RemoteStreamingApiOptions Trusting(X509Certificate2 certificate) => new()
    {
        Tls = new SslClientAuthenticationOptions
        {
            CertificateChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                CustomTrustStore = { certificate },
                RevocationMode = X509RevocationMode.NoCheck,
            },
        },
    };

    private async Task CallAndFailAsync(RawServer server, MethodDescriptor method, StatusCode status)
    {
        using var api = RemoteStreamingApi.Connect(server.Address);
        var invoker = api.Channel.CreateCallInvoker();
        var options = new CallOptions(cancellationToken: Limit);
        var marshaller = Marshallers.Create<byte[]>(bytes => bytes, bytes => bytes);
        var type = (method.IsClientStreaming, method.IsServerStreaming) switch
        {
            (false, false) => MethodType.Unary,
            (false, true) => MethodType.ServerStreaming,
            (true, false) => MethodType.ClientStreaming,
            _ => MethodType.DuplexStreaming,
        };
        var call = new Method<byte[], byte[]>(type, method.Service.FullName, method.Name, marshaller, marshaller);
        var failure = await FailureOfAsync(async () =>
        {
            if (type == MethodType.Unary)
            {
                await invoker.AsyncUnaryCall(call, null, options, []);
            }
            else if (type == MethodType.ServerStreaming)
            {
                await invoker.AsyncServerStreamingCall(call, null, options, []).ResponseStream.MoveNext(Limit);
            }
            else
            {
                using var stream = invoker.AsyncClientStreamingCall(call, null, options);
                await stream.RequestStream.WriteAsync([]);
                await stream.RequestStream.CompleteAsync();
                await stream;
            }
        });
        AssertFailure(failure, status);
    }

    private Task WriteAsync(RemoteStreamingApi api, string text, string session = "") =>
        api.GetPacketWriterClient().WriteDataPacketAsync(
            new() { Detail = Detail("Car", "", TextPacket(text), session) }, cancellationToken: Limit).ResponseAsync.WaitAsync(Limit);

    private async Task<Connection> ConnectAsync(RemoteStreamingApi api, string session) =>
        (await api.GetConnectionManagerClient().NewConnectionAsync(
            new() { Details = new() { DataSource = "Car", SessionKey = session } }, cancellationToken: Limit)).Connection;

    private async Task<AsyncServerStreamingCall<ReadPacketsResponse>> OpenAsync(RemoteStreamingApi api, Connection connection)
    {
        var read = api.GetPacketReaderClient().ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        await read.ResponseHeadersAsync.WaitAsync(Limit);
        return read;
    }

    private Task<StreamServer> StartServerAsync(MemoryBroker? broker = null, int port = 0) => OwnAsync(StreamServer.StartAsync(
        Transport.Kestrel, new StreamingApiConfiguration(brokerUrl: "memory:") { DrainTimeoutSeconds = 5 }, broker ?? Own(new MemoryBroker()), null, Limit, port));

    private Task<RawServer> StartRawAsync(Func<Microsoft.AspNetCore.Http.HttpContext, Task> answer, X509Certificate2? certificate = null, int streamsMax = 100) =>
        OwnAsync(RawServer.StartAsync(answer, Limit, certificate, streamsMax: streamsMax));

    private async Task<T> OwnAsync<T>(Task<T> starting)
        where T : IAsyncDisposable => Own(await starting);

    private T Own<T>(T part)
        where T : IAsyncDisposable
    {
        _ofTest.Add(part);
        return part;
    }

    /// <summary>A port that is taken and on which nobody listens, until disposal.</summary>
    private sealed class RefusedPort : IDisposable
    {
        private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);

        public RefusedPort()
        {
            _socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            Port = ((IPEndPoint)_socket.LocalEndPoint!).Port;
        }

        public int Port { get; }

        public string Address => $"127.0.0.1:{Port}";

        public void Dispose() => _socket.Dispose();
    }
}
