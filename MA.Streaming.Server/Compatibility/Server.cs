using MA.Common.Abstractions;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Hosting;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.Proto.Core.Abstractions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace MA.Streaming.Proto.Core.Abstractions
{
    /// <summary>A Stream API on the network.</summary>
    public interface IServer
    {
        /// <summary>Starts, and returns when it is ready, or when its broker does not answer; it goes on trying then.</summary>
        Task Start();

        /// <summary>Stops accepting, finishes what was accepted, ends reads with UNAVAILABLE, and closes.</summary>
        Task Stop();

        /// <summary>One of its parts by its type; null for anything else.</summary>
        object? GetService(Type serviceType);
    }
}

namespace MA.Streaming.Proto.ServerComponent
{
    /// <summary>
    /// A Stream API on the network: gRPC on StreamApiPort, metrics and health on port 10010 or the one that the environment variable
    /// PROMETHEUS_METRIC_PORT names, on every interface unless BIND_ADDRESS names one.
    /// </summary>
    /// <param name="streamingApiConfiguration">The settings.</param>
    /// <param name="cancellationTokenSourceProvider">Cancelling the provided source means <see cref="Stop"/>.</param>
    /// <param name="kafkaBrokerAvailabilityChecker">Asked for Kafka addresses only.</param>
    /// <param name="loggingDirectoryProvider">The folder of a rolling text log; empty for none.</param>
    /// <param name="registerServices">True: <see cref="GetService"/> also gives the five clients, in process.</param>
    public sealed class Server(
        IStreamingApiConfiguration streamingApiConfiguration,
        ICancellationTokenSourceProvider cancellationTokenSourceProvider,
        IKafkaBrokerAvailabilityChecker kafkaBrokerAvailabilityChecker,
        ILoggingDirectoryProvider loggingDirectoryProvider,
        bool registerServices = false) : IServer, IDisposable
    {
        private readonly Lock _gate = new();
        private LogFile? _log;
        private StreamingApiServer? _server;
        private CancellationTokenRegistration _stop;
        private Task? _stopping;

        /// <summary>The port of metrics and health; 0 takes any free one.</summary>
        public int PrometheusMetricPort { get; init; } = ServerEnvironment.MetricPort(10010);

        /// <summary>Where it is served: <c>*</c> (every interface), <c>localhost</c> or an IP address.</summary>
        public string BindAddress { get; init; } = ServerEnvironment.BindAddress(StreamingApiServerOptions.AllInterfaces);

        /// <inheritdoc/>
        /// <exception cref="ConfigurationException">A setting is not allowed: names key, value and what is.</exception>
        /// <exception cref="PortException">A port cannot be opened.</exception>
        public async Task Start()
        {
            var directory = loggingDirectoryProvider.Provide();
            var options = StreamingApiServerOptions.From(streamingApiConfiguration);
            options.PrometheusMetricPort = PrometheusMetricPort;
            options.BindAddress = BindAddress;
            StreamingApiServer server;
            lock (_gate)
            {
                if (_server is not null) throw new InvalidOperationException("a server is started once");
                _log = string.IsNullOrEmpty(directory) ? null : new LogFile(directory);
                var loggers = _log?.Loggers ?? NullLoggerFactory.Instance;
                _server = server = new StreamingApiServer(options, loggers);
            }

            var cancelled = cancellationTokenSourceProvider.Provide().Token;
            await AskForKafkaAsync().ConfigureAwait(false);
            await server.StartAsync(cancelled).ConfigureAwait(false);

            // The stop runs on its own, so that who cancels never waits for it.
            _stop = cancelled.UnsafeRegister(static server => Task.Run(((Server)server!).Stop), this);
        }

        /// <inheritdoc/>
        public Task Stop()
        {
            lock (_gate) return _stopping ??= StopOnceAsync();
        }

        /// <inheritdoc/>
        public object? GetService(Type serviceType)
        {
            ArgumentNullException.ThrowIfNull(serviceType);
            if (serviceType.IsInstanceOfType(this)) return this;
            if (serviceType.IsInstanceOfType(streamingApiConfiguration)) return streamingApiConfiguration;
            if (_server is not { } server) return null;
            if (serviceType.IsInstanceOfType(server)) return server;
            if (server.State != ServerState.Ready) return null;
            var engine = server.Engine;
            object[] services = [engine.PacketWriter, engine.PacketReader, engine.ConnectionManager, engine.SessionManagement, engine.DataFormatManager];
            return Array.Find(services, serviceType.IsInstanceOfType) ?? (registerServices ? ClientOf(serviceType, engine) : null);
        }

        /// <summary>Stops it, if nobody has, and waits until it has stopped.</summary>
#pragma warning disable RS0030 // A synchronous member that customers call.
        public void Dispose() => Task.Run(Stop).GetAwaiter().GetResult();
#pragma warning restore RS0030

        private static object? ClientOf(Type serviceType, MA.Streaming.Core.StreamApi engine)
        {
            var channel = new InProcessChannel();
            channel.BindWithoutCopies(binder => PacketWriterService.BindService(binder, engine.PacketWriter));
            channel.Bind(binder => PacketReaderService.BindService(binder, engine.PacketReader));
            channel.Bind(binder => ConnectionManagerService.BindService(binder, engine.ConnectionManager));
            channel.Bind(binder => SessionManagementService.BindService(binder, engine.SessionManagement));
            channel.Bind(binder => DataFormatManagerService.BindService(binder, engine.DataFormatManager));
            return serviceType switch
            {
                _ when serviceType == typeof(PacketWriterService.PacketWriterServiceClient) => new PacketWriterService.PacketWriterServiceClient(channel),
                _ when serviceType == typeof(PacketReaderService.PacketReaderServiceClient) => new PacketReaderService.PacketReaderServiceClient(channel),
                _ when serviceType == typeof(ConnectionManagerService.ConnectionManagerServiceClient) =>
                    new ConnectionManagerService.ConnectionManagerServiceClient(channel),
                _ when serviceType == typeof(SessionManagementService.SessionManagementServiceClient) =>
                    new SessionManagementService.SessionManagementServiceClient(channel),
                _ when serviceType == typeof(DataFormatManagerService.DataFormatManagerServiceClient) =>
                    new DataFormatManagerService.DataFormatManagerServiceClient(channel),
                _ => null,
            };
        }

        // The server tries until the broker answers; the answer of the checker goes into the log.
        private async Task AskForKafkaAsync()
        {
            var url = streamingApiConfiguration.BrokerUrl;
            if (BrokerAddress.Parse(url).Kind != BrokerKind.Kafka) return;
            var answers = await kafkaBrokerAvailabilityChecker.CheckAsync(url).ConfigureAwait(false);
            if (!answers) _log?.Loggers.CreateLogger<Server>().KafkaDoesNotAnswer(url);
        }

        private async Task StopOnceAsync()
        {
            await Task.Yield(); // Out of the lock.
            _stop.Unregister();
            if (_server is not null) await _server.StopAsync().ConfigureAwait(false);
            _log?.Dispose();
        }
    }
}
