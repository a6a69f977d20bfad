using System.Globalization;
using MA.Streaming.Abstraction;
using MA.Streaming.Core.Configs;

namespace MA.Streaming.Core.Configuration;

/// <summary>A setting that is not allowed.</summary>
/// <param name="key">The setting's key.</param>
/// <param name="value">The value that was given.</param>
/// <param name="allowed">The values that are allowed.</param>
public sealed class ConfigurationException(string key, string value, string allowed)
    : Exception($"{key} = {value}: allowed is {allowed}")
{
    /// <summary>The setting's key.</summary>
    public string Key { get; } = key;
}

/// <summary>Refuses settings that are not allowed, in the words of the configuration.</summary>
internal static class ConfigurationValidation
{
    public const int PartitionMax = 9_999;

    /// <summary>Throws <see cref="ConfigurationException"/> for the first setting that is not allowed.</summary>
    public static void Check(IStreamingApiConfiguration configuration)
    {
        if (!Enum.IsDefined(configuration.StreamCreationStrategy))
        {
            throw Bad("StreamCreationStrategy", (int)configuration.StreamCreationStrategy, "1 (PartitionBased) or 2 (TopicBased)");
        }

        BrokerAddress.Parse(configuration.BrokerUrl);
        InRange("StreamApiPort", configuration.StreamApiPort, 0, 65_535);
        InRange("InitialisationTimeoutSeconds", configuration.InitialisationTimeoutSeconds, 1, 86_400);
        CheckMappings(configuration.PartitionMappings ?? []);
        if (configuration.UseRemoteKeyGenerator && string.IsNullOrEmpty(configuration.RemoteKeyGeneratorServiceAddress))
        {
            throw Bad("RemoteKeyGeneratorServiceAddress", "\"\"", "the key generator's host:port while UseRemoteKeyGenerator is true");
        }

        if (configuration is StreamingApiConfiguration own) CheckOwn(own);
    }

    /// <summary>The mappings that name a stream: an empty object in a configuration file means none.</summary>
    public static IReadOnlyList<PartitionMapping> Mappings(IStreamingApiConfiguration configuration) =>
        [.. (configuration.PartitionMappings ?? []).Where(m => !string.IsNullOrEmpty(m.Stream))];

    private static void CheckMappings(IReadOnlyList<PartitionMapping> mappings)
    {
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < mappings.Count; i++)
        {
            var mapping = mappings[i];
            var key = $"PartitionMappings[{i}]";
            if (string.IsNullOrEmpty(mapping.Stream))
            {
                if (mapping.Partition != 0) throw Bad($"{key}.Stream", "\"\"", "a stream's name, not empty");
                continue;
            }

            InRange($"{key}.Partition", mapping.Partition, 0, PartitionMax);
            if (!seen.TryAdd(mapping.Stream, mapping.Partition) && seen[mapping.Stream] != mapping.Partition)
            {
                throw Bad(
                    $"{key}.Partition", mapping.Partition, $"{seen[mapping.Stream]}, to which an earlier mapping of stream '{mapping.Stream}' sends it");
            }
        }
    }

    private static void CheckOwn(StreamingApiConfiguration configuration)
    {
        NotNegative("SessionIdleTimeout", configuration.SessionIdleTimeout);
        NotNegative("ConnectionIdleTimeout", configuration.ConnectionIdleTimeout);
        InRange("DrainTimeoutSeconds", configuration.DrainTimeoutSeconds, 0, 3_600);
        CheckEmbedded(configuration.Embedded);
        CheckKafka(configuration.Kafka);
        var limits = configuration.Limits;
        InRange("Limits.PacketBytesMax", limits.PacketBytesMax, 1, StreamingApiLimits.Default.PacketBytesMax);
        InRange("Limits.PendingBytesMax", limits.PendingBytesMax, 1, long.MaxValue);
        InRange("Limits.StreamWindowBytes", limits.StreamWindowBytes, 1, int.MaxValue);
        InRange("Limits.ConnectionsMax", limits.ConnectionsMax, 1, int.MaxValue);
        InRange("Limits.ResponsePacketsMax", limits.ResponsePacketsMax, 1, 1_000_000);
        InRange("Limits.ResponseBytesMax", limits.ResponseBytesMax, 1, StreamingApiLimits.Default.ResponseBytesMax);
        InRange("Limits.ReadAheadBytes", limits.ReadAheadBytes, 1, int.MaxValue);
        InRange("Limits.NotificationsMax", limits.NotificationsMax, 1, 1_000_000);
        NotNegative("Limits.CloseGrace", limits.CloseGrace);
        if (limits.WriteTimeout <= TimeSpan.Zero || limits.WriteTimeout > TimeSpan.FromDays(1))
        {
            throw Bad("Limits.WriteTimeout", limits.WriteTimeout, "more than zero and at most one day");
        }
    }

    private static void CheckEmbedded(EmbeddedLogOptions embedded)
    {
        const int mebibyte = 1 << 20;
        if (embedded.RetentionAge is { } age && (age <= TimeSpan.Zero || age > TimeSpan.FromDays(36_500)))
            throw Bad("Embedded.RetentionAge", age, "more than zero and at most 36500 days, or null (never)");
        if (embedded.RetentionBytes is { } bytes) InRange("Embedded.RetentionBytes", bytes, 1, long.MaxValue);
        InRange("Embedded.SegmentBytesMax", embedded.SegmentBytesMax, mebibyte, 1024 * mebibyte);
        InRange("Embedded.UndrainedBytesMax", embedded.UndrainedBytesMax, 4 * mebibyte, 512L * mebibyte);
        InRange("Embedded.TailBytesMax", embedded.TailBytesMax, 0, 65_536L * mebibyte);
        InRange("Embedded.DiskReserveBytes", embedded.DiskReserveBytes, 0, long.MaxValue);
    }

    private static void CheckKafka(KafkaOptions kafka)
    {
        if (kafka.ReplicationFactor is { } factor) InRange("Kafka.ReplicationFactor", factor, 1, short.MaxValue);
        if (kafka.DeliveryTimeout < TimeSpan.FromSeconds(1) || kafka.DeliveryTimeout > TimeSpan.FromHours(1))
            throw Bad("Kafka.DeliveryTimeout", kafka.DeliveryTimeout, "1 second to 1 hour");
    }

    private static void InRange(string key, long value, long min, long max)
    {
        if (value < min || value > max) throw Bad(key, value, max == long.MaxValue ? $"{min} or more" : $"{min} to {max}");
    }

    // A longer one than a timer takes means a unit was mixed up.
    private static void NotNegative(string key, TimeSpan value)
    {
        if (value < TimeSpan.Zero || value > TimeSpan.FromDays(36_500)) throw Bad(key, value, "zero (never) to 36500 days");
    }

    private static ConfigurationException Bad(string key, IFormattable value, string allowed) =>
        Bad(key, value.ToString(null, CultureInfo.InvariantCulture), allowed);

    private static ConfigurationException Bad(string key, string value, string allowed) => new(key, value, allowed);
}
