using MA.Streaming.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace MA.Streaming.Hosting
{
    /// <summary>What an ASP.NET Core application needs beside the server to serve it on its own port.</summary>
    internal static class MappedServer
    {
        public static void Add(IServiceCollection services)
        {
            if (services.Any(service => service.ServiceType == typeof(Mark))) return;
            services.AddSingleton<Mark>();
            GrpcServices.Add(services, Only);

            // Asked for when the application's Kestrel is made, after everything was mapped.
            services.AddOptions<KestrelServerOptions>().PostConfigure<IEnumerable<StreamingApiServer>>((kestrel, servers) =>
            {
                foreach (var server in servers.Where(server => server.IsMapped)) GrpcServices.SetLimits(kestrel.Limits, server.Options);
            });
        }

        public static StreamingApiServer Only(IServiceProvider provider) => provider.GetServices<StreamingApiServer>().ToArray() switch
        {
            [var server] => server,
            [] => throw new InvalidOperationException("there is no Stream API server: call services.AddStreamingApi first"),
            _ => throw new InvalidOperationException("several Stream API servers cannot share the application's port: each but one needs a host of its own"),
        };

        private sealed class Mark;
    }
}

namespace Microsoft.AspNetCore.Builder
{
    /// <summary>Serves a Stream API from an ASP.NET Core application.</summary>
    public static class StreamingApiEndpointRouteBuilderExtensions
    {
        /// <summary>
        /// Serves the Stream API that <c>services.AddStreamingApi</c> added on the application's own port, which must speak HTTP/2, instead of
        /// on StreamApiPort and PrometheusMetricPort. Until it has caught up its rpcs answer UNAVAILABLE. The application's Kestrel gets
        /// the windows and pings that many streams on one connection need.
        /// </summary>
        /// <param name="endpoints">The application.</param>
        /// <param name="healthAndReflection">False leaves out <c>grpc.health.v1</c> and reflection, for an application that serves its own.</param>
        /// <returns>The endpoints of all services, for conventions such as <c>RequireAuthorization</c> or <c>RequireHost</c>.</returns>
        public static IEndpointConventionBuilder MapStreamingApi(this IEndpointRouteBuilder endpoints, bool healthAndReflection = true)
        {
            ArgumentNullException.ThrowIfNull(endpoints);
            var server = MappedServer.Only(endpoints.ServiceProvider);
            server.IsMapped = true;
            return GrpcServices.Map(endpoints, server, healthAndReflection);
        }

        /// <summary>Serves <c>/metrics</c>, <c>/healthz/live</c> and <c>/healthz/ready</c> of the Stream API on the application's own port.</summary>
        /// <param name="endpoints">The application, or a group of its routes.</param>
        /// <returns>The three endpoints, for conventions.</returns>
        public static IEndpointConventionBuilder MapStreamingApiDiagnostics(this IEndpointRouteBuilder endpoints)
        {
            ArgumentNullException.ThrowIfNull(endpoints);
            return MA.Streaming.Hosting.Diagnostics.Map(endpoints, MappedServer.Only(endpoints.ServiceProvider));
        }
    }
}
