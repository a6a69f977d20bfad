using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.RegularExpressions;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>Where a server listens.</summary>
/// <param name="Host">A name, an IPv4 address, or an IPv6 address without its brackets.</param>
/// <param name="Port">1 to 65535.</param>
internal readonly record struct ServerEndpoint(string Host, int Port)
{
    public override string ToString() => Host.Contains(':', StringComparison.Ordinal) ? $"[{Host}]:{Port}" : $"{Host}:{Port}";
}

/// <summary>One or several servers of one kind, as users write them; the first that works is used.</summary>
internal sealed partial record ServerAddress(bool IsSecure, IReadOnlyList<ServerEndpoint> Endpoints)
{
    public const string Allowed =
        "host:port, http://host:port or https://host:port with a port of 1 to 65535, or several of them, all https or none, separated by commas";

    /// <summary>Reads an address.</summary>
    /// <exception cref="ArgumentException">Names the parameter, the value, what is wrong with it and what is allowed.</exception>
    public static ServerAddress Parse(string text, string parameter) =>
        TryParse(text, out var address, out var error)
            ? address
            : throw new ArgumentException($"{parameter} = '{text}': {error}; allowed is {Allowed}", parameter);

    /// <summary>Reads an address, or says what is wrong with it.</summary>
    public static bool TryParse(string text, [NotNullWhen(true)] out ServerAddress? address, [NotNullWhen(false)] out string? error)
    {
        address = null;
        error = null;
        var endpoints = new List<ServerEndpoint>();
        bool? isSecure = null;
        foreach (var part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            var match = One().Match(part);
            if (!match.Success)
            {
                error = part.Length == 0 ? "it has an empty part" : $"'{part}' has no host and port";
                return false;
            }

            var host = match.Groups["host"].Value.Trim('[', ']');
            if (Uri.CheckHostName(host) is var kind && (kind == UriHostNameType.Unknown || (host != match.Groups["host"].Value && kind != UriHostNameType.IPv6)))
            {
                error = $"'{host}' is not the name or address of a host";
                return false;
            }

            if (!int.TryParse(match.Groups["port"].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port is < 1 or > 65_535)
            {
                error = $"the port of '{part}' is out of range";
                return false;
            }

            var secure = match.Groups["scheme"].Value.Equals("https://", StringComparison.OrdinalIgnoreCase);
            if ((isSecure ??= secure) != secure)
            {
                error = "some of its parts are https and some are not";
                return false;
            }

            var endpoint = new ServerEndpoint(host, port);
            if (!endpoints.Contains(endpoint)) endpoints.Add(endpoint);
        }

        address = new ServerAddress(isSecure!.Value, endpoints);
        return true;
    }

    public override string ToString() =>
        string.Join(',', Endpoints.Select(endpoint => IsSecure ? $"https://{endpoint}" : endpoint.ToString()));

    [GeneratedRegex(@"^(?<scheme>https?://)?(?<host>\[[^\]\s]+\]|[^\[\]:/\s@?#]+):(?<port>\d+)/?$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex One();
}
