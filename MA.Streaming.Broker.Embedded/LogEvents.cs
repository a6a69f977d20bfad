using Microsoft.Extensions.Logging;

namespace MA.Streaming.Broker.Embedded;

/// <summary>What the embedded broker logs.</summary>
internal static partial class LogEvents
{
    [LoggerMessage(EventId = 800, Level = LogLevel.Information, Message = "Opened {Directory}: log {Id}, epoch {Epoch}, commit policy {Policy}, {Topics} topics")]
    public static partial void Opened(this ILogger logger, string directory, Guid id, long epoch, string policy, int topics);

    [LoggerMessage(EventId = 801, Level = LogLevel.Error, Message = "Damage in {Directory}, {File} at {Position}: {What}")]
    public static partial void DamageFound(this ILogger logger, string directory, string file, long position, string what);

    [LoggerMessage(EventId = 802, Level = LogLevel.Error, Message = "Records in {Directory} could not be moved from the journal into segments; it is tried again")]
    public static partial void DrainFailed(this ILogger logger, Exception exception, string directory);
}
