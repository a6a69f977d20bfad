using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Proto.Client.Remote;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// A Stream API inside this process: a broker, the engine, and a channel to its five services. A process may have several; dispose each.
/// <see cref="StreamingApiClient"/> keeps one of them in a static class.
/// </summary>
public sealed class LocalStreamingApi : IAsyncDisposable
{
    private readonly StreamApi _api;
    private readonly Core.Broker.IBroker? _ownBroker;
    private readonly RemoteKeyGenerator? _keys;
    private readonly InProcessChannel _channel;
    private readonly ConnectionManagerService.ConnectionManagerServiceClient _connections;
    private readonly DataFormatManagerService.DataFormatManagerServiceClient _formats;
    private readonly PacketReaderService.PacketReaderServiceClient _reader;
    private readonly PacketWriterService.PacketWriterServiceClient _writer;
    private readonly SessionManagementService.SessionManagementServiceClient _sessions;

    private LocalStreamingApi(StreamApi api, Core.Broker.IBroker? ownBroker, RemoteKeyGenerator? keys, TimeProvider clock)
    {
        _api = api;
        _ownBroker = ownBroker;
        _keys = keys;
        _channel = new InProcessChannel((method, status, duration) => api.Telemetry.RpcEnded(method, Name(status), duration), clock);
        _channel.BindWithoutCopies(binder => PacketWriterService.BindService(binder, api.PacketWriter));
        _channel.Bind(binder => PacketReaderService.BindService(binder, api.PacketReader));
        _channel.Bind(binder => ConnectionManagerService.BindService(binder, api.ConnectionManager));
        _channel.Bind(binder => SessionManagementService.BindService(binder, api.SessionManagement));
        _channel.Bind(binder => DataFormatManagerService.BindService(binder, api.DataFormatManager));
        var invoker = _channel.CreateCallInvoker();
        _connections = new(invoker);
        _formats = new(invoker);
        _reader = new(invoker);
        _writer = new(invoker);
        _sessions = new(invoker);
    }

    /// <summary>The name of the broker: <c>memory:</c>, <c>embedded:</c> with the full path, or Kafka's servers.</summary>
    public string BrokerName => _api.BrokerName;

    /// <summary>The channel, for your interceptors and generated clients.</summary>
    public ChannelBase Channel => _channel;

    /// <summary>Starts a Stream API and waits until it is ready.</summary>
    /// <param name="configuration">The settings.</param>
    /// <param name="options">Logging and clock.</param>
    /// <param name="cancellationToken">Ends the start, and leaves nothing running.</param>
    /// <exception cref="ConfigurationException">A setting is not allowed. The message names the key, the value and what is allowed.</exception>
    /// <exception cref="InitialisationException">The broker could not be opened, or made no progress for InitialisationTimeoutSeconds.</exception>
    public static async Task<LocalStreamingApi> StartAsync(
        IStreamingApiConfiguration configuration, StreamApiOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        options ??= StreamApiOptions.Default;
        StreamApi.CheckConfiguration(configuration);
        var broker = await BrokerSource.OpenAsync(configuration, options, cancellationToken).ConfigureAwait(false);
        try
        {
            return await StartAsync(configuration, broker, ownsBroker: true, options, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await broker.DisposeAsync().ConfigureAwait(false);
            throw;
        }
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

    /// <summary>Finds one of the five clients, the channel, or this object by its type. Null for any other type.</summary>
    public object? GetService(Type serviceType)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        object[] services = [_connections, _formats, _reader, _writer, _sessions, _channel, this];
        return Array.Find(services, serviceType.IsInstanceOfType);
    }

    /// <summary>Refuses new calls, ends reads with UNAVAILABLE, finishes the accepted calls (within DrainTimeoutSeconds), and stops.</summary>
    public async ValueTask DisposeAsync()
    {
        _channel.Close();
        await _api.DisposeAsync().ConfigureAwait(false);
        _keys?.Dispose();
        if (_ownBroker is not null) await _ownBroker.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>A Stream API over a given broker: two over one see each other as two servers do.</summary>
    internal static async Task<LocalStreamingApi> StartAsync(
        IStreamingApiConfiguration configuration, Core.Broker.IBroker broker, bool ownsBroker, StreamApiOptions options, CancellationToken cancellationToken)
    {
        var keys = options.KeyGenerator is null ? RemoteKeyGenerator.Of(configuration, options) : null;
        try
        {
            var ofThisProcess = options with { IsInProcess = true, KeyGenerator = options.KeyGenerator ?? keys };
            var api = await StreamApi.StartAsync(configuration, broker, ofThisProcess, cancellationToken).ConfigureAwait(false);
            return new LocalStreamingApi(api, ownsBroker ? broker : null, keys, options.Clock);
        }
        catch
        {
            keys?.Dispose();
            throw;
        }
    }

    private static string Name(StatusCode status) => status.ToString();
}
