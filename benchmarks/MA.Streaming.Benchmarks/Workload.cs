using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;

namespace MA.Streaming.Benchmarks;

/// <summary>What is written and read: periodic samples in a packet of exactly 200 bytes.</summary>
internal static class Workload
{
    public const string DataSource = "Benchmark";
    public const string Stream = "Stream1";
    public const int PacketBytes = 200;

    /// <summary>What an array of so many bytes takes from the heap.</summary>
    public static long ArrayBytes(int length) => (24 + length + 7) & ~7L;

    public static Packet Packet(ulong id, ulong format = 7)
    {
        var content = new PeriodicDataPacket
        {
            DataFormat = new SampleDataFormat { DataFormatIdentifier = format },
            StartTime = 1_700_000_000_000_000_000,
            Interval = 10_000_000,
        };
        var samples = new DoubleSampleList();
        for (var i = 0; i < 7; i++) samples.Samples.Add(new DoubleSample { Value = 200 + i, Status = DataStatus.Valid });
        content.Columns.Add(new SampleColumn { DoubleSamples = samples });
        var packet = new Packet { Type = "PeriodicData", Id = id, Content = content.ToByteString(), SessionKey = "" };

        // The session key makes up what is missing: one of 36 characters, more or less.
        packet.SessionKey = "s";
        packet.SessionKey = new string('s', 1 + PacketBytes - packet.CalculateSize());
        return packet;
    }

    public static DataPacketDetails Detail(ulong id) =>
        new() { DataSource = DataSource, Stream = Stream, Message = Packet(id) };

    public static WriteDataPacketsRequest Request(ulong firstId, int packets)
    {
        var request = new WriteDataPacketsRequest();
        for (var i = 0; i < packets; i++) request.Details.Add(Detail(firstId + (ulong)i));
        return request;
    }

    /// <summary>Asks for a connection to the one stream, from the beginning (0) or the end (-1).</summary>
    public static NewConnectionRequest ConnectionRequest(long offset) => new()
    {
        Details = new ConnectionDetails { DataSource = DataSource, Streams = { Stream }, StreamOffsets = { offset }, ExcludeMainStream = true },
    };

    /// <summary>Writes packets with ids from 1 on, and formats in turn.</summary>
    public static async Task FillAsync(PacketWriterService.PacketWriterServiceClient writer, int packets, IReadOnlyList<ulong>? formats = null)
    {
        using var call = writer.WriteDataPackets();
        for (var id = 1; id <= packets; id++)
        {
            var packet = Packet((ulong)id, formats?[id % formats.Count] ?? 7);
            await call.RequestStream.WriteAsync(new WriteDataPacketsRequest
            {
                Details = { new DataPacketDetails { DataSource = DataSource, Stream = Stream, Message = packet } },
            });
        }

        await call.RequestStream.CompleteAsync();
        await call.ResponseAsync;
    }

    public static PacketResponse Response(ulong id) =>
        new() { Packet = Packet(id), Stream = Stream, SubmitTime = new() { Seconds = 1_700_000_000 }, Offset = (long)id, Partition = 0 };
}

/// <summary>A Stream API of a benchmark's own: over a memory broker bounded in bytes, or over a broker that is given.</summary>
internal sealed class Engine : IAsyncDisposable
{
    private readonly LocalStreamingApi _api;

    private readonly IBroker _broker;

    private Engine(IBroker broker, LocalStreamingApi api) => (_broker, _api) = (broker, api);

    public PacketWriterService.PacketWriterServiceClient Writer => _api.GetPacketWriterClient();

    public PacketReaderService.PacketReaderServiceClient Reader => _api.GetPacketReaderClient();

    public DataFormatManagerService.DataFormatManagerServiceClient Formats => _api.GetDataFormatManagerClient();

    public SessionManagementService.SessionManagementServiceClient Sessions => _api.GetSessionManagementClient();

    public static Task<Engine> StartAsync(long bytesMax, bool batching = true) =>
        StartAsync(new MemoryBroker(new MemoryBrokerOptions { BytesMax = bytesMax }), batching);

    /// <summary>The engine disposes the broker.</summary>
    public static async Task<Engine> StartAsync(IBroker broker, bool batching = true)
    {
        var configuration = new StreamingApiConfiguration(brokerUrl: "memory:", batchingResponses: batching);
        var api = await LocalStreamingApi.StartAsync(configuration, broker, ownsBroker: true, StreamApiOptions.Default, CancellationToken.None);
        return new Engine(broker, api);
    }

    /// <summary>A connection to the one stream, from the beginning (0) or the end (-1).</summary>
    public Connection Connect(long offset) =>
        _api.GetConnectionManagerClient().NewConnection(Workload.ConnectionRequest(offset)).Connection;

    public void Close(Connection connection) =>
        _api.GetConnectionManagerClient().CloseConnection(new CloseConnectionRequest { Connection = connection });

    /// <summary>How many packets the stream has ever had.</summary>
    public async Task<long> WrittenAsync()
    {
        var source = new TopicPartition(TopicLayout.StreamTopic(Workload.DataSource, Workload.Stream), 0);
        return (await _broker.GetWatermarksAsync([source], CancellationToken.None))[0].High;
    }

    /// <summary>Writes packets with ids from 1 on, and formats in turn.</summary>
    public Task FillAsync(int packets, IReadOnlyList<ulong>? formats = null) => Workload.FillAsync(Writer, packets, formats);

    public ValueTask DisposeAsync() => _api.DisposeAsync();
}

/// <summary>The channel of the Stream API with nothing behind it: a writer service that counts, a reader service that hands out what was
/// prepared.</summary>
internal sealed class Bare
{
    public Bare(PacketWriterService.PacketWriterServiceBase? writer = null, PacketReaderService.PacketReaderServiceBase? reader = null)
    {
        var channel = new InProcessChannel();
        if (writer is not null) channel.BindWithoutCopies(binder => PacketWriterService.BindService(binder, writer));
        if (reader is not null) channel.Bind(binder => PacketReaderService.BindService(binder, reader));
        var invoker = channel.CreateCallInvoker();
        Writer = new(invoker);
        Reader = new(invoker);
    }

    public PacketWriterService.PacketWriterServiceClient Writer { get; }

    public PacketReaderService.PacketReaderServiceClient Reader { get; }
}

/// <summary>Counts packets and forgets them.</summary>
internal sealed class CountingWriter : PacketWriterService.PacketWriterServiceBase
{
    public long Packets { get; private set; }

    public override Task<WriteDataPacketResponse> WriteDataPacket(WriteDataPacketRequest request, ServerCallContext context)
    {
        Packets++;
        return Task.FromResult(new WriteDataPacketResponse());
    }

    public override async Task<WriteDataPacketsResponse> WriteDataPackets(
        IAsyncStreamReader<WriteDataPacketsRequest> requestStream, ServerCallContext context)
    {
        while (await requestStream.MoveNext(CancellationToken.None)) Packets += requestStream.Current.Details.Count;
        return new WriteDataPacketsResponse();
    }
}

/// <summary>Hands out prepared responses of given sizes, again and again, until so many packets went out.</summary>
internal sealed class PreparedReader(IReadOnlyList<ReadPacketsResponse> responses, long packets) : PacketReaderService.PacketReaderServiceBase
{
    /// <summary>Responses that together have the packets of one pass, at most 30,000 of them.</summary>
    public static PreparedReader OfSize(int packetsAResponse, long packets)
    {
        var responses = new List<ReadPacketsResponse>();
        var id = 0UL;
        for (var i = 0; i < Math.Max(1, 30_000 / packetsAResponse); i++)
        {
            var response = new ReadPacketsResponse();
            for (var j = 0; j < packetsAResponse; j++) response.Response.Add(Workload.Response(++id));
            responses.Add(response);
        }

        return new(responses, packets);
    }

    public override async Task ReadPackets(ReadPacketsRequest request, IServerStreamWriter<ReadPacketsResponse> responseStream, ServerCallContext context)
    {
        var sent = 0L;
        for (var i = 0; sent < packets; i = (i + 1) % responses.Count)
        {
            sent += responses[i].Response.Count;
            await responseStream.WriteAsync(responses[i]);
        }
    }
}
