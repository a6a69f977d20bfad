using System.Collections.Immutable;

namespace MA.Streaming.Core.Configs;

/// <summary>The settings of Kafka (BrokerUrl <c>host:port[,host:port…]</c>). Other brokers ignore them.</summary>
public sealed record KafkaOptions
{
    /// <summary>The defaults: a plain connection, and the cluster's number of replicas.</summary>
    public static KafkaOptions Default { get; } = new();

    /// <summary>Properties of librdkafka, by the names in its CONFIGURATION.md, for every connection: <c>sasl.*</c>, <c>ssl.*</c>,
    /// <c>client.id</c>, <c>linger.ms</c>, <c>message.max.bytes</c> and so on. They win over the properties of this class. Properties on
    /// which acknowledgement and order depend are refused: <c>acks</c>, <c>enable.idempotence</c>, <c>enable.auto.commit</c> and others.</summary>
    public IReadOnlyDictionary<string, string> Properties { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary><c>plaintext</c> (the default), <c>ssl</c>, <c>sasl_plaintext</c> or <c>sasl_ssl</c>.</summary>
    public string? SecurityProtocol { get; init; }

    /// <summary><c>PLAIN</c>, <c>SCRAM-SHA-256</c>, <c>SCRAM-SHA-512</c> or <c>OAUTHBEARER</c>.</summary>
    public string? SaslMechanism { get; init; }

    /// <summary>The user's name.</summary>
    public string? SaslUsername { get; init; }

    /// <summary>The user's password. Never logged.</summary>
    public string? SaslPassword { get; init; }

    /// <summary>The file with the certificates of trusted authorities. Null: the machine's.</summary>
    public string? SslCaLocation { get; init; }

    /// <summary>The number of copies of a topic that the engine creates: 1 to 32767. Null (the default): the cluster's default.</summary>
    public int? ReplicationFactor { get; init; }

    /// <summary>The configuration of topics that the engine creates, by Kafka's names, such as <c>min.insync.replicas</c> or
    /// <c>retention.ms</c>. Topics of sessions and data formats always get <c>retention.ms=-1</c>, <c>retention.bytes=-1</c> and
    /// <c>cleanup.policy=delete</c>.</summary>
    public IReadOnlyDictionary<string, string> TopicConfiguration { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>The time that the adapter tries to deliver a record before its write fails: 1 second to 1 hour, default 30 seconds.</summary>
    public TimeSpan DeliveryTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The settings without the values of properties and without the password.</summary>
    public override string ToString() =>
        $"KafkaOptions {{ SecurityProtocol = {SecurityProtocol}, SaslMechanism = {SaslMechanism}, SaslUsername = {SaslUsername}, "
        + $"SslCaLocation = {SslCaLocation}, ReplicationFactor = {ReplicationFactor}, DeliveryTimeout = {DeliveryTimeout}, "
        + $"Properties = [{string.Join(", ", Properties.Keys)}], TopicConfiguration = [{string.Join(", ", TopicConfiguration.Keys)}] }}";
}
