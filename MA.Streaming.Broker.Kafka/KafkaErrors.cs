using Confluent.Kafka;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Kafka;

/// <summary>Kafka's failures in the port's words. Every message says what was being done, and to which topic.</summary>
internal static class KafkaErrors
{
    public static BrokerException From(Error error, string doing, Exception? exception = null) =>
        new(KindOf(error.Code), $"{doing}: {Words(error)}", exception);

    public static BrokerException From(KafkaException exception, string doing) => From(exception.Error, doing, exception);

    public static BrokerError KindOf(ErrorCode code) => code switch
    {
        ErrorCode.MsgSizeTooLarge or ErrorCode.RecordListTooLarge or ErrorCode.InvalidMsgSize => BrokerError.TooLarge,
        ErrorCode.TopicAuthorizationFailed or ErrorCode.ClusterAuthorizationFailed or ErrorCode.GroupAuthorizationFailed
            or ErrorCode.TransactionalIdAuthorizationFailed or ErrorCode.SaslAuthenticationFailed or ErrorCode.Local_Authentication
            or ErrorCode.PolicyViolation or ErrorCode.UnsupportedSaslMechanism => BrokerError.Denied,
        ErrorCode.UnknownTopicOrPart or ErrorCode.Local_UnknownTopic or ErrorCode.Local_UnknownPartition or ErrorCode.UnknownTopicId => BrokerError.NoSuchTopic,
        ErrorCode.TopicException or ErrorCode.InvalidConfig or ErrorCode.InvalidReplicationFactor => BrokerError.NotAllowed,
        ErrorCode.Local_QueueFull => BrokerError.Full,
        ErrorCode.Local_BadMsg or ErrorCode.Local_BadCompression or ErrorCode.InvalidMsg => BrokerError.Corrupt,
        _ => BrokerError.Unavailable,
    };

    /// <summary>Kafka's words, and its name for the failure, by which it is found in Kafka's documentation.</summary>
    public static string Words(Error error) =>
        error.Reason is { Length: > 0 } reason ? $"{reason} ({error.Code})" : error.Code.ToString();
}
