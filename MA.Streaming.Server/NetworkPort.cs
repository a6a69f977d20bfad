using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>A port could not be opened.</summary>
/// <param name="message">Names the port, the setting and the reason.</param>
/// <param name="innerException">The error of the operating system.</param>
public sealed class PortException(string message, Exception innerException) : Exception(message, innerException);

/// <summary>One port with its Kestrel, beside the other ports of the process. It reads no configuration.</summary>
internal sealed class NetworkPort : IAsyncDisposable
{
    private readonly WebApplication _app;

    private NetworkPort(WebApplication app) => _app = app;

    /// <summary>The addresses that are open, with the port that was taken for 0.</summary>
    public IReadOnlyList<string> Addresses => [.. _app.Urls];

    /// <param name="key">The setting that names the port.</param>
    /// <param name="bindAddress">The BindAddress.</param>
    /// <param name="port">The port; 0 takes any free one.</param>
    /// <param name="protocols">The protocol: without TLS either HTTP/1 or HTTP/2.</param>
    /// <param name="loggers">Where Kestrel logs.</param>
    /// <param name="services">Adds what the endpoints need.</param>
    /// <param name="map">Maps the endpoints.</param>
    /// <param name="limits">Sets the limits.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="PortException">It is in use, or may not be opened.</exception>
    public static async Task<NetworkPort> OpenAsync(
        string key,
        string bindAddress,
        int port,
        HttpProtocols protocols,
        ILoggerFactory loggers,
        Action<IServiceCollection> services,
        Action<WebApplication> map,
        Action<KestrelServerLimits> limits,
        CancellationToken cancellationToken)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());

        // That it fails to start is said by who started it, in fewer words than the framework's.
        builder.Services.AddSingleton<ILoggerFactory>(
            new FilteredLoggers(loggers, category => category == "Microsoft.Extensions.Hosting.Internal.Host" ? LogLevel.None : LogLevel.Trace));

        // The process's signals are not for this host, and whoever stops it says how long that may take.
        builder.Services.Replace(ServiceDescriptor.Singleton<IHostLifetime, NoLifetime>());
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = Timeout.InfiniteTimeSpan);
        builder.Services.AddRouting();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            limits(kestrel.Limits);
            Listen(kestrel, bindAddress, port, protocols);
        });
        services(builder.Services);
        var app = builder.Build();
        try
        {
            map(app);
            await app.StartAsync(cancellationToken).ConfigureAwait(false);
            return new NetworkPort(app);
        }
        catch (Exception exception)
        {
            await app.DisposeAsync().ConfigureAwait(false);
            if (exception is not (IOException or System.Net.Sockets.SocketException)) throw;
            var reason = exception.InnerException is AddressInUseException ? "another program uses it" : exception.Message;
            throw new PortException($"{key} {port} on {bindAddress} cannot be opened: {reason}", exception);
        }
    }

    /// <summary>Stops accepting, lets open calls finish until the token is cancelled, then aborts them.</summary>
    public Task StopAsync(CancellationToken abort) => _app.StopAsync(abort);

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private static void Listen(KestrelServerOptions kestrel, string bindAddress, int port, HttpProtocols protocols)
    {
        switch (bindAddress)
        {
            case StreamingApiServerOptions.AllInterfaces:
                kestrel.ListenAnyIP(port, listener => listener.Protocols = protocols);
                break;
            case StreamingApiServerOptions.Localhost when port != 0:
                kestrel.ListenLocalhost(port, listener => listener.Protocols = protocols);
                break;
            case StreamingApiServerOptions.Localhost:
                // The two loopback addresses would take two different free ports.
                kestrel.Listen(IPAddress.Loopback, port, listener => listener.Protocols = protocols);
                break;
            default:
                kestrel.Listen(IPAddress.Parse(bindAddress), port, listener => listener.Protocols = protocols);
                break;
        }
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
