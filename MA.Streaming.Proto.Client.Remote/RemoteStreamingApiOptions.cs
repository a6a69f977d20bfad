using System.Net.Security;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>How a client reaches its server; every setting has a default that works.</summary>
public sealed record RemoteStreamingApiOptions
{
    /// <summary>The defaults.</summary>
    public static RemoteStreamingApiOptions Default { get; } = new();

    /// <summary>Where the channel logs; null (the default) for nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>For <c>https</c> addresses: own trust roots, a client certificate. Null (the default): what the machine trusts.</summary>
    public SslClientAuthenticationOptions? Tls { get; init; }

    /// <summary>How long connecting to one server may take before the next one is tried. Default 5 seconds.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A connection on which nothing came for this long is asked whether it lives. Default 10 seconds.</summary>
    public TimeSpan KeepAlivePingDelay { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long the answer to that may take. After it the connection is given up: its calls fail, with INTERNAL and a text that names
    /// the ping, and the next call connects anew. Default 10 seconds.</summary>
    public TimeSpan KeepAlivePingTimeout { get; init; } = TimeSpan.FromSeconds(10);
}
