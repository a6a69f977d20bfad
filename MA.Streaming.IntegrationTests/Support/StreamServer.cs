using System.Net;
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

    private StreamServer(StreamApi api, IBroker broker, WebApplication? host, ChannelBase channel)
    {
        _api = api;
        Broker = broker;
        _host = host;
        _channel = channel;
        Invoker = channel.CreateCallInvoker();
        Writer = new(Invoker);
        Reader = new(Invoker);
        Connections = new(Invoker);
        Sessions = new(Invoker);
        Formats = new(Invoker);
    }

    public IBroker Broker { get; }

    public CallInvoker Invoker { get; }

    public PacketWriterService.PacketWriterServiceClient Writer { get; }

    public PacketReaderService.PacketReaderServiceClient Reader { get; }

    public ConnectionManagerService.ConnectionManagerServiceClient Connections { get; }

    public SessionManagementService.SessionManagementServiceClient Sessions { get; }

    public DataFormatManagerService.DataFormatManagerServiceClient Formats { get; }

    public static async Task<StreamServer> StartAsync(
        Transport transport, StreamingApiConfiguration configuration, IBroker broker, StreamApiOptions? options, CancellationToken token)
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
            return new StreamServer(api, broker, null, channel);
        }

        var host = BuildHost(api);
        await host.StartAsync(token);
        return new StreamServer(api, broker, host, GrpcChannel.ForAddress(host.Urls.Single()));
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

    private static WebApplication BuildHost(StreamApi api)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2);
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
