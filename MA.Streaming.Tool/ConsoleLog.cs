using System.CommandLine;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Tool;

/// <summary>A line an event on the console, with the time in UTC. What the web server says below warnings is left out.</summary>
internal static class ConsoleLog
{
    public static Option<LogLevel> CreateOption() => ParsedOption.Name(
        "--log-level", "LEVEL", "What is logged at least: Trace, Debug, Information (the default), Warning, Error, Critical or None.", LogLevel.Information);

    public static ILoggerFactory Open(LogLevel level) => LoggerFactory.Create(logging => logging
        .SetMinimumLevel(level)
        .AddFilter("Microsoft", level > LogLevel.Warning ? level : LogLevel.Warning)
        .AddFilter("Grpc", level > LogLevel.Warning ? level : LogLevel.Warning)
        .AddSimpleConsole(console =>
        {
            console.SingleLine = true;
            console.UseUtcTimestamp = true;
            console.TimestampFormat = "yyyy-MM-ddTHH:mm:ss.fffZ ";
        }));
}
