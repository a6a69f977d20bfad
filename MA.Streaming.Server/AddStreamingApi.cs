using MA.Streaming.Abstraction;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Puts a Stream API server into a host.</summary>
public static class StreamingApiServiceCollectionExtensions
{
    /// <summary>
    /// A Stream API server that starts and stops with the host: it serves gRPC on StreamApiPort, metrics and health on
    /// PrometheusMetricPort, and drains on stop. In an ASP.NET Core application <c>app.MapStreamingApi()</c> serves it on the
    /// application's own port instead. Called again it adds another server.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The settings; checked when the host starts.</param>
    public static IServiceCollection AddStreamingApi(this IServiceCollection services, IStreamingApiConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, _ => StreamingApiServerOptions.From(configuration));
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration)"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The keys of AppConfig.json, at its root; read and checked when the host starts. A key that is not known is
    /// a warning.</param>
    public static IServiceCollection AddStreamingApi(this IServiceCollection services, IConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, loggers => AppConfig.Read(configuration, loggers.CreateLogger("MA.Streaming.Server")));
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration)"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configure">Changes the defaults; the result is checked when the host starts.</param>
    public static IServiceCollection AddStreamingApi(this IServiceCollection services, Action<StreamingApiServerOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return Add(services, _ =>
        {
            var options = new StreamingApiServerOptions();
            configure(options);
            return options;
        });
    }

    private static IServiceCollection Add(IServiceCollection services, Func<ILoggerFactory, StreamingApiServerOptions> read)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddLogging();
        services.AddSingleton(provider =>
        {
            var loggers = provider.GetRequiredService<ILoggerFactory>();
            return new StreamingApiServer(read(loggers), loggers, provider.GetService<TimeProvider>());
        });

        // Each registration is a server of its own: the hosted service takes the one that was registered with it.
        var index = services.Count(service => service.ServiceType == typeof(StreamingApiServer)) - 1;
        services.AddSingleton<IHostedService>(provider => new HostedServer(
            provider.GetServices<StreamingApiServer>().ElementAt(index), provider.GetRequiredService<IHostApplicationLifetime>()));
        services.AddOptions<HostOptions>().PostConfigure<IEnumerable<StreamingApiServer>>((host, servers) =>
        {
            // The host gives up on a stop after its own time: no sooner than the servers do.
            var longest = servers.Max(server => TimeSpan.FromSeconds(server.Options.DrainTimeoutSeconds) + server.Options.Limits.CloseGrace);
            if (host.ShutdownTimeout < longest && host.ShutdownTimeout != Timeout.InfiniteTimeSpan) host.ShutdownTimeout = longest;
        });
        MappedServer.Add(services);
        return services;
    }
}
