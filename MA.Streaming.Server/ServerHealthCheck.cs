using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace MA.Streaming.Hosting;

/// <summary>A server among the health checks of its host. It asks the broker each time, as the server's own health does.</summary>
internal sealed class ServerHealthCheck(StreamingApiServer server) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        var health = await server.CheckAsync(cancellationToken).ConfigureAwait(false);
        return new HealthCheckResult(health.IsReady ? HealthStatus.Healthy : context.Registration.FailureStatus, $"{health.State}: {health.Detail}");
    }
}
