using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>The program as a service manager runs it: started with settings from everywhere, stopped with signals.</summary>
[Parallelizable(ParallelScope.Self)]
[Platform(Exclude = "Win", Reason = "signals are those of Unix")]
internal sealed class ServeTests
{
    private static readonly string[] FreePorts = ["--port", "0", "--metric-port", "0"];

    private TemporaryFolder _folder = null!;
    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void Start()
    {
        _folder = new TemporaryFolder();
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
    }

    [TearDown]
    public void Stop()
    {
        _limit.Dispose();
        _folder.Dispose();
    }

    [TestCase(PosixSignal.SIGTERM)]
    [TestCase(PosixSignal.SIGINT)]
    public async Task Serve_WithoutConfiguration_KeepsWhatIsWrittenAndStopsCleanly(PosixSignal signal)
    {
        using (var first = Serve(FreePorts))
        {
            using var channel = GrpcChannel.ForAddress(await first.GrpcAddressAsync(Limit));
            Assert.That(await first.SaysAsync("Packets are kept in (.*)", Limit), Is.EqualTo($"embedded:{Path.Combine(_folder.Path, "stream-api-data")}"));
            Assert.That(first.Output, Does.Match("warn: .*Configs/AppConfig.json"), "that there is no file is said");
            var sessions = new SessionManagementService.SessionManagementServiceClient(channel);
            await sessions.CreateSessionAsync(new() { DataSource = "Car", SessionKey = "run", Identifier = "First" }, cancellationToken: Limit);
            using var starts = sessions.GetSessionStartNotification(new() { DataSource = "Car" }, cancellationToken: Limit);
            await starts.ResponseHeadersAsync.WaitAsync(Limit);

            first.Signal(signal);
            AssertFailure(await FailureOfAsync(() => starts.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable, "shutting down");
            Assert.That(await first.EndAsync(Limit), Is.Zero, first.Output);
        }

        using var second = Serve(FreePorts);
        using var again = GrpcChannel.ForAddress(await second.GrpcAddressAsync(Limit));
        var info = await new SessionManagementService.SessionManagementServiceClient(again).GetSessionInfoAsync(new() { SessionKey = "run" }, cancellationToken: Limit);
        Assert.That(info.Identifier, Is.EqualTo("First"));
        second.Signal(PosixSignal.SIGTERM);
        Assert.That(await second.EndAsync(Limit), Is.Zero, second.Output);
    }

    [TestCase(PosixSignal.SIGTERM, 143)]
    [TestCase(PosixSignal.SIGINT, 130)]
    [Timing]
    public async Task Serve_SecondSignal_EndsAtOnce(PosixSignal signal, int exitCode)
    {
        using var process = Serve([.. FreePorts, "--broker", "memory:"]);
        using var channel = GrpcChannel.ForAddress(await process.GrpcAddressAsync(Limit), new GrpcChannelOptions { MaxReceiveMessageSize = null });
        var writer = new PacketWriterService.PacketWriterServiceClient(channel);
        for (var i = 0; i < 40; i++) await writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket(new string('x', 500_000))) }, cancellationToken: Limit);
        var connection = (await new ConnectionManagerService.ConnectionManagerServiceClient(channel).NewConnectionAsync(
            new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)).Connection;
        using var unread = new PacketReaderService.PacketReaderServiceClient(channel).ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        await unread.ResponseHeadersAsync.WaitAsync(Limit);
        using var diagnostics = new HttpClient { BaseAddress = new Uri(await process.MetricsAddressAsync(Limit)) };
        await Until.TrueAsync(async () => (await diagnostics.GetStringAsync("/metrics", Limit)).Contains("\nstream_api_reads_behind 1\n", StringComparison.Ordinal), Limit);

        // A client that does not take its response keeps the first stop waiting for seconds.
        process.Signal(signal);
        await process.SaysAsync("Stopping: open calls have 30 s", Limit);
        var begun = TimeProvider.System.GetTimestamp();
        process.Signal(signal);
        Assert.That(await process.EndAsync(Limit), Is.EqualTo(exitCode), process.Output);
        Assert.That(TimeProvider.System.GetElapsedTime(begun), Is.LessThan(TimeSpan.FromSeconds(4)));
    }

    [Test]
    public async Task Serve_Settings_CommandLineOverEnvironmentOverFile()
    {
        _folder.File("Configs/AppConfig.json", """
            { "BrokerUrl": "memory:", "StreamApiPort": 0, "PrometheusMetricPort": 1, "BindAddress": "127.0.0.2", "EnableMetrics": false,
              "Limits": { "ConnectionsMax": 1 }, "StreamApiPrt": 5 }
            """);
        using var process = Serve(
            ["--set", "Limits.ConnectionsMax=2", "--set", "DrainTimeoutSeconds=7"],
            new() { ["PROMETHEUS_METRIC_PORT"] = "0", ["BIND_ADDRESS"] = "127.0.0.3" });
        using var channel = GrpcChannel.ForAddress(await process.GrpcAddressAsync(Limit));
        Assert.That(channel.Target, Does.StartWith("127.0.0.3:"), "the environment stands over the file");
        Assert.That(await process.SaysAsync("StreamApiPrt is not known.*: (\\w+)", Limit), Is.EqualTo("StreamApiPort"));
        var connections = new ConnectionManagerService.ConnectionManagerServiceClient(channel);
        for (var i = 0; i < 2; i++) await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit);
        AssertFailure(
            await FailureOfAsync(async () => await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)),
            StatusCode.ResourceExhausted,
            "allowed are 2");
        using var diagnostics = new HttpClient { BaseAddress = new Uri(await process.MetricsAddressAsync(Limit)) };
        Assert.That((await diagnostics.GetAsync("/metrics", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.NotFound), "EnableMetrics is false");
        Assert.That((await diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        process.Signal(PosixSignal.SIGTERM);
        await process.SaysAsync("open calls have 7 s", Limit);
        Assert.That(await process.EndAsync(Limit), Is.Zero);
    }

    [Test]
    public async Task Serve_ConfigPathOfTheEnvironment_IsRead()
    {
        var path = _folder.File("elsewhere/my.json", """{ "BrokerUrl": "memory:", "StreamApiPort": 0, "PrometheusMetricPort": 0, "EnableLogging": false }""");
        using var process = Serve([], new() { ["CONFIG_PATH"] = path });
        await process.SaysAsync("Configuration from (.*my.json)", Limit);
        process.Signal(PosixSignal.SIGTERM);
        Assert.That(await process.EndAsync(Limit), Is.Zero);
        Assert.That(process.Output, Does.Not.Contain("Serving"), "EnableLogging is false: errors only");
    }

    [Test]
    public async Task Serve_AutoStartOff_StaysUpNotReady()
    {
        using var process = Serve([.. FreePorts, "--broker", "memory:"], new() { ["AUTO_START"] = "false" });
        using var diagnostics = new HttpClient { BaseAddress = new Uri(await process.MetricsAddressAsync(Limit)) };
        Assert.That((await diagnostics.GetAsync("/healthz/live", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        Assert.That((await diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.ServiceUnavailable));
        process.Signal(PosixSignal.SIGTERM);
        Assert.That(await process.EndAsync(Limit), Is.Zero, process.Output);
        Assert.That(process.Output, Does.Not.Contain("Serving gRPC"));
    }

    [Test]
    public async Task Serve_LogOwnedByAnotherServer_WaitsNotReady()
    {
        using var owner = Serve(FreePorts);
        await owner.GrpcAddressAsync(Limit);
        using var second = Serve(FreePorts);
        await second.SaysAsync("Not ready; trying again", Limit);
        using var diagnostics = new HttpClient { BaseAddress = new Uri(await second.MetricsAddressAsync(Limit)) };
        Assert.That((await diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.ServiceUnavailable));

        owner.Signal(PosixSignal.SIGTERM);
        Assert.That(await owner.EndAsync(Limit), Is.Zero);
        await second.GrpcAddressAsync(Limit);
        Assert.That((await diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        second.Signal(PosixSignal.SIGTERM);
        Assert.That(await second.EndAsync(Limit), Is.Zero);
    }

    [Test]
    public async Task Serve_Mistakes_EndWithTheirExitCodesAndSayWhatIsAllowed()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var broken = _folder.File("broken.json", "{ \"StreamApiPort\": \"abc\" }");
        Directory.CreateDirectory(Path.Combine(_folder.Path, "nolog"));
        File.WriteAllText(Path.Combine(_folder.Path, "nolog", "meta"), "not a log");
        (int ExitCode, string[] Arguments, string[] Words)[] mistakes =
        [
            (2, ["serve", "--prot", "5"], ["--prot", "serve --help"]),
            (2, ["serve", "--port", "abc"], ["abc"]),
            (2, ["serve", "--data", "a", "--broker", "memory:"], ["--data", "--broker"]),
            (2, ["serve", "--set", "novalue"], ["KEY=VALUE"]),
            (2, ["nosuch"], ["nosuch"]),
            (3, ["serve", "--config", "none.json"], ["CONFIG_PATH", "none.json"]),
            (3, ["serve", "--config", broken], ["StreamApiPort", "'abc'", "0 to 65535"]),
            (3, ["serve", "--set", "BrokerURI=x:1"], ["BrokerURI", "BrokerUrl"]),
            (3, ["serve", "--bind", "everywhere"], ["BindAddress", "everywhere"]),
            (3, ["serve", .. FreePorts, "--broker", "nonsense"], ["BrokerUrl", "'nonsense'"]),
            (4, ["serve", "--broker", "memory:", "--bind", "127.0.0.1", "--metric-port", "0", "--port", $"{port}"], [$"StreamApiPort {port}", "another program"]),
            (5, ["serve", .. FreePorts, "--data", "nolog"], ["nolog"]),
        ];

        // Two at a time: each is a process.
        foreach (var pair in mistakes.Chunk(2))
        {
            var runs = await Task.WhenAll(pair.Select(mistake => ToolProcess.RunAsync(_folder.Path, Limit, mistake.Arguments)));
            foreach (var ((exitCode, arguments, words), run) in pair.Zip(runs))
            {
                Assert.That(run.ExitCode, Is.EqualTo(exitCode), $"{string.Join(' ', arguments)}\n{run.Output}");
                foreach (var word in words) Assert.That(run.Output, Does.Contain(word));
                Assert.That(run.Output, Does.Not.Contain("   at "), "no stack trace");
            }
        }
    }

    private ToolProcess Serve(string[] arguments, Dictionary<string, string>? environment = null) => ToolProcess.Start(_folder.Path, ["serve", .. arguments], environment);
}
