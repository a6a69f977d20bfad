using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>A server on free ports of this machine, and clients of it.</summary>
internal sealed class NetworkServer : IAsyncDisposable
{
    private readonly List<IDisposable> _disposables = [];

    private NetworkServer(StreamingApiServer server) => Server = server;

    public StreamingApiServer Server { get; }

    public string Address => Server.Addresses.Single();

    public HttpClient Diagnostics => field ??= Keep(new HttpClient { BaseAddress = new Uri(Server.DiagnosticsAddresses.Single()) });

    public GrpcChannel Channel => field ??= OpenChannel();

    public PacketWriterService.PacketWriterServiceClient Writer => new(Channel);

    public PacketReaderService.PacketReaderServiceClient Reader => new(Channel);

    public ConnectionManagerService.ConnectionManagerServiceClient Connections => new(Channel);

    public SessionManagementService.SessionManagementServiceClient Sessions => new(Channel);

    /// <summary>In memory, on free ports, unless told otherwise.</summary>
    public static async Task<NetworkServer> StartAsync(CancellationToken token, Action<StreamingApiServerOptions>? configure = null, ILoggerFactory? loggers = null)
    {
        var options = OnFreePorts();
        configure?.Invoke(options);
        var server = new NetworkServer(new StreamingApiServer(options, loggers));
        await server.Server.StartAsync(token);
        return server;
    }

    public static StreamingApiServerOptions OnFreePorts() =>
        new() { BrokerUrl = "memory:", StreamApiPort = 0, PrometheusMetricPort = 0, DrainTimeoutSeconds = 5, InitialisationTimeoutSeconds = 1 };

    /// <summary>A channel of its own: one connection.</summary>
    public GrpcChannel OpenChannel(string? address = null) => Keep(GrpcChannel.ForAddress(address ?? Address, new GrpcChannelOptions { MaxReceiveMessageSize = null, MaxSendMessageSize = null }));

    public async ValueTask DisposeAsync()
    {
        foreach (var disposable in _disposables) disposable.Dispose();
        await Server.DisposeAsync();
    }

    private T Keep<T>(T disposable)
        where T : IDisposable
    {
        _disposables.Add(disposable);
        return disposable;
    }
}
