using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>doctor finds what is wrong, and only that.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class DoctorTests
{
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

    [Test]
    public async Task Doctor_NothingWrong_SaysSoInWordsAndChangesNothing()
    {
        var (exitCode, output) = await ToolProcess.RunAsync(_folder.Path, Limit, "doctor", "--port", "0", "--metric-port", "0");
        Assert.That(exitCode, Is.Zero, output);
        Assert.That(output, Does.Contain("stream-api-data is not there yet").And.Contain("Nothing keeps the server from working."));
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty);
    }

    [Test]
    public async Task Doctor_GoodLog_CountsWhatIsInIt()
    {
        var directory = Path.Combine(_folder.Path, "data");
        await using (var broker = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = directory }))
        {
            await broker.AppendForeignAsync("Car", "key", new byte[100], Limit);
            await broker.AppendForeignAsync("Car", "key", new byte[100], Limit);
        }

        var report = await JsonAsync(0, "--data", "data");
        Assert.That(Of(report, "log").Found, Does.Contain("1 topics, 2 records"));
    }

    [Test]
    public async Task Doctor_DamagedLog_NamesWhatIsLost()
    {
        var directory = Path.Combine(_folder.Path, "data");
        await using (var broker = await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = directory }))
        {
            for (var i = 0; i < 20; i++) await broker.AppendForeignAsync("Car", "key", Enumerable.Repeat((byte)'x', 10_000).ToArray(), Limit);
        }

        var segment = Directory.EnumerateFiles(directory, "*", SearchOption.AllDirectories).Where(file => new FileInfo(file).Length > 0 && File.ReadAllBytes(file).AsSpan().Count((byte)'x') > 100_000)
            .First(file => file.Contains("Car", StringComparison.OrdinalIgnoreCase) || !file.Contains("journal", StringComparison.Ordinal));
        var bytes = await File.ReadAllBytesAsync(segment, Limit);
        bytes[bytes.Length / 2] ^= 0xff;
        await File.WriteAllBytesAsync(segment, bytes, Limit);

        var report = await JsonAsync(1, "--data", "data");
        var log = Of(report, "log");
        Assert.That(log.Outcome, Is.EqualTo("problem"));
        Assert.That(log.Found, Does.Contain("damaged"));
        Assert.That(log.Advice, Is.Not.Empty);
        Assert.That(report.Select(finding => finding.Check), Does.Contain("disk"));
        Assert.That((await JsonAsync(0, "--data", "data", "--quick")).Select(finding => finding.Check), Does.Not.Contain("log"));
    }

    [Test]
    public async Task Doctor_PortOfAnotherProgram_IsAProblemWithAdvice()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var finding = Of(await JsonAsync(1, "--broker", "memory:", "--port", $"{port}"), "StreamApiPort");
        Assert.That(finding.Outcome, Is.EqualTo("problem"));
        Assert.That(finding.Found, Does.Contain($"{port}").And.Contain("another program"));
        Assert.That(finding.Advice, Does.Contain("--port"));
    }

    [Test]
    public async Task Doctor_BesideItsRunningServer_FindsThePortsInGoodHands()
    {
        using var server = ToolProcess.Start(_folder.Path, ["serve", "--bind", "127.0.0.1", "--port", "0", "--metric-port", "0"]);
        var port = new Uri(await server.GrpcAddressAsync(Limit)).Port;
        var metricPort = new Uri(await server.MetricsAddressAsync(Limit)).Port;
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{port}");
        await new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("x")) }, cancellationToken: Limit);

        var report = await JsonAsync(0, "--bind", "127.0.0.1", "--port", $"{port}", "--metric-port", $"{metricPort}");
        Assert.That(Of(report, "StreamApiPort").Found, Does.Contain("a Stream API server that runs here (ready)"));
        Assert.That(Of(report, "PrometheusMetricPort").Found, Does.Contain("a Stream API server that runs here"));
    }

    [Test]
    public async Task Doctor_BadSettings_AreOneProblem()
    {
        _folder.File("Configs/AppConfig.json", """{ "StreamApiPort": "abc" }""");
        var report = await JsonAsync(1);
        Assert.That(report.Single().Check, Is.EqualTo("configuration"));
        Assert.That(report.Single().Found, Does.Contain("'abc'"));
        Assert.That(report.Single().Advice, Does.Contain("StreamApiPort"));
    }

    [Test]
    public async Task Doctor_UnknownKeyAndUnreachableKeyGenerator_AreToldApart()
    {
        _folder.File("Configs/AppConfig.json", """{ "BrokerUrl": "memory:", "EnableMetric": true, "UseRemoteKeyGenerator": true, "RemoteKeyGeneratorServiceAddress": "127.0.0.1:1", "StreamApiPort": 0 }""");
        var report = await JsonAsync(1, "--metric-port", "0");
        Assert.That(Of(report, "configuration"), Is.EqualTo(("configuration", "warning", Of(report, "configuration").Found, "")));
        Assert.That(Of(report, "configuration").Found, Does.Contain("EnableMetrics"));
        Assert.That(Of(report, "broker").Outcome, Is.EqualTo("warning"));
        Assert.That(Of(report, "key generator").Outcome, Is.EqualTo("problem"));
        Assert.That(Of(report, "key generator").Advice, Does.Contain("streamapi keygen"));
    }

    [Test]
    public async Task Help_OfEveryCommand_NamesItsOptions()
    {
        var (exitCode, root) = await ToolProcess.RunAsync(_folder.Path, Limit, "--help");
        Assert.That(exitCode, Is.Zero);
        Assert.That(root, Does.Contain("serve").And.Contain("keygen").And.Contain("doctor").And.Contain("Exit codes"));
        var (_, serve) = await ToolProcess.RunAsync(_folder.Path, Limit, "serve", "--help");
        foreach (var word in new[] { "--config", "--broker", "--data", "--port", "--metric-port", "--bind", "--set", "--log-level", "CONFIG_PATH", "AUTO_START", "BIND_ADDRESS", "./stream-api-data", "13579", "10010" })
            Assert.That(serve, Does.Contain(word));
        var (_, keygen) = await ToolProcess.RunAsync(_folder.Path, Limit, "keygen", "--help");
        foreach (var word in new[] { "--port", "PORT", "15379", "--data" }) Assert.That(keygen, Does.Contain(word));
    }

    private static (string Check, string Outcome, string Found, string Advice) Of((string Check, string Outcome, string Found, string Advice)[] report, string check) =>
        report.Single(finding => finding.Check == check);

    private async Task<(string Check, string Outcome, string Found, string Advice)[]> JsonAsync(int exitCode, params string[] arguments)
    {
        var free = arguments.Contains("--port") || File.Exists(Path.Combine(_folder.Path, "Configs", "AppConfig.json")) ? Array.Empty<string>() : ["--port", "0"];
        var metric = arguments.Contains("--metric-port") ? Array.Empty<string>() : ["--metric-port", "0"];
        var run = await ToolProcess.RunAsync(_folder.Path, Limit, ["doctor", "--json", .. free, .. metric, .. arguments]);
        Assert.That(run.ExitCode, Is.EqualTo(exitCode), run.Output);
        using var json = JsonDocument.Parse(run.Output);
        Assert.That(json.RootElement.GetProperty("ok").GetBoolean(), Is.EqualTo(exitCode == 0));
        return
        [
            .. json.RootElement.GetProperty("findings").EnumerateArray().Select(finding => (
                finding.GetProperty("check").GetString()!, finding.GetProperty("outcome").GetString()!, finding.GetProperty("found").GetString()!, finding.GetProperty("advice").GetString()!)),
        ];
    }
}
