using System.Globalization;
using System.Text.RegularExpressions;

namespace MA.Streaming.Core.Configuration;

/// <summary>The kind of broker that a BrokerUrl names.</summary>
internal enum BrokerKind
{
    /// <summary>In memory.</summary>
    Memory,

    /// <summary>The durable log in a directory.</summary>
    Embedded,

    /// <summary>Apache Kafka.</summary>
    Kafka,
}

/// <summary>The parts of a BrokerUrl. <see cref="Place"/> is the log's directory, or Kafka's bootstrap servers.</summary>
internal sealed partial record BrokerAddress(BrokerKind Kind, string Place)
{
    /// <summary>The log's directory if the url names none; relative to the working directory.</summary>
    public const string DefaultDirectory = "stream-api-data";

    private const string Scheme = "embedded:";
    private const string Allowed = "'memory:', 'embedded:' (a log in ./stream-api-data), 'embedded:PATH', or Kafka's 'host:port[,host:port…]'";

    /// <summary>Takes a BrokerUrl apart. An empty one means <c>embedded:</c>.</summary>
    /// <exception cref="ConfigurationException">The url names no broker.</exception>
    public static BrokerAddress Parse(string? url)
    {
        if (string.IsNullOrWhiteSpace(url)) return new BrokerAddress(BrokerKind.Embedded, DefaultDirectory);
        if (url == "memory:") return new BrokerAddress(BrokerKind.Memory, "");
        if (url.StartsWith(Scheme, StringComparison.Ordinal))
        {
            var path = url[Scheme.Length..];
            if (path.Contains('\0')) throw new ConfigurationException("BrokerUrl", $"'{url}'", $"{Allowed}; a path has no NUL");
            return new BrokerAddress(BrokerKind.Embedded, string.IsNullOrWhiteSpace(path) ? DefaultDirectory : path);
        }

        var isKafka = url.Split(',').All(server =>
            HostAndPort().Match(server) is { Success: true } match
            && int.TryParse(match.Groups["port"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out var port)
            && port is > 0 and <= 65_535);
        return isKafka ? new BrokerAddress(BrokerKind.Kafka, string.Join(',', url.Split(',', StringSplitOptions.TrimEntries))) : throw new ConfigurationException("BrokerUrl", $"'{url}'", Allowed);
    }

    [GeneratedRegex(@"^\s*(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\]):(?<port>[0-9]{1,5})\s*$", RegexOptions.CultureInvariant)]
    private static partial Regex HostAndPort();
}
