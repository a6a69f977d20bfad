using Microsoft.Extensions.Logging;

namespace MA.Streaming.Broker.Kafka;

/// <summary>What the Kafka broker logs.</summary>
internal static partial class LogEvents
{
    [LoggerMessage(EventId = 900, Level = LogLevel.Information, Message = "Kafka at {Servers}: {Brokers} brokers, {Topics} topics, records to {RecordBytesMax} bytes")]
    public static partial void Connected(this ILogger logger, string servers, int brokers, int topics, int recordBytesMax);

    [LoggerMessage(EventId = 901, Level = LogLevel.Warning, Message = "Kafka at {Servers} does not answer: {Reason}")]
    public static partial void Unreachable(this ILogger logger, string servers, string reason);

    [LoggerMessage(EventId = 902, Level = LogLevel.Information, Message = "Kafka at {Servers} answers again")]
    public static partial void ReachableAgain(this ILogger logger, string servers);

    [LoggerMessage(EventId = 903, Level = LogLevel.Error, Message = "The producer failed for good and is replaced: {Reason}")]
    public static partial void ProducerReplaced(this ILogger logger, string reason);

    [LoggerMessage(EventId = 904, Level = LogLevel.Warning, Message = "Topic {Topic} must keep its records for ever, but {Setting} is {Value}: sessions or data formats will be lost; alter the topic")]
    public static partial void RetentionLoses(this ILogger logger, string topic, string setting, string value);

    [LoggerMessage(EventId = 905, Level = LogLevel.Warning, Message = "Reading {Topic}[{Partition}] at offset {Offset}: {Reason}")]
    public static partial void ReadFailed(this ILogger logger, string topic, int partition, long offset, string reason);

    [LoggerMessage(EventId = 906, Level = LogLevel.Error, Message = "The loop '{Loop}' failed; it starts anew")]
    public static partial void LoopFailed(this ILogger logger, Exception exception, string loop);

    [LoggerMessage(EventId = 907, Level = LogLevel.Information, Message = "Topic {Topic} was deleted")]
    public static partial void TopicDeleted(this ILogger logger, string topic);

    [LoggerMessage(EventId = 908, Level = LogLevel.Debug, Message = "{Client}: {Facility} {Text}")]
    public static partial void OfLibrary(this ILogger logger, string client, string facility, string text);

    [LoggerMessage(EventId = 909, Level = LogLevel.Warning, Message = "Group '{Group}': {Reason}")]
    public static partial void GroupTroubled(this ILogger logger, string group, string reason);
}
