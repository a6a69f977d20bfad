using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace MA.Streaming.Hosting;

/// <summary>A Stream API server on the health page of its host.</summary>
internal sealed class StreamingApiHealthCheck(StreamingApiServer server) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        var health = await server.CheckAsync(cancellationToken).ConfigureAwait(false);
        return health.IsReady ? HealthCheckResult.Healthy(health.Detail) : new HealthCheckResult(context.Registration.FailureStatus, $"{health.State}: {health.Detail}");
    }
}
