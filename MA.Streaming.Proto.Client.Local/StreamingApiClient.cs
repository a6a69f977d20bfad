using MA.Common.Abstractions;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// The Stream API of this process. Call <see cref="Initialise(IStreamingApiConfiguration)"/> once, use the five clients, then call
/// <see cref="Shutdown"/>. Any thread may call any member.
/// </summary>
public static class StreamingApiClient
{
    private static readonly Lock Gate = new();
    private static LocalStreamingApi? _api;
    private static LogFile? _log;
    private static CancellationTokenRegistration _shutdown;

    /// <summary>True between Initialise and Shutdown.</summary>
    public static bool Initialised => Volatile.Read(ref _api) is not null;

    /// <summary>Starts the Stream API and returns when it is ready. Does nothing if it is initialised already.</summary>
    /// <param name="streamingApiConfiguration">The settings.</param>
    /// <exception cref="Core.Configuration.ConfigurationException">A setting is not allowed. The message names the key, the value and what is allowed.</exception>
    /// <exception cref="InitialisationException">The broker made no progress for InitialisationTimeoutSeconds.</exception>
    public static void Initialise(IStreamingApiConfiguration streamingApiConfiguration) => Start(streamingApiConfiguration, null, null, null);

    /// <summary>Starts the Stream API and returns when it is ready. Does nothing if it is initialised already.</summary>
    /// <param name="streamingApiConfiguration">The settings.</param>
    /// <param name="cancellationTokenSourceProvider">Cancelling the provided source has the effect of <see cref="Shutdown"/>.</param>
    /// <param name="kafkaBrokerAvailabilityChecker">Checks the broker before the start, for Kafka addresses only.</param>
    /// <param name="loggingDirectoryProvider">Names the folder of a rolling text log; empty for none.</param>
    /// <exception cref="Core.Configuration.ConfigurationException">A setting is not allowed. The message names the key, the value and what is allowed.</exception>
    /// <exception cref="InitialisationException">The broker made no progress for InitialisationTimeoutSeconds.</exception>
    public static void Initialise(
        IStreamingApiConfiguration streamingApiConfiguration,
        ICancellationTokenSourceProvider cancellationTokenSourceProvider,
        IKafkaBrokerAvailabilityChecker kafkaBrokerAvailabilityChecker,
        ILoggingDirectoryProvider loggingDirectoryProvider)
    {
        ArgumentNullException.ThrowIfNull(cancellationTokenSourceProvider);
        ArgumentNullException.ThrowIfNull(kafkaBrokerAvailabilityChecker);
        ArgumentNullException.ThrowIfNull(loggingDirectoryProvider);
        Start(streamingApiConfiguration, cancellationTokenSourceProvider.Provide(), kafkaBrokerAvailabilityChecker, loggingDirectoryProvider.Provide());
    }

    /// <summary>Stops the Stream API. Acknowledged packets and completed client streams are written; open reads end with UNAVAILABLE. Does
    /// nothing if it is not initialised.</summary>
    public static void Shutdown() => Stop(null);

    // Of a given instance only, when there is one: a source that is cancelled late must not stop what was initialised after it.
    private static void Stop(LocalStreamingApi? only)
    {
        LocalStreamingApi? api;
        LogFile? log;
        CancellationTokenRegistration shutdown;
        lock (Gate)
        {
            if (only is not null && _api != only) return;
            (api, _api) = (_api, null);
            (log, _log) = (_log, null);
            (shutdown, _shutdown) = (_shutdown, default);
        }

        shutdown.Unregister();
#pragma warning disable RS0030 // A synchronous member that customers call.
        if (api is not null) Task.Run(async () => await api.DisposeAsync().ConfigureAwait(false)).GetAwaiter().GetResult();
#pragma warning restore RS0030
        log?.Dispose();
    }

    /// <summary>Finds one of the five clients, or the channel, by its type. Null for any other type.</summary>
    /// <exception cref="InvalidOperationException">It is not initialised.</exception>
    public static object? GetService(Type serviceType) => Api.GetService(serviceType);

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

    private static LocalStreamingApi Api =>
        Volatile.Read(ref _api) ?? throw new InvalidOperationException("The Stream API is not initialised: call StreamingApiClient.Initialise first.");

    private static void Start(
        IStreamingApiConfiguration configuration, CancellationTokenSource? stop, IKafkaBrokerAvailabilityChecker? checker, string? loggingDirectory)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        lock (Gate)
        {
            if (_api is not null) return;
            LocalStreamingApi api;
            var log = string.IsNullOrEmpty(loggingDirectory) ? null : new LogFile(loggingDirectory);
            try
            {
                var options = log is null ? StreamApiOptions.Default : new StreamApiOptions { LoggerFactory = log.Loggers };
                var token = stop?.Token ?? CancellationToken.None;
#pragma warning disable RS0030 // A synchronous member that customers call.
                api = Task.Run(() => StartAsync(configuration, checker, options, token), token).GetAwaiter().GetResult();
#pragma warning restore RS0030
                Volatile.Write(ref _api, api);
            }
            catch
            {
                log?.Dispose();
                throw;
            }

            _log = log;

            // The stop runs on its own, so that who cancels never waits for it.
            if (stop is not null) _shutdown = stop.Token.UnsafeRegister(static api => Task.Run(() => Stop((LocalStreamingApi)api!)), api);
        }
    }

    private static async Task<LocalStreamingApi> StartAsync(
        IStreamingApiConfiguration configuration, IKafkaBrokerAvailabilityChecker? checker, StreamApiOptions options, CancellationToken cancellationToken)
    {
        StreamApi.CheckConfiguration(configuration);
        if (checker is not null) await BrokerSource.CheckAsync(configuration, checker).ConfigureAwait(false);
        return await LocalStreamingApi.StartAsync(configuration, options, cancellationToken).ConfigureAwait(false);
    }
}
