using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>
/// The Stream API of a server: one channel and the five clients over it. A process may have several; dispose each.
/// <see cref="RemoteStreamingApiClient"/> keeps one of them in a static class.
/// </summary>
public sealed class RemoteStreamingApi : IDisposable
{
    private readonly GrpcChannel _channel;
    private readonly ConnectionManagerService.ConnectionManagerServiceClient _connections;
    private readonly DataFormatManagerService.DataFormatManagerServiceClient _formats;
    private readonly PacketReaderService.PacketReaderServiceClient _reader;
    private readonly PacketWriterService.PacketWriterServiceClient _writer;
    private readonly SessionManagementService.SessionManagementServiceClient _sessions;

    private RemoteStreamingApi(ServerAddress address, RemoteStreamingApiOptions options)
    {
        Address = address.ToString();
        _channel = ServerChannel.Open(address, options);
        var invoker = _channel.CreateCallInvoker();
        _connections = new(invoker);
        _formats = new(invoker);
        _reader = new(invoker);
        _writer = new(invoker);
        _sessions = new(invoker);
    }

    /// <summary>The addresses of the server.</summary>
    public string Address { get; }

    /// <summary>The channel, for your interceptors and generated clients.</summary>
    public ChannelBase Channel => _channel;

    /// <summary>
    /// Makes a client of a server. The first call connects, and the first one after a loss connects again. With several addresses the client
    /// uses the first one that works until it is lost, because connections live on one server.
    /// </summary>
    /// <param name="serverAddress"><c>host:port</c>, <c>https://host:port</c>, or several separated by commas.</param>
    /// <param name="options">The settings of the connection.</param>
    /// <exception cref="ArgumentException">The address is not allowed. The message names it and what is allowed.</exception>
    public static RemoteStreamingApi Connect(string serverAddress, RemoteStreamingApiOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(serverAddress);
        return new(ServerAddress.Parse(serverAddress, nameof(serverAddress)), options ?? RemoteStreamingApiOptions.Default);
    }

    /// <summary>The connection manager service.</summary>
    public ConnectionManagerService.ConnectionManagerServiceClient GetConnectionManagerClient() => _connections;

    /// <summary>The data format manager service.</summary>
    public DataFormatManagerService.DataFormatManagerServiceClient GetDataFormatManagerClient() => _formats;

    /// <summary>The packet reader service.</summary>
    public PacketReaderService.PacketReaderServiceClient GetPacketReaderClient() => _reader;

    /// <summary>The packet writer service.</summary>
    public PacketWriterService.PacketWriterServiceClient GetPacketWriterClient() => _writer;

    /// <summary>The session management service.</summary>
    public SessionManagementService.SessionManagementServiceClient GetSessionManagementClient() => _sessions;

    /// <summary>Closes the channel. Open calls end with CANCELLED.</summary>
    public void Dispose() => _channel.Dispose();
}
