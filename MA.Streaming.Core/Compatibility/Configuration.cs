namespace MA.Streaming.Abstraction;

/// <summary>How streams become topics and partitions. One strategy a server.</summary>
public enum StreamCreationStrategy
{
    /// <summary>A stream is a partition of its data source's topic, by <see cref="PartitionMapping"/>.</summary>
    PartitionBased = 1,

    /// <summary>A stream is a topic of its own (the default).</summary>
    TopicBased = 2,
}

/// <summary>PartitionBased strategy: the partition a stream is kept in.</summary>
/// <param name="stream">The stream's name, not empty.</param>
/// <param name="partition">The partition, 0 or more. Partition 0 is the main stream's.</param>
public sealed class PartitionMapping(string stream, int partition)
{
    /// <summary>The stream's name.</summary>
    public string Stream { get; } = stream;

    /// <summary>The partition, 0 or more.</summary>
    public int Partition { get; } = partition;
}

/// <summary>The settings every Stream API shares, in process and as a server.</summary>
public interface IStreamingApiConfiguration
{
    /// <summary>How streams become topics and partitions.</summary>
    StreamCreationStrategy StreamCreationStrategy { get; }

    /// <summary>The broker: <c>memory:</c>, <c>embedded:</c>, <c>embedded:PATH</c> or <c>host:port[,host:port…]</c> for Kafka.</summary>
    string BrokerUrl { get; }

    /// <summary>PartitionBased strategy: which stream is kept in which partition.</summary>
    IReadOnlyList<PartitionMapping> PartitionMappings { get; }

    /// <summary>The gRPC port of a server, 0 to 65535; not opened in process.</summary>
    int StreamApiPort { get; }

    /// <summary>False: the session rpcs answer success=false and keep nothing.</summary>
    bool IntegrateSessionManagement { get; }

    /// <summary>False: data formats are published, but those of others are not loaded.</summary>
    bool IntegrateDataFormatManagement { get; }

    /// <summary>True: session keys and format ids come from a key generator service.</summary>
    bool UseRemoteKeyGenerator { get; }

    /// <summary>The key generator's <c>host:port</c>.</summary>
    string RemoteKeyGeneratorServiceAddress { get; }

    /// <summary>True: a read's responses carry as many packets as there are; false: one.</summary>
    bool BatchingResponses { get; }

    /// <summary>How long starting may go on without progress before it fails, in seconds.</summary>
    uint InitialisationTimeoutSeconds { get; }
}

/// <summary>Says whether a Kafka broker can be reached.</summary>
public interface IKafkaBrokerAvailabilityChecker
{
    /// <summary>True when the broker answers.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    bool Check(string brokerUrl);

    /// <summary>Checks until the source is cancelled, and cancels it when the broker is lost.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    /// <param name="cancellationTokenSource">Ends the checking; cancelled by the checker when the broker is lost.</param>
    Task CheckContinuously(string brokerUrl, CancellationTokenSource cancellationTokenSource);

    /// <summary>True when the broker answers, without blocking a thread where the checker can.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    Task<bool> CheckAsync(string brokerUrl) => Task.FromResult(Check(brokerUrl));
}
