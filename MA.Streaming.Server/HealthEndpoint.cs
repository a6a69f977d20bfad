using Grpc.Core;
using Grpc.Health.V1;
using MA.Streaming.Core;
using ServingStatus = Grpc.Health.V1.HealthCheckResponse.Types.ServingStatus;

namespace MA.Streaming.Hosting;

/// <summary>Health for gRPC clients: all services of a server are in one state.</summary>
internal sealed class HealthEndpoint(IServerStatus server) : Health.HealthBase
{
    /// <summary>How often a watcher's server looks: a change is told within this time.</summary>
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    public override async Task<HealthCheckResponse> Check(HealthCheckRequest request, ServerCallContext context)
    {
        if (!IsKnown(request.Service)) throw Errors.NotFound($"service '{request.Service}' is not served here");
        return new HealthCheckResponse { Status = await StatusAsync(context.CancellationToken).ConfigureAwait(false) };
    }

    public override async Task Watch(HealthCheckRequest request, IServerStreamWriter<HealthCheckResponse> responseStream, ServerCallContext context)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, server.Stopping);
        try
        {
            using var timer = new PeriodicTimer(Period);
            ServingStatus? told = null;
            do
            {
                var status = IsKnown(request.Service) ? await StatusAsync(ended.Token).ConfigureAwait(false) : ServingStatus.ServiceUnknown;
                if (status == told) continue;
                await responseStream.WriteAsync(new HealthCheckResponse { Status = status }, context.CancellationToken).ConfigureAwait(false);
                told = status;
            }
            while (await timer.WaitForNextTickAsync(ended.Token).ConfigureAwait(false));
        }
        catch (OperationCanceledException) when (server.Stopping.IsCancellationRequested && !context.CancellationToken.IsCancellationRequested)
        {
            await responseStream.WriteAsync(new HealthCheckResponse { Status = ServingStatus.NotServing }, context.CancellationToken).ConfigureAwait(false);
            throw Errors.ShuttingDown();
        }
    }

    private bool IsKnown(string service) => service.Length == 0 || server.Services.Contains(service);

    private async ValueTask<ServingStatus> StatusAsync(CancellationToken cancellationToken) =>
        (await server.CheckAsync(cancellationToken).ConfigureAwait(false)).IsReady ? ServingStatus.Serving : ServingStatus.NotServing;
}
