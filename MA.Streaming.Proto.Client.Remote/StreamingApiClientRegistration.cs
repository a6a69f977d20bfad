using System.Diagnostics.CodeAnalysis;
using Grpc.Core;
using Grpc.Net.ClientFactory;
using MA.Streaming.API;
using MA.Streaming.Proto.Client.Remote;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>The clients of a Stream API server as services.</summary>
public static class StreamingApiClientRegistration
{
    /// <summary>
    /// Adds the five clients of a server under a name, so that clients of several servers stand side by side:
    /// <c>[FromKeyedServices("name")] PacketWriterService.PacketWriterServiceClient writer</c>, or
    /// <c>GrpcClientFactory.CreateClient&lt;PacketWriterService.PacketWriterServiceClient&gt;("name")</c>; without a name a client is of the
    /// server that was added last. They share their connections, which go with the container, and find, keep and retry the server as
    /// <see cref="RemoteStreamingApi"/> does. The address is that of the <see cref="StreamingApiClientOptions"/> with this name.
    /// </summary>
    /// <param name="services">The services.</param>
    /// <param name="name">The name; each may be added once.</param>
    /// <param name="configure">Sets the address, if nothing else does.</param>
    /// <returns>For interceptors, call credentials and the like, of all five.</returns>
    /// <exception cref="ArgumentException">The name is empty or taken.</exception>
    public static IHttpClientBuilder AddStreamingApiClient(this IServiceCollection services, string name, Action<StreamingApiClientOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (services.Any(service => service.ServiceType == typeof(SocketsHttpHandler) && name.Equals(service.ServiceKey)))
        {
            throw new ArgumentException($"name = '{name}': a client of that name was added before; allowed is another one", nameof(name));
        }

        services.AddOptions<StreamingApiClientOptions>(name).Configure(options => configure?.Invoke(options)).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<StreamingApiClientOptions>, StreamingApiClientOptions.Validation>());

        // The container closes the connections: the factory's handlers would outlive it.
        services.AddKeyedSingleton(name, (provider, _) => ServerChannel.Connections(AddressOf(provider, name), OptionsOf(provider, name).Connection));

        var builder = services.AddGrpcClient<PacketWriterService.PacketWriterServiceClient>(name, (provider, client) =>
            {
                var address = AddressOf(provider, name);
                client.Address = ServerChannel.UriOf(address);
                client.ChannelOptionsActions.Add(channel => ServerChannel.Set(channel, address));
            })
            .ConfigurePrimaryHttpMessageHandler(provider => provider.GetRequiredKeyedService<SocketsHttpHandler>(name))
            .SetHandlerLifetime(Timeout.InfiniteTimeSpan) // Connections of the Stream API live on one server: it is never changed for another.
            .RemoveAllLoggers(); // The channel logs its calls.
        AddClient<PacketWriterService.PacketWriterServiceClient>(services, name);
        AddOther<PacketReaderService.PacketReaderServiceClient>(services, name);
        AddOther<ConnectionManagerService.ConnectionManagerServiceClient>(services, name);
        AddOther<SessionManagementService.SessionManagementServiceClient>(services, name);
        AddOther<DataFormatManagerService.DataFormatManagerServiceClient>(services, name);
        return builder;
    }

    /// <inheritdoc cref="AddStreamingApiClient(IServiceCollection, string, Action{StreamingApiClientOptions})"/>
    /// <param name="services">The services.</param>
    /// <param name="name">The name; each may be added once.</param>
    /// <param name="serverAddress"><c>host:port</c>, <c>https://host:port</c>, or several separated by commas: the first that works is used.</param>
    /// <param name="options">How they connect.</param>
    /// <exception cref="ArgumentException">The address is not one, or the name is empty or taken.</exception>
    public static IHttpClientBuilder AddStreamingApiClient(
        this IServiceCollection services, string name, string serverAddress, RemoteStreamingApiOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(serverAddress);
        ServerAddress.Parse(serverAddress, nameof(serverAddress));
        return AddStreamingApiClient(services, name, client =>
        {
            client.Address = serverAddress;
            if (options is not null) client.Connection = options;
        });
    }

    // The factory registers one type a name, but makes a client of every registered type under every name: the name of this registration
    // is never used, the settings are those of the server's.
    private static void AddOther<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] T>(IServiceCollection services, string name)
        where T : ClientBase<T>
    {
        services.AddGrpcClient<T>($"{name} {typeof(T).Name}");
        AddClient<T>(services, name);
    }

    private static void AddClient<[DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] T>(IServiceCollection services, string name)
        where T : ClientBase<T>
    {
        services.AddTransient(provider => provider.GetRequiredService<GrpcClientFactory>().CreateClient<T>(name));
        services.AddKeyedTransient(name, (provider, _) => provider.GetRequiredService<GrpcClientFactory>().CreateClient<T>(name));
    }

    private static StreamingApiClientOptions OptionsOf(IServiceProvider provider, string name) =>
        provider.GetRequiredService<IOptionsMonitor<StreamingApiClientOptions>>().Get(name);

    private static ServerAddress AddressOf(IServiceProvider provider, string name) => ServerAddress.Parse(OptionsOf(provider, name).Address, "Address");
}
