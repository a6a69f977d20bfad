using System.Diagnostics;
using System.Net;
using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Benchmarks;

/// <summary>The network server over loopback, beside a gRPC service written by hand on the same web server that moves the same messages.</summary>
internal static class NetworkBenchmarks
{
    private const int Unary = 10_000;
    private const int UnaryInFlight = 64;
    private const int Streamed = 200_000;
    private const int StreamedBatches = 500_000;
    private const int ReadSingle = 200_000;
    private const int ReadBatched = 400_000;
    private const int Reads = 200;
    private const string ByHand = "the same call to a service by hand, over loopback on the same web server";

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(
            "net-write-unary", "WriteDataPacket over loopback, one awaited call after the other, 200 B packets, memory broker", ByHand,
            [Metric.Rate()], scale => OpenWriteAsync(scale.Packets(Unary), WriteUnaryAsync)),
        new(
            "net-write-unary-64", "WriteDataPacket over loopback, 64 calls in flight, 200 B packets", ByHand,
            [Metric.Rate()], scale => OpenWriteAsync(scale.Packets(4 * Unary), WriteManyUnaryAsync)),
        new(
            "net-write-stream", "WriteDataPackets over loopback, 1 packet a message, 200 B packets", ByHand,
            [Metric.RateRatio(0.7)],
            scale => OpenWriteAsync(scale.Packets(Streamed), (client, packets) => WriteBenchmarks.WriteStreamAsync(client, packets, 1))),
        new(
            "net-write-stream-100", "WriteDataPackets over loopback, 100 packets a message, 200 B packets", ByHand,
            [Metric.RateRatio(0.7)],
            scale => OpenWriteAsync(scale.Packets(StreamedBatches), (client, packets) => WriteBenchmarks.WriteStreamAsync(client, packets, 100))),
        new(
            "net-read-batched", "ReadPackets over loopback of a filled log with BatchingResponses, 200 B packets",
            "a service by hand that sends prepared messages of the same size", [Metric.RateRatio(0.8)],
            scale => OpenReadAsync(scale.Packets(ReadBatched), batching: true)),
        new(
            "net-read-single", "ReadPackets over loopback of a filled log, one 200 B packet a response",
            "a service by hand that sends prepared messages of one packet", [Metric.RateRatio(0.8)],
            scale => OpenReadAsync(scale.Packets(ReadSingle), batching: false)),
        new(
            "net-latency", "over loopback, from WriteAsync on a client stream to MoveNext on a read, 10,000 packets of 200 B a second",
            "the same two streams of a service by hand, with only a bounded queue between them",
            [
                new("p50", "µs", Target.RatioAtMost(2)), new("p90", "µs"), new("p99", "µs", Target.RatioAtMost(3)), new("p99.9", "µs"), new("max", "µs"),
                new("rate", "packets/s"),
            ],
            OpenLatencyAsync),
        new(
            "net-first-packet", "NewConnection and ReadPackets over loopback until the first packet of 200 streams", "a unary call by hand, twice",
            [new("p50", "µs"), new("p99", "µs")], OpenFirstPacketAsync),
        new(
            "local-write-unary", "WriteDataPacket in process, one awaited call after the other", "the same over loopback to the server",
            [Metric.RateRatio(10)], scale => OpenLocalWriteAsync(scale.Packets(Unary), WriteUnaryAsync)),
        new(
            "local-write-stream", "WriteDataPackets in process, 1 packet a message", "the same over loopback to the server",
            [Metric.RateRatio(5)],
            scale => OpenLocalWriteAsync(scale.Packets(Streamed), (client, packets) => WriteBenchmarks.WriteStreamAsync(client, packets, 1))),
        new(
            "local-read-single", "ReadPackets in process, one packet a response", "the same over loopback from the server",
            [Metric.RateRatio(5)], scale => OpenLocalReadAsync(scale.Packets(ReadSingle))),
    ];

    private static async Task WriteUnaryAsync(PacketWriterService.PacketWriterServiceClient client, int packets)
    {
        var request = new WriteDataPacketRequest { Detail = Workload.Detail(1) };
        for (var sent = 0; sent < packets; sent++) await client.WriteDataPacketAsync(request);
    }

    private static Task WriteManyUnaryAsync(PacketWriterService.PacketWriterServiceClient client, int packets)
    {
        var left = packets;
        return Task.WhenAll(Enumerable.Range(0, UnaryInFlight).Select(_ => Task.Run(async () =>
        {
            var request = new WriteDataPacketRequest { Detail = Workload.Detail(1) };
            while (Interlocked.Decrement(ref left) >= 0) await client.WriteDataPacketAsync(request);
        })));
    }

    private static async Task<Arms> OpenWriteAsync(int packets, Func<PacketWriterService.PacketWriterServiceClient, int, Task> write)
    {
        var server = await LoopbackServer.StartAsync(WriteBenchmarks.LogBytes, batching: true);
        var counting = new CountingService();
        var byHand = await LoopbackService.StartAsync(writer: counting);
        return new Arms(
            () => Measure.PacketsAsync(packets, () => write(server.Writer, packets)),
            async () =>
            {
                var before = counting.Packets;
                var sample = await Measure.PacketsAsync(packets, () => write(byHand.Writer, packets));
                Measure.Check(counting.Packets - before, packets, "packets counted");
                return sample;
            },
            server,
            byHand);
    }

    private static async Task<Arms> OpenReadAsync(int packets, bool batching)
    {
        var server = await LoopbackServer.StartAsync(ReadBenchmarks.LogBytes, batching);
        await server.FillAsync(packets);
        var connection = server.Connect(0);
        var size = await ReadBenchmarks.ReadAsync(server.Reader, connection, packets, ReadBenchmarks.IdSum(packets));
        var byHand = await LoopbackService.StartAsync(reader: PreparedReader.OfSize(size, packets));
        return new Arms(
            () => Measure.PacketsAsync(packets, () => ReadBenchmarks.ReadAsync(server.Reader, connection, packets, ReadBenchmarks.IdSum(packets))),
            () => Measure.PacketsAsync(packets, () => ReadBenchmarks.ReadAsync(byHand.Reader, connection, packets, idSum: null)),
            server,
            byHand);
    }

    private static async Task<Arms> OpenLatencyAsync(Scale scale)
    {
        var time = scale.Time(LatencyBenchmark.Time);
        var server = await LoopbackServer.StartAsync(WriteBenchmarks.LogBytes, batching: false);
        await server.FillAsync(1);
        var queue = new LatencyBenchmark.QueueService();
        var byHand = await LoopbackService.StartAsync(queue.Writer, queue.Reader);
        var connection = server.Connect(-1);
        return new Arms(
            () => LatencyBenchmark.RunAsync(server.Writer, server.Reader, connection, time),
            () => LatencyBenchmark.RunAsync(byHand.Writer, byHand.Reader, connection, time),
            server,
            byHand);
    }

    private static async Task<Arms> OpenFirstPacketAsync(Scale scale)
    {
        var reads = scale.IsDry ? 10 : Reads;
        var server = await LoopbackServer.StartAsync(ReadBenchmarks.LogBytes, batching: true);
        await server.FillAsync(1_000);
        var byHand = await LoopbackService.StartAsync(writer: new CountingService());
        return new Arms(
            () => TimesAsync(reads, async () =>
            {
                var connection = server.Connect(0);
                using (var call = server.Reader.ReadPackets(new ReadPacketsRequest { Connection = connection }))
                {
                    if (!await call.ResponseStream.MoveNext(CancellationToken.None)) throw new InvalidOperationException("the read ended at once");
                }

                server.Close(connection);
            }),
            () => TimesAsync(reads, () => WriteUnaryAsync(byHand.Writer, 2)),
            server,
            byHand);
    }

    private static async Task<Arms> OpenLocalWriteAsync(int packets, Func<PacketWriterService.PacketWriterServiceClient, int, Task> write)
    {
        var engine = await Engine.StartAsync(WriteBenchmarks.LogBytes);
        var server = await LoopbackServer.StartAsync(WriteBenchmarks.LogBytes, batching: true);
        return new Arms(
            () => Measure.PacketsAsync(packets, () => write(engine.Writer, packets)),
            () => Measure.PacketsAsync(packets, () => write(server.Writer, packets)),
            engine,
            server);
    }

    private static async Task<Arms> OpenLocalReadAsync(int packets)
    {
        var engine = await Engine.StartAsync(ReadBenchmarks.LogBytes, batching: false);
        var server = await LoopbackServer.StartAsync(ReadBenchmarks.LogBytes, batching: false);
        await engine.FillAsync(packets);
        await server.FillAsync(packets);
        var (local, remote) = (engine.Connect(0), server.Connect(0));
        return new Arms(
            () => Measure.PacketsAsync(packets, () => ReadBenchmarks.ReadAsync(engine.Reader, local, packets, ReadBenchmarks.IdSum(packets))),
            () => Measure.PacketsAsync(packets, () => ReadBenchmarks.ReadAsync(server.Reader, remote, packets, ReadBenchmarks.IdSum(packets))),
            engine,
            server);
    }

    private static async Task<Sample> TimesAsync(int count, Func<Task> act)
    {
        var times = new double[count];
        for (var i = 0; i < count; i++)
        {
            var started = Stopwatch.GetTimestamp();
            await act();
            times[i] = Stopwatch.GetElapsedTime(started).TotalMicroseconds;
        }

        Array.Sort(times);
        return new Sample { ["p50"] = times[count / 2], ["p99"] = times[(int)(count * 0.99)] };
    }

    /// <summary>Counts packets of many calls at once, and forgets them.</summary>
    private sealed class CountingService : PacketWriterService.PacketWriterServiceBase
    {
        private long _packets;

        public long Packets => Volatile.Read(ref _packets);

        public override Task<WriteDataPacketResponse> WriteDataPacket(WriteDataPacketRequest request, ServerCallContext context)
        {
            Interlocked.Increment(ref _packets);
            return Task.FromResult(new WriteDataPacketResponse());
        }

        public override async Task<WriteDataPacketsResponse> WriteDataPackets(
            IAsyncStreamReader<WriteDataPacketsRequest> requestStream, ServerCallContext context)
        {
            while (await requestStream.MoveNext(CancellationToken.None)) Interlocked.Add(ref _packets, requestStream.Current.Details.Count);
            return new WriteDataPacketsResponse();
        }
    }
}

/// <summary>The network server of the product over a memory broker, and a client over loopback.</summary>
internal sealed class LoopbackServer : IAsyncDisposable
{
    private readonly StreamingApiServer _server;
    private readonly MemoryBroker _broker;
    private readonly GrpcChannel _channel;
    private readonly ConnectionManagerService.ConnectionManagerServiceClient _connections;

    private LoopbackServer(StreamingApiServer server, MemoryBroker broker, GrpcChannel channel)
    {
        (_server, _broker, _channel) = (server, broker, channel);
        Writer = new(channel);
        Reader = new(channel);
        _connections = new(channel);
    }

    public PacketWriterService.PacketWriterServiceClient Writer { get; }

    public PacketReaderService.PacketReaderServiceClient Reader { get; }

    public static async Task<LoopbackServer> StartAsync(long bytesMax, bool batching)
    {
        var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = bytesMax });
        var options = StreamingApiServerOptions.From(new StreamingApiConfiguration(brokerUrl: "memory:", streamApiPort: 0, batchingResponses: batching));
        options.Broker = broker;
        options.PrometheusMetricPort = 0;
        var server = new StreamingApiServer(options);
        await server.StartAsync(CancellationToken.None);
        return new LoopbackServer(server, broker, GrpcChannel.ForAddress(server.Addresses.Single(), Loopback.Options));
    }

    public Connection Connect(long offset) => _connections.NewConnection(Workload.ConnectionRequest(offset)).Connection;

    public void Close(Connection connection) => _connections.CloseConnection(new CloseConnectionRequest { Connection = connection });

    public Task FillAsync(int packets) => Workload.FillAsync(Writer, packets);

    public async ValueTask DisposeAsync()
    {
        _channel.Dispose();
        await _server.DisposeAsync();
        await _broker.DisposeAsync();
    }
}

/// <summary>A gRPC service by hand on the same web server with the same settings, and a client over loopback.</summary>
internal sealed class LoopbackService : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly GrpcChannel _channel;

    private LoopbackService(WebApplication app, GrpcChannel channel)
    {
        (_app, _channel) = (app, channel);
        Writer = new(channel);
        Reader = new(channel);
    }

    public PacketWriterService.PacketWriterServiceClient Writer { get; }

    public PacketReaderService.PacketReaderServiceClient Reader { get; }

    public static async Task<LoopbackService> StartAsync(
        PacketWriterService.PacketWriterServiceBase? writer = null, PacketReaderService.PacketReaderServiceBase? reader = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2);
            kestrel.Limits.MinResponseDataRate = null;
            kestrel.Limits.Http2.InitialStreamWindowSize = 256 << 10;
            kestrel.Limits.Http2.InitialConnectionWindowSize = 64 << 20;
        });
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = 16 << 20);
        if (writer is not null) builder.Services.AddSingleton(writer);
        if (reader is not null) builder.Services.AddSingleton(reader);
        var app = builder.Build();
        if (writer is not null) app.MapGrpcService<PacketWriterService.PacketWriterServiceBase>();
        if (reader is not null) app.MapGrpcService<PacketReaderService.PacketReaderServiceBase>();
        await app.StartAsync();
        return new LoopbackService(app, GrpcChannel.ForAddress(app.Urls.Single(), Loopback.Options));
    }

    public async ValueTask DisposeAsync()
    {
        _channel.Dispose();
        await _app.DisposeAsync();
    }
}

/// <summary>What both arms' clients have in common.</summary>
internal static class Loopback
{
    public static GrpcChannelOptions Options => new() { MaxReceiveMessageSize = 16 << 20 };
}
