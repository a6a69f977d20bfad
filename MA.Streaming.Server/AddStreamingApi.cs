using MA.Streaming.Abstraction;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds a Stream API server to a host.</summary>
public static class StreamingApiServiceCollectionExtensions
{
    /// <summary>
    /// Adds a Stream API server that starts and stops with the host. It serves gRPC on StreamApiPort, and metrics and health on
    /// PrometheusMetricPort. On stop it finishes the accepted calls. In an ASP.NET Core application <c>app.MapStreamingApi()</c> serves it on
    /// the application's port instead. A second call adds another server.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The settings; checked when the host starts.</param>
    /// <param name="configure">Changes the settings, and sets those that only a server has.</param>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, IStreamingApiConfiguration configuration, Action<StreamingApiServerOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, _ => StreamingApiServerOptions.From(configuration), configure);
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration, Action{StreamingApiServerOptions})"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The keys of AppConfig.json, at its root; read and checked when the host starts. An unknown key is a
    /// warning.</param>
    /// <param name="configure">Changes the settings that were read.</param>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, IConfiguration configuration, Action<StreamingApiServerOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, loggers => AppConfig.Read(configuration, loggers.CreateLogger("MA.Streaming.Server")), configure);
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration, Action{StreamingApiServerOptions})"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configure">Changes the defaults; the result is checked when the host starts.</param>
    public static IServiceCollection AddStreamingApi(this IServiceCollection services, Action<StreamingApiServerOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return Add(services, _ => new StreamingApiServerOptions(), configure);
    }

    private static IServiceCollection Add(IServiceCollection services, Func<ILoggerFactory, StreamingApiServerOptions> read, Action<StreamingApiServerOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddLogging();
        services.AddSingleton(provider =>
        {
            var loggers = provider.GetRequiredService<ILoggerFactory>();
            var options = read(loggers);
            configure?.Invoke(options);
            return new StreamingApiServer(options, loggers, provider.GetService<TimeProvider>());
        });

        // Each registration is a server of its own: the hosted service takes the one that was registered with it.
        var index = services.Count(service => service.ServiceType == typeof(StreamingApiServer)) - 1;
        services.AddSingleton<IHostedService>(provider => new HostedServer(
            provider.GetServices<StreamingApiServer>().ElementAt(index),
            provider.GetRequiredService<IHostApplicationLifetime>(),
            provider.GetRequiredService<IOptions<HostOptions>>().Value));
        MappedServer.Add(services);
        return services;
    }
}
