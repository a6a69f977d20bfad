using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Proto.ServerComponent;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>The broker that a configuration names, whether the engine runs in the caller's process or behind a port.</summary>
internal static class BrokerSource
{
    /// <summary>Opens it; the caller disposes it after the engine. A log that recovers takes its time.</summary>
    /// <exception cref="ConfigurationException">BrokerUrl names none.</exception>
    /// <exception cref="InitialisationException">It could not be opened: says which, and why.</exception>
    public static async Task<IBroker> OpenAsync(
        IStreamingApiConfiguration configuration, StreamApiOptions options, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var address = BrokerAddress.Parse(configuration.BrokerUrl);
        switch (address.Kind)
        {
            case BrokerKind.Memory:
                return new MemoryBroker(clock: options.Clock);
            case BrokerKind.Embedded:
                var directory = Path.GetFullPath(address.Place);
                if (string.IsNullOrWhiteSpace(configuration.BrokerUrl)) options.LoggerFactory.CreateLogger(typeof(BrokerSource)).NoBrokerUrl(directory);
                return await OpenLogAsync(directory, (configuration as StreamingApiConfiguration)?.Embedded ?? EmbeddedLogOptions.Default, options)
                    .ConfigureAwait(false);
            default:
                return OpenKafka(address.Place, (configuration as StreamingApiConfiguration)?.Kafka ?? KafkaOptions.Default, options);
        }
    }

    /// <summary>Asks a checker about Kafka, where a start needs it to answer.</summary>
    /// <exception cref="InitialisationException">It says that no broker answers.</exception>
    public static async Task CheckAsync(IStreamingApiConfiguration configuration, IKafkaBrokerAvailabilityChecker checker)
    {
        var address = BrokerAddress.Parse(configuration.BrokerUrl);
        if (address.Kind != BrokerKind.Kafka || (!configuration.IntegrateSessionManagement && !configuration.IntegrateDataFormatManagement)) return;

        // Our own checker knows how to log in once it is told.
        var own = (configuration as StreamingApiConfiguration)?.Kafka;
        var asked = checker is KafkaBrokerAvailabilityChecker { HasSettings: false } && own is not null ? new KafkaBrokerAvailabilityChecker(own) : checker;
        bool isThere;
        try
        {
            isThere = await asked.CheckAsync(address.Place).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is BrokerException or KafkaSettingException)
        {
            throw new InitialisationException($"the broker {address.Place} could not be asked: {exception.Message}", exception);
        }

        if (!isThere) throw new InitialisationException($"the broker {address.Place} does not answer: {asked.GetType().Name} has asked it", null);
    }

    // Waits for nothing: whether Kafka answers is seen when the engine reads what it has to know.
    private static KafkaBroker OpenKafka(string servers, KafkaOptions settings, StreamApiOptions options)
    {
        try
        {
            return KafkaBroker.Open(
                new KafkaBrokerOptions { BootstrapServers = servers, Kafka = settings }, options.Clock, options.LoggerFactory.CreateLogger<KafkaBroker>());
        }
        catch (KafkaSettingException exception)
        {
            throw new ConfigurationException(exception.Key, "set", exception.Message);
        }
        catch (BrokerException exception)
        {
            throw new InitialisationException($"the broker {servers} could not be opened: {exception.Message}", exception);
        }
    }

    private static async Task<EmbeddedBroker> OpenLogAsync(string directory, EmbeddedLogOptions settings, StreamApiOptions options)
    {
        var log = new EmbeddedBrokerOptions
        {
            Directory = directory,
            CommitPolicy = settings.CommitPolicy,
            RetentionAge = settings.RetentionAge,
            TrustClock = settings.TrustClock,
            HealAfterFault = settings.HealAfterFault,
            RetentionBytes = settings.RetentionBytes,
            SegmentBytesMax = settings.SegmentBytesMax,
            UndrainedBytesMax = settings.UndrainedBytesMax,
            TailBytesMax = settings.TailBytesMax,
            DiskReserveBytes = settings.DiskReserveBytes,
        };
        try
        {
            return await EmbeddedBroker.OpenAsync(log, options.Clock, options.LoggerFactory.CreateLogger<EmbeddedBroker>()).ConfigureAwait(false);
        }
        catch (BrokerException exception)
        {
            throw new InitialisationException($"the broker embedded:{directory} could not be opened: {exception.Message}", exception);
        }
    }
}
