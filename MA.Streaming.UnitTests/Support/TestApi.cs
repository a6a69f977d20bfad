using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.TestSupport;

namespace MA.Streaming.UnitTests.Support;

/// <summary>A Stream API of the test's own over a gated broker in memory, and short words for what tests do with it.</summary>
internal sealed class TestApi : IAsyncDisposable
{
    private TestApi(LocalStreamingApi api, GatedBroker broker, RecordingLogger logger)
    {
        Api = api;
        Broker = broker;
        Logger = logger;
        Writer = api.GetPacketWriterClient();
        Reader = api.GetPacketReaderClient();
        Connections = api.GetConnectionManagerClient();
        Sessions = api.GetSessionManagementClient();
        Formats = api.GetDataFormatManagerClient();
    }

    public LocalStreamingApi Api { get; }

    public GatedBroker Broker { get; }

    /// <summary>The broker in memory behind the gate.</summary>
    public MemoryBroker Memory => (MemoryBroker)Broker.Inner;

    public RecordingLogger Logger { get; }

    public PacketWriterService.PacketWriterServiceClient Writer { get; }

    public PacketReaderService.PacketReaderServiceClient Reader { get; }

    public ConnectionManagerService.ConnectionManagerServiceClient Connections { get; }

    public SessionManagementService.SessionManagementServiceClient Sessions { get; }

    public DataFormatManagerService.DataFormatManagerServiceClient Formats { get; }

    public static async Task<TestApi> StartAsync(
        IStreamingApiConfiguration? configuration = null, TimeProvider? clock = null, GatedBroker? broker = null)
    {
        var gated = broker ?? new GatedBroker(new MemoryBroker());
        var logger = new RecordingLogger();
        var options = new StreamApiOptions { LoggerFactory = logger, Clock = clock ?? TimeProvider.System };
        var api = await LocalStreamingApi.StartAsync(
            configuration ?? new StreamingApiConfiguration(), gated, ownsBroker: broker is null, options, CancellationToken.None).WithDeadline();
        return new TestApi(api, gated, logger);
    }

    public static WriteDataPacketRequest Data(string dataSource, string stream, string text, bool essential = false, string type = "Note", string session = "") =>
        new() { Detail = Detail(dataSource, stream, text, essential, type, session) };

    public static DataPacketDetails Detail(string dataSource, string stream, string text, bool essential = false, string type = "Note", string session = "") =>
        new() { DataSource = dataSource, Stream = stream, SessionKey = session, Message = Packet(text, essential, type) };

    public static Packet Packet(string text, bool essential = false, string type = "Note") =>
        new() { Type = type, IsEssential = essential, Content = ByteString.CopyFromUtf8(text) };

    public async Task<Connection> ConnectAsync(ConnectionDetails details) =>
        (await Connections.NewConnectionAsync(new NewConnectionRequest { Details = details }).ResponseAsync.WithDeadline()).Connection;

    public async Task WriteAsync(string dataSource, string stream, params string[] texts)
    {
        foreach (var text in texts) await Writer.WriteDataPacketAsync(Data(dataSource, stream, text)).ResponseAsync.WithDeadline();
    }

    /// <summary>A read that has sent its headers: it is positioned.</summary>
    public async Task<AsyncServerStreamingCall<ReadPacketsResponse>> OpenReadAsync(Connection connection)
    {
        var call = Reader.ReadPackets(new ReadPacketsRequest { Connection = connection });
        await call.ResponseHeadersAsync.WithDeadline();
        return call;
    }

    /// <summary>The texts of the next so many packets.</summary>
    public static async Task<List<string>> TakeAsync(AsyncServerStreamingCall<ReadPacketsResponse> call, int count, int seconds = 10)
    {
        var texts = new List<string>();
        while (texts.Count < count)
        {
            var more = await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(seconds, $"packet {texts.Count + 1} of {count}");
            if (!more) break;
            texts.AddRange(call.ResponseStream.Current.Response.Select(r => r.Packet.Content.ToStringUtf8()));
        }

        return texts;
    }

    public async ValueTask DisposeAsync()
    {
        Broker.ReleaseAll();
        await Api.DisposeAsync().WithDeadline(40);
    }
}
