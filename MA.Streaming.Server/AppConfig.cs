using System.Globalization;
using MA.Streaming.Abstraction;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>Reads the settings of a server from AppConfig.json, or from any other configuration with its keys.</summary>
internal static class AppConfig
{
    /// <summary>Where the file is when nobody says otherwise.</summary>
    public const string DefaultPath = "Configs/AppConfig.json";

    private const string Strategies = "1 (PartitionBased) or 2 (TopicBased)";

    /// <summary>The keys of the embedded log.</summary>
    internal static readonly Dictionary<string, Func<EmbeddedLogOptions, SettingsReader, EmbeddedLogOptions>> Embedded = new(StringComparer.OrdinalIgnoreCase)
    {
        ["CommitPolicy"] = (log, value) => log with { CommitPolicy = value.Policy() },
        ["RetentionAge"] = (log, value) => log with { RetentionAge = value.Duration() },
        ["TrustClock"] = (log, value) => log with { TrustClock = value.Boolean() },
        ["RetentionBytes"] = (log, value) => log with { RetentionBytes = value.LongInteger() },
        ["SegmentBytesMax"] = (log, value) => log with { SegmentBytesMax = value.Integer() },
        ["UndrainedBytesMax"] = (log, value) => log with { UndrainedBytesMax = value.LongInteger() },
        ["TailBytesMax"] = (log, value) => log with { TailBytesMax = value.LongInteger() },
        ["HealAfterFault"] = (log, value) => log with { HealAfterFault = value.Boolean() },
        ["DiskReserveBytes"] = (log, value) => log with { DiskReserveBytes = value.LongInteger() },
    };

    /// <summary>The keys of the bounds.</summary>
    internal static readonly Dictionary<string, Func<StreamingApiLimits, SettingsReader, StreamingApiLimits>> Limits = new(StringComparer.OrdinalIgnoreCase)
    {
        ["PacketBytesMax"] = (limits, value) => limits with { PacketBytesMax = value.Integer() },
        ["PendingBytesMax"] = (limits, value) => limits with { PendingBytesMax = value.LongInteger() },
        ["StreamWindowBytes"] = (limits, value) => limits with { StreamWindowBytes = value.Integer() },
        ["WriteTimeout"] = (limits, value) => limits with { WriteTimeout = value.Duration() },
        ["ConnectionsMax"] = (limits, value) => limits with { ConnectionsMax = value.Integer() },
        ["ResponsePacketsMax"] = (limits, value) => limits with { ResponsePacketsMax = value.Integer() },
        ["ResponseBytesMax"] = (limits, value) => limits with { ResponseBytesMax = value.Integer() },
        ["ReadAheadBytes"] = (limits, value) => limits with { ReadAheadBytes = value.Integer() },
        ["CloseGrace"] = (limits, value) => limits with { CloseGrace = value.Duration() },
        ["NotificationsMax"] = (limits, value) => limits with { NotificationsMax = value.Integer() },
    };

    /// <summary>The keys of Kafka that have a type.</summary>
    internal static readonly Dictionary<string, Func<KafkaOptions, SettingsReader, KafkaOptions>> Kafka = new(StringComparer.OrdinalIgnoreCase)
    {
        ["Properties"] = (kafka, value) => value.Texts().Aggregate(kafka, (settings, property) => SetProperty(settings, property.Key, property.Value)),
        ["SecurityProtocol"] = (kafka, value) => kafka with { SecurityProtocol = value.Text() },
        ["SaslMechanism"] = (kafka, value) => kafka with { SaslMechanism = value.Text() },
        ["SaslUsername"] = (kafka, value) => kafka with { SaslUsername = value.Text() },
        ["SaslPassword"] = (kafka, value) => kafka with { SaslPassword = value.Text() },
        ["SslCaLocation"] = (kafka, value) => kafka with { SslCaLocation = value.Text() },
        ["ReplicationFactor"] = (kafka, value) => kafka with { ReplicationFactor = value.Integer() },
        ["TopicConfiguration"] = (kafka, value) => kafka with { TopicConfiguration = value.Texts() },
        ["DeliveryTimeout"] = (kafka, value) => kafka with { DeliveryTimeout = value.Duration() },
    };

    /// <summary>Every key at the root, and how its value reaches the options.</summary>
    private static readonly Dictionary<string, Action<StreamingApiServerOptions, SettingsReader>> Keys = new(StringComparer.OrdinalIgnoreCase)
    {
        ["StreamCreationStrategy"] = (options, value) => options.StreamCreationStrategy = Strategy(value),
        ["BrokerUrl"] = (options, value) => options.BrokerUrl = value.Text(),
        ["PartitionMappings"] = (options, value) => options.PartitionMappings = Mappings(value),
        ["StreamApiPort"] = (options, value) => options.StreamApiPort = value.Integer(0, 65_535),
        ["IntegrateSessionManagement"] = (options, value) => options.IntegrateSessionManagement = value.Boolean(),
        ["IntegrateDataFormatManagement"] = (options, value) => options.IntegrateDataFormatManagement = value.Boolean(),
        ["UseRemoteKeyGenerator"] = (options, value) => options.UseRemoteKeyGenerator = value.Boolean(),
        ["RemoteKeyGeneratorServiceAddress"] = (options, value) => options.RemoteKeyGeneratorServiceAddress = value.Text(),
        ["BatchingResponses"] = (options, value) => options.BatchingResponses = value.Boolean(),
        ["InitialisationTimeoutSeconds"] = (options, value) => options.InitialisationTimeoutSeconds = (uint)value.Integer(1, 86_400),
        ["PrometheusMetricPort"] = (options, value) => options.PrometheusMetricPort = value.Integer(0, 65_535),
        ["EnableLogging"] = (options, value) => options.EnableLogging = value.Boolean(),
        ["EnableMetrics"] = (options, value) => options.EnableMetrics = value.Boolean(),
        ["BindAddress"] = (options, value) => options.BindAddress = value.Text(),
        ["SessionIdleTimeout"] = (options, value) => options.SessionIdleTimeout = value.Duration(),
        ["ConnectionIdleTimeout"] = (options, value) => options.ConnectionIdleTimeout = value.Duration(),
        ["AutoRegisterDataFormats"] = (options, value) => options.AutoRegisterDataFormats = value.Boolean(),
        ["DrainTimeoutSeconds"] = (options, value) => options.DrainTimeoutSeconds = value.Integer(0, 3_600),
        ["ResponseCompression"] = (options, value) => options.ResponseCompression = value.Boolean(),
        ["KeepAlivePingDelay"] = (options, value) => options.KeepAlivePingDelay = value.Duration(),
        ["KeepAlivePingTimeout"] = (options, value) => options.KeepAlivePingTimeout = value.Duration(),
        ["Embedded"] = (options, value) => options.Embedded = value.Section(EmbeddedLogOptions.Default, Embedded),
        ["Limits"] = (options, value) => options.Limits = value.Section(StreamingApiLimits.Default, Limits),

        // Every other key of this group is a property of librdkafka, which knows what is allowed.
        ["Kafka"] = (options, value) => options.Kafka = value.Section(KafkaOptions.Default, Kafka, SetProperty),
        ["Security"] = (_, value) => throw value.Bad("nothing: this version has no security, and a server that seems to have some must not start"),
    };

    /// <summary>The keys there are.</summary>
    public static IReadOnlyCollection<string> KnownKeys => Keys.Keys;

    /// <summary>Reads a file.</summary>
    /// <param name="path">The file; relative to the working folder.</param>
    /// <param name="isNamed">Somebody named it: it has to be there. Otherwise an absent file means the defaults.</param>
    /// <param name="over">Settings that stand over those of the file; groups are written with a colon.</param>
    /// <param name="logger">Is told of keys that are not known.</param>
    /// <exception cref="ConfigurationException">Names key, value and what is allowed.</exception>
    public static StreamingApiServerOptions ReadFile(string path, bool isNamed, IReadOnlyDictionary<string, string?> over, ILogger logger)
    {
        var full = Path.GetFullPath(path);
        var exists = File.Exists(full);
        if (isNamed && !exists) throw new ConfigurationException("CONFIG_PATH", $"'{path}'", $"a file that exists; there is none at {full}");
        var builder = new ConfigurationBuilder();
        if (exists) builder.AddJsonFile(full, optional: false);
        builder.AddInMemoryCollection(over);
        try
        {
            var configuration = builder.Build();
            using var disposing = configuration as IDisposable;
            if (exists) logger.ConfigurationFile(full);
            var options = new StreamingApiServerOptions();
            Read(options, configuration, logger, isAllOurs: true);
            if (!exists) logger.NoConfigurationFile(full, BrokerInWords(options.BrokerUrl));
            return options;
        }
        catch (Exception exception) when (exception is InvalidDataException or FormatException or IOException or UnauthorizedAccessException)
        {
            // The framework wraps what is wrong, with its line, in one or two exceptions that only name the file.
            throw new ConfigurationException(full, "the file", $"JSON that can be read: {exception.GetBaseException().Message}");
        }
    }

    /// <summary>The broker that a BrokerUrl means, with the directory it has.</summary>
    public static string BrokerInWords(string url) => BrokerAddress.Parse(url) switch
    {
        { Kind: BrokerKind.Embedded, Place: var place } => $"embedded:{Path.GetFullPath(place)}",
        { Kind: BrokerKind.Memory } => "memory:",
        { Place: var place } => place,
    };

    /// <summary>Reads a configuration. Of one that is somebody's whole configuration only keys that look like ours are questioned.</summary>
    /// <exception cref="ConfigurationException">Names key, value and what is allowed.</exception>
    public static void Read(StreamingApiServerOptions options, IConfiguration configuration, ILogger logger) =>
        Read(options, configuration, logger, isAllOurs: configuration is not IConfigurationRoot);

    private static void Read(StreamingApiServerOptions options, IConfiguration configuration, ILogger logger, bool isAllOurs)
    {
        foreach (var section in configuration.GetChildren())
        {
            if (!Keys.TryGetValue(section.Key, out var read)) Question(section.Key, logger, isAllOurs);
            else if (section.Value is not null || section.GetChildren().Any()) read(options, new SettingsReader(section, section.Key, logger));
        }
    }

    private static void Question(string key, ILogger logger, bool isAllOurs)
    {
        var nearest = NearestKey.Find(key, Keys.Keys);

        // Another broker would start silently.
        if (nearest == "BrokerUrl" || (isAllOurs && key.Contains("broker", StringComparison.OrdinalIgnoreCase)))
        {
            throw new ConfigurationException(key, "this key", "BrokerUrl: there is no setting of that name, and nothing else chooses the broker");
        }

        if (nearest is not null) logger.UnknownKey(key, nearest);
        else if (isAllOurs) logger.UnknownKey(key, string.Join(", ", Keys.Keys.Order(StringComparer.Ordinal)));
    }

    private static KafkaOptions SetProperty(KafkaOptions kafka, string name, string value) =>
        kafka with { Properties = new Dictionary<string, string>(kafka.Properties, StringComparer.Ordinal) { [name] = value } };

    private static StreamCreationStrategy Strategy(SettingsReader value)
    {
        foreach (var strategy in Enum.GetValues<StreamCreationStrategy>())
        {
            var number = ((int)strategy).ToString(CultureInfo.InvariantCulture);
            if (value.Text() == number || value.Text().Equals(strategy.ToString(), StringComparison.OrdinalIgnoreCase)) return strategy;
        }

        throw value.Bad(Strategies);
    }

    private static List<PartitionMapping> Mappings(SettingsReader value)
    {
        var mappings = new List<PartitionMapping>();
        foreach (var mapping in value.Items("a list of { \"Stream\": …, \"Partition\": … }"))
        {
            if (mapping.IsEmpty) continue; // [{}] is how some write that there are none.
            mapping.Only("Stream", "Partition");
            var stream = mapping.Child("Stream")?.Text() ?? throw mapping.Bad("a Stream and a Partition");
            var partition = mapping.Child("Partition")?.Integer(0, ConfigurationValidation.PartitionMax) ?? throw mapping.Bad("a Stream and a Partition");
            mappings.Add(new PartitionMapping(stream, partition));
        }

        return mappings;
    }
}
