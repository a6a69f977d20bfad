using MA.Streaming.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;

namespace MA.Streaming.Hosting
{
    /// <summary>The server that an ASP.NET Core application serves on its own port.</summary>
    internal sealed class MappedServer
    {
        private StreamingApiServer? _server;

        public static void Add(IServiceCollection services)
        {
            if (services.Any(service => service.ServiceType == typeof(MappedServer))) return;
            services.AddSingleton<MappedServer>();
            GrpcServices.Add(services, provider => provider.GetRequiredService<MappedServer>()._server!); // Asked by endpoints, which are mapped.

            // Asked for when the application's Kestrel is made, after everything was mapped.
            services.AddOptions<KestrelServerOptions>().PostConfigure<MappedServer>((kestrel, mapped) =>
            {
                if (mapped._server is { } server) GrpcServices.SetLimits(kestrel.Limits, server.Options);
            });
        }

        public static StreamingApiServer Find(IServiceProvider provider, string name) => provider.GetKeyedService<StreamingApiServer>(name)
            ?? throw new InvalidOperationException($"there is no Stream API server of the name '{name}': call services.AddStreamingApi first");

        public void Map(StreamingApiServer server)
        {
            if (_server is not null) throw new InvalidOperationException("an application's port serves one Stream API server, once: leave the others on their own ports");
            _server = server;
            server.IsMapped = true;
        }
    }

    /// <summary>Several endpoints under one set of conventions.</summary>
    internal sealed class MappedEndpoints(params IEndpointConventionBuilder[] endpoints) : IEndpointConventionBuilder
    {
        public void Add(Action<EndpointBuilder> convention) => Array.ForEach(endpoints, endpoint => endpoint.Add(convention));

        public void Finally(Action<EndpointBuilder> finalConvention) => Array.ForEach(endpoints, endpoint => endpoint.Finally(finalConvention));
    }
}

namespace Microsoft.AspNetCore.Builder
{
    /// <summary>Serves a Stream API from an ASP.NET Core application.</summary>
    public static class StreamingApiEndpointRouteBuilderExtensions
    {
        /// <summary>
        /// Serves a Stream API that <c>services.AddStreamingApi</c> added on the application's own port, which must speak HTTP/2, instead of
        /// on StreamApiPort and PrometheusMetricPort. Until it has caught up its rpcs answer UNAVAILABLE. The application's Kestrel gets
        /// the windows and pings that many streams on one connection need.
        /// </summary>
        /// <param name="endpoints">The application, or a group of its routes.</param>
        /// <param name="healthAndReflection">False leaves out <c>grpc.health.v1</c> and reflection, for an application that serves its own.</param>
        /// <param name="name">The server's name, if it has one. An application serves one server on its port.</param>
        /// <returns>Conventions for all that was mapped: authorization, a host, rate limits, and so on.</returns>
        public static IEndpointConventionBuilder MapStreamingApi(this IEndpointRouteBuilder endpoints, bool healthAndReflection = true, string name = "")
        {
            ArgumentNullException.ThrowIfNull(endpoints);
            ArgumentNullException.ThrowIfNull(name);
            var server = MappedServer.Find(endpoints.ServiceProvider, name);
            endpoints.ServiceProvider.GetRequiredService<MappedServer>().Map(server);
            return GrpcServices.Map(endpoints, server, healthAndReflection);
        }

        /// <summary>Serves <c>/metrics</c>, <c>/healthz/live</c> and <c>/healthz/ready</c> of a Stream API on the application's own port.</summary>
        /// <param name="endpoints">The application, or a group of its routes.</param>
        /// <param name="name">The server's name, if it has one.</param>
        /// <returns>Conventions for the three.</returns>
        public static IEndpointConventionBuilder MapStreamingApiDiagnostics(this IEndpointRouteBuilder endpoints, string name = "")
        {
            ArgumentNullException.ThrowIfNull(endpoints);
            ArgumentNullException.ThrowIfNull(name);
            return MA.Streaming.Hosting.Diagnostics.Map(endpoints, MappedServer.Find(endpoints.ServiceProvider, name));
        }
    }
}
