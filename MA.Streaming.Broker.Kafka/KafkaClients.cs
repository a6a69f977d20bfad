using System.Globalization;
using Confluent.Kafka;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Broker.Kafka;

/// <summary>Makes the connections to Kafka: what is in force on each, over what the caller asked for.</summary>
internal sealed class KafkaClients(KafkaBrokerOptions options, ILogger logger)
{
    /// <summary>What a record costs in a batch beside its key and value: Kafka's headers of batch and record.</summary>
    public const int RecordOverhead = 128;

    /// <summary>The largest batch where Kafka has not been heard: no more than its brokers take by default.</summary>
    public const int DefaultMessageBytesMax = 1_000_000;

    /// <summary>The group that consumers have to name and never join: offsets are kept by who reads.</summary>
    private const string NoGroup = "stream-api";

    /// <summary>The last thing a connection complained of, until one is asked successfully.</summary>
    private Error? _complaint;

    /// <summary>Why Kafka is not reachable, as far as its connections have said.</summary>
    public Error? Complaint => Volatile.Read(ref _complaint);

    public string Servers => options.BootstrapServers;

    /// <summary>The largest batch that was asked for explicitly.</summary>
    public int? MessageBytesMax =>
        options.Kafka.Properties.TryGetValue("message.max.bytes", out var value) && int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var bytes)
            ? bytes
            : null;

    public void Answered() => Volatile.Write(ref _complaint, null);

    /// <summary>The one producer. It has no thread of its own: who owns it polls it.</summary>
    /// <param name="failed">Is told of an error that it does not survive.</param>
    /// <param name="batchBytesMax">A batch of several records has no more than this.</param>
    public KafkaProducer Producer(Action<Error> failed, int batchBytesMax)
    {
        var settings = Common();
        Set(settings, "acks", "all");
        Set(settings, "enable.idempotence", "true");
        Set(settings, "compression.type", "zstd");
        Set(settings, "message.timeout.ms", Milliseconds(options.Kafka.DeliveryTimeout));

        // How large one record may be is known, and held, elsewhere.
        Set(settings, "message.max.bytes", "1000000000");
        Set(settings, "batch.size", batchBytesMax.ToString(CultureInfo.InvariantCulture));

        // A batch is what is there when the connection is free, not what comes within a time.
        Set(settings, "linger.ms", "0");

        // What is on its way is bounded here, in bytes.
        Set(settings, "queue.buffering.max.messages", "0");
        Set(settings, "queue.buffering.max.kbytes", "2097151");
        Apply(settings, isConsumer: false);

        // Settings of Confluent.Kafka's own producer, which this is not.
        var own = settings.Where(setting => !setting.Key.StartsWith("dotnet.", StringComparison.Ordinal));
        return new KafkaProducer(own, error => Complain(error, failed), Log);
    }

    public IAdminClient Admin()
    {
        var settings = Common();
        Apply(settings, isConsumer: false, isAdmin: true);
        return new AdminClientBuilder(settings)
            .SetErrorHandler((_, error) => Complain(error, null))
            .SetLogHandler((_, message) => Log(message))
            .Build();
    }

    /// <summary>A consumer of partitions that it is given; belongs to no group.</summary>
    /// <param name="fetchBytes">Bytes of one partition that one fetch brings.</param>
    public IConsumer<byte[]?, byte[]?> Consumer(int fetchBytes)
    {
        var settings = Common();
        Set(settings, "group.id", NoGroup);
        Set(settings, "enable.auto.commit", "false");
        Set(settings, "enable.auto.offset.store", "false");
        Set(settings, "auto.offset.reset", "error");
        Set(settings, "isolation.level", "read_committed");
        Set(settings, "enable.partition.eof", "true");
        Set(settings, "fetch.wait.max.ms", "50");
        Set(settings, "fetch.error.backoff.ms", "10");
        Set(settings, "fetch.queue.backoff.ms", "10");
        Set(settings, "fetch.message.max.bytes", fetchBytes.ToString(CultureInfo.InvariantCulture));
        Set(settings, "queued.max.messages.kbytes", "16384");
        Set(settings, "max.poll.interval.ms", "86400000");
        Set(settings, "dotnet.consumer.consume.result.fields", "timestamp,topic");
        Apply(settings, isConsumer: true);
        return new ConsumerBuilder<byte[]?, byte[]?>(settings)
            .SetKeyDeserializer(NullableBytes.Instance)
            .SetValueDeserializer(NullableBytes.Instance)
            .SetErrorHandler((_, error) => Complain(error, null))
            .SetLogHandler((_, message) => Log(message))
            .Build();
    }

    /// <summary>A consumer that is a member of a group: it keeps the group's positions and brings no records. What is stored is committed
    /// in the background, before partitions are given up, and when it is closed.</summary>
    /// <param name="group">The group.</param>
    /// <param name="assigned">Is told what it gets, and says where to begin.</param>
    /// <param name="revoked">Is told what it is to give up, before it does.</param>
    /// <param name="lost">Is told what others may have by now.</param>
    /// <param name="failed">Is told why positions were not committed.</param>
    public IConsumer<Ignore, Ignore> Member(
        string group,
        Func<List<Confluent.Kafka.TopicPartition>, IEnumerable<TopicPartitionOffset>> assigned,
        Action<List<TopicPartitionOffset>> revoked,
        Action<List<TopicPartitionOffset>> lost,
        Action<Error> failed)
    {
        var settings = Common();
        Set(settings, "group.id", group);
        Set(settings, "enable.auto.commit", "true");
        Set(settings, "auto.commit.interval.ms", "500");
        Set(settings, "enable.auto.offset.store", "false");
        Set(settings, "auto.offset.reset", "latest");
        Set(settings, "isolation.level", "read_committed");

        // Its partitions are paused as soon as it has them.
        Set(settings, "queued.max.messages.kbytes", "1024");
        Set(settings, "fetch.message.max.bytes", "1024");

        // A server that died has its partitions for so long.
        Set(settings, "session.timeout.ms", "10000");
        Set(settings, "heartbeat.interval.ms", "2000");
        Set(settings, "topic.metadata.refresh.interval.ms", "5000");
        Apply(settings, isConsumer: true);
        return new ConsumerBuilder<Ignore, Ignore>(settings)
            .SetPartitionsAssignedHandler((_, partitions) => assigned(partitions))
            .SetPartitionsRevokedHandler((_, partitions) => revoked(partitions))
            .SetPartitionsLostHandler((_, partitions) => lost(partitions))
            .SetOffsetsCommittedHandler((_, committed) =>
            {
                if (committed.Error.IsError) failed(committed.Error);
                else if (committed.Offsets.FirstOrDefault(offset => offset.Error.IsError) is { } refused) failed(refused.Error);
            })
            .SetErrorHandler((_, error) => Complain(error, null))
            .SetLogHandler((_, message) => Log(message))
            .Build();
    }

    private static void Set(Dictionary<string, string> settings, string name, string value) => settings[name] = value;

    private static string Milliseconds(TimeSpan time) => ((long)time.TotalMilliseconds).ToString(CultureInfo.InvariantCulture);

    private Dictionary<string, string> Common()
    {
        var kafka = options.Kafka;
        var settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["bootstrap.servers"] = options.BootstrapServers,
            ["client.id"] = "stream-api",

            // At the default of a minute a leader that stands still costs the records in flight.
            ["socket.timeout.ms"] = "10000",
            ["reconnect.backoff.max.ms"] = "1000",
            ["allow.auto.create.topics"] = "false",
        };
        if (kafka.SecurityProtocol is { } protocol) settings["security.protocol"] = protocol;
        if (kafka.SaslMechanism is { } mechanism) settings["sasl.mechanism"] = mechanism;
        if (kafka.SaslUsername is { } user) settings["sasl.username"] = user;
        if (kafka.SaslPassword is { } password) settings["sasl.password"] = password;
        if (kafka.SslCaLocation is { } authorities) settings["ssl.ca.location"] = authorities;
        return settings;
    }

    // A property of producers on a consumer would only be warned about by librdkafka.
    private void Apply(Dictionary<string, string> settings, bool isConsumer, bool isAdmin = false)
    {
        foreach (var (name, value) in options.Kafka.Properties)
        {
            if (isConsumer ? IsOfProducers(name) : IsOfConsumers(name)) continue;
            if (isAdmin && IsOfProducers(name)) continue;
            settings[name] = value;
        }
    }

    private static bool IsOfProducers(string name) => name is "linger.ms" or "batch.size" or "batch.num.messages" or "compression.type" or "compression.codec"
        or "compression.level" or "message.max.bytes" or "message.copy.max.bytes" or "retries" or "message.send.max.retries" or "sticky.partitioning.linger.ms" or "queue.buffering.backpressure.threshold"
        || name.StartsWith("dotnet.producer.", StringComparison.Ordinal) || name.StartsWith("test.mock.", StringComparison.Ordinal);

    private static bool IsOfConsumers(string name) => name.StartsWith("fetch.", StringComparison.Ordinal) || name.StartsWith("queued.", StringComparison.Ordinal)
        || name.StartsWith("dotnet.consumer.", StringComparison.Ordinal)
        || name is "max.partition.fetch.bytes" or "max.poll.interval.ms" or "check.crcs" or "session.timeout.ms" or "heartbeat.interval.ms" or "partition.assignment.strategy";

    // Authentication is complained of once and then only repeated as "down": the more telling word stays.
    private void Complain(Error error, Action<Error>? failed)
    {
        if (error.IsFatal) failed?.Invoke(error);
        if (error.Code == ErrorCode.Local_AllBrokersDown && Complaint is not null) return;
        Volatile.Write(ref _complaint, error);
    }

    private void Log(LogMessage message) => logger.OfLibrary(message.Name, message.Facility, message.Message);

    /// <summary>Bytes as they are; null and empty are two things.</summary>
    private sealed class NullableBytes : IDeserializer<byte[]?>
    {
        public static NullableBytes Instance { get; } = new();

        public byte[]? Deserialize(ReadOnlySpan<byte> data, bool isNull, SerializationContext context) => isNull ? null : data.ToArray();
    }
}
