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

    [LoggerMessage(EventId = 803, Level = LogLevel.Information, Message = "Records in {Directory} are moved from the journal into segments again")]
    public static partial void DrainResumed(this ILogger logger, string directory);

    [LoggerMessage(EventId = 804, Level = LogLevel.Warning, Message = "A crash left a torn tail in {Directory}, {File} at {Position}: {What}")]
    public static partial void TornTailCut(this ILogger logger, string directory, string file, long position, string what);

    [LoggerMessage(
        EventId = 805,
        Level = LogLevel.Information,
        Message = "Recovering {Directory}, {What}: {Bytes} of {TotalBytes} bytes, {BytesPerSecond:F0} bytes/s, about {SecondsLeft:F0} s left")]
    public static partial void Recovering(
        this ILogger logger, string directory, string what, long bytes, long totalBytes, double bytesPerSecond, double secondsLeft);

    [LoggerMessage(EventId = 806, Level = LogLevel.Critical, Message = "An unexpected error stopped the log in {Directory}: it takes nothing more until it is opened again; reads go on")]
    public static partial void Stopped(this ILogger logger, Exception exception, string directory);

    [LoggerMessage(EventId = 810, Level = LogLevel.Warning, Message = "The system's time {System} is before the newest record of {Directory}, {Newest}: records are stamped from there on")]
    public static partial void SystemIsBehindLog(this ILogger logger, string directory, DateTimeOffset system, DateTimeOffset newest);

    [LoggerMessage(
        EventId = 811,
        Level = LogLevel.Warning,
        Message = "The newest record of {Directory} is of {Newest}, the system's time is {System}: RetentionAge removes nothing for 24 hours. Set Embedded.TrustClock if the system's time is right at every start")]
    public static partial void RetentionWaits(this ILogger logger, string directory, DateTimeOffset system, DateTimeOffset newest);

    [LoggerMessage(EventId = 812, Level = LogLevel.Warning, Message = "The system's time {System} has differed from that of the log in {Directory}, {Time}, for 10 minutes: the log takes it over")]
    public static partial void ClockStepped(this ILogger logger, string directory, DateTimeOffset system, DateTimeOffset time);

    [LoggerMessage(EventId = 813, Level = LogLevel.Error, Message = "A flush of the journal in {Directory} failed: the log takes nothing until all that it has is in segments; reads go on")]
    public static partial void FlushFailed(this ILogger logger, Exception exception, string directory);

    [LoggerMessage(EventId = 814, Level = LogLevel.Error, Message = "The log in {Directory} has taken nothing since {Since}; it is tried again")]
    public static partial void StillBroken(this ILogger logger, Exception exception, string directory, DateTimeOffset since);

    [LoggerMessage(EventId = 815, Level = LogLevel.Information, Message = "The log in {Directory} takes records again, {After} after the failed flush")]
    public static partial void Healed(this ILogger logger, string directory, TimeSpan after);

    [LoggerMessage(EventId = 807, Level = LogLevel.Warning, Message = "Group '{Group}': a member was not done with {Partitions} partitions after {Limit}; they pass on, and what it delivers of them meanwhile may be delivered again")]
    public static partial void HandoverTimedOut(this ILogger logger, string group, int partitions, TimeSpan limit);

    [LoggerMessage(EventId = 808, Level = LogLevel.Warning, Message = "Positions of group '{Group}' could not be committed; it is tried again, and after a restart records since the last commit come again")]
    public static partial void CommitFailed(this ILogger logger, string group, Exception exception);

    [LoggerMessage(EventId = 809, Level = LogLevel.Error, Message = "Positions of groups were damaged in {Topic}, offsets {From} to {To}: their groups may be given records again")]
    public static partial void PositionsDamaged(this ILogger logger, string topic, long from, long to);
}
