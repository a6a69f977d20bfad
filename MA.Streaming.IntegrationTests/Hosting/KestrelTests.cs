using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>The settings of the connections, each by what it is for. "One channel" is one HTTP/2 connection.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class KestrelTests
{
    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void StartLimit() => _limit = new CancellationTokenSource(TimeSpan.FromSeconds(TestContext.CurrentContext.Test.Properties.ContainsKey("Category") ? 180 : 60));

    [TearDown]
    public void StopLimit() => _limit.Dispose();

    [Test]
    public async Task Reads_TwoThousandOnOneChannel_AllFlow()
    {
        const int reads = 2_000;
        await using var server = await NetworkServer.StartAsync(Limit);
        using var channel = OneConnection(server.Address);
        var connections = new ConnectionManagerService.ConnectionManagerServiceClient(channel);
        var reader = new PacketReaderService.PacketReaderServiceClient(channel);
        var connection = (await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)).Connection;
        var calls = Enumerable.Range(0, reads).Select(_ => reader.ReadPackets(new() { Connection = connection }, cancellationToken: Limit)).ToArray();
        try
        {
            await Task.WhenAll(calls.Select(call => call.ResponseHeadersAsync)).WaitAsync(Limit);
            await WriteAsync(server.Writer, "Car", "hello");
            foreach (var call in calls)
            {
                Assert.That(await call.ResponseStream.MoveNext(Limit), Is.True);
                Assert.That(call.ResponseStream.Current.Response.Single().Packet.Content.ToStringUtf8(), Is.EqualTo("hello"));
            }
        }
        finally
        {
            foreach (var call in calls) call.Dispose();
        }
    }

    // An application whose web server wants 100 MB/s of every response, and aborts the connection of one that does not: the read that is
    // left alone would take the others with it. By default it wants 240 B/s, which a test would have to wait minutes for.
    [Test]
    public async Task Read_ThatNobodyReads_LeavesFiftyOthersAloneWhateverRateTheApplicationWants()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2);
            kestrel.Limits.MinResponseDataRate = new MinDataRate(100_000_000, TimeSpan.FromSeconds(1.1));
        });
        builder.Services.AddStreamingApi(options => options.BrokerUrl = "memory:");
        await using var app = builder.Build();
        app.MapStreamingApi();
        await app.StartAsync(Limit);
        await app.Services.GetRequiredService<StreamingApiServer>().WaitUntilReadyAsync(Limit);
        await ReadBesideAnUnreadOneAsync(app.Urls.Single(), 4);
    }

    [Test]
    [Category("Long")]
    public async Task Read_ThatNobodyReadsForAMinute_LeavesFiftyOthersOnItsChannelAlone()
    {
        await using var server = await NetworkServer.StartAsync(Limit);
        await ReadBesideAnUnreadOneAsync(server.Address, 60);
    }

    [Test]
    public async Task ClientStreams_HundredThatWaitOnOneChannel_LeaveUnaryCallsAlone()
    {
        const int streams = 100;
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        await using var server = await NetworkServer.StartAsync(
            Limit,
            options =>
            {
                options.Broker = broker;
                options.Limits = StreamingApiLimits.Default with { StreamWindowBytes = 64 << 10 };
            });
        using var channel = OneConnection(server.Address);
        var writer = new PacketWriterService.PacketWriterServiceClient(channel);
        await WriteAsync(writer, "Car", "first"); // The topic is there.
        broker.HoldAll();
        var calls = Enumerable.Range(0, streams).Select(_ => writer.WriteDataPackets(cancellationToken: Limit)).ToArray();
        var message = new WriteDataPacketsRequest { Details = { Detail("Car", "", TextPacket(new string('x', 64 << 10))) } };
        var pushing = calls.Select(call => PushAsync(call.RequestStream, message, 16)).ToArray();
        await broker.HeldAsync(streams, Limit);

        // Each stream has far more to send than its service and its window take: all of them stand.
        var connections = new ConnectionManagerService.ConnectionManagerServiceClient(channel);
        for (var i = 0; i < 200; i++)
        {
            await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, deadline: DateTime.UtcNow.AddSeconds(5), cancellationToken: Limit);
        }

        Assert.That(pushing.Any(push => push.IsCompleted), Is.False, "the streams wait");
        broker.ReleaseAll();
        await Task.WhenAll(pushing).WaitAsync(Limit);
        foreach (var call in calls) await call.ResponseAsync.WaitAsync(Limit);
        Assert.That((await inner.GetWatermarksAsync([new("Car", 0)], Limit)).Single().High, Is.EqualTo(1 + (streams * 16)));
    }

    [Test]
    public async Task Messages_UpToSixteenMebibytes_AreTakenAndLargerOnesRefused()
    {
        await using var server = await NetworkServer.StartAsync(Limit);
        var packet = new Packet { Type = "RawCANData", Content = ByteString.CopyFrom(new byte[3_500_000]) };
        using var fits = server.Writer.WriteDataPackets(cancellationToken: Limit);
        await fits.RequestStream.WriteAsync(new() { Details = { Enumerable.Range(0, 4).Select(_ => Detail("Car", "", packet)) } }, Limit);
        await fits.RequestStream.CompleteAsync().WaitAsync(Limit);
        await fits.ResponseAsync.WaitAsync(Limit);

        using var tooLarge = server.Writer.WriteDataPackets(cancellationToken: Limit);
        try
        {
            await tooLarge.RequestStream.WriteAsync(new() { Details = { Enumerable.Range(0, 5).Select(_ => Detail("Car", "", packet)) } }, Limit);
        }
        catch (RpcException)
        {
            // The server need not take it to its end; the response tells why.
        }

        var failure = await FailureOfAsync(() => tooLarge.ResponseAsync.WaitAsync(Limit));
        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
    }

    [Test]
    public async Task Requests_CompressedWithGzip_AreTaken()
    {
        await using var server = await NetworkServer.StartAsync(Limit);
        var seen = new EncodingHandler();
        using var channel = GrpcChannel.ForAddress(server.Address, new GrpcChannelOptions { HttpHandler = seen });
        var writer = new PacketWriterService.PacketWriterServiceClient(channel);
        var text = new string('x', 100_000);
        await writer.WriteDataPacketAsync(
            new() { Detail = Detail("Car", "", TextPacket(text)) }, new Metadata { { "grpc-internal-encoding-request", "gzip" } }, cancellationToken: Limit);
        Assert.That(seen.Requests, Is.EqualTo(new[] { "gzip" }));
        Assert.That(seen.Responses, Is.EqualTo(new[] { "" }), "responses are not compressed unless ResponseCompression is set");

        var connection = (await server.Connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)).Connection;
        using var read = server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        Assert.That(await read.ResponseStream.MoveNext(Limit), Is.True);
        Assert.That(read.ResponseStream.Current.Response.Single().Packet.Content.ToStringUtf8(), Is.EqualTo(text));
    }

    [Test]
    public async Task Responses_WithResponseCompression_AreCompressedAndAnEmptyOneIsAnEmptyGzipMember()
    {
        await using var server = await NetworkServer.StartAsync(Limit, options => options.ResponseCompression = true);
        await WriteAsync(server.Writer, "Car", new string('x', 100_000));
        var connection = (await server.Connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)).Connection;
        using var read = server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        Assert.That(await read.ResponseStream.MoveNext(Limit), Is.True);
        Assert.That(read.ResponseStream.Current.Response.Single().Packet.Content.Length, Is.EqualTo(100_000));

        // By hand, to see the bytes: flag, length, message.
        var request = new WriteDataPacketRequest { Detail = Detail("Car", "", TextPacket("x")) }.ToByteArray();
        byte[] frame = [0, 0, 0, 0, (byte)request.Length, .. request];
        using var http = new HttpClient { DefaultRequestVersion = HttpVersion.Version20, DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact };
        using var message = new HttpRequestMessage(HttpMethod.Post, $"{server.Address}/ma.streaming.api.v1.PacketWriterService/WriteDataPacket")
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new ByteArrayContent(frame) { Headers = { ContentType = new MediaTypeHeaderValue("application/grpc") } },
        };
        message.Headers.Add("te", "trailers");
        message.Headers.Add("grpc-accept-encoding", "gzip");
        using var response = await http.SendAsync(message, Limit);
        var bytes = await response.Content.ReadAsByteArrayAsync(Limit);
        Assert.That(response.Headers.GetValues("grpc-encoding"), Is.EqualTo(new[] { "gzip" }));
        Assert.That(response.TrailingHeaders.GetValues("grpc-status"), Is.EqualTo(new[] { "0" }));
        Assert.That(bytes[0], Is.EqualTo(1), "the message says that it is compressed");
        Assert.That(bytes[4], Is.EqualTo(bytes.Length - 5).And.GreaterThan(0));
        using var gzip = new GZipStream(new MemoryStream(bytes[5..]), CompressionMode.Decompress);
        Assert.That(gzip.ReadByte(), Is.EqualTo(-1), "it is empty");
    }

    [Test]
    public async Task Peer_ThatFallsSilent_IsNoticedAndWhatItHeldIsReleased()
    {
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        await using var server = await NetworkServer.StartAsync(
            Limit,
            options =>
            {
                options.Broker = broker;
                options.IntegrateSessionManagement = false; // Its own read would count.
                options.KeepAlivePingDelay = TimeSpan.FromSeconds(1);
                options.KeepAlivePingTimeout = TimeSpan.FromSeconds(1);
            });
        await WriteAsync(server.Writer, "Car", "x");
        await using var proxy = new Proxy(new Uri(server.Address).Authority);
        using var channel = server.OpenChannel($"http://{proxy.Address}");
        var connections = new ConnectionManagerService.ConnectionManagerServiceClient(channel);
        var connection = (await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)).Connection;
        using var read = new PacketReaderService.PacketReaderServiceClient(channel).ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        Assert.That(await read.ResponseStream.MoveNext(Limit), Is.True);
        await broker.OpenReadsAsync(1, Limit);
        Assert.That(await server.Diagnostics.GetStringAsync("/metrics", Limit), Does.Contain("\nstream_api_reads_open 1\n"));

        // While it answers pings it is not cut off, though it says nothing.
        await Task.Delay(TimeSpan.FromSeconds(4), Limit);
        await broker.OpenReadsAsync(1, Limit);

        proxy.FallSilent();
        await broker.OpenReadsAsync(0).WithDeadline(10);
        await Until.TrueAsync(
            async () => (await server.Diagnostics.GetStringAsync("/metrics", Limit)).Contains("\nstream_api_reads_open 0\n", StringComparison.Ordinal), Limit);
    }

    [Test]
    public void KeepAlive_Defaults_FindADeadPeerWithinThirtySeconds()
    {
        var options = new StreamingApiServerOptions();
        Assert.That(options.KeepAlivePingDelay + options.KeepAlivePingTimeout, Is.LessThanOrEqualTo(TimeSpan.FromSeconds(28)), "Kestrel looks once a second at each");
    }

    private static GrpcChannel OneConnection(string address) => GrpcChannel.ForAddress(
        address, new GrpcChannelOptions { HttpHandler = new SocketsHttpHandler { EnableMultipleHttp2Connections = false }, DisposeHttpClient = true });

    private async Task ReadBesideAnUnreadOneAsync(string address, int seconds)
    {
        using var channel = OneConnection(address);
        var writer = new PacketWriterService.PacketWriterServiceClient(channel);
        for (var i = 0; i < 40; i++) await WriteAsync(writer, "Lazy", new string('x', 500_000));
        var connections = new ConnectionManagerService.ConnectionManagerServiceClient(channel);
        var reader = new PacketReaderService.PacketReaderServiceClient(channel);
        var lazy = (await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Lazy" } }, cancellationToken: Limit)).Connection;
        using var unread = reader.ReadPackets(new() { Connection = lazy }, cancellationToken: Limit);
        await unread.ResponseHeadersAsync.WaitAsync(Limit);

        var healthy = (await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Busy" } }, cancellationToken: Limit)).Connection;
        var calls = Enumerable.Range(0, 50).Select(_ => reader.ReadPackets(new() { Connection = healthy }, cancellationToken: Limit)).ToArray();
        try
        {
            await Task.WhenAll(calls.Select(call => call.ResponseHeadersAsync)).WaitAsync(Limit);
            using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(250));
            for (var written = 0; written < seconds * 4; written++)
            {
                await WriteAsync(writer, "Busy", $"{written}");
                foreach (var call in calls)
                {
                    Assert.That(await call.ResponseStream.MoveNext(Limit), Is.True);
                    Assert.That(call.ResponseStream.Current.Response.Single().Packet.Content.ToStringUtf8(), Is.EqualTo($"{written}"));
                }

                await timer.WaitForNextTickAsync(Limit);
            }

            // And the one that was left alone goes on where it stood.
            for (var i = 0; i < 40; i++) Assert.That(await unread.ResponseStream.MoveNext(Limit), Is.True);
        }
        finally
        {
            foreach (var call in calls) call.Dispose();
        }
    }

    private static async Task PushAsync(IClientStreamWriter<WriteDataPacketsRequest> requests, WriteDataPacketsRequest message, int count)
    {
        for (var i = 0; i < count; i++) await requests.WriteAsync(message);
        await requests.CompleteAsync();
    }

    private async Task WriteAsync(PacketWriterService.PacketWriterServiceClient writer, string dataSource, string text) =>
        await writer.WriteDataPacketAsync(new() { Detail = Detail(dataSource, "", TextPacket(text)) }, cancellationToken: Limit);

    /// <summary>Notes the encodings on the wire.</summary>
    private sealed class EncodingHandler() : DelegatingHandler(new SocketsHttpHandler())
    {
        public List<string> Requests { get; } = [];

        public List<string> Responses { get; } = [];

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Requests.Add(Encoding(request.Headers));
            var response = await base.SendAsync(request, cancellationToken);
            Responses.Add(Encoding(response.Headers));
            return response;
        }

        private static string Encoding(HttpHeaders headers) => headers.TryGetValues("grpc-encoding", out var values) ? string.Join(',', values) : "";
    }
}
