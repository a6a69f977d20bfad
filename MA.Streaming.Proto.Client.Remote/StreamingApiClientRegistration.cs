using MA.Streaming.Proto.Client.Remote;
using Microsoft.Extensions.Logging;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers the clients of a Stream API server as services.</summary>
public static class StreamingApiClientRegistration
{
    /// <summary>
    /// Adds <see cref="RemoteStreamingApi"/> and its five clients as singletons with the key <paramref name="name"/>, so that a
    /// program can have clients of several servers: <c>[FromKeyedServices("name")] PacketWriterService.PacketWriterServiceClient writer</c>. The
    /// container disposes them.
    /// </summary>
    /// <param name="services">The services.</param>
    /// <param name="name">The key; each may be added once.</param>
    /// <param name="serverAddress"><c>host:port</c>, <c>https://host:port</c>, or several separated by commas. The first one that works is used.</param>
    /// <param name="options">The settings of the connection. If they have no logger, the container's is used.</param>
    /// <exception cref="ArgumentException">The address is not allowed, or the name is empty or taken.</exception>
    public static IServiceCollection AddStreamingApiClient(
        this IServiceCollection services, string name, string serverAddress, RemoteStreamingApiOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(serverAddress);
        ServerAddress.Parse(serverAddress, nameof(serverAddress));
        if (services.Any(service => service.ServiceType == typeof(RemoteStreamingApi) && name.Equals(service.ServiceKey)))
        {
            throw new ArgumentException($"name = '{name}': a client of that name was added before; allowed is another one", nameof(name));
        }

        services.AddKeyedSingleton(name, (provider, _) => RemoteStreamingApi.Connect(serverAddress, WithLogger(options, provider)));
        services.AddKeyedSingleton(name, (provider, _) => Of(provider, name).GetConnectionManagerClient());
        services.AddKeyedSingleton(name, (provider, _) => Of(provider, name).GetDataFormatManagerClient());
        services.AddKeyedSingleton(name, (provider, _) => Of(provider, name).GetPacketReaderClient());
        services.AddKeyedSingleton(name, (provider, _) => Of(provider, name).GetPacketWriterClient());
        return services.AddKeyedSingleton(name, (provider, _) => Of(provider, name).GetSessionManagementClient());
    }

    private static RemoteStreamingApi Of(IServiceProvider provider, string name) => provider.GetRequiredKeyedService<RemoteStreamingApi>(name);

    private static RemoteStreamingApiOptions WithLogger(RemoteStreamingApiOptions? options, IServiceProvider provider)
    {
        options ??= RemoteStreamingApiOptions.Default;
        return options.LoggerFactory is null ? options with { LoggerFactory = provider.GetService<ILoggerFactory>() } : options;
    }
}
