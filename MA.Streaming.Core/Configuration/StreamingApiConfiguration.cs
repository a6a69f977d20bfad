using MA.Streaming.Abstraction;

namespace MA.Streaming.Core.Configs;

/// <summary>
/// The settings of a Stream API. Each has a default that works. A value that is not allowed stops the start, with a message that names the
/// key, the value and what is allowed.
/// </summary>
/// <param name="streamCreationStrategy">The way from streams to topics and partitions; default TopicBased.</param>
/// <param name="brokerUrl">The broker: <c>embedded:</c> (the default: a durable log in <c>./stream-api-data</c>), <c>embedded:PATH</c>,
/// <c>memory:</c> or Kafka's <c>host:port[,host:port…]</c>.</param>
/// <param name="partitionMappings">PartitionBased: the partition of each stream; default none.</param>
/// <param name="streamApiPort">The gRPC port of a server, 0 (any free one) to 65535.</param>
/// <param name="integrateSessionManagement">False: the session rpcs answer success=false and store nothing.</param>
/// <param name="integrateDataFormatManagement">False: data formats are published, but those of other servers are not loaded.</param>
/// <param name="useRemoteKeyGenerator">True: session keys and format ids come from a key generator service.</param>
/// <param name="remoteKeyGeneratorServiceAddress">The key generator's <c>host:port</c>.</param>
/// <param name="batchingResponses">True: the responses of a read carry as many packets as there are. False: one.</param>
/// <param name="initialisationTimeoutSeconds">The seconds that a start may take without progress, 1 to 86400.</param>
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

    /// <summary>A session ends when nothing was written to it for this time. Zero (the default) means never.</summary>
    public TimeSpan SessionIdleTimeout { get; init; } = TimeSpan.Zero;

    /// <summary>A connection without an open read and without an rpc closes after this time. Zero means never. Default 24 hours.</summary>
    public TimeSpan ConnectionIdleTimeout { get; init; } = TimeSpan.FromHours(24);

    /// <summary>True (the default): packets that carry the names of their parameters register them as a data format.</summary>
    public bool AutoRegisterDataFormats { get; init; } = true;

    /// <summary>The seconds that a shutdown waits for open calls, 0 to 3600. Default 30.</summary>
    public int DrainTimeoutSeconds { get; init; } = 30;

    /// <summary>The settings of the durable embedded log.</summary>
    public EmbeddedLogOptions Embedded { get; init; } = EmbeddedLogOptions.Default;

    /// <summary>The settings of Kafka.</summary>
    public KafkaOptions Kafka { get; init; } = KafkaOptions.Default;

    /// <summary>The limits of the engine.</summary>
    public StreamingApiLimits Limits { get; init; } = StreamingApiLimits.Default;
}

/// <summary>The limits of the engine: bytes, counts and times. Beyond a limit it refuses or waits, so that nothing grows without end.</summary>
public sealed record StreamingApiLimits
{
    /// <summary>The defaults.</summary>
    public static StreamingApiLimits Default { get; } = new();

    /// <summary>The bytes of the largest packet, encoded: 1 to 3,670,016 (3.5 MiB, the default). The broker may take less.</summary>
    public int PacketBytesMax { get; init; } = 3_670_016;

    /// <summary>The bytes of unary writes that may wait for the broker. Beyond it a write is refused at once with RESOURCE_EXHAUSTED. Default
    /// 64 MiB.</summary>
    public long PendingBytesMax { get; init; } = 64L << 20;

    /// <summary>The bytes of one client stream that may be on their way to the broker before the stream waits. Default 4 MiB.</summary>
    public int StreamWindowBytes { get; init; } = 4 << 20;

    /// <summary>The time that a unary write waits for the broker. Default 30 seconds.</summary>
    public TimeSpan WriteTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The largest number of open connections. One more is refused with RESOURCE_EXHAUSTED. Default 100,000.</summary>
    public int ConnectionsMax { get; init; } = 100_000;

    /// <summary>The largest number of packets in one response of a batching read. Default 15,000.</summary>
    public int ResponsePacketsMax { get; init; } = 15_000;

    /// <summary>The largest number of bytes of packets in one response of a batching read. One packet always fits. Default 3.5 MiB.</summary>
    public int ResponseBytesMax { get; init; } = 3_670_016;

    /// <summary>The bytes that a read may be ahead of its client. Default 1 MiB.</summary>
    public int ReadAheadBytes { get; init; } = 1 << 20;

    /// <summary>The time that a network client has, after its connection is closed, to take the response that is being written. Default 5
    /// seconds.</summary>
    public TimeSpan CloseGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The notifications that may wait for one subscriber. Beyond it the stream ends with RESOURCE_EXHAUSTED. Default 1,024.</summary>
    public int NotificationsMax { get; init; } = 1_024;
}
