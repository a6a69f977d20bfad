using MA.Streaming.API;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>
/// The Stream API of a server. Call <see cref="Initialise"/> once, use the five clients, then call <see cref="Shutdown"/>. Any thread may
/// call any member.
/// </summary>
public static class RemoteStreamingApiClient
{
    private static readonly Lock Gate = new();
    private static RemoteStreamingApi? _api;

    /// <summary>True between Initialise and Shutdown.</summary>
    public static bool Initialised => Volatile.Read(ref _api) is not null;

    /// <summary>Sets the server. The first call connects. Does nothing if it is initialised already.</summary>
    /// <param name="serverAddress"><c>host:port</c>, <c>https://host:port</c>, or several separated by commas. The first one that works is used.</param>
    /// <exception cref="ArgumentException">The address is not allowed. The message names it and what is allowed.</exception>
    public static void Initialise(string serverAddress)
    {
        lock (Gate)
        {
            if (_api is null) Volatile.Write(ref _api, RemoteStreamingApi.Connect(serverAddress));
        }
    }

    /// <summary>Closes the channel. Open calls end with CANCELLED. Does nothing if it is not initialised.</summary>
    public static void Shutdown()
    {
        RemoteStreamingApi? api;
        lock (Gate) (api, _api) = (_api, null);
        api?.Dispose();
    }

    /// <summary>The connection manager service.</summary>
    /// <exception cref="InvalidOperationException">It is not initialised.</exception>
    public static ConnectionManagerService.ConnectionManagerServiceClient GetConnectionManagerClient() => Api.GetConnectionManagerClient();

    /// <summary>The data format manager service.</summary>
    /// <exception cref="InvalidOperationException">It is not initialised.</exception>
    public static DataFormatManagerService.DataFormatManagerServiceClient GetDataFormatManagerClient() => Api.GetDataFormatManagerClient();

    /// <summary>The packet reader service.</summary>
    /// <exception cref="InvalidOperationException">It is not initialised.</exception>
    public static PacketReaderService.PacketReaderServiceClient GetPacketReaderClient() => Api.GetPacketReaderClient();

    /// <summary>The packet writer service.</summary>
    /// <exception cref="InvalidOperationException">It is not initialised.</exception>
    public static PacketWriterService.PacketWriterServiceClient GetPacketWriterClient() => Api.GetPacketWriterClient();

    /// <summary>The session management service.</summary>
    /// <exception cref="InvalidOperationException">It is not initialised.</exception>
    public static SessionManagementService.SessionManagementServiceClient GetSessionManagementClient() => Api.GetSessionManagementClient();

    private static RemoteStreamingApi Api =>
        Volatile.Read(ref _api)
        ?? throw new InvalidOperationException("The client of the Stream API server is not initialised: call RemoteStreamingApiClient.Initialise first.");
}
