using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
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
                if (string.IsNullOrWhiteSpace(configuration.BrokerUrl)) options.LoggerFactory.CreateLogger("MA.Streaming").NoBrokerUrl(directory);
                return await OpenLogAsync(directory, (configuration as StreamingApiConfiguration)?.Embedded ?? EmbeddedLogOptions.Default, options)
                    .ConfigureAwait(false);
            default:
                throw new ConfigurationException(
                    "BrokerUrl", $"'{configuration.BrokerUrl}'", "'memory:', 'embedded:' or 'embedded:PATH': Kafka (host:port) is not part of this version");
        }
    }

    private static async Task<EmbeddedBroker> OpenLogAsync(string directory, EmbeddedLogOptions settings, StreamApiOptions options)
    {
        var log = new EmbeddedBrokerOptions
        {
            Directory = directory,
            CommitPolicy = settings.CommitPolicy,
            RetentionAge = settings.RetentionAge,
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
