using Grpc.Net.Client;
using MA.Streaming.KeyGenerator;
using MA.Streaming.Proto.Client.Remote;

namespace MA.KeyGenerator.Proto.Client;

/// <summary>
/// The client of a key generator. Call <see cref="Initialise"/> once, use <see cref="GetKeyGeneratorClient"/>, then call
/// <see cref="Shutdown"/>. Any thread may call any member.
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

    /// <summary>Sets the key generator. The first call connects. Does nothing if it is initialised already.</summary>
    /// <param name="serverAddress"><c>host:port</c>, <c>https://host:port</c>, or several separated by commas. The first one that works is used.</param>
    /// <exception cref="ArgumentException">The address is not allowed. The message names it and what is allowed.</exception>
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

    /// <summary>Closes the channel. Does nothing if it is not initialised.</summary>
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
