using MA.Streaming.Core.Configs;

namespace MA.Streaming.Broker.Kafka;

/// <summary>Which Kafka a broker uses, and how.</summary>
public sealed record KafkaBrokerOptions
{
    /// <summary>What the adapter decides: promises of the port hang on it, or another setting says it.</summary>
    private static readonly Dictionary<string, string> Reserved = new(StringComparer.Ordinal)
    {
        ["bootstrap.servers"] = "BrokerUrl says where Kafka is",
        ["metadata.broker.list"] = "BrokerUrl says where Kafka is",
        ["acks"] = "an acknowledged write is on every in-sync replica (acks=all)",
        ["request.required.acks"] = "an acknowledged write is on every in-sync replica (acks=all)",
        ["enable.idempotence"] = "an acknowledged write is there exactly once (enable.idempotence=true)",
        ["enable.gapless.guarantee"] = "a failed write must not stop those behind it",
        ["transactional.id"] = "writes are not transactional",
        ["delivery.timeout.ms"] = "Kafka.DeliveryTimeout says it",
        ["message.timeout.ms"] = "Kafka.DeliveryTimeout says it",
        ["partitioner"] = "records are placed by the engine (CRC-32 of the key)",
        ["queue.buffering.max.messages"] = "what is on its way is bounded in bytes by the adapter",
        ["queue.buffering.max.kbytes"] = "what is on its way is bounded in bytes by the adapter",
        ["queue.buffering.max.ms"] = "it is called linger.ms here",
        ["queuing.strategy"] = "records of a partition keep their order",
        ["group.id"] = "a connection says which group its reads belong to (consumer_group), most belong to none",
        ["group.instance.id"] = "every read of a group is a member of its own",
        ["group.protocol"] = "groups are shared with clients that speak the classic protocol",
        ["enable.auto.commit"] = "what was handed over is committed, and nothing else",
        ["enable.auto.offset.store"] = "what was handed over is committed, and nothing else",
        ["auto.offset.reset"] = "a reader that retention overtook is told so",
        ["isolation.level"] = "readers see committed records only",
        ["enable.partition.eof"] = "progress past records that Kafka keeps to itself needs it",
        ["allow.auto.create.topics"] = "topics are created with the retention they need",
    };

    /// <summary>Kafka's addresses: <c>host:port[,host:port…]</c>.</summary>
    public required string BootstrapServers { get; init; }

    /// <summary>How it is reached and used.</summary>
    public KafkaOptions Kafka { get; init; } = KafkaOptions.Default;

    /// <summary>Bytes of records handed to librdkafka and not yet delivered; beyond it appends wait.</summary>
    public long InFlightBytesMax { get; init; } = 64 << 20;

    /// <summary>Bytes of appends that wait; beyond it they are refused with <see cref="Core.Broker.BrokerError.Full"/>.</summary>
    public long QueuedBytesMax { get; init; } = 256 << 20;

    /// <summary>Bytes of recent records kept for readers at the tail.</summary>
    public long TailBytesMax { get; init; } = 64 << 20;

    /// <summary>How many consumers read for those who are behind the tail.</summary>
    public int CatchUpConsumersMax { get; init; } = 4;

    /// <summary>How long a consumer for readers behind the tail is kept without any.</summary>
    public TimeSpan CatchUpIdle { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How many reads of groups may be open; each is a consumer of its own. More are refused with <see cref="Core.Broker.BrokerError.Full"/>.</summary>
    public int GroupReadsMax { get; init; } = 64;

    /// <summary>How often Kafka is asked for its topics.</summary>
    public TimeSpan TopicsInterval { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <exception cref="KafkaSettingException">A property is not to be set.</exception>
    internal void Validate()
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(BootstrapServers);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(InFlightBytesMax);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(QueuedBytesMax);
        ArgumentOutOfRangeException.ThrowIfNegative(TailBytesMax);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(CatchUpConsumersMax);
        ArgumentOutOfRangeException.ThrowIfNegative(GroupReadsMax);
        foreach (var name in Kafka.Properties.Keys)
        {
            if (Reserved.TryGetValue(name, out var reason)) throw new KafkaSettingException($"Kafka.Properties[{name}]", $"nothing: {reason}");
        }
    }
}

/// <summary>A setting that the adapter or librdkafka refuses. The value is not repeated: it may be a secret.</summary>
/// <param name="key">The setting's key.</param>
/// <param name="allowed">What is allowed.</param>
/// <param name="innerException">The cause, where there is one.</param>
public sealed class KafkaSettingException(string key, string allowed, Exception? innerException = null) : Exception(allowed, innerException)
{
    /// <summary>The setting's key.</summary>
    public string Key { get; } = key;
}
