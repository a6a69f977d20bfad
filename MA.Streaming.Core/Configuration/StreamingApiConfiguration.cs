using MA.Streaming.Abstraction;

namespace MA.Streaming.Core.Configs;

/// <summary>
/// The settings of a Stream API. Every one has a default that works; a value that is not allowed is refused at start with a message
/// that names key, value and what is allowed.
/// </summary>
/// <param name="streamCreationStrategy">How streams become topics and partitions; default TopicBased.</param>
/// <param name="brokerUrl">The broker: <c>embedded:</c> (the default: a durable log in <c>./stream-api-data</c>), <c>embedded:PATH</c>,
/// <c>memory:</c> or Kafka's <c>host:port[,host:port…]</c>.</param>
/// <param name="partitionMappings">PartitionBased: which stream is kept in which partition; default none.</param>
/// <param name="streamApiPort">The gRPC port of a server, 0 (any free one) to 65535.</param>
/// <param name="integrateSessionManagement">False: the session rpcs answer success=false and keep nothing.</param>
/// <param name="integrateDataFormatManagement">False: data formats are published, but those of others are not loaded.</param>
/// <param name="useRemoteKeyGenerator">True: session keys and format ids come from a key generator service.</param>
/// <param name="remoteKeyGeneratorServiceAddress">The key generator's <c>host:port</c>.</param>
/// <param name="batchingResponses">True: a read's responses carry as many packets as there are; false: one.</param>
/// <param name="initialisationTimeoutSeconds">How long starting may go on without progress, in seconds, 1 to 86400.</param>
public sealed class StreamingApiConfiguration(
    StreamCreationStrategy? streamCreationStrategy = null,
    string? brokerUrl = null,
    IReadOnlyList<PartitionMapping>? partitionMappings = null,
    int? streamApiPort = 13579,
    bool? integrateSessionManagement = true,
    bool? integrateDataFormatManagement = true,
    bool? useRemoteKeyGenerator = false,
    string? remoteKeyGeneratorServiceAddress = "",
    bool? batchingResponses = false,
    uint? initialisationTimeoutSeconds = 3) : IStreamingApiConfiguration
{
    /// <inheritdoc/>
    public StreamCreationStrategy StreamCreationStrategy { get; } = streamCreationStrategy ?? StreamCreationStrategy.TopicBased;

    /// <inheritdoc/>
    public string BrokerUrl { get; } = brokerUrl ?? "";

    /// <inheritdoc/>
    public IReadOnlyList<PartitionMapping> PartitionMappings { get; } = partitionMappings ?? [];

    /// <inheritdoc/>
    public int StreamApiPort { get; } = streamApiPort ?? 13579;

    /// <inheritdoc/>
    public bool IntegrateSessionManagement { get; } = integrateSessionManagement ?? true;

    /// <inheritdoc/>
    public bool IntegrateDataFormatManagement { get; } = integrateDataFormatManagement ?? true;

    /// <inheritdoc/>
    public bool UseRemoteKeyGenerator { get; } = useRemoteKeyGenerator ?? false;

    /// <inheritdoc/>
    public string RemoteKeyGeneratorServiceAddress { get; } = remoteKeyGeneratorServiceAddress ?? "";

    /// <inheritdoc/>
    public bool BatchingResponses { get; } = batchingResponses ?? false;

    /// <inheritdoc/>
    public uint InitialisationTimeoutSeconds { get; } = initialisationTimeoutSeconds ?? 3;

    /// <summary>A session to which nothing was written for this long is ended; zero (the default) means never.</summary>
    public TimeSpan SessionIdleTimeout { get; init; } = TimeSpan.Zero;

    /// <summary>A connection without an open read and without an rpc for this long is closed; zero means never. Default 24 hours.</summary>
    public TimeSpan ConnectionIdleTimeout { get; init; } = TimeSpan.FromHours(24);

    /// <summary>True (the default): packets that carry their identifiers inline register them as a data format.</summary>
    public bool AutoRegisterDataFormats { get; init; } = true;

    /// <summary>How long a shutdown waits for open calls to finish, in seconds, 0 to 3600. Default 30.</summary>
    public int DrainTimeoutSeconds { get; init; } = 30;

    /// <summary>How the durable embedded log keeps its records.</summary>
    public EmbeddedLogOptions Embedded { get; init; } = EmbeddedLogOptions.Default;

    /// <summary>How Kafka is reached and used.</summary>
    public KafkaOptions Kafka { get; init; } = KafkaOptions.Default;

    /// <summary>The bounds of the engine.</summary>
    public StreamingApiLimits Limits { get; init; } = StreamingApiLimits.Default;
}

/// <summary>The bounds of the engine: bytes, counts and times past which it refuses or waits, so that nothing grows without end.</summary>
public sealed record StreamingApiLimits
{
    /// <summary>The defaults.</summary>
    public static StreamingApiLimits Default { get; } = new();

    /// <summary>The largest packet, encoded, in bytes: 1 to 3,670,016 (3.5 MiB, the default), and at most what the broker takes.</summary>
    public int PacketBytesMax { get; init; } = 3_670_016;

    /// <summary>Unary writes wait while the packets of all waiting calls stay under this many bytes; beyond it they are refused with
    /// RESOURCE_EXHAUSTED at once. Default 64 MiB.</summary>
    public long PendingBytesMax { get; init; } = 64L << 20;

    /// <summary>How many bytes of one client stream may be on their way to the broker before the stream waits. Default 4 MiB.</summary>
    public int StreamWindowBytes { get; init; } = 4 << 20;

    /// <summary>How long a unary write waits for the broker. Default 30 seconds.</summary>
    public TimeSpan WriteTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Open connections at most; one more is refused with RESOURCE_EXHAUSTED. Default 100,000.</summary>
    public int ConnectionsMax { get; init; } = 100_000;

    /// <summary>Packets in one response of a batching read at most. Default 15,000.</summary>
    public int ResponsePacketsMax { get; init; } = 15_000;

    /// <summary>Bytes of packets in one response of a batching read at most (one packet always fits). Default 3.5 MiB.</summary>
    public int ResponseBytesMax { get; init; } = 3_670_016;

    /// <summary>How far a read reads ahead of its client, in bytes. Default 1 MiB.</summary>
    public int ReadAheadBytes { get; init; } = 1 << 20;

    /// <summary>How long closing a connection lets a network client take the response that is being written. Default 5 seconds.</summary>
    public TimeSpan CloseGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Notifications that wait for one subscriber at most; past that its stream ends with RESOURCE_EXHAUSTED. Default 1,024.</summary>
    public int NotificationsMax { get; init; } = 1_024;
}
