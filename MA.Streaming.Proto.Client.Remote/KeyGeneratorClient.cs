using Grpc.Net.Client;
using MA.Streaming.KeyGenerator;
using MA.Streaming.Proto.Client.Remote;

namespace MA.KeyGenerator.Proto.Client;

/// <summary>
/// The client of a key generator: <see cref="Initialise"/> once, then <see cref="GetKeyGeneratorClient"/>, then <see cref="Shutdown"/>. All
/// members may be called from any thread.
/// </summary>
public static class KeyGeneratorClient
{
    private static readonly Lock Gate = new();
    private static (GrpcChannel Channel, UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient Client)? _connected;

    /// <summary>True between Initialise and Shutdown.</summary>
    public static bool Initialised
    {
        get
        {
            lock (Gate) return _connected is not null;
        }
    }

    /// <summary>Names the key generator; the first call connects. Does nothing when it is initialised.</summary>
    /// <param name="serverAddress"><c>host:port</c>, <c>https://host:port</c>, or several separated by commas: the first that works is used.</param>
    /// <exception cref="ArgumentException">The address is not one: names the value and what is allowed.</exception>
    public static void Initialise(string serverAddress)
    {
        ArgumentNullException.ThrowIfNull(serverAddress);
        lock (Gate)
        {
            if (_connected is not null) return;
            var channel = ServerChannel.Open(ServerAddress.Parse(serverAddress, nameof(serverAddress)), RemoteStreamingApiOptions.Default);
            _connected = (channel, new(channel));
        }
    }

    /// <summary>Closes the channel. Does nothing when it is not initialised.</summary>
    public static void Shutdown()
    {
        GrpcChannel? channel;
        lock (Gate) (channel, _connected) = (_connected?.Channel, null);
        channel?.Dispose();
    }

    /// <summary>The unique key generator service.</summary>
    /// <exception cref="InvalidOperationException">It is not initialised.</exception>
    public static UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient GetKeyGeneratorClient()
    {
        lock (Gate)
        {
            return _connected?.Client
                ?? throw new InvalidOperationException("The client of the key generator is not initialised: call KeyGeneratorClient.Initialise first.");
        }
    }
}
