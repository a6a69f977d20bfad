using System.Globalization;
using MA.Streaming.Core.Configuration;

namespace MA.Streaming.Hosting;

/// <summary>The environment variables of a deployment, which stand over the keys of the same meaning.</summary>
internal static class ServerEnvironment
{
    public const string ConfigPathName = "CONFIG_PATH";
    public const string AutoStartName = "AUTO_START";
    public const string MetricPortName = "PROMETHEUS_METRIC_PORT";
    public const string BindAddressName = "BIND_ADDRESS";
    public const string PortName = "PORT";

    public static string? ConfigPath => Value(ConfigPathName);

    public static string BindAddress(string otherwise) => Value(BindAddressName) ?? otherwise;

    public static int MetricPort(int otherwise) => Port(MetricPortName, otherwise);

    public static bool AutoStart(bool otherwise)
    {
        if (Value(AutoStartName) is not { } value) return otherwise;
        return bool.TryParse(value, out var isOn) ? isOn : throw new ConfigurationException(AutoStartName, $"'{value}'", "true or false");
    }

    public static int Port(string name, int otherwise)
    {
        if (Value(name) is not { } value) return otherwise;
        return int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port <= 65_535
            ? port
            : throw new ConfigurationException(name, $"'{value}'", "0 to 65535");
    }

    // Compose files set a variable to nothing to leave it out.
    private static string? Value(string name) => Environment.GetEnvironmentVariable(name)?.Trim() is { Length: > 0 } value ? value : null;
}
