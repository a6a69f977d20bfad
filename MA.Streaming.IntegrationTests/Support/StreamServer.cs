using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.Proto.Client.Remote;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>How a client reaches the engine.</summary>
public enum Transport
{
    InProcess,
    Kestrel,
}

/// <summary>An engine in this process, or the network server, over a broker that the caller owns, and the five clients that reach it over
/// one channel.</summary>
internal sealed class StreamServer : IAsyncDisposable
{
    private readonly IAsyncDisposable _server;
    private readonly ChannelBase _channel;

    private StreamServer(IAsyncDisposable server, IBroker broker, ChannelBase channel)
    {
        _server = server;
        Broker = broker;
        _channel = channel;
        Invoker = channel.CreateCallInvoker();
        Writer = new(Invoker);
        Reader = new(Invoker);
        Connections = new(Invoker);
        Sessions = new(Invoker);
        Formats = new(Invoker);
    }

    public IBroker Broker { get; }

    /// <summary>Where it listens: host:port.</summary>
    public string Address { get; private init; } = "";

    /// <summary>How many TCP connections it has accepted.</summary>
    public int TcpConnections => Support.TcpConnections.At(new Uri($"http://{Address}").Port);

    public CallInvoker Invoker { get; }

    public PacketWriterService.PacketWriterServiceClient Writer { get; }

    public PacketReaderService.PacketReaderServiceClient Reader { get; }

    public ConnectionManagerService.ConnectionManagerServiceClient Connections { get; }

    public SessionManagementService.SessionManagementServiceClient Sessions { get; }

    public DataFormatManagerService.DataFormatManagerServiceClient Formats { get; }

    public static async Task<StreamServer> StartAsync(
        Transport transport, StreamingApiConfiguration configuration, IBroker broker, StreamApiOptions? options, CancellationToken token, int port = 0)
    {
        options ??= StreamApiOptions.Default;
        if (transport == Transport.InProcess)
        {
            var api = await StreamApi.StartAsync(configuration, broker, options with { IsInProcess = true }, token);
            var channel = new InProcessChannel();
            channel.BindWithoutCopies(binder => PacketWriterService.BindService(binder, api.PacketWriter));
            channel.Bind(binder => PacketReaderService.BindService(binder, api.PacketReader));
            channel.Bind(binder => ConnectionManagerService.BindService(binder, api.ConnectionManager));
            channel.Bind(binder => SessionManagementService.BindService(binder, api.SessionManagement));
            channel.Bind(binder => DataFormatManagerService.BindService(binder, api.DataFormatManager));
            return new StreamServer(api, broker, channel);
        }

        var settings = StreamingApiServerOptions.From(configuration);
        settings.Broker = broker;
        settings.StreamApiPort = port;
        settings.PrometheusMetricPort = 0;
        Support.TcpConnections.Count();
        var server = new StreamingApiServer(settings, options.LoggerFactory, options.Clock);
        await server.StartAsync(token);
        var address = new Uri(server.Addresses.Single()).Authority;
        return new StreamServer(server, broker, RemoteStreamingApi.Connect(address).Channel) { Address = address };
    }

    /// <summary>Stops the server while its clients are still connected.</summary>
    public ValueTask StopEngineAsync() => _server.DisposeAsync();

    public async ValueTask DisposeAsync()
    {
        // The client first: calls that a test left open end with it.
        (_channel as IDisposable)?.Dispose();
        await _server.DisposeAsync();
    }
}
