using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>A server as part of a host: it starts with it, and drains as soon as the host begins to stop, before a web server of the
/// same host waits for calls that would stay open. The host's time limit for a stop is the host's own: a longer drain is cut short.</summary>
internal sealed class HostedServer : IHostedService, IDisposable
{
    private readonly StreamingApiServer _server;
    private readonly CancellationTokenRegistration _stopping;

    public HostedServer(StreamingApiServer server, IHostApplicationLifetime lifetime, HostOptions host, ILogger logger)
    {
        _server = server;
        var drain = server.Options.DrainTimeoutSeconds;
        if (host.ShutdownTimeout != Timeout.InfiniteTimeSpan && host.ShutdownTimeout < TimeSpan.FromSeconds(drain)) logger.HostStopsSooner(drain, host.ShutdownTimeout);
        _stopping = lifetime.ApplicationStopping.UnsafeRegister(static server => _ = ((StreamingApiServer)server!).StopAsync(), server);
    }

    public Task StartAsync(CancellationToken cancellationToken) => _server.StartAsync(cancellationToken);

    public Task StopAsync(CancellationToken cancellationToken) => _server.StopAsync(cancellationToken);

    public void Dispose() => _stopping.Dispose();
}
