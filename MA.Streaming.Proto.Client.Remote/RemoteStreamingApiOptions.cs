using System.Net.Security;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>The settings of a client's connection. Each has a default that works.</summary>
public sealed record RemoteStreamingApiOptions
{
    /// <summary>The defaults.</summary>
    public static RemoteStreamingApiOptions Default { get; } = new();

    /// <summary>Gets the log events of the channel. Null (the default): no log.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>For <c>https</c> addresses: trusted authorities, a client certificate. Null (the default): the authorities of the machine.</summary>
    public SslClientAuthenticationOptions? Tls { get; init; }

    /// <summary>The time to connect to one server before the client tries the next one. Default 5 seconds.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The client pings a connection on which nothing came for this time. Default 10 seconds.</summary>
    public TimeSpan KeepAlivePingDelay { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The time that the answer to a ping may take. After it the client drops the connection. Its calls fail with INTERNAL and a text
    /// that names the ping, and the next call connects anew. Default 10 seconds.</summary>
    public TimeSpan KeepAlivePingTimeout { get; init; } = TimeSpan.FromSeconds(10);
}
