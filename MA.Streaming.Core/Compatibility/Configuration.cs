namespace MA.Streaming.Abstraction;

/// <summary>The way from streams to topics and partitions. A server has one strategy.</summary>
public enum StreamCreationStrategy
{
    /// <summary>A stream is a partition of its data source's topic: see <see cref="PartitionMapping"/>.</summary>
    PartitionBased = 1,

    /// <summary>Each stream has its topic (the default).</summary>
    TopicBased = 2,
}

/// <summary>The partition of a stream, with the strategy PartitionBased.</summary>
/// <param name="stream">The stream's name, not empty.</param>
/// <param name="partition">The partition, 0 or more. Partition 0 is the main stream's.</param>
public sealed class PartitionMapping(string stream, int partition)
{
    /// <summary>The stream's name.</summary>
    public string Stream { get; } = stream;

    /// <summary>The partition, 0 or more.</summary>
    public int Partition { get; } = partition;
}

/// <summary>The settings that a Stream API has in process and as a server.</summary>
public interface IStreamingApiConfiguration
{
    /// <summary>The way from streams to topics and partitions.</summary>
    StreamCreationStrategy StreamCreationStrategy { get; }

    /// <summary>The broker: <c>memory:</c>, <c>embedded:</c>, <c>embedded:PATH</c> or <c>host:port[,host:port…]</c> for Kafka.</summary>
    string BrokerUrl { get; }

    /// <summary>The partition of each stream, with the strategy PartitionBased.</summary>
    IReadOnlyList<PartitionMapping> PartitionMappings { get; }

    /// <summary>The gRPC port of a server, 0 to 65535. In process no port opens.</summary>
    int StreamApiPort { get; }

    /// <summary>False: the session rpcs answer success=false and store nothing.</summary>
    bool IntegrateSessionManagement { get; }

    /// <summary>False: data formats are published, but those of other servers are not loaded.</summary>
    bool IntegrateDataFormatManagement { get; }

    /// <summary>True: session keys and format ids come from a key generator service.</summary>
    bool UseRemoteKeyGenerator { get; }

    /// <summary>The key generator's <c>host:port</c>.</summary>
    string RemoteKeyGeneratorServiceAddress { get; }

    /// <summary>True: the responses of a read carry as many packets as there are. False: one.</summary>
    bool BatchingResponses { get; }

    /// <summary>The seconds that a start may take without progress before it fails.</summary>
    uint InitialisationTimeoutSeconds { get; }
}

/// <summary>Says whether a Kafka broker can be reached.</summary>
public interface IKafkaBrokerAvailabilityChecker
{
    /// <summary>True when the broker answers.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    bool Check(string brokerUrl);

    /// <summary>Checks until the source is cancelled. Cancels the source when the broker is lost.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    /// <param name="cancellationTokenSource">Ends the checking; cancelled by the checker when the broker is lost.</param>
    Task CheckContinuously(string brokerUrl, CancellationTokenSource cancellationTokenSource);

    /// <summary>True when the broker answers. Blocks no thread if the checker can avoid it.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    Task<bool> CheckAsync(string brokerUrl) => Task.FromResult(Check(brokerUrl));
}
