using System.IO.Compression;
using System.Reflection.PortableExecutable;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using MA.Streaming.IntegrationTests.Samples;
using MA.Streaming.IntegrationTests.Tool;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Packages;

/// <summary>
/// The tests that need compilers and minutes: all packages as a release makes them, the program compiled ahead and installed, and programs that
/// are native as a whole. It builds apart from the tree's own output, so it disturbs no other test.
/// </summary>
[Category("Packages")]
[Category("Long")]
[Parallelizable(ParallelScope.Self)]
[Platform(Include = "Linux", Reason = "they are published for Linux")]
internal sealed class PublishedPackageTests
{
    private const string Tool = "MA.Streaming.Tool";

    private readonly PackageFeed _feed = new();
    private readonly TemporaryFolder _folder = new();
    private readonly CancellationTokenSource _limit = new(TimeSpan.FromMinutes(20));
    private string _tool = "";

    /// <summary>The name that packages have for this system.</summary>
    private static string System => RuntimeInformation.ProcessArchitecture == Architecture.X64 ? "linux-x64" : "linux-arm64";

    private static string[] Options(string artifacts) => ["-c", "Release", "--artifacts-path", artifacts, "-p:RestoreLockedMode=true"];

    [OneTimeSetUp]
    public async Task Pack()
    {
        foreach (var project in PackageFeed.PackableProjects) await _feed.PackAsync(project, Options(Artifacts), _limit.Token);
        var folder = _feed.Project("Installs", Tool, "");
        _tool = Path.Combine(_folder.Path, "tool");
        await _feed.DotnetAsync(folder, _limit.Token, "tool", "install", Tool, "--tool-path", _tool, "--version", _feed.Version, "--no-http-cache");
    }

    [OneTimeTearDown]
    public void End()
    {
        _feed.Dispose();
        _folder.Dispose();
        _limit.Dispose();
    }

    private string Artifacts => Path.Combine(_folder.Path, "artifacts");

    [Test]
    public async Task Publish_ForOneSystemInLockedMode_IsCompiledAhead()
    {
        var output = Path.Combine(_folder.Path, "published");
        await _feed.DotnetAsync(
            SampleProgram.Root,
            _limit.Token,
            ["publish", Path.Combine(SampleProgram.Root, Tool), "-v", "q", "-nologo", "-r", System, "-o", output, $"-p:MinVerVersionOverride={_feed.Version}", .. Options(Artifacts)]);
        Assert.That(IsCompiledAhead(await File.ReadAllBytesAsync(Path.Combine(output, "streamapi.dll"), _limit.Token)), Is.True);
        Assert.That(IsCompiledAhead(await File.ReadAllBytesAsync(Path.Combine(output, "MA.Streaming.Core.dll"), _limit.Token)), Is.True);
        Assert.That(await _feed.RunAsync(output, Path.Combine(output, "streamapi"), _limit.Token, "--help"), Does.Contain("serve"));
    }

    [Test]
    public void ToolPackages_OnePerSystem_AreCompiledAheadOrForAll()
    {
        Assert.That(IsCompiledAhead(ProgramIn($"{Tool}.linux-x64", "linux-x64")), Is.True);
        Assert.That(IsCompiledAhead(ProgramIn($"{Tool}.any", "any")), Is.False);
    }

    [Test]
    public async Task Tool_Installed_ServesAndStops()
    {
        using var server = Serve("serves");
        var address = await server.GrpcAddressAsync(_limit.Token);
        Assert.That(await _feed.RunAsync(_folder.Path, Path.Combine(_tool, "streamapi"), _limit.Token, "sessions", "Car", "--server", new Uri(address).Authority), Is.Not.Null);
        server.Signal(PosixSignal.SIGTERM);
        Assert.That(await server.EndAsync(_limit.Token), Is.Zero, server.Output);
    }

    [Test]
    public async Task NativeProgram_OfTheLocalClient_RunsOnTheDurableLogAndOnKafka()
    {
        var program = await NativeAsync("Local", "MA.Streaming.Proto.Client.Local", QuickStart.Local, ["Confluent.Kafka", "Serilog"]);
        string[] brokers = Environment.GetEnvironmentVariable(TestKafka.Variable) is { Length: > 0 } kafka ? ["embedded:", kafka] : ["embedded:"];
        foreach (var broker in brokers)
            Assert.That(await _feed.RunAsync(_folder.Path, program, _limit.Token, broker), Does.StartWith("librdkafka 2.").And.Match(QuickStart.Speeds));
        if (brokers.Length == 1) Assert.Ignore($"it runs on the durable log; no Kafka to test against: {TestKafka.Variable} is not set to its host:port");
    }

    [Test]
    public async Task NativeProgram_OfTheRemoteClient_TalksToTheInstalledTool()
    {
        var program = await NativeAsync("Remote", "MA.Streaming.Proto.Client.Remote", QuickStart.Remote, []);
        using var server = Serve("native");
        var address = await server.GrpcAddressAsync(_limit.Token);
        Assert.That(await _feed.RunAsync(_folder.Path, program, _limit.Token, new Uri(address).Authority), Does.Match(QuickStart.Speeds));
    }

    private static bool IsCompiledAhead(byte[] assembly)
    {
        using var reader = new PEReader(new MemoryStream(assembly));
        return reader.PEHeaders.CorHeader!.ManagedNativeHeaderDirectory.Size > 0;
    }

    private byte[] ProgramIn(string package, string system)
    {
        using var archive = ZipFile.OpenRead(_feed.PathOf(package));
        using var file = archive.GetEntry($"tools/net10.0/{system}/streamapi.dll")!.Open();
        using var bytes = new MemoryStream();
        file.CopyTo(bytes);
        return bytes.ToArray();
    }

    private ToolProcess Serve(string name) => ToolProcess.Start(
        Path.Combine(_tool, "streamapi"),
        ["serve", "--port", "0", "--data", Path.Combine(_folder.Path, name)],
        _folder.Path,
        new() { ["PROMETHEUS_METRIC_PORT"] = "0" });

    /// <summary>Publishes a program that is native as a whole. Only those assemblies may give warnings of what may not work.</summary>
    private async Task<string> NativeAsync(string name, string package, string text, string[] mayWarn)
    {
        if (!HasLinker) Assert.Ignore("a native program needs gcc or clang: eng/install-clients installs gcc");
        var project = _feed.Project(name, package, text, "<PublishAot>true</PublishAot><InvariantGlobalization>true</InvariantGlobalization>");
        var said = await _feed.DotnetAsync(project, _limit.Token, "publish", "-r", System, "-nologo", "-o", Path.Combine(project, "out"));
        var warned = Regex.Matches(said, @"warning IL\d+: Assembly '(?<name>[^']+)'|(?<name>\S+): (?:AOT|Trim) analysis warning").Select(warning => warning.Groups["name"].Value);
        Assert.That(warned.Where(assembly => !mayWarn.Contains(assembly)), Is.Empty, said);
        return Path.Combine(project, "out", name);
    }

    private static bool HasLinker => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Any(folder => File.Exists(Path.Combine(folder, "clang")) || File.Exists(Path.Combine(folder, "gcc")));
}
