using MA.Streaming.Abstraction;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
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
    /// application's own port instead. Its settings are <see cref="StreamingApiServerOptions"/>: <c>services.Configure</c> changes them further.
    /// The host's health checks include it, as <c>stream-api</c>. A second server needs a name.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The settings; checked when the host starts.</param>
    /// <param name="configure">Changes them, and sets what only a server has.</param>
    /// <exception cref="ArgumentException">There is a server without a name already.</exception>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, IStreamingApiConfiguration configuration, Action<StreamingApiServerOptions>? configure = null) =>
        AddStreamingApi(services, Options.Options.DefaultName, configuration, configure);

    /// <summary>
    /// A Stream API server beside others of the host, with its own ports, log and settings. Its settings are the
    /// <see cref="StreamingApiServerOptions"/> of this name; the server is the <see cref="StreamingApiServer"/> with this key, its health
    /// check <c>stream-api-NAME</c>.
    /// </summary>
    /// <param name="services">The host's services.</param>
    /// <param name="name">The server's name.</param>
    /// <param name="configuration">The settings; checked when the host starts.</param>
    /// <param name="configure">Changes them, and sets what only a server has.</param>
    /// <exception cref="ArgumentException">There is a server of this name already.</exception>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, string name, IStreamingApiConfiguration configuration, Action<StreamingApiServerOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, name, (options, _) => options.Take(configuration), configure);
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration, Action{StreamingApiServerOptions})"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configuration">The keys of AppConfig.json, at its root; read and checked when the host starts. A key that is not known is
    /// a warning.</param>
    /// <param name="configure">Changes what was read.</param>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, IConfiguration configuration, Action<StreamingApiServerOptions>? configure = null) =>
        AddStreamingApi(services, Options.Options.DefaultName, configuration, configure);

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, string, IStreamingApiConfiguration, Action{StreamingApiServerOptions})"/>
    /// <param name="services">The host's services.</param>
    /// <param name="name">The server's name.</param>
    /// <param name="configuration">The keys of AppConfig.json, at its root; read and checked when the host starts. A key that is not known is
    /// a warning.</param>
    /// <param name="configure">Changes what was read.</param>
    public static IServiceCollection AddStreamingApi(
        this IServiceCollection services, string name, IConfiguration configuration, Action<StreamingApiServerOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return Add(services, name, (options, logger) => AppConfig.Read(options, configuration, logger), configure);
    }

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, IStreamingApiConfiguration, Action{StreamingApiServerOptions})"/>
    /// <param name="services">The host's services.</param>
    /// <param name="configure">Changes the defaults; the result is checked when the host starts.</param>
    public static IServiceCollection AddStreamingApi(this IServiceCollection services, Action<StreamingApiServerOptions> configure) =>
        AddStreamingApi(services, Options.Options.DefaultName, configure);

    /// <inheritdoc cref="AddStreamingApi(IServiceCollection, string, IStreamingApiConfiguration, Action{StreamingApiServerOptions})"/>
    /// <param name="services">The host's services.</param>
    /// <param name="name">The server's name.</param>
    /// <param name="configure">Changes the defaults; the result is checked when the host starts.</param>
    public static IServiceCollection AddStreamingApi(this IServiceCollection services, string name, Action<StreamingApiServerOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return Add(services, name, (_, _) => { }, configure);
    }

    private static IServiceCollection Add(
        IServiceCollection services, string name, Action<StreamingApiServerOptions, ILogger> read, Action<StreamingApiServerOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(name);
        if (services.Any(service => service.ServiceType == typeof(StreamingApiServer) && name.Equals(service.ServiceKey)))
        {
            throw new ArgumentException($"name = '{name}': the host has a Stream API server of this name; allowed is another one: AddStreamingApi(\"another\", …)", nameof(name));
        }

        services.AddLogging();
        services.AddOptions<StreamingApiServerOptions>(name).Configure<ILoggerFactory>((options, loggers) =>
        {
            try
            {
                read(options, loggers.CreateLogger<StreamingApiServer>());
            }
            catch (ConfigurationException exception)
            {
                throw new OptionsValidationException(name, typeof(StreamingApiServerOptions), [exception.Message]);
            }

            configure?.Invoke(options);
        }).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<StreamingApiServerOptions>, StreamingApiServerOptions.Validation>());

        services.AddKeyedSingleton(name, (provider, _) => new StreamingApiServer(
            provider.GetRequiredService<IOptionsMonitor<StreamingApiServerOptions>>().Get(name),
            provider.GetRequiredService<ILoggerFactory>(),
            provider.GetService<TimeProvider>()));
        if (name == Options.Options.DefaultName) services.AddSingleton(provider => Server(provider));
        services.AddSingleton<IHostedService>(provider => new HostedServer(
            Server(provider),
            provider.GetRequiredService<IHostApplicationLifetime>(),
            provider.GetRequiredService<IOptions<HostOptions>>().Value,
            provider.GetRequiredService<ILogger<StreamingApiServer>>()));
        services.AddHealthChecks().Add(new HealthCheckRegistration(
            name == Options.Options.DefaultName ? "stream-api" : $"stream-api-{name}", provider => new ServerHealthCheck(Server(provider)), failureStatus: null, tags: null));
        MappedServer.Add(services);
        return services;

        StreamingApiServer Server(IServiceProvider provider) => provider.GetRequiredKeyedService<StreamingApiServer>(name);
    }
}
