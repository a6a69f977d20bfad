using System.Diagnostics.Metrics;
using Google.Protobuf.Reflection;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Core.Internal;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.Proto.Client.Remote;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace MA.Streaming.Hosting;

/// <summary>
/// A Stream API on the network: a broker, the engine, a gRPC port that opens when the engine has caught up, and a port for metrics and
/// health that is open from the start. While the broker cannot be reached it tries again and is not ready. Several may run in one process.
/// </summary>
public sealed class StreamingApiServer : IServerStatus, IAsyncDisposable
{
    private static readonly TimeSpan CheckTimeout = TimeSpan.FromSeconds(5);

    private readonly StreamingApiConfiguration _configuration;
    private readonly ILoggerFactory _loggers;
    private readonly ILogger _logger;
    private readonly TimeProvider _clock;
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationTokenSource _abort = new();
    private readonly TaskCompletionSource _firstTry = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PrometheusMetrics? _metrics;
    private readonly Meter? _meter;
    private Task? _starting;
    private Task _running = Task.CompletedTask;
    private Task? _stopping;
    private NetworkPort? _grpc;
    private NetworkPort? _diagnostics;
    private IBroker? _broker;
    private RemoteKeyGenerator? _keys;
    private volatile StreamApi? _engine;
    private volatile ServerHealth _health = new(false, ServerState.Idle, "it has not been started");

    /// <summary>A server that has not started yet.</summary>
    /// <param name="options">The settings; later changes of the object do not reach the server.</param>
    /// <param name="loggers">Where it logs.</param>
    /// <param name="clock">The clock.</param>
    /// <exception cref="ConfigurationException">A setting is not allowed: names key, value and what is.</exception>
    public StreamingApiServer(StreamingApiServerOptions options, ILoggerFactory? loggers = null, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        Options = options.Copy();
        Options.Check();
        _configuration = Options.ToConfiguration();
        _loggers = loggers ?? NullLoggerFactory.Instance;
        if (!Options.EnableLogging) _loggers = new FilteredLoggers(_loggers, _ => LogLevel.Error);
        _logger = _loggers.CreateLogger<StreamingApiServer>();
        _clock = clock ?? TimeProvider.System;
        if (Options.EnableMetrics)
        {
            _metrics = new PrometheusMetrics(this, _loggers.CreateLogger<PrometheusMetrics>());
            _meter = new Meter(new MeterOptions("MA.Streaming.Server") { Scope = this });
            _meter.CreateObservableGauge("stream_api_ready", () => State == ServerState.Ready ? 1 : 0, "1", "1 while the services are served, else 0.");
        }

        // Nobody needs to wait for them.
        _ = _firstTry.Task.ContinueWith(static task => task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        _ = _ready.Task.ContinueWith(static task => task.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    /// <summary>Where it is in its life.</summary>
    public ServerState State => _health.State;

    /// <summary>The addresses of the gRPC port; empty while it is not open.</summary>
    public IReadOnlyList<string> Addresses => Volatile.Read(ref _grpc)?.Addresses ?? [];

    /// <summary>The addresses of metrics and health; empty while they are not open.</summary>
    public IReadOnlyList<string> DiagnosticsAddresses => Volatile.Read(ref _diagnostics)?.Addresses ?? [];

    internal StreamingApiServerOptions Options { get; }

    /// <summary>The services are served by the application that the server is mapped into; no port is opened.</summary>
    internal bool IsMapped { get; set; }

    CancellationToken IServerStatus.Stopping => _stop.Token;

    IReadOnlySet<string> IServerStatus.Services => GrpcServices.Names;

    IReadOnlyList<ServiceDescriptor> IServerStatus.Described => GrpcServices.Described;

    PrometheusMetrics? IServerStatus.Metrics => _metrics;

    /// <summary>The engine that answers a call now.</summary>
    internal StreamApi Engine => _engine
        ?? throw (_health.State is ServerState.Draining or ServerState.Stopped ? Errors.ShuttingDown() : Errors.Unavailable($"the Stream API is not ready: {_health.Detail}"));

    /// <summary>
    /// Starts, and returns when it is ready, or when the first try has failed on a broker that does not answer; it goes on trying then.
    /// Catching up that moves is not a failure, however long it takes.
    /// </summary>
    /// <param name="cancellationToken">Gives up; nothing is left running.</param>
    /// <exception cref="ConfigurationException">A setting is not allowed: names key, value and what is.</exception>
    /// <exception cref="PortException">A port cannot be opened.</exception>
    /// <exception cref="BrokerException">The broker's data cannot be used.</exception>
    public async Task StartAsync(CancellationToken cancellationToken = default)
    {
        Task starting;
        lock (_gate)
        {
            if (_starting is not null || _stopping is not null) throw new InvalidOperationException("a Stream API server is started once, and not after it was stopped");
            starting = _starting = StartOnceAsync(cancellationToken);
        }

        try
        {
            await starting.ConfigureAwait(false);
        }
        catch
        {
            await StopAsync(cancellationToken).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Waits until it is ready.</summary>
    /// <exception cref="OperationCanceledException">It was stopped before.</exception>
    public Task WaitUntilReadyAsync(CancellationToken cancellationToken = default) => _ready.Task.WaitAsync(cancellationToken);

    /// <summary>Whether it can be used now; asks the broker.</summary>
    public async ValueTask<ServerHealth> CheckAsync(CancellationToken cancellationToken = default)
    {
        var health = _health;
        if (health.State != ServerState.Ready || _broker is not { } broker) return health;
        try
        {
            var answer = await broker.CheckAsync(cancellationToken).AsTask().WaitAsync(CheckTimeout, cancellationToken).ConfigureAwait(false);
            return health with { IsReady = answer.IsHealthy, Detail = $"{broker.Info.Name}: {answer.Detail}" };
        }
        catch (TimeoutException)
        {
            return health with { IsReady = false, Detail = $"{broker.Info.Name} did not answer for {CheckTimeout.TotalSeconds} s" };
        }
        catch (ObjectDisposedException)
        {
            return _health with { IsReady = false };
        }
    }

    /// <summary>Stops accepting, finishes what was accepted, ends reads with UNAVAILABLE (for DrainTimeoutSeconds at most), and closes.</summary>
    /// <param name="cancellationToken">Cuts it short: open calls are aborted.</param>
    public async Task StopAsync(CancellationToken cancellationToken = default)
    {
        Task stopping;
        lock (_gate) stopping = _stopping ??= Task.Run(StopOnceAsync, CancellationToken.None);
        await using var hurrying = cancellationToken.UnsafeRegister(static abort => ((CancellationTokenSource)abort!).Cancel(), _abort).ConfigureAwait(false);
        await stopping.ConfigureAwait(false);
    }

    /// <inheritdoc cref="StopAsync"/>
    public async ValueTask DisposeAsync() => await StopAsync().ConfigureAwait(false);

    void IServerStatus.RpcEnded(string method, string status, TimeSpan duration) => _engine?.Telemetry.RpcEnded(method, status, duration);

    private async Task StartOnceAsync(CancellationToken cancellationToken)
    {
        await Task.Yield(); // Out of the lock.
        _health = new(false, ServerState.Starting, "it is starting");
        if (!IsMapped)
        {
            Volatile.Write(
                ref _diagnostics,
                await Diagnostics.OpenAsync(this, Options.BindAddress, Options.PrometheusMetricPort, _loggers, cancellationToken).ConfigureAwait(false));
            foreach (var address in DiagnosticsAddresses) _logger.ServingDiagnostics(address);
        }

        if (!Options.AutoStart)
        {
            _health = new(false, ServerState.Idle, "it is not to start by itself (AUTO_START is false)");
            _logger.AutoStartOff();
            return;
        }

        if (Options.KeyGenerator is null) _keys = RemoteKeyGenerator.Of(_configuration, new StreamApiOptions { LoggerFactory = _loggers, Clock = _clock });
        if (!IsMapped && StreamingApiServerOptions.IsOpenToAll(Options.BindAddress)) _logger.OpenToAll(Options.BindAddress);
        _running = RunAsync(_stop.Token);
        if (!IsMapped) await _firstTry.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    // One try after another until one succeeds; what another try would not change ends it.
    private async Task RunAsync(CancellationToken stop)
    {
        var pauses = new Backoff();
        for (var isFirst = true; ; isFirst = false)
        {
            try
            {
                await TryAsync(stop).ConfigureAwait(false);
                _ready.TrySetResult();
                _firstTry.TrySetResult();
                return;
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                _firstTry.TrySetCanceled(stop);
                return;
            }
            catch (Exception exception) when (MayPass(exception, isFirst))
            {
                var pause = pauses.Next();
                _health = new(false, ServerState.Starting, exception.Message);
                _logger.StartFailed(pause, exception.Message);
                _firstTry.TrySetResult();
                await Task.Delay(pause, _clock, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (Exception exception)
            {
                _health = new(false, ServerState.Failed, exception.Message);
                _logger.CannotStart(exception.Message, exception is PortException or ConfigurationException or InitialisationException or BrokerException ? null : exception);
                _ready.TrySetException(exception);
                _firstTry.TrySetException(exception);
                return;
            }
        }
    }

    // A port that is taken at the first try is a mistake of whoever starts it; later the other one may go as it came.
    private static bool MayPass(Exception exception, bool isFirst) => exception switch
    {
        InitialisationException or BrokerException => (exception as BrokerException ?? exception.InnerException as BrokerException)?.Error != BrokerError.Corrupt,
        PortException => !isFirst,
        _ => false,
    };

    private async Task TryAsync(CancellationToken stop)
    {
        var options = new StreamApiOptions { LoggerFactory = _loggers, Clock = _clock, MeterScope = this, KeyGenerator = Options.KeyGenerator ?? _keys };
        var broker = Options.Broker ?? await BrokerSource.OpenAsync(_configuration, options, stop).ConfigureAwait(false);
        StreamApi? engine = null;
        try
        {
            engine = await StreamApi.StartAsync(_configuration, broker, options, stop).ConfigureAwait(false);
            _broker = broker;
            _engine = engine;
            if (!IsMapped) Volatile.Write(ref _grpc, await OpenGrpcAsync(stop).ConfigureAwait(false));
        }
        catch
        {
            _engine = null;
            _broker = null;
            if (engine is not null) await engine.DisposeAsync().ConfigureAwait(false);
            if (Options.Broker is null) await broker.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        _health = new(true, ServerState.Ready, broker.Info.Name);
        foreach (var address in Addresses) _logger.Serving(address);
    }

    private Task<NetworkPort> OpenGrpcAsync(CancellationToken stop) =>
        NetworkPort.OpenAsync(
            "StreamApiPort",
            Options.BindAddress,
            Options.StreamApiPort,
            HttpProtocols.Http2,
            _loggers,
            services => GrpcServices.Add(services, _ => this),
            routes => GrpcServices.Map(routes, this, healthAndReflection: true),
            limits => GrpcServices.SetLimits(limits, Options),
            stop);

    private async Task StopOnceAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        if (_starting is not null) await _starting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // Who starts it is told.
        await _running.ConfigureAwait(false);
        var failed = _health.State == ServerState.Failed;
        if (!failed) _health = new(false, ServerState.Draining, "it is shutting down");
        _abort.CancelAfter(TimeSpan.FromSeconds(Options.DrainTimeoutSeconds));

        // Both at once: no new connection is accepted, while open calls still get their answers from the engine.
        var closing = _grpc?.StopAsync(_abort.Token) ?? Task.CompletedTask;
        if (_engine is { } engine)
        {
            await engine.DisposeAsync().ConfigureAwait(false);
            if (!_abort.IsCancellationRequested) _abort.CancelAfter(Options.Limits.CloseGrace); // What is answered has to be taken, too.
        }

        await closing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // Cut short is a stop as well.
        if (_grpc is not null) await _grpc.DisposeAsync().ConfigureAwait(false);
        _engine = null;
        _keys?.Dispose();
        if (_broker is not null && Options.Broker is null) await _broker.DisposeAsync().ConfigureAwait(false);
        _broker = null;
        if (_diagnostics is not null) await _diagnostics.DisposeAsync().ConfigureAwait(false);
        if (!failed) _health = new(false, ServerState.Stopped, "it has stopped");
        _ready.TrySetCanceled(CancellationToken.None);
        _metrics?.Dispose();
        _meter?.Dispose();
    }
}
