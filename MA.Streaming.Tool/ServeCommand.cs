using System.CommandLine;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Tool;

/// <summary><c>streamapi serve</c>: a Stream API server until it is told to stop.</summary>
internal static class ServeCommand
{
    public static Command Create()
    {
        var command = new Command(
            "serve",
            """
            Serves the Stream API until Ctrl+C or SIGTERM.

            Without any configuration it keeps packets in a durable log in ./stream-api-data and serves gRPC at localhost:13579. Settings come
            from the command line, then the environment, then the configuration file. AUTO_START=false serves metrics and health only. A stop
            takes no new calls, finishes what was accepted (for DrainTimeoutSeconds at most) and ends open reads; a second signal ends at once.
            """);
        var settings = new ServerSettings(command);
        var logLevel = ConsoleLog.CreateOption();
        command.Add(logLevel);
        command.SetAction((parsed, _) => RunAsync(settings, parsed, parsed.GetValue(logLevel)));
        return command;
    }

    private static async Task<int> RunAsync(ServerSettings settings, ParseResult parsed, LogLevel level)
    {
        using var signals = new Signals();
        using var loggers = ConsoleLog.Open(level);
        var logger = loggers.CreateLogger(typeof(ServeCommand));
        var options = settings.Read(parsed, logger);
        using var export = OtlpExport.Start(logger);
        var server = new StreamingApiServer(options, loggers);
        await using var stopping = server.ConfigureAwait(false);
        await server.StartAsync(signals.Stop).ConfigureAwait(false);
        var broker = AppConfig.BrokerInWords(options.BrokerUrl);
        if (options.AutoStart && options.EnableLogging) logger.BrokerInForce(broker);
        await Task.Delay(Timeout.InfiniteTimeSpan, signals.Stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (options.EnableLogging) logger.Draining(options.DrainTimeoutSeconds);
        await server.StopAsync().ConfigureAwait(false);
        return ExitCode.Done;
    }
}
