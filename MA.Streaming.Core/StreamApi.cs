using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Core.Connections;
using MA.Streaming.Core.DataFormats;
using MA.Streaming.Core.Internal;
using MA.Streaming.Core.Keys;
using MA.Streaming.Core.Packets;
using MA.Streaming.Core.Records;
using MA.Streaming.Core.Sessions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace MA.Streaming.Core;

/// <summary>The parts that a <see cref="StreamApi"/> uses besides its configuration.</summary>
public sealed record StreamApiOptions
{
    /// <summary>No log, and the system's clock.</summary>
    public static StreamApiOptions Default { get; } = new();

    /// <summary>Gets the log events.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    /// <summary>The clock.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Makes session keys and format ids while UseRemoteKeyGenerator is true. Required then, and not used otherwise. The caller
    /// disposes it, after the engine.</summary>
    public IKeyGenerator? KeyGenerator { get; init; }

    /// <summary>True if no network is between engine and client. Closing a connection then abandons at once the response that its read
    /// is writing, without <see cref="StreamingApiLimits.CloseGrace"/>.</summary>
    public bool IsInProcess { get; init; }

    /// <summary>The scope of the engine's meter, by which a listener tells several engines of one process apart.</summary>
    internal object? MeterScope { get; init; }
}

/// <summary>The engine could not be started.</summary>
/// <param name="message">Names the broker, the step that failed, and the last error.</param>
/// <param name="innerException">The last error.</param>
public sealed class InitialisationException(string message, Exception? innerException) : Exception(message, innerException);

/// <summary>
/// The engine: the five services over one broker. It does not own the broker. Two engines may share one broker; they see each other's
/// sessions, updates and formats, as two servers do.
/// </summary>
public sealed class StreamApi : IAsyncDisposable
{
    private readonly IStreamingApiConfiguration _configuration;
    private readonly StreamingApiConfiguration _own;
    private readonly ILogger _logger;
    private readonly TimeProvider _clock;
    private readonly OpenCalls _calls = new();
    private readonly Telemetry _telemetry;
    private readonly TopicDirectory _directory;
    private readonly ConnectionTable _connections;
    private readonly SessionCatalog? _sessions;
    private readonly SessionExpiry? _expiry;
    private readonly DataFormatCatalog _formats;
    private readonly IBroker _broker;
    private int _disposed;

    private StreamApi(IStreamingApiConfiguration configuration, IBroker broker, StreamApiOptions options)
    {
        _configuration = configuration;
        _own = configuration as StreamingApiConfiguration ?? new StreamingApiConfiguration();
        _broker = broker;
        _clock = options.Clock;
        _logger = LoggerOf<StreamApi>();
        _telemetry = new Telemetry(options.MeterScope);
        var limits = options.IsInProcess ? _own.Limits with { CloseGrace = TimeSpan.Zero } : _own.Limits;
        var layout = new TopicLayout(configuration.StreamCreationStrategy, ConfigurationValidation.Mappings(configuration));
        _directory = new TopicDirectory(broker, LoggerOf<TopicDirectory>(), _clock);
        var keys = configuration.UseRemoteKeyGenerator ? options.KeyGenerator! : new Keys.KeyGenerator(_clock);
        var appenders = new TopicAppenders(broker, _directory, limits.WriteTimeout, _clock);
        var targets = new StreamTargets(layout, appenders, _telemetry);
        var encoder = new PacketEncoder(targets, Math.Min(limits.PacketBytesMax, broker.Info.RecordBytesMax));
        var unary = new UnaryWrites(broker, limits, _clock);
        var records = new EngineRecords(layout, appenders, targets, encoder, unary, _telemetry);
        if (configuration.IntegrateSessionManagement)
        {
            _sessions = new SessionCatalog(broker, records, layout, _directory, keys, limits, _telemetry, _clock, LoggerOf<SessionCatalog>());
            if (_own.SessionIdleTimeout > TimeSpan.Zero)
            {
                _expiry = new SessionExpiry(_sessions, _own.SessionIdleTimeout, !broker.Info.IsShared, _clock, LoggerOf<SessionExpiry>());
            }
        }

        else
        {
            _telemetry.ObserveSessions(() => 0, () => []);
        }

        _formats = new DataFormatCatalog(
            broker,
            _directory,
            records,
            configuration.UseRemoteKeyGenerator ? keys : null,
            configuration.IntegrateDataFormatManagement, _telemetry, _clock, LoggerOf<DataFormatCatalog>());
        _connections = new ConnectionTable(limits, _own.ConnectionIdleTimeout, _clock, LoggerOf<ConnectionTable>());
        var appender = new PacketAppender(broker, unary, _telemetry, _own.AutoRegisterDataFormats || _expiry is not null ? Written : null);
        var planner = new ReadPlanner(broker, layout, _directory);
        var groups = new GroupReads(broker, planner, _clock, LoggerOf<GroupReads>());
        _telemetry.ObserveConnections(() => _connections.Count);
        _telemetry.ObserveReads(() => _connections.Reads);
        _telemetry.ObservePending(() => unary.PendingBytes, () => unary.PendingPackets);
        PacketWriterEndpoint = new PacketWriterEndpoint(encoder, appender, records, _calls, limits);
        PacketReaderEndpoint = new PacketReaderEndpoint(
            planner,
            groups,
            new ReadLoop(broker, planner, groups, limits, _telemetry, _clock, LoggerOf<ReadLoop>()),
            _connections,
            _formats,
            configuration.BatchingResponses ? limits.ResponsePacketsMax : 1,
            _calls,
            limits,
            _telemetry,
            _clock,
            LoggerOf<PacketReaderEndpoint>());
        ConnectionManager = new ConnectionManagerEndpoint(_connections, layout, _calls);
        SessionManagement = new SessionManagementEndpoint(_sessions, layout, _directory, _calls, _expiry);
        DataFormatManager = new DataFormatManagerEndpoint(_formats, _calls);

        ILogger LoggerOf<T>() => options.LoggerFactory.CreateLogger<T>();
    }

    /// <summary>The name of the broker in log and error messages: <c>memory:</c>, <c>embedded:</c> with the full path, or Kafka's servers.</summary>
    public string BrokerName => _broker.Info.Name;

    /// <summary>The packet writer service.</summary>
    public PacketWriterService.PacketWriterServiceBase PacketWriter => PacketWriterEndpoint;

    /// <summary>The packet reader service.</summary>
    public PacketReaderService.PacketReaderServiceBase PacketReader => PacketReaderEndpoint;

    /// <summary>The packet writer service, which can take bytes instead of messages too.</summary>
    internal PacketWriterEndpoint PacketWriterEndpoint { get; }

    /// <summary>The packet reader service, which can give bytes instead of messages too.</summary>
    internal PacketReaderEndpoint PacketReaderEndpoint { get; }

    /// <summary>The connection manager service.</summary>
    public ConnectionManagerService.ConnectionManagerServiceBase ConnectionManager { get; }

    /// <summary>The session management service.</summary>
    public SessionManagementService.SessionManagementServiceBase SessionManagement { get; }

    /// <summary>The data format manager service.</summary>
    public DataFormatManagerService.DataFormatManagerServiceBase DataFormatManager { get; }

    /// <summary>The instruments, for a transport that counts its rpcs.</summary>
    internal Telemetry Telemetry => _telemetry;

    /// <summary>Refuses a configuration that is not allowed.</summary>
    /// <exception cref="ConfigurationException">Names key, value and what is allowed.</exception>
    public static void CheckConfiguration(IStreamingApiConfiguration configuration) => ConfigurationValidation.Check(configuration);

    /// <summary>
    /// Starts the engine and waits until it has read the sessions that the broker holds. Recovery and reading that move on are progress.
    /// Without progress for InitialisationTimeoutSeconds the start fails and leaves nothing running.
    /// </summary>
    /// <param name="configuration">The settings; checked first.</param>
    /// <param name="broker">The broker; the caller disposes it after the engine.</param>
    /// <param name="options">Logging and clock.</param>
    /// <param name="cancellationToken">Ends the start.</param>
    /// <exception cref="ConfigurationException">A setting is not allowed.</exception>
    /// <exception cref="InitialisationException">There was no progress in time.</exception>
    public static async Task<StreamApi> StartAsync(
        IStreamingApiConfiguration configuration, IBroker broker, StreamApiOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        ArgumentNullException.ThrowIfNull(broker);
        ConfigurationValidation.Check(configuration);
        options ??= StreamApiOptions.Default;
        if (configuration.UseRemoteKeyGenerator && options.KeyGenerator is null)
        {
            throw new ConfigurationException("UseRemoteKeyGenerator", "true", "false where no key generator is given in the options");
        }

        var api = new StreamApi(configuration, broker, options);
        try
        {
            await api.CatchUpAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await api.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        api.LogStart();
        return api;
    }

    /// <summary>Refuses new calls, ends reads with UNAVAILABLE, finishes the accepted calls (within DrainTimeoutSeconds), and stops.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0) return;
        var drained = await _calls.DrainAsync(TimeSpan.FromSeconds(_own.DrainTimeoutSeconds), _clock).ConfigureAwait(false);
        if (!drained) _logger.DrainTimedOut(_calls.Count, _own.DrainTimeoutSeconds);
        if (_expiry is not null) await _expiry.DisposeAsync().ConfigureAwait(false);
        await _connections.DisposeAsync().ConfigureAwait(false);
        await _formats.DisposeAsync().ConfigureAwait(false);
        if (_sessions is not null) await _sessions.DisposeAsync().ConfigureAwait(false);
        await _directory.DisposeAsync().ConfigureAwait(false);
        _telemetry.Dispose();
        _calls.Dispose();
        _logger.Stopped();
    }

    private void Written(PreparedPacket packet)
    {
        if (_own.AutoRegisterDataFormats) _formats.Observe(packet.Stream.DataSource, packet.Value.Span);
        _expiry?.Touch(packet.SessionKey);
    }

    private async Task CatchUpAsync(CancellationToken cancellationToken)
    {
        // With both managers off nothing has to be known, and no broker has to answer.
        if (_sessions is null && !_configuration.IntegrateDataFormatManagement) return;
        var follower = _sessions?.Follower;
        var caughtUp = Task.WhenAll(_directory.Listed, follower?.CaughtUp ?? Task.CompletedTask);
        var timeout = TimeSpan.FromSeconds(_configuration.InitialisationTimeoutSeconds);
        while (true)
        {
            var progress = follower?.Progress ?? 0;
            try
            {
                await caughtUp.WaitAsync(timeout, _clock, cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (TimeoutException)
            {
                if ((follower?.Progress ?? 0) > progress) continue;
                var error = follower?.LastError ?? _directory.LastError;
                var step = _directory.Listed.IsCompleted ? $"reading {TopicLayout.SessionInfo}" : "listing its topics";
                throw new InitialisationException(
                    $"the broker {_broker.Info.Name} made no progress for {timeout.TotalSeconds} s while {step}: {error?.Message ?? "no answer"}", error);
            }
        }
    }

    private void LogStart()
    {
        _logger.Ready(_broker.Info.Name, _configuration.StreamCreationStrategy, _broker.Info.Durability);
        var mapped = ConfigurationValidation.Mappings(_configuration).Count > 0;
        if (_configuration.StreamCreationStrategy == StreamCreationStrategy.PartitionBased && !mapped) _logger.NoMappings();
        if (_configuration.StreamCreationStrategy == StreamCreationStrategy.TopicBased && mapped) _logger.MappingsNotUsed();
    }
}
