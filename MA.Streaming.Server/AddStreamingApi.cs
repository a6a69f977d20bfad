using MA.Streaming.Abstraction;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Puts a Stream API server into a host.</summary>
public static class StreamingApiServiceCollectionExtensions
{
    /// <summary>
    /// A Stream API server that starts and stops with the host: it serves gRPC on StreamApiPort, metrics and health on
    /// PrometheusMetricPort, and drains on stop. In an ASP.NET Core application <c>app.MapStreamingApi()</c> serves it on the
    /// application's own port instead. Its options are those of <see cref="IOptionsMonitor{TOptions}"/> under its name: other code may
    /// configure them too. Its health is on the host's health page as <c>stream-api</c>.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The settings; checked when the host starts.</param>
    /// <param name="configure">Changes them, and sets what only a server has.</param>
    /// <param name="name">Tells several servers of one host apart; the service key of its <see cref="StreamingApiServer"/>.</param>
    /// <exception cref="InvalidOperationException">The host has a server of this name already.</exception>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, IStreamingApiConfiguration configuration, Action<StreamingApiServerOptions>? configure = null, string name = "")
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, name, _ => StreamingApiServerOptions.From(configuration), configure);
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration, Action{StreamingApiServerOptions}, string)"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The keys of AppConfig.json, at its root; read and checked when the host starts. A key that is not known is
    /// a warning.</param>
    /// <param name="configure">Changes the settings that were read.</param>
    /// <param name="name">Tells several servers of one host apart.</param>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, IConfiguration configuration, Action<StreamingApiServerOptions>? configure = null, string name = "")
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, name, loggers => AppConfig.Read(configuration, loggers.CreateLogger<StreamingApiServer>()), configure);
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration, Action{StreamingApiServerOptions}, string)"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configure">Changes the defaults; the result is checked when the host starts.</param>
    /// <param name="name">Tells several servers of one host apart.</param>
    public static IServiceCollection AddStreamingApi(this IServiceCollection services, Action<StreamingApiServerOptions> configure, string name = "")
    {
        ArgumentNullException.ThrowIfNull(configure);
        return Add(services, name, _ => new StreamingApiServerOptions(), configure);
    }

    private static IServiceCollection Add(
        IServiceCollection services, string name, Func<ILoggerFactory, StreamingApiServerOptions> read, Action<StreamingApiServerOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(name);
        if (services.Any(service => service.ServiceType == typeof(StreamingApiServer) && service.IsKeyedService && name.Equals(service.ServiceKey)))
            throw new InvalidOperationException($"there is a Stream API server named '{name}' already: give the other one another name");
        services.AddLogging();
        services.AddOptions<StreamingApiServerOptions>(name)
            .Configure<ILoggerFactory>((options, loggers) =>
            {
                options.Set(read(loggers));
                configure?.Invoke(options);
            })
            .Validate(options =>
            {
                options.Check(); // Throws with key, value and what is allowed.
                return true;
            })
            .ValidateOnStart();
        services.AddKeyedSingleton(name, (provider, _) => new StreamingApiServer(
            provider.GetRequiredService<IOptionsMonitor<StreamingApiServerOptions>>().Get(name), provider.GetRequiredService<ILoggerFactory>(), provider.GetService<TimeProvider>()));
        services.AddSingleton(provider => provider.GetRequiredKeyedService<StreamingApiServer>(name));
        services.AddSingleton<IHostedService>(provider => new HostedServer(
            provider.GetRequiredKeyedService<StreamingApiServer>(name), provider.GetRequiredService<IHostApplicationLifetime>()));
        services.AddHealthChecks().Add(new HealthCheckRegistration(
            name.Length == 0 ? "stream-api" : $"stream-api-{name}", provider => new StreamingApiHealthCheck(provider.GetRequiredKeyedService<StreamingApiServer>(name)), null, null));
        MappedServer.Add(services);
        return services;
    }
}
