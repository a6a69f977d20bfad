using System.Net;
using MA.Streaming.Abstraction;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Core.Keys;
using Microsoft.Extensions.Options;

namespace MA.Streaming.Hosting;

/// <summary>
/// The settings of a network server: those of <see cref="StreamingApiConfiguration"/>, and those that only a server has. Each has a default
/// that works. A value that is not allowed stops the start, with its key, the value and what is allowed.
/// </summary>
public sealed class StreamingApiServerOptions
{
    /// <summary>The way from streams to topics and partitions.</summary>
    public StreamCreationStrategy StreamCreationStrategy { get; set; } = StreamCreationStrategy.TopicBased;

    /// <summary>The broker: <c>embedded:</c>, <c>embedded:PATH</c>, <c>memory:</c> or Kafka's <c>host:port[,host:port…]</c>.</summary>
    public string BrokerUrl { get; set; } = "";

    /// <summary>PartitionBased: the partition of each stream.</summary>
    public IReadOnlyList<PartitionMapping> PartitionMappings { get; set; } = [];

    /// <summary>The gRPC port; 0 takes any free one. Default 13579.</summary>
    public int StreamApiPort { get; set; } = 13579;

    /// <summary>False: the session rpcs answer success=false and store nothing.</summary>
    public bool IntegrateSessionManagement { get; set; } = true;

    /// <summary>False: data formats are published, but those of other servers are not loaded.</summary>
    public bool IntegrateDataFormatManagement { get; set; } = true;

    /// <summary>True: session keys and format ids come from a key generator service.</summary>
    public bool UseRemoteKeyGenerator { get; set; }

    /// <summary>The key generator's <c>host:port</c>.</summary>
    public string RemoteKeyGeneratorServiceAddress { get; set; } = "";

    /// <summary>True: the responses of a read carry as many packets as there are. False: one.</summary>
    public bool BatchingResponses { get; set; }

    /// <summary>The seconds that one try to start may take without progress, 1 to 86400. Default 3.</summary>
    public uint InitialisationTimeoutSeconds { get; set; } = 3;

    /// <summary>A session ends when nothing was written to it for this time. Zero (the default) means never.</summary>
    public TimeSpan SessionIdleTimeout { get; set; }

    /// <summary>A connection without an open read and without an rpc closes after this time. Zero means never. Default 24 hours.</summary>
    public TimeSpan ConnectionIdleTimeout { get; set; } = TimeSpan.FromHours(24);

    /// <summary>True (the default): packets that carry the names of their parameters register them as a data format.</summary>
    public bool AutoRegisterDataFormats { get; set; } = true;

    /// <summary>The seconds that a stop waits for open calls, 0 to 3600. Default 30.</summary>
    public int DrainTimeoutSeconds { get; set; } = 30;

    /// <summary>The settings of the durable embedded log.</summary>
    public EmbeddedLogOptions Embedded { get; set; } = EmbeddedLogOptions.Default;

    /// <summary>The settings of Kafka.</summary>
    public KafkaOptions Kafka { get; set; } = KafkaOptions.Default;

    /// <summary>The limits of the engine.</summary>
    public StreamingApiLimits Limits { get; set; } = StreamingApiLimits.Default;

    /// <summary>Where gRPC, metrics and health are served: <c>localhost</c> (the default), <c>*</c> (every interface), or an IP address.</summary>
    public string BindAddress { get; set; } = Localhost;

    /// <summary>The port of <c>/metrics</c>, <c>/healthz/live</c> and <c>/healthz/ready</c>; 0 takes any free one. Default 10010.</summary>
    public int PrometheusMetricPort { get; set; } = 10010;

    /// <summary>False: only errors are logged.</summary>
    public bool EnableLogging { get; set; } = true;

    /// <summary>False: <c>/metrics</c> answers 404; its port still serves health.</summary>
    public bool EnableMetrics { get; set; } = true;

    /// <summary>True: responses are compressed with gzip for clients that accept it. Requests may be compressed either way.</summary>
    public bool ResponseCompression { get; set; }

    /// <summary>The server pings a client that was silent for this time. 1 second to 1 hour, default 10 seconds.</summary>
    public TimeSpan KeepAlivePingDelay { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>The server cancels the calls of a client that does not answer a ping for this time. 1 second to 1 hour, default 10 seconds.</summary>
    public TimeSpan KeepAlivePingTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>False: only metrics and health are served, and the server is not ready.</summary>
    public bool AutoStart { get; set; } = true;

    /// <summary>A broker in place of the one that BrokerUrl names. The caller disposes it after the server.</summary>
    public IBroker? Broker { get; set; }

    /// <summary>Makes session keys and format ids while UseRemoteKeyGenerator is true, in place of the service that
    /// RemoteKeyGeneratorServiceAddress names. The caller disposes it after the server.</summary>
    public IKeyGenerator? KeyGenerator { get; set; }

    internal const string Localhost = "localhost";
    internal const string AllInterfaces = "*";

    /// <summary>Takes the settings of a configuration. Those that only a server has keep their defaults.</summary>
    public static StreamingApiServerOptions From(IStreamingApiConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        var options = new StreamingApiServerOptions();
        options.Take(configuration);
        return options;
    }

    /// <summary>Takes the settings of a configuration; settings that only a server has stay as they are.</summary>
    internal void Take(IStreamingApiConfiguration configuration)
    {
        var own = configuration as StreamingApiConfiguration ?? new StreamingApiConfiguration();
        StreamCreationStrategy = configuration.StreamCreationStrategy;
        BrokerUrl = configuration.BrokerUrl;
        PartitionMappings = configuration.PartitionMappings;
        StreamApiPort = configuration.StreamApiPort;
        IntegrateSessionManagement = configuration.IntegrateSessionManagement;
        IntegrateDataFormatManagement = configuration.IntegrateDataFormatManagement;
        UseRemoteKeyGenerator = configuration.UseRemoteKeyGenerator;
        RemoteKeyGeneratorServiceAddress = configuration.RemoteKeyGeneratorServiceAddress;
        BatchingResponses = configuration.BatchingResponses;
        InitialisationTimeoutSeconds = configuration.InitialisationTimeoutSeconds;
        SessionIdleTimeout = own.SessionIdleTimeout;
        ConnectionIdleTimeout = own.ConnectionIdleTimeout;
        AutoRegisterDataFormats = own.AutoRegisterDataFormats;
        DrainTimeoutSeconds = own.DrainTimeoutSeconds;
        Embedded = own.Embedded;
        Kafka = own.Kafka;
        Limits = own.Limits;
    }

    /// <summary>A copy. Later changes of this object do not reach it.</summary>
    internal StreamingApiServerOptions Copy() => (StreamingApiServerOptions)MemberwiseClone();

    internal StreamingApiConfiguration ToConfiguration() =>
        new(
            StreamCreationStrategy,
            BrokerUrl,
            PartitionMappings,
            StreamApiPort,
            IntegrateSessionManagement,
            IntegrateDataFormatManagement,
            UseRemoteKeyGenerator,
            RemoteKeyGeneratorServiceAddress,
            BatchingResponses,
            InitialisationTimeoutSeconds)
        {
            SessionIdleTimeout = SessionIdleTimeout,
            ConnectionIdleTimeout = ConnectionIdleTimeout,
            AutoRegisterDataFormats = AutoRegisterDataFormats,
            DrainTimeoutSeconds = DrainTimeoutSeconds,
            Embedded = Embedded,
            Kafka = Kafka,
            Limits = Limits,
        };

    /// <summary>Refuses settings that are not allowed.</summary>
    /// <exception cref="ConfigurationException">Names key, value and what is allowed.</exception>
    internal void Check()
    {
        Core.StreamApi.CheckConfiguration(ToConfiguration());
        CheckPorts("StreamApiPort", StreamApiPort, PrometheusMetricPort);
        CheckBindAddress(BindAddress);
        CheckPing("KeepAlivePingDelay", KeepAlivePingDelay);
        CheckPing("KeepAlivePingTimeout", KeepAlivePingTimeout);
    }

    internal static bool IsOpenToAll(string bindAddress) =>
        bindAddress == AllInterfaces || (IPAddress.TryParse(bindAddress, out var address) && !IPAddress.IsLoopback(address));

    internal static void CheckPorts(string key, int port, int metricPort)
    {
        if (port is < 0 or > 65_535) throw new ConfigurationException(key, FormattableString.Invariant($"{port}"), "0 to 65535");
        if (metricPort is < 0 or > 65_535)
        {
            throw new ConfigurationException("PrometheusMetricPort", FormattableString.Invariant($"{metricPort}"), "0 to 65535");
        }

        if (metricPort != 0 && metricPort == port)
        {
            throw new ConfigurationException(
                "PrometheusMetricPort", FormattableString.Invariant($"{metricPort}"), $"another port than {key}, which serves gRPC only");
        }
    }

    internal static void CheckBindAddress(string bindAddress)
    {
        if (bindAddress is Localhost or AllInterfaces || IPAddress.TryParse(bindAddress, out _)) return;
        throw new ConfigurationException("BindAddress", $"'{bindAddress}'", "localhost, * (every interface) or an IP address");
    }

    private static void CheckPing(string key, TimeSpan value)
    {
        if (value < TimeSpan.FromSeconds(1) || value > TimeSpan.FromHours(1))
        {
            throw new ConfigurationException(key, FormattableString.Invariant($"{value}"), "1 second to 1 hour");
        }
    }

    /// <summary>Refuses, when a host starts, settings that are not allowed.</summary>
    internal sealed class Validation : IValidateOptions<StreamingApiServerOptions>
    {
        public ValidateOptionsResult Validate(string? name, StreamingApiServerOptions options)
        {
            try
            {
                options.Check();
                return ValidateOptionsResult.Success;
            }
            catch (ConfigurationException exception)
            {
                return ValidateOptionsResult.Fail(exception.Message);
            }
        }
    }
}
