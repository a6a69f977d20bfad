using Microsoft.Extensions.Hosting;

namespace MA.Streaming.Hosting;

/// <summary>A server as part of a host: it starts with it, and drains as soon as the host begins to stop, before a web server of the
/// same host waits for calls that would stay open.</summary>
internal sealed class HostedServer : IHostedService, IDisposable
{
    private readonly StreamingApiServer _server;
    private readonly CancellationTokenRegistration _stopping;

    public HostedServer(StreamingApiServer server, IHostApplicationLifetime lifetime)
    {
        _server = server;
        _stopping = lifetime.ApplicationStopping.UnsafeRegister(static server => _ = ((StreamingApiServer)server!).StopAsync(), server);
    }

    public Task StartAsync(CancellationToken cancellationToken) => _server.StartAsync(cancellationToken);

    /// <summary>Takes as long as DrainTimeoutSeconds allows. The host's own limit, which is for all of its services, does not cut it short.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => _server.StopAsync(CancellationToken.None);

    public void Dispose() => _stopping.Dispose();
}
