using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>What operators ask over HTTP: is it alive, is it ready, what has it counted.</summary>
internal static class Diagnostics
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public static Task<NetworkPort> OpenAsync(
        IServerStatus server, string bindAddress, int port, ILoggerFactory loggers, CancellationToken cancellationToken) =>
        NetworkPort.OpenAsync(
            "PrometheusMetricPort", bindAddress, port, HttpProtocols.Http1, loggers, _ => { }, routes => Map(routes, server), _ => { }, cancellationToken);

    public static IEndpointConventionBuilder Map(IEndpointRouteBuilder routes, IServerStatus server)
    {
        var live = routes.MapGet("/healthz/live", context => WriteAsync(context, StatusCodes.Status200OK, new { live = true, state = server.State.ToString() }));
        var ready = routes.MapGet("/healthz/ready", async context =>
        {
            var health = await server.CheckAsync(context.RequestAborted).ConfigureAwait(false);
            await WriteAsync(
                context,
                health.IsReady ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable,
                new { ready = health.IsReady, state = health.State.ToString(), detail = health.Detail }).ConfigureAwait(false);
        });
        var counted = routes.MapGet("/metrics", async context =>
        {
            if (server.Metrics is not { } metrics)
            {
                context.Response.StatusCode = StatusCodes.Status404NotFound;
                await context.Response.WriteAsync("EnableMetrics is false\n", context.RequestAborted).ConfigureAwait(false);
                return;
            }

            context.Response.ContentType = PrometheusMetrics.ContentType;
            await context.Response.WriteAsync(metrics.Collect(), context.RequestAborted).ConfigureAwait(false);
        });
        return new MappedEndpoints(live, ready, counted);
    }

    private static async Task WriteAsync<T>(HttpContext context, int status, T body)
    {
        context.Response.StatusCode = status;
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.WriteAsJsonAsync(body, Json, context.RequestAborted).ConfigureAwait(false);
    }
}
