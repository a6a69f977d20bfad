using System.Diagnostics.Metrics;
using MA.Streaming.Core;
using MA.Streaming.Core.Configuration;
using MA.Streaming.KeyGenerator;
using MA.Streaming.Proto.Client.Local;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using ServiceDescription = Google.Protobuf.Reflection.ServiceDescriptor;

namespace MA.Streaming.Hosting;

/// <summary>The settings of a key generator server.</summary>
public sealed record KeyGeneratorServerOptions
{
    /// <summary>The gRPC port; 0 takes any free one. Default 15379.</summary>
    public int Port { get; init; } = 15379;

    /// <summary>The port of <c>/metrics</c>, <c>/healthz/live</c> and <c>/healthz/ready</c>; 0 takes any free one. Default 10010.</summary>
    public int PrometheusMetricPort { get; init; } = 10010;

    /// <summary>Where both are served: <c>localhost</c> (the default), <c>*</c> (every interface), or an IP address.</summary>
    public string BindAddress { get; init; } = StreamingApiServerOptions.Localhost;

    /// <summary>Where it keeps what its numbers have to stay above; empty: nowhere, so that numbers may come again after a restart if the
    /// clock went back.</summary>
    public string Directory { get; init; } = "";

    /// <summary>False: only metrics and health are served, and the server is not ready.</summary>
    public bool AutoStart { get; init; } = true;

    /// <summary>False: <c>/metrics</c> answers 404; its port still serves health.</summary>
    public bool EnableMetrics { get; init; } = true;

    /// <summary>How long a stop waits for open calls to finish, in seconds, 0 to 3600. Default 30.</summary>
    public int DrainTimeoutSeconds { get; init; } = 30;
}

/// <summary>A key generator on the network, with a port for metrics and health beside it.</summary>
public sealed class KeyGeneratorServer : IServerStatus, IAsyncDisposable
{
    private static readonly HashSet<string> Names = new([UniqueKeyGeneratorService.Descriptor.FullName], StringComparer.Ordinal);
    private static readonly IReadOnlyList<ServiceDescription> Described = GrpcServices.WithHealthAndReflection([UniqueKeyGeneratorService.Descriptor]);

    private readonly KeyGeneratorServerOptions _options;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger _logger;
    private readonly TimeProvider _clock;
    private readonly CancellationTokenSource _stop = new();
    private readonly PrometheusMetrics? _metrics;
    private readonly Meter? _meter;
    private readonly Histogram<double>? _rpcs;
    private int _started;
    private LocalKeyGenerator? _keys;
    private NetworkPort? _grpc;
    private NetworkPort? _diagnostics;
    private volatile ServerHealth _health = new(false, ServerState.Idle, "it has not been started");

    /// <summary>A server that has not started yet.</summary>
    /// <param name="options">The settings.</param>
    /// <param name="loggers">Where it logs.</param>
    /// <param name="clock">The clock.</param>
    /// <exception cref="ConfigurationException">A setting is not allowed: names key, value and what is.</exception>
    public KeyGeneratorServer(KeyGeneratorServerOptions options, ILoggerFactory? loggers = null, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _loggers = loggers ?? NullLoggerFactory.Instance;
        _logger = _loggers.CreateLogger<KeyGeneratorServer>();
        _clock = clock ?? TimeProvider.System;
        StreamingApiServerOptions.CheckPorts("PORT", options.Port, options.PrometheusMetricPort);
        StreamingApiServerOptions.CheckBindAddress(options.BindAddress);
        if (!options.EnableMetrics) return;
        _metrics = new PrometheusMetrics(this, _loggers.CreateLogger<PrometheusMetrics>());
        _meter = new Meter(new MeterOptions("MA.Streaming.Server") { Scope = this });
        _meter.CreateObservableGauge("key_generator_ready", () => State == ServerState.Ready ? 1 : 0, "1", "1 while keys are served, else 0.");
        _rpcs = _meter.CreateHistogram<double>("key_generator_rpc_duration", "s", "Duration of rpcs by method and status.");
    }

    /// <summary>Where it is in its life.</summary>
    public ServerState State => _health.State;

    /// <summary>The addresses of the gRPC port; empty while it is not open.</summary>
    public IReadOnlyList<string> Addresses => _grpc?.Addresses ?? [];

    /// <summary>The addresses of metrics and health; empty while they are not open.</summary>
    public IReadOnlyList<string> DiagnosticsAddresses => _diagnostics?.Addresses ?? [];

    CancellationToken IServerStatus.Stopping => _stop.Token;

    IReadOnlySet<string> IServerStatus.Services => Names;

    IReadOnlyList<ServiceDescription> IServerStatus.Described => Described;

    PrometheusMetrics? IServerStatus.Metrics => _metrics;

    /// <summary>Starts, and returns when it is ready.</summary>
    /// <exception cref="PortException">A port cannot be opened.</exception>
    /// <exception cref="IOException">The directory is another key generator's or cannot be used, or what it holds is damaged.</exception>
    public async Task StartAsync(CancellationToken cancellationToken = default)
    {
        if (Interlocked.Exchange(ref _started, 1) != 0) throw new InvalidOperationException("a key generator server is started once");
        try
        {
            _diagnostics = await Diagnostics.OpenAsync(this, _options.BindAddress, _options.PrometheusMetricPort, _loggers, cancellationToken).ConfigureAwait(false);
            foreach (var address in DiagnosticsAddresses) _logger.ServingDiagnostics(address);
            if (!_options.AutoStart)
            {
                _health = new(false, ServerState.Idle, "it is not to start by itself (AUTO_START is false)");
                _logger.AutoStartOff();
                return;
            }

            if (StreamingApiServerOptions.IsOpenToAll(_options.BindAddress)) _logger.OpenToAll(_options.BindAddress);
            var keys = _keys = LocalKeyGenerator.Start(_options.Directory, new StreamApiOptions { LoggerFactory = _loggers, Clock = _clock });
            _grpc = await GrpcServices.OpenAsync(
                this,
                "PORT",
                _options.BindAddress,
                _options.Port,
                _loggers,
                services => services.AddSingleton(keys.Service),
                routes => routes.MapGrpcService<UniqueKeyGeneratorService.UniqueKeyGeneratorServiceBase>(),
                limits => GrpcServices.SetLimits(limits, new StreamingApiServerOptions()),
                cancellationToken).ConfigureAwait(false);
            _health = new(true, ServerState.Ready, "keys are served");
            foreach (var address in Addresses) _logger.Serving(address);
        }
        catch
        {
            await DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Whether it can be used now.</summary>
    public ValueTask<ServerHealth> CheckAsync(CancellationToken cancellationToken = default) => new(_health);

    /// <summary>Stops accepting, finishes what was accepted (for DrainTimeoutSeconds at most), and closes.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested) return;
        _health = new(false, ServerState.Draining, "it is shutting down");
        await _stop.CancelAsync().ConfigureAwait(false);
        if (_grpc is not null)
        {
            using var abort = new CancellationTokenSource(TimeSpan.FromSeconds(_options.DrainTimeoutSeconds));
            await _grpc.StopAsync(abort.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await _grpc.DisposeAsync().ConfigureAwait(false);
        }

        _keys?.Dispose();
        if (_diagnostics is not null) await _diagnostics.DisposeAsync().ConfigureAwait(false);
        _health = new(false, ServerState.Stopped, "it has stopped");
        _metrics?.Dispose();
        _meter?.Dispose();
    }

    void IServerStatus.RpcEnded(string method, string status, TimeSpan duration) => _rpcs?.Record(
        duration.TotalSeconds, new KeyValuePair<string, object?>("method", method), new KeyValuePair<string, object?>("status", status));
}
