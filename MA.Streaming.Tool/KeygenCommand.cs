using System.CommandLine;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Tool;

/// <summary><c>streamapi keygen</c>: a key generator server until it is told to stop.</summary>
internal static class KeygenCommand
{
    public static Command Create()
    {
        var command = new Command(
            "keygen",
            """
            Serves unique keys until Ctrl+C or SIGTERM, for Stream API servers with UseRemoteKeyGenerator.

            Numbers increase strictly, across restarts too: what they have to stay above is kept in a folder key-generator. A second signal
            ends at once.
            """);
        var port = ParsedOption.Port("--port", "The gRPC port (environment: PORT); 0 takes any free one. Default 15379.");
        var metricPort = ParsedOption.Port("--metric-port", "The port of /metrics, /healthz/live and /healthz/ready (PrometheusMetricPort; environment: PROMETHEUS_METRIC_PORT). Default 10010.");
        var bind = new Option<string?>("--bind") { HelpName = "ADDRESS", Description = "Where to serve (BindAddress; environment: BIND_ADDRESS): localhost (the default), * for every interface, or an IP address." };
        var data = new Option<string>("--data") { HelpName = "PATH", Description = "Where the folder key-generator is. Empty: nowhere, so that numbers may come again if the clock goes back. Default: the working folder.", DefaultValueFactory = _ => "." };
        var config = new Option<string?>("--config") { HelpName = "FILE", Description = "A configuration file (environment: CONFIG_PATH), of which PrometheusMetricPort, BindAddress, EnableMetrics, EnableLogging and DrainTimeoutSeconds count. Default: Configs/AppConfig.json, if it is there." };
        var logLevel = ConsoleLog.CreateOption();
        Option[] all = [port, metricPort, bind, data, config, logLevel];
        foreach (var option in all) command.Add(option);
        command.SetAction(async (parsed, _) =>
        {
            var named = parsed.GetValue(config) ?? ServerEnvironment.ConfigPath;
            var level = parsed.GetValue(logLevel);
            StreamingApiServerOptions file;
            using (var reading = ConsoleLog.Open(level)) file = Read(named, reading.CreateLogger(typeof(KeygenCommand)));
            var options = new KeyGeneratorServerOptions
            {
                Port = parsed.GetValue(port) ?? ServerEnvironment.Port(ServerEnvironment.PortName, new KeyGeneratorServerOptions().Port),
                PrometheusMetricPort = parsed.GetValue(metricPort) ?? ServerEnvironment.MetricPort(file.PrometheusMetricPort),
                BindAddress = parsed.GetValue(bind) ?? ServerEnvironment.BindAddress(file.BindAddress),
                Directory = parsed.GetValue(data) is { Length: > 0 } directory ? Path.GetFullPath(directory) : "",
                AutoStart = ServerEnvironment.AutoStart(otherwise: true),
                EnableMetrics = file.EnableMetrics,
                DrainTimeoutSeconds = file.DrainTimeoutSeconds,
            };
            return await RunAsync(options, file.EnableLogging || level > LogLevel.Error ? level : LogLevel.Error).ConfigureAwait(false);
        });
        return command;
    }

    // Without a file there is nothing to say: the defaults are what this command is for.
    private static StreamingApiServerOptions Read(string? named, ILogger logger) =>
        named is null && !File.Exists(AppConfig.DefaultPath)
            ? new StreamingApiServerOptions()
            : AppConfig.ReadFile(named ?? AppConfig.DefaultPath, named is not null, new Dictionary<string, string?>(), logger);

    private static async Task<int> RunAsync(KeyGeneratorServerOptions options, LogLevel level)
    {
        using var signals = new Signals();
        using var loggers = ConsoleLog.Open(level);
        var logger = loggers.CreateLogger(typeof(KeygenCommand));
        using var export = OtlpExport.Start(logger);
        var server = new KeyGeneratorServer(options, loggers);
        await using var stopping = server.ConfigureAwait(false);
        await server.StartAsync(signals.Stop).ConfigureAwait(false);
        if (options.Directory.Length > 0) logger.KeyDirectory(options.Directory);
        await Task.Delay(Timeout.InfiniteTimeSpan, signals.Stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        logger.Draining(options.DrainTimeoutSeconds);
        await server.DisposeAsync().ConfigureAwait(false);
        return ExitCode.Done;
    }
}
