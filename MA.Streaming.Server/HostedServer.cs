using Microsoft.Extensions.Hosting;

namespace MA.Streaming.Hosting;

/// <summary>A server as part of a host: it starts with it, and drains as soon as the host begins to stop, before a web server of the
/// same host waits for calls that would stay open.</summary>
internal sealed class HostedServer : IHostedService, IDisposable
{
    private readonly StreamingApiServer _server;
    private readonly CancellationTokenRegistration _stopping;

    public HostedServer(StreamingApiServer server, IHostApplicationLifetime lifetime, HostOptions host)
    {
        _server = server;

        // The host gives up on a stop after a time of its own: no sooner than the server does.
        var longest = TimeSpan.FromSeconds(server.Options.DrainTimeoutSeconds) + server.Options.Limits.CloseGrace;
        if (host.ShutdownTimeout < longest && host.ShutdownTimeout != Timeout.InfiniteTimeSpan) host.ShutdownTimeout = longest;
        _stopping = lifetime.ApplicationStopping.UnsafeRegister(static server => _ = ((StreamingApiServer)server!).StopAsync(), server);
    }

    public Task StartAsync(CancellationToken cancellationToken) => _server.StartAsync(cancellationToken);

    public Task StopAsync(CancellationToken cancellationToken) => _server.StopAsync(cancellationToken);

    public void Dispose() => _stopping.Dispose();
}
