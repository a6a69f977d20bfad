using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>The log events of the network server.</summary>
internal static partial class LogEvents
{
    // 1100: start, stop, configuration

    [LoggerMessage(EventId = 1100, Level = LogLevel.Information, Message = "Serving gRPC at {Address}")]
    public static partial void Serving(this ILogger logger, string address);

    [LoggerMessage(EventId = 1101, Level = LogLevel.Information, Message = "Serving metrics and health at {Address}")]
    public static partial void ServingDiagnostics(this ILogger logger, string address);

    [LoggerMessage(EventId = 1102, Level = LogLevel.Warning, Message = "Not ready; trying again in {Pause}: {Reason}")]
    public static partial void StartFailed(this ILogger logger, TimeSpan pause, string reason);

    [LoggerMessage(EventId = 1103, Level = LogLevel.Critical, Message = "The Stream API cannot start: {Reason}")]
    public static partial void CannotStart(this ILogger logger, string reason, Exception? exception);

    [LoggerMessage(EventId = 1104, Level = LogLevel.Warning, Message = "BindAddress {BindAddress}: everybody who reaches this machine may read and write, for there is no security in force")]
    public static partial void OpenToAll(this ILogger logger, string bindAddress);

    [LoggerMessage(EventId = 1105, Level = LogLevel.Warning, Message = "AUTO_START is false: the Stream API is not started; metrics and health are served")]
    public static partial void AutoStartOff(this ILogger logger);

    [LoggerMessage(EventId = 1106, Level = LogLevel.Warning, Message = "Configuration: {Key} is not known and has no effect; did you mean: {Nearest}")]
    public static partial void UnknownKey(this ILogger logger, string key, string nearest);

    [LoggerMessage(EventId = 1108, Level = LogLevel.Information, Message = "Configuration from {Path}")]
    public static partial void ConfigurationFile(this ILogger logger, string path);

    [LoggerMessage(EventId = 1109, Level = LogLevel.Warning, Message = "There is no configuration file {Path}: settings have their defaults, and the broker is {Broker}")]
    public static partial void NoConfigurationFile(this ILogger logger, string path, string broker);

    [LoggerMessage(EventId = 1110, Level = LogLevel.Warning, Message = "The Kafka broker {BrokerUrl} does not answer; it is tried until it does")]
    public static partial void KafkaDoesNotAnswer(this ILogger logger, string brokerUrl);

    [LoggerMessage(EventId = 1111, Level = LogLevel.Warning, Message = "DrainTimeoutSeconds is {Seconds}, but the host ends a stop after {ShutdownTimeout}: a longer drain is cut short. HostOptions.ShutdownTimeout sets the host's limit")]
    public static partial void HostStopsSooner(this ILogger logger, int seconds, TimeSpan shutdownTimeout);

    // 1200: metrics and health

    [LoggerMessage(EventId = 1200, Level = LogLevel.Warning, Message = "Some instruments could not be observed")]
    public static partial void ObservingFailed(this ILogger logger, Exception exception);
}
