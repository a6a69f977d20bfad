using System.Net;
using MA.Streaming.KeyGenerator;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>A key generator behind a port.</summary>
internal sealed class KeyServer : IAsyncDisposable
{
    private readonly WebApplication _host;

    private KeyServer(UniqueKeyGeneratorService.UniqueKeyGeneratorServiceBase service, int port)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port, listener => listener.Protocols = HttpProtocols.Http2));
        builder.Services.AddGrpc();
        builder.Services.AddSingleton(service);
        _host = builder.Build();
        _host.MapGrpcService<UniqueKeyGeneratorService.UniqueKeyGeneratorServiceBase>();
    }

    /// <summary>host:port.</summary>
    public string Address { get; private set; } = "";

    public static async Task<KeyServer> StartAsync(
        UniqueKeyGeneratorService.UniqueKeyGeneratorServiceBase service, CancellationToken token, int port = 0)
    {
        var server = new KeyServer(service, port);
        await server._host.StartAsync(token);
        server.Address = new Uri(server._host.Urls.Single()).Authority;
        return server;
    }

    public ValueTask DisposeAsync() => _host.DisposeAsync();
}
