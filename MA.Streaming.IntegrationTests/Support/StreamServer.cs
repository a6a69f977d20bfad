using System.Net;
using System.Runtime.CompilerServices;
using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Proto.Client.Local;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>How a client reaches the engine.</summary>
public enum Transport
{
    InProcess,
    Kestrel,
}

/// <summary>An engine over a broker that the caller owns, and the five clients that reach it over one channel.</summary>
internal sealed class StreamServer : IAsyncDisposable
{
    private readonly StreamApi _api;
    private readonly WebApplication? _host;
    private readonly ChannelBase _channel;
    private readonly StrongBox<int> _tcpConnections;

    private StreamServer(StreamApi api, IBroker broker, WebApplication? host, ChannelBase channel, StrongBox<int> tcpConnections)
    {
        _api = api;
        Broker = broker;
        _host = host;
        _channel = channel;
        _tcpConnections = tcpConnections;
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
    public int TcpConnections => Volatile.Read(ref _tcpConnections.Value);

    public CallInvoker Invoker { get; }

    public PacketWriterService.PacketWriterServiceClient Writer { get; }

    public PacketReaderService.PacketReaderServiceClient Reader { get; }

    public ConnectionManagerService.ConnectionManagerServiceClient Connections { get; }

    public SessionManagementService.SessionManagementServiceClient Sessions { get; }

    public DataFormatManagerService.DataFormatManagerServiceClient Formats { get; }

    public static async Task<StreamServer> StartAsync(
        Transport transport, StreamingApiConfiguration configuration, IBroker broker, StreamApiOptions? options, CancellationToken token, int port = 0)
    {
        options = (options ?? StreamApiOptions.Default) with { IsInProcess = transport == Transport.InProcess };
        var api = await StreamApi.StartAsync(configuration, broker, options, token);
        if (transport == Transport.InProcess)
        {
            var channel = new InProcessChannel();
            channel.Bind(binder => PacketWriterService.BindService(binder, api.PacketWriter), takesRequestsAtOnce: true);
            channel.Bind(binder => PacketReaderService.BindService(binder, api.PacketReader));
            channel.Bind(binder => ConnectionManagerService.BindService(binder, api.ConnectionManager));
            channel.Bind(binder => SessionManagementService.BindService(binder, api.SessionManagement));
            channel.Bind(binder => DataFormatManagerService.BindService(binder, api.DataFormatManager));
            return new StreamServer(api, broker, null, channel, new StrongBox<int>());
        }

        var connections = new StrongBox<int>();
        var host = BuildHost(api, port, connections);
        await host.StartAsync(token);
        var address = host.Urls.Single();
        return new StreamServer(api, broker, host, GrpcChannel.ForAddress(address), connections) { Address = new Uri(address).Authority };
    }

    /// <summary>Drains the engine while its clients are still connected; the transport goes afterwards.</summary>
    public ValueTask StopEngineAsync() => _api.DisposeAsync();

    public async ValueTask DisposeAsync()
    {
        // The client first: calls that a test left open end with it.
        (_channel as IDisposable)?.Dispose();
        await _api.DisposeAsync();
        if (_host is not null) await _host.DisposeAsync();
    }

    private static WebApplication BuildHost(StreamApi api, int port, StrongBox<int> connections)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(IPAddress.Loopback, port, listener =>
            {
                listener.Protocols = HttpProtocols.Http2;
                listener.Use(next => connection =>
                {
                    Interlocked.Increment(ref connections.Value);
                    return next(connection);
                });
            });
            kestrel.Limits.MinResponseDataRate = null;
            kestrel.Limits.Http2.MaxStreamsPerConnection = 10_000;
            kestrel.Limits.Http2.InitialStreamWindowSize = 256 << 10;
            kestrel.Limits.Http2.InitialConnectionWindowSize = 64 << 20;
        });
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = InProcessChannel.RequestBytesMax);
        builder.Services.AddSingleton(api.PacketWriter);
        builder.Services.AddSingleton(api.PacketReader);
        builder.Services.AddSingleton(api.ConnectionManager);
        builder.Services.AddSingleton(api.SessionManagement);
        builder.Services.AddSingleton(api.DataFormatManager);
        var host = builder.Build();
        host.MapGrpcService<PacketWriterService.PacketWriterServiceBase>();
        host.MapGrpcService<PacketReaderService.PacketReaderServiceBase>();
        host.MapGrpcService<ConnectionManagerService.ConnectionManagerServiceBase>();
        host.MapGrpcService<SessionManagementService.SessionManagementServiceBase>();
        host.MapGrpcService<DataFormatManagerService.DataFormatManagerServiceBase>();
        return host;
    }
}
