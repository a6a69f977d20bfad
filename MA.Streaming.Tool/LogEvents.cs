using Microsoft.Extensions.Logging;

namespace MA.Streaming.Tool;

/// <summary>The log events of the program.</summary>
internal static partial class LogEvents
{
    [LoggerMessage(EventId = 1300, Level = LogLevel.Information, Message = "Packets are kept in {Broker}")]
    public static partial void BrokerInForce(this ILogger logger, string broker);

    [LoggerMessage(EventId = 1301, Level = LogLevel.Information, Message = "Stopping: open calls have {Seconds} s to finish; another signal ends them at once")]
    public static partial void Draining(this ILogger logger, int seconds);

    [LoggerMessage(EventId = 1302, Level = LogLevel.Information, Message = "Numbers stay above what the folder key-generator in {Directory} holds")]
    public static partial void KeyDirectory(this ILogger logger, string directory);

    [LoggerMessage(EventId = 1303, Level = LogLevel.Information, Message = "Metrics and traces go to the collector {Endpoint}")]
    public static partial void Exporting(this ILogger logger, string endpoint);
}
