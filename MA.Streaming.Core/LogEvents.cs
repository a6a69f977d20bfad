using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core;

/// <summary>Every log event of the engine, numbered in blocks of 100 a folder.</summary>
internal static partial class LogEvents
{
    // 100: start, stop, configuration

    [LoggerMessage(EventId = 100, Level = LogLevel.Information, Message = "Stream API ready on broker {Broker}, strategy {Strategy}; acknowledged survives: {Durability}")]
    public static partial void Ready(this ILogger logger, string broker, Abstraction.StreamCreationStrategy strategy, string durability);

    [LoggerMessage(EventId = 101, Level = LogLevel.Information, Message = "Stream API stopped")]
    public static partial void Stopped(this ILogger logger);

    [LoggerMessage(EventId = 102, Level = LogLevel.Information, Message = "BrokerUrl is not set: using the durable log in {Directory}")]
    public static partial void NoBrokerUrl(this ILogger logger, string directory);

    [LoggerMessage(EventId = 103, Level = LogLevel.Warning, Message = "StreamCreationStrategy is PartitionBased without PartitionMappings: every stream is the main stream")]
    public static partial void NoMappings(this ILogger logger);

    [LoggerMessage(EventId = 104, Level = LogLevel.Information, Message = "StreamCreationStrategy is TopicBased: PartitionMappings are not used")]
    public static partial void MappingsNotUsed(this ILogger logger);

    [LoggerMessage(EventId = 105, Level = LogLevel.Warning, Message = "Shutdown: {Calls} calls were still open after {Seconds} s and were abandoned")]
    public static partial void DrainTimedOut(this ILogger logger, int calls, double seconds);

    // 200: broker

    [LoggerMessage(EventId = 200, Level = LogLevel.Warning, Message = "Following {Topic} failed; going on at the same position in {Delay}")]
    public static partial void FollowFailed(this ILogger logger, string topic, TimeSpan delay, Exception exception);

    [LoggerMessage(EventId = 201, Level = LogLevel.Warning, Message = "{Topic}[{Partition}]: offsets {From} to {To} will never come: {Reason}")]
    public static partial void RecordsMissing(this ILogger logger, string topic, int partition, long from, long to, string reason);

    [LoggerMessage(EventId = 202, Level = LogLevel.Warning, Message = "Watching topics failed; going on in {Delay}")]
    public static partial void WatchFailed(this ILogger logger, TimeSpan delay, Exception exception);

    [LoggerMessage(EventId = 203, Level = LogLevel.Error, Message = "{Topic}[{Partition}] offset {Offset}: folding the record failed; it is skipped")]
    public static partial void FoldFailed(this ILogger logger, string topic, int partition, long offset, Exception exception);

    // 300: packets

    [LoggerMessage(EventId = 300, Level = LogLevel.Warning, Message = "Read of {DataSource}: {Topic}[{Partition}] offset {Offset} is not a packet; skipped")]
    public static partial void NotAPacket(this ILogger logger, string dataSource, string topic, int partition, long offset);

    [LoggerMessage(EventId = 301, Level = LogLevel.Warning, Message = "Read of {DataSource}: {Topic}[{Partition}] offset {Offset} has {Bytes} bytes, more than the {Limit} a packet may have; skipped")]
    public static partial void PacketTooLarge(this ILogger logger, string dataSource, string topic, int partition, long offset, int bytes, int limit);

    [LoggerMessage(EventId = 302, Level = LogLevel.Warning, Message = "Read of {DataSource}: a {Type} packet of stream '{Stream}' has content whose identifiers cannot be read; dropped, and so are others like it")]
    public static partial void UnreadableContent(this ILogger logger, string dataSource, string type, string stream);

    [LoggerMessage(EventId = 303, Level = LogLevel.Warning, Message = "Read of {DataSource}: a {Type} packet of stream '{Stream}' has the unknown data format {Format}; dropped, and so are others like it")]
    public static partial void UnknownFormat(this ILogger logger, string dataSource, string type, string stream, ulong format);

    [LoggerMessage(EventId = 304, Level = LogLevel.Warning, Message = "Read of {DataSource} lost its broker; going on at the same position in {Delay}")]
    public static partial void ReadInterrupted(this ILogger logger, string dataSource, TimeSpan delay, Exception exception);

    [LoggerMessage(EventId = 305, Level = LogLevel.Warning, Message = "Group '{Group}' was at offset {Committed} of {Topic}[{Partition}], which retention has removed; it goes on at {Next}")]
    public static partial void GroupOvertaken(this ILogger logger, string group, string topic, int partition, long committed, long next);

    // 400: connections

    [LoggerMessage(EventId = 400, Level = LogLevel.Information, Message = "Connection {Connection} to {DataSource} was idle for {Timeout} and is closed")]
    public static partial void ConnectionIdle(this ILogger logger, long connection, string dataSource, TimeSpan timeout);

    // 500: sessions

    [LoggerMessage(EventId = 500, Level = LogLevel.Debug, Message = "SessionInfo[{Partition}] offset {Offset}: a {Type} record that changes nothing is skipped: {Reason}")]
    public static partial void SessionRecordSkipped(this ILogger logger, int partition, long offset, string type, string reason);

    [LoggerMessage(EventId = 501, Level = LogLevel.Information, Message = "Session {Session} of {DataSource} was idle for {Timeout} and is ended")]
    public static partial void SessionIdle(this ILogger logger, string session, string dataSource, TimeSpan timeout);

    [LoggerMessage(EventId = 502, Level = LogLevel.Warning, Message = "Ending the idle session {Session} failed; it is tried again")]
    public static partial void SessionIdleEndFailed(this ILogger logger, string session, Exception exception);

    // 600: data formats

    [LoggerMessage(EventId = 600, Level = LogLevel.Error, Message = "Data source {DataSource}: format id {Format} stands for two identities; the first definition holds")]
    public static partial void FormatConflict(this ILogger logger, string dataSource, ulong format);

    [LoggerMessage(EventId = 601, Level = LogLevel.Warning, Message = "Data source {DataSource}: registering the format of a packet failed; it is tried again with the next one")]
    public static partial void AutoRegisterFailed(this ILogger logger, string dataSource, Exception exception);

    // 700: keys

    [LoggerMessage(EventId = 700, Level = LogLevel.Warning, Message = "The key generator has no directory: after a restart its numbers may come again if the clock went back meanwhile")]
    public static partial void KeyFloorNotKept(this ILogger logger);
}
