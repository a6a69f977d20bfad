using Google.Protobuf.Reflection;
using Grpc.Core;
using Grpc.Net.Client;
using Grpc.Net.Client.Configuration;
using MA.Streaming.API;
using MA.Streaming.KeyGenerator;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>
/// The channel to a server. It connects when first used and again after a loss: with several addresses to the first that works, from the
/// one used last on, and stays there, because connections live on one server.
/// </summary>
internal static class ServerChannel
{
    /// <summary>A server's largest response, with room to spare.</summary>
    public const int MessageBytesMax = 16 << 20;

    /// <summary>
    /// The rpcs that are sent again when the server was UNAVAILABLE: a second time they change nothing. Formats count, because one identity
    /// has one id whoever asks; so do keys, because one that nobody got is only a gap. Everything else reaches a server once at most.
    /// </summary>
    public static IReadOnlyList<MethodName> Repeatable { get; } =
    [
        .. Of(ConnectionManagerService.Descriptor, "GetConnection"),
        .. Of(SessionManagementService.Descriptor, "GetCurrentSessions", "GetSessionInfo"),
        .. Of(DataFormatManagerService.Descriptor, "GetParametersList", "GetEvent", "GetParameterDataFormatId", "GetEventDataFormatId"),
        .. Of(UniqueKeyGeneratorService.Descriptor, "GenerateUniqueKey"),
    ];

    public static GrpcChannel Open(ServerAddress address, RemoteStreamingApiOptions options)
    {
        var channel = new GrpcChannelOptions { HttpHandler = Connections(address, options), DisposeHttpClient = true, LoggerFactory = options.LoggerFactory };
        Set(channel, address);
        return GrpcChannel.ForAddress(UriOf(address), channel);
    }

    /// <summary>The address as a channel wants it; the connections find the servers.</summary>
    public static Uri UriOf(ServerAddress address) => new($"{(address.IsSecure ? "https" : "http")}://{address.Endpoints[0]}");

    /// <summary>The settings of a channel that do not depend on its connections.</summary>
    public static void Set(GrpcChannelOptions channel, ServerAddress address)
    {
        channel.MaxReceiveMessageSize = MessageBytesMax;
        channel.MaxSendMessageSize = null;
        channel.Credentials = address.IsSecure ? ChannelCredentials.SecureSsl : ChannelCredentials.Insecure;
        channel.ServiceConfig = new ServiceConfig { MethodConfigs = { RepeatWhatMayBe() } };
    }

    /// <summary>The connections to a server.</summary>
    public static SocketsHttpHandler Connections(ServerAddress address, RemoteStreamingApiOptions options)
    {
        var dialer = new ServerDialer(address, options);
        return new SocketsHttpHandler
        {
            // Ours in place of the channel's own: that one gives all servers together one timeout, so that the first one, switched off, keeps
            // it from the others, and after a failure it refuses calls for a while without looking.
            ConnectCallback = (_, cancellationToken) => dialer.ConnectAsync(cancellationToken),
            UseProxy = false,
            KeepAlivePingDelay = options.KeepAlivePingDelay,
            KeepAlivePingTimeout = options.KeepAlivePingTimeout,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.Always,
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,

            // One connection carries as many calls as the server takes; a second one, to the same server, is opened only for more, so that
            // open reads never keep the call out that closes them.
            EnableMultipleHttp2Connections = true,
        };
    }

    private static MethodConfig RepeatWhatMayBe()
    {
        var config = new MethodConfig
        {
            RetryPolicy = new RetryPolicy
            {
                MaxAttempts = 4,
                InitialBackoff = TimeSpan.FromMilliseconds(100),
                MaxBackoff = TimeSpan.FromSeconds(1),
                BackoffMultiplier = 2,
                RetryableStatusCodes = { StatusCode.Unavailable },
            },
        };
        foreach (var method in Repeatable) config.Names.Add(method);
        return config;
    }

    private static IEnumerable<MethodName> Of(ServiceDescriptor service, params string[] methods) =>
        methods.Select(method => new MethodName { Service = service.FullName, Method = service.FindMethodByName(method).Name });
}
