using System.CommandLine;
using System.Globalization;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Tool;

/// <summary>The settings of a server from the command line, the environment and the configuration file, in this order of precedence.</summary>
internal sealed class ServerSettings
{
    private readonly Option<string?> _config = new("--config") { HelpName = "FILE", Description = "The configuration file (environment: CONFIG_PATH). Default: Configs/AppConfig.json, if it is there." };
    private readonly Option<string?> _broker = new("--broker") { HelpName = "URL", Description = "Where packets are kept (BrokerUrl): embedded: (the default, a durable log in ./stream-api-data), embedded:PATH, or memory: (gone with the process)." };
    private readonly Option<string?> _data = new("--data") { HelpName = "PATH", Description = "The folder of the durable log: short for --broker embedded:PATH." };
    private readonly Option<int?> _port = ParsedOption.Port("--port", "The gRPC port (StreamApiPort); 0 takes any free one. Default 13579.");
    private readonly Option<int?> _metricPort = ParsedOption.Port(
        "--metric-port", "The port of /metrics, /healthz/live and /healthz/ready (PrometheusMetricPort; environment: PROMETHEUS_METRIC_PORT); 0 takes any free one. Default 10010.");
    private readonly Option<string?> _bind = new("--bind") { HelpName = "ADDRESS", Description = "Where to serve (BindAddress; environment: BIND_ADDRESS): localhost (the default), * for every interface, or an IP address." };
    private readonly Option<string[]> _set = new("--set") { HelpName = "KEY=VALUE", Description = "Any other key of the configuration file, such as --set DrainTimeoutSeconds=5 or --set Limits.ConnectionsMax=100. May be given several times." };

    public ServerSettings(Command command)
    {
        Option[] options = [_config, _broker, _data, _port, _metricPort, _bind, _set];
        foreach (var option in options) command.Add(option);
        command.Validators.Add(result =>
        {
            if (result.GetResult(_broker) is not null && result.GetResult(_data) is not null) result.AddError("--data and --broker both say where packets are kept: give one");
            foreach (var setting in result.GetValue(_set) ?? [])
            {
                if (setting.IndexOf('=', StringComparison.Ordinal) <= 0) result.AddError(ParsedOption.Refusal("--set", setting, "KEY=VALUE"));
            }
        });
    }

    /// <exception cref="ConfigurationException">Names key, value and what is allowed.</exception>
    public StreamingApiServerOptions Read(ParseResult command, ILogger logger)
    {
        var over = new Dictionary<string, string?>(StringComparer.OrdinalIgnoreCase);
        foreach (var setting in command.GetValue(_set) ?? [])
        {
            var at = setting.IndexOf('=', StringComparison.Ordinal);
            over[setting[..at].Trim().Replace('.', ':')] = setting[(at + 1)..];
        }

        if (command.GetValue(_broker) is { } broker) over["BrokerUrl"] = broker;
        if (command.GetValue(_data) is { } data) over["BrokerUrl"] = $"embedded:{data}";
        if (command.GetValue(_port) is { } port) over["StreamApiPort"] = port.ToString(CultureInfo.InvariantCulture);
        if (command.GetValue(_metricPort) is { } metricPort) over["PrometheusMetricPort"] = metricPort.ToString(CultureInfo.InvariantCulture);
        if (command.GetValue(_bind) is { } bind) over["BindAddress"] = bind;

        var named = command.GetValue(_config) ?? ServerEnvironment.ConfigPath;
        var options = AppConfig.ReadFile(named ?? AppConfig.DefaultPath, named is not null, over, logger);
        if (!over.ContainsKey("PrometheusMetricPort")) options.PrometheusMetricPort = ServerEnvironment.MetricPort(options.PrometheusMetricPort);
        if (!over.ContainsKey("BindAddress")) options.BindAddress = ServerEnvironment.BindAddress(options.BindAddress);
        options.AutoStart = ServerEnvironment.AutoStart(options.AutoStart);
        options.Check();
        return options;
    }
}
