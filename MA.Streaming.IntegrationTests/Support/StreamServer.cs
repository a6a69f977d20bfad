using System.Diagnostics.Metrics;
using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using MA.Streaming.Proto.Client.Local;

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
    private readonly AcceptedConnections? _accepted;

    private StreamServer(IAsyncDisposable server, IBroker broker, ChannelBase channel, AcceptedConnections? accepted)
    {
        _accepted = accepted;
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
    public int TcpConnections => _accepted?.Count ?? 0;

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
            channel.Bind(binder => PacketWriterService.BindService(binder, api.PacketWriter), takesRequestsAtOnce: true);
            channel.Bind(binder => PacketReaderService.BindService(binder, api.PacketReader));
            channel.Bind(binder => ConnectionManagerService.BindService(binder, api.ConnectionManager));
            channel.Bind(binder => SessionManagementService.BindService(binder, api.SessionManagement));
            channel.Bind(binder => DataFormatManagerService.BindService(binder, api.DataFormatManager));
            return new StreamServer(api, broker, channel, null);
        }

        var settings = StreamingApiServerOptions.From(configuration);
        settings.Broker = broker;
        settings.StreamApiPort = port;
        settings.KeyGenerator = options.KeyGenerator;
        settings.PrometheusMetricPort = 0;
        var server = new StreamingApiServer(settings, options.LoggerFactory, options.Clock);
        var accepted = new AcceptedConnections();
        await server.StartAsync(token);

        // A given port is opened on every loopback address.
        var address = new Uri(server.Addresses[0]);
        accepted.Port = address.Port;
        return new StreamServer(server, broker, GrpcChannel.ForAddress(address), accepted) { Address = address.Authority };
    }

    /// <summary>Stops the server while its clients are still connected.</summary>
    public ValueTask StopEngineAsync() => _server.DisposeAsync();

    public async ValueTask DisposeAsync()
    {
        // The client first: calls that a test left open end with it.
        (_channel as IDisposable)?.Dispose();
        await _server.DisposeAsync();
        _accepted?.Dispose();
    }

    /// <summary>Counts what the web server says it accepted on a port.</summary>
    private sealed class AcceptedConnections : IDisposable
    {
        private readonly MeterListener _listener = new();
        private int _count;

        public AcceptedConnections()
        {
            _listener.InstrumentPublished = (instrument, listener) =>
            {
                if (instrument is { Meter.Name: "Microsoft.AspNetCore.Server.Kestrel", Name: "kestrel.active_connections" }) listener.EnableMeasurementEvents(instrument);
            };
            _listener.SetMeasurementEventCallback<long>((_, change, tags, _) =>
            {
                foreach (var tag in tags)
                {
                    if (change > 0 && tag.Key == "server.port" && Equals(tag.Value, Port)) Interlocked.Increment(ref _count);
                }
            });
            _listener.Start();
        }

        public int Port { get; set; }

        public int Count => Volatile.Read(ref _count);

        public void Dispose() => _listener.Dispose();
    }
}
