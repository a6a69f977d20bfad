using System.Collections.Immutable;

namespace MA.Streaming.Core.Configs;

/// <summary>How Kafka (BrokerUrl <c>host:port[,host:port…]</c>) is reached and used. Other brokers ignore it.</summary>
public sealed record KafkaOptions
{
    /// <summary>The defaults: a plain connection, replication as the cluster has it.</summary>
    public static KafkaOptions Default { get; } = new();

    /// <summary>Properties of librdkafka, by the names in its CONFIGURATION.md, for every connection: <c>sasl.*</c>, <c>ssl.*</c>,
    /// <c>client.id</c>, <c>linger.ms</c>, <c>message.max.bytes</c> and so on. They win over the typed ones. Those on which
    /// acknowledgement and order depend (<c>acks</c>, <c>enable.idempotence</c>, <c>enable.auto.commit</c>, …) are refused.</summary>
    public IReadOnlyDictionary<string, string> Properties { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary><c>plaintext</c> (the default), <c>ssl</c>, <c>sasl_plaintext</c> or <c>sasl_ssl</c>.</summary>
    public string? SecurityProtocol { get; init; }

    /// <summary><c>PLAIN</c>, <c>SCRAM-SHA-256</c>, <c>SCRAM-SHA-512</c> or <c>OAUTHBEARER</c>.</summary>
    public string? SaslMechanism { get; init; }

    /// <summary>The user's name.</summary>
    public string? SaslUsername { get; init; }

    /// <summary>The user's password. Never logged.</summary>
    public string? SaslPassword { get; init; }

    /// <summary>File of the certificates of the authorities that are trusted; the machine's when null.</summary>
    public string? SslCaLocation { get; init; }

    /// <summary>How many copies a topic made here has: 1 to 32767; null (the default): as many as the cluster's default.</summary>
    public int? ReplicationFactor { get; init; }

    /// <summary>Configuration of topics made here, by Kafka's names, for example <c>min.insync.replicas</c> or <c>retention.ms</c>. Topics
    /// of sessions and data formats always get <c>retention.ms=-1</c>, <c>retention.bytes=-1</c> and <c>cleanup.policy=delete</c>.</summary>
    public IReadOnlyDictionary<string, string> TopicConfiguration { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>How long a record is tried to be delivered before its write fails: 1 second to 1 hour, default 30 seconds.</summary>
    public TimeSpan DeliveryTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The settings without the values of properties and without the password.</summary>
    public override string ToString() =>
        $"KafkaOptions {{ SecurityProtocol = {SecurityProtocol}, SaslMechanism = {SaslMechanism}, SaslUsername = {SaslUsername}, "
        + $"SslCaLocation = {SslCaLocation}, ReplicationFactor = {ReplicationFactor}, DeliveryTimeout = {DeliveryTimeout}, "
        + $"Properties = [{string.Join(", ", Properties.Keys)}], TopicConfiguration = [{string.Join(", ", TopicConfiguration.Keys)}] }}";
}
