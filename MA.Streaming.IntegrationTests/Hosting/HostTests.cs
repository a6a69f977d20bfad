using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using Grpc.Reflection;
using Grpc.Reflection.V1;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>The server in the hosts that people have: it starts and stops with them, and says what keeps it from being ready.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class HostTests
{
    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void StartLimit() => _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));

    [TearDown]
    public void StopLimit() => _limit.Dispose();

    [Test]
    public async Task AddStreamingApi_GenericHost_ServesFromItsStartToItsStop()
    {
        using var host = BuildHost(services => services.AddStreamingApi(options =>
        {
            options.BrokerUrl = "memory:";
            options.StreamApiPort = 0;
            options.PrometheusMetricPort = 0;
        }));
        await host.StartAsync(Limit);
        var server = host.Services.GetRequiredService<StreamingApiServer>();
        using var channel = GrpcChannel.ForAddress(server.Addresses.Single());
        var connections = new ConnectionManagerService.ConnectionManagerServiceClient(channel);
        var connection = (await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)).Connection;
        using var read = new PacketReaderService.PacketReaderServiceClient(channel).ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        await read.ResponseHeadersAsync.WaitAsync(Limit);

        await host.StopAsync(Limit);
        AssertFailure(await FailureOfAsync(() => read.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable, "shutting down");
        Assert.That(server.State, Is.EqualTo(ServerState.Stopped));
        Assert.That((await FailureOfAsync(async () => await connections.NewConnectionAsync(new(), cancellationToken: Limit))).StatusCode, Is.EqualTo(StatusCode.Unavailable));
    }

    [Test]
    public async Task AddStreamingApi_ConfigurationObject_IsWhatTheServerRunsOn()
    {
        using var folder = new TemporaryFolder();
        var configuration = new StreamingApiConfiguration(StreamCreationStrategy.PartitionBased, $"embedded:{folder.Path}", [new("one", 3)], streamApiPort: 0);
        using var host = BuildHost(services => services.AddStreamingApi(configuration, options => options.PrometheusMetricPort = 0));
        await host.StartAsync(Limit);
        using var channel = GrpcChannel.ForAddress(host.Services.GetRequiredService<StreamingApiServer>().Addresses.Single());
        await new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(
            new() { Detail = Detail("Car", "one", TextPacket("x")) }, cancellationToken: Limit);
        await host.StopAsync(Limit);

        var log = await EmbeddedBroker.InspectAsync(folder.Path);
        var topic = log.Topics.Single(topic => topic.Name == "Car");
        Assert.That(topic.Partitions.Select(partition => partition.Marks.High), Is.EqualTo(new long[] { 0, 0, 0, 1 }));
    }

    [Test]
    public async Task AddStreamingApi_ConfigurationSection_IsRead()
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["StreamApi:BrokerUrl"] = "memory:",
            ["StreamApi:StreamApiPort"] = "0",
            ["StreamApi:PrometheusMetricPort"] = "0",
            ["StreamApi:IntegrateSessionManagement"] = "false",
        }).Build();
        using var host = BuildHost(services => services.AddStreamingApi(configuration.GetSection("StreamApi")));
        await host.StartAsync(Limit);
        using var channel = GrpcChannel.ForAddress(host.Services.GetRequiredService<StreamingApiServer>().Addresses.Single());
        var created = await new SessionManagementService.SessionManagementServiceClient(channel).CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: Limit);
        Assert.That(created.Success, Is.False, "IntegrateSessionManagement is false");
        await host.StopAsync(Limit);
    }

    [TestCase("StreamApiPort", "abc", "StreamApiPort", "'abc'", "0 to 65535")]
    [TestCase("BrokerURI", "localhost:9092", "BrokerURI", "BrokerUrl")]
    [TestCase("BindAddress", "nowhere", "BindAddress", "'nowhere'", "localhost")]
    [TestCase("Security:Certificate", "x.pfx", "Security", "no security")]
    [TestCase("KeepAlivePingDelay", "1d", "KeepAlivePingDelay", "1.00:00:00", "1 second to 1 hour")]
    public async Task AddStreamingApi_SettingThatIsNotAllowed_FailsTheStart(string key, string value, params string[] words)
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?> { [key] = value, ["BrokerUrl"] = "memory:" }).Build();
        using var host = BuildHost(services => services.AddStreamingApi(configuration));
        var failure = (await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync(Limit)))!;
        foreach (var word in words) Assert.That(failure.Message, Does.Contain(word));
    }

    [Test]
    public async Task AddStreamingApi_WithNames_AreTwoServers()
    {
        await using var first = new MemoryBroker();
        await using var second = new MemoryBroker();
        using var host = BuildHost(services =>
        {
            services.AddStreamingApi(options => Set(options, first));
            services.AddStreamingApi("second", options => options.Broker = second);

            // As everywhere in .NET, the settings of a name can be changed from anywhere.
            services.Configure<StreamingApiServerOptions>("second", options => Set(options, second));
        });
        await host.StartAsync(Limit);
        StreamingApiServer[] servers = [host.Services.GetRequiredService<StreamingApiServer>(), host.Services.GetRequiredKeyedService<StreamingApiServer>("second")];
        Assert.That(servers.Select(server => server.State), Is.EqualTo(new[] { ServerState.Ready, ServerState.Ready }));
        foreach (var (server, name) in servers.Zip(new[] { "One", "Two" }))
        {
            using var channel = GrpcChannel.ForAddress(server.Addresses.Single());
            await new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(new() { Detail = Detail(name, "", TextPacket("x")) }, cancellationToken: Limit);

            // Each counts its own.
            using var diagnostics = new HttpClient { BaseAddress = new Uri(server.DiagnosticsAddresses.Single()) };
            var metrics = await diagnostics.GetStringAsync("/metrics", Limit);
            Assert.That(metrics, Does.Contain("stream_api_packets_routed_total 1\n").And.Contain($"data_source=\"{name}\""));
        }

        await host.StopAsync(Limit);
        Assert.That((await first.TopicsAsync(Limit)).Keys, Does.Contain("One").And.Not.Contain("Two"));
        Assert.That((await second.TopicsAsync(Limit)).Keys, Does.Contain("Two").And.Not.Contain("One"));

        static void Set(StreamingApiServerOptions options, MemoryBroker broker)
        {
            options.Broker = broker;
            options.StreamApiPort = 0;
            options.PrometheusMetricPort = 0;
        }
    }

    [Test]
    public void AddStreamingApi_OneNameTwice_IsRefusedAtOnce()
    {
        var services = new ServiceCollection().AddStreamingApi(options => options.BrokerUrl = "memory:").AddStreamingApi("rig", options => options.BrokerUrl = "memory:");
        Assert.That(() => services.AddStreamingApi(_ => { }), Throws.ArgumentException.With.Message.Contains("name = ''").And.Message.Contains("allowed"));
        Assert.That(() => services.AddStreamingApi("rig", _ => { }), Throws.ArgumentException.With.Message.Contains("name = 'rig'"));
    }

    [Test]
    public async Task AddStreamingApi_HealthChecksOfTheHost_IncludeEachServer()
    {
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        using var host = BuildHost(services =>
        {
            services.AddStreamingApi(options => OnFreePorts(options, broker));
            services.AddStreamingApi("rig", options => OnFreePorts(options, inner));
        });
        await host.StartAsync(Limit);
        var checks = host.Services.GetRequiredService<HealthCheckService>();
        var healthy = await checks.CheckHealthAsync(Limit);
        Assert.That(healthy.Entries.ToDictionary(entry => entry.Key, entry => entry.Value.Status), Is.EquivalentTo(new Dictionary<string, HealthStatus>
        {
            ["stream-api"] = HealthStatus.Healthy,
            ["stream-api-rig"] = HealthStatus.Healthy,
        }));

        broker.Health = () => new BrokerHealth(false, "the disk is full");
        var sick = await checks.CheckHealthAsync(Limit);
        Assert.That(sick.Entries["stream-api"].Status, Is.EqualTo(HealthStatus.Unhealthy));
        Assert.That(sick.Entries["stream-api"].Description, Does.Contain("the disk is full"));
        Assert.That(sick.Entries["stream-api-rig"].Status, Is.EqualTo(HealthStatus.Healthy));
        await host.StopAsync(Limit);
    }

    // The host's limit is for all its services: a server does not change it, and is cut short by it.
    [Test]
    public async Task AddStreamingApi_HostThatStopsSooner_IsWarnedOfAndStopsAtItsOwnTime()
    {
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        var log = new CategoryLog();
        using var host = BuildHost(services =>
        {
            services.AddLogging(logging => logging.AddProvider(log));
            services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(1));
            services.AddStreamingApi(options =>
            {
                OnFreePorts(options, broker);
                options.DrainTimeoutSeconds = 600;
            });
        });
        await host.StartAsync(Limit);
        Assert.That(host.Services.GetRequiredService<IOptions<HostOptions>>().Value.ShutdownTimeout, Is.EqualTo(TimeSpan.FromSeconds(1)));
        Assert.That(log.Lines.Where(line => line.Contains("DrainTimeoutSeconds is 600", StringComparison.Ordinal)), Has.Exactly(1).Contains("00:00:01"));

        using var channel = GrpcChannel.ForAddress(host.Services.GetRequiredService<StreamingApiServer>().Addresses.Single());
        broker.HoldAll();
        using var write = new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(
            new() { Detail = Detail("Car", "", TextPacket("x")) }, cancellationToken: Limit);
        await broker.HeldAsync(1, Limit);
        var stopping = host.StopAsync(Limit);
        await FailureOfAsync(() => write.ResponseAsync.WaitAsync(Limit));
        broker.Release();
        await stopping.WaitAsync(Limit);
    }

    [Test]
    public async Task AddStreamingApi_LogCategories_AreTheTypesThatLog()
    {
        using var folder = new TemporaryFolder();
        var log = new CategoryLog();
        using var host = BuildHost(services =>
        {
            services.AddLogging(logging => logging.AddProvider(log));
            services.AddStreamingApi(options =>
            {
                options.BrokerUrl = $"embedded:{folder.Path}";
                options.StreamApiPort = 0;
                options.PrometheusMetricPort = 0;
                options.SessionIdleTimeout = TimeSpan.FromHours(1);
            });
        });
        await host.StartAsync(Limit);
        await host.StopAsync(Limit);
        Assert.That(log.Categories, Is.SupersetOf(new[]
        {
            "MA.Streaming.Hosting.StreamingApiServer", "MA.Streaming.Core.StreamApi", "MA.Streaming.Core.Sessions.SessionCatalog",
            "MA.Streaming.Core.Packets.ReadLoop", "MA.Streaming.Broker.Embedded.EmbeddedBroker",
        }));
        Assert.That(log.Categories, Has.None.EqualTo("MA.Streaming").And.None.EqualTo("MA.Streaming.Server"));
    }

    // A convention of the application, for instance an authorization rule, reaches every endpoint.
    [TestCase(true, 5)]
    [TestCase(false, 2)]
    public async Task MapStreamingApi_Conventions_CoverAllThatItMaps(bool healthAndReflection, int servicesLeast)
    {
        await using var broker = new MemoryBroker();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.Services.AddStreamingApi("rig", options => OnFreePorts(options, broker));
        await using var app = builder.Build();
        var mark = new object();
        app.MapStreamingApi(healthAndReflection, "rig").WithMetadata(mark);
        app.MapStreamingApiDiagnostics("rig").WithMetadata(mark);
        var endpoints = ((IEndpointRouteBuilder)app).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>().ToArray();
        var names = endpoints.Select(endpoint => endpoint.RoutePattern.RawText!).ToArray();
        Assert.That(names, Does.Contain("/ma.streaming.api.v1.PacketWriterService/WriteDataPackets").And.Contain("/ma.streaming.api.v1.PacketReaderService/ReadPackets").And.Contain("/metrics"));
        Assert.That(names.Contains("/grpc.health.v1.Health/Check"), Is.EqualTo(healthAndReflection));
        Assert.That(names.Count(name => name.StartsWith("/ma.streaming", StringComparison.Ordinal)), Is.GreaterThanOrEqualTo(servicesLeast));
        Assert.That(endpoints.Where(endpoint => !endpoint.Metadata.Contains(mark)).Select(endpoint => endpoint.RoutePattern.RawText), Is.Empty);
        Assert.That(() => app.MapStreamingApi(name: "rig"), Throws.InvalidOperationException.With.Message.Contains("once"));
        Assert.That(() => app.MapStreamingApi(name: "car"), Throws.InvalidOperationException.With.Message.Contains("'car'"));
    }

    [Test]
    public async Task MapStreamingApi_ReflectionOfTheApplication_StaysItsOwn()
    {
        await using var broker = new MemoryBroker();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2));
        var own = new ReflectionV1ServiceImpl(KeyGenerator.UniqueKeyGeneratorService.Descriptor);
        builder.Services.AddSingleton(own);
        builder.Services.AddStreamingApi(options => OnFreePorts(options, broker));
        await using var app = builder.Build();
        app.MapStreamingApi(healthAndReflection: false);
        app.MapGrpcService<ReflectionV1ServiceImpl>();
        await app.StartAsync(Limit);
        Assert.That(app.Services.GetRequiredService<ReflectionV1ServiceImpl>(), Is.SameAs(own));
        using var channel = GrpcChannel.ForAddress(app.Urls.Single());
        using var call = new ServerReflection.ServerReflectionClient(channel).ServerReflectionInfo(cancellationToken: Limit);
        await call.RequestStream.WriteAsync(new() { ListServices = "" }, Limit);
        Assert.That(await call.ResponseStream.MoveNext(Limit), Is.True);
        Assert.That(
            call.ResponseStream.Current.ListServicesResponse.Service.Select(service => service.Name),
            Is.EqualTo(new[] { KeyGenerator.UniqueKeyGeneratorService.Descriptor.FullName }));
        await call.RequestStream.CompleteAsync();
    }

    [Test]
    public async Task MapStreamingApi_AspNetCoreApplication_ServesOnItsPortBesideItsOwn()
    {
        var broker = new GatedBroker(new MemoryBroker()) { WatermarksFail = () => GatedBroker.Injected() };
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2));
        builder.Services.AddStreamingApi(options =>
        {
            options.Broker = broker;
            options.InitialisationTimeoutSeconds = 1;
            options.DrainTimeoutSeconds = 5;
        });
        await using var app = builder.Build();
        app.MapStreamingApi();
        app.MapStreamingApiDiagnostics();
        app.MapGet("/own", () => "the application's");
        await app.StartAsync(Limit);

        // It serves at once, but the Stream API has not caught up.
        var server = app.Services.GetRequiredService<StreamingApiServer>();
        using var channel = GrpcChannel.ForAddress(app.Urls.Single());
        var sessions = new SessionManagementService.SessionManagementServiceClient(channel);
        AssertFailure(
            await FailureOfAsync(async () => await sessions.CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: Limit)), StatusCode.Unavailable, "not ready");
        using var http = new HttpClient { BaseAddress = new Uri(app.Urls.Single()), DefaultRequestVersion = HttpVersion.Version20, DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact };
        Assert.That(await http.GetStringAsync("/own", Limit), Is.EqualTo("the application's"));
        Assert.That((await http.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.ServiceUnavailable));

        broker.WatermarksFail = null;
        await server.WaitUntilReadyAsync(Limit);
        Assert.That((await sessions.CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: Limit)).Success, Is.True);
        Assert.That((await http.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        Assert.That(server.Addresses.Concat(server.DiagnosticsAddresses), Is.Empty, "it opens no port of its own");

        // An open read does not hold up the application's stop.
        using var notifications = sessions.GetSessionStartNotification(new() { DataSource = "Car" }, cancellationToken: Limit);
        await notifications.ResponseHeadersAsync.WaitAsync(Limit);
        var stopping = app.StopAsync(Limit);
        AssertFailure(await FailureOfAsync(() => notifications.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable, "shutting down");
        await stopping.WaitAsync(TimeSpan.FromSeconds(5), Limit);
    }

    [Test]
    public void MapStreamingApi_WithoutAddStreamingApi_SaysWhatIsMissing()
    {
        var app = WebApplication.CreateSlimBuilder().Build();
        Assert.That(() => app.MapStreamingApi(), Throws.InvalidOperationException.With.Message.Contains("AddStreamingApi"));
    }

    [Test]
    public async Task Start_LogOwnedByAnother_IsNotReadyAndTriesAgain()
    {
        using var folder = new TemporaryFolder();
        var owner = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = folder.Path });
        await using var server = await NetworkServer.StartAsync(Limit, options => options.BrokerUrl = $"embedded:{folder.Path}");

        Assert.That(server.Server.State, Is.EqualTo(ServerState.Starting));
        Assert.That(server.Server.Addresses, Is.Empty, "the gRPC port opens when it has caught up");
        Assert.That((await server.Diagnostics.GetAsync("/healthz/live", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        var ready = await server.Diagnostics.GetAsync("/healthz/ready", Limit);
        Assert.That(ready.StatusCode, Is.EqualTo(HttpStatusCode.ServiceUnavailable));
        Assert.That(await ready.Content.ReadAsStringAsync(Limit), Does.Contain(folder.Path).And.Contain("one process"));

        await owner.DisposeAsync();
        await server.Server.WaitUntilReadyAsync(Limit);
        Assert.That((await server.Diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        Assert.That((await server.Sessions.CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: Limit)).Success, Is.True);
    }

    [Test]
    public async Task Stop_WhileTryingToStart_LeavesNothingRunning()
    {
        using var folder = new TemporaryFolder();
        await using var owner = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = folder.Path });
        var server = await NetworkServer.StartAsync(Limit, options => options.BrokerUrl = $"embedded:{folder.Path}");
        var waiting = server.Server.WaitUntilReadyAsync(Limit);
        await server.Server.StopAsync(Limit);
        Assert.That(server.Server.State, Is.EqualTo(ServerState.Stopped));
        await Assert.CatchAsync<OperationCanceledException>(() => waiting);
    }

    [Test]
    public async Task Stop_InTheMiddleOfTheStart_LeavesNoPortOpen()
    {
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner) { WatermarksFail = () => GatedBroker.Injected() }; // The first try takes its second.
        var options = NetworkServer.OnFreePorts();
        options.Broker = broker;
        await using var server = new StreamingApiServer(options);
        var starting = server.StartAsync(Limit);
        await Until.TrueAsync(() => Task.FromResult(server.DiagnosticsAddresses.Count > 0), Limit);
        var port = new Uri(server.DiagnosticsAddresses.Single()).Port;
        await server.StopAsync(Limit);
        await Assert.CatchAsync<OperationCanceledException>(() => starting);
        Assert.That(server.State, Is.EqualTo(ServerState.Stopped));
        using var client = new TcpClient();
        await Assert.ThrowsAsync<SocketException>(async () => await client.ConnectAsync(IPAddress.Loopback, port, Limit));
        await Assert.ThrowsAsync<InvalidOperationException>(() => server.StartAsync(Limit));
    }

    [TestCase("StreamApiPort")]
    [TestCase("PrometheusMetricPort")]
    public async Task Start_PortInUse_FailsWithTheSettingAndThePort(string key)
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var failure = (await Assert.ThrowsAsync<PortException>(() => NetworkServer.StartAsync(Limit, options =>
        {
            options.BindAddress = "127.0.0.1";
            if (key == "StreamApiPort") options.StreamApiPort = port;
            else options.PrometheusMetricPort = port;
        })))!;
        Assert.That(failure.Message, Does.Contain($"{key} {port}").And.Contain("another program uses it"));
    }

    [Test]
    public async Task Start_AutoStartOff_ServesMetricsAndHealthOnlyAndIsNotReady()
    {
        await using var server = await NetworkServer.StartAsync(Limit, options => options.AutoStart = false);
        Assert.That(server.Server.Addresses, Is.Empty);
        Assert.That((await server.Diagnostics.GetAsync("/healthz/live", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        Assert.That((await server.Diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.ServiceUnavailable));
        Assert.That((await server.Diagnostics.GetAsync("/metrics", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
    }

    [Test]
    public async Task Options_ChangedAfterwards_DoNotReachTheServer()
    {
        var options = NetworkServer.OnFreePorts();
        await using var server = new StreamingApiServer(options);
        options.BrokerUrl = "nonsense";
        await server.StartAsync(Limit);
        Assert.That(server.State, Is.EqualTo(ServerState.Ready));
    }

    private static void OnFreePorts(StreamingApiServerOptions options, IBroker broker)
    {
        options.Broker = broker;
        options.StreamApiPort = 0;
        options.PrometheusMetricPort = 0;
    }

    // Development: the container checks every service when it is built.
    private static IHost BuildHost(Action<IServiceCollection> add)
    {
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { EnvironmentName = Environments.Development });
        builder.ConfigureContainer(new DefaultServiceProviderFactory(new ServiceProviderOptions { ValidateOnBuild = true, ValidateScopes = true }));
        add(builder.Services);
        return builder.Build();
    }

    /// <summary>Keeps categories and lines.</summary>
    private sealed class CategoryLog : ILoggerProvider, ILogger
    {
        private readonly ConcurrentQueue<string> _categories = new();
        private readonly ConcurrentQueue<string> _lines = new();

        public IReadOnlyCollection<string> Categories => _categories;

        public IReadOnlyCollection<string> Lines => _lines;

        public ILogger CreateLogger(string categoryName)
        {
            _categories.Enqueue(categoryName);
            return this;
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            _lines.Enqueue(formatter(state, exception));

        public void Dispose()
        {
        }
    }
}
