using System.Diagnostics;
using System.Formats.Tar;
using System.IO.Compression;
using System.Text.RegularExpressions;
using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Samples;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The npm package of clients/node, installed into an empty folder as a user does.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
public sealed partial class NodePackageTests
{
    private readonly WorkingFolder _packages = new();
    private readonly WorkingFolder _project = new();
    private string _package = "";

    [OneTimeSetUp]
    public async Task InstallIt()
    {
        if (!await NodePackages.AreThereAsync())
        {
            Assert.Ignore(NodePackages.Missing);
            return;
        }

        _package = await PackAsync();
        await RunAsync("npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", NodePackages.NpmCache, _package);
    }

    [OneTimeTearDown]
    public void RemoveIt()
    {
        _project.Dispose();
        _packages.Dispose();
    }

    [Test]
    public async Task Package_Holds_ProtosAndTypesAndNoTests()
    {
        var files = new List<string>();
        await using var compressed = File.OpenRead(_package);
        await using var archive = new TarReader(new GZipStream(compressed, CompressionMode.Decompress));
        while (await archive.GetNextEntryAsync() is { } entry) files.Add(entry.Name);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Path.GetFileName(_package), Is.EqualTo($"ma-streaming-{ClientPackages.NodeVersion}.tgz"));
            Assert.That(files, Is.SupersetOf(new[]
            {
                "package/index.js", "package/index.d.ts", "package/protocol.d.ts", "package/README.md",
                "package/proto/ma/streaming/api/v1/api.proto", "package/proto/ma/streaming/open_data/v1/open_data.proto",
            }));
            Assert.That(files, Has.None.Contains("test").IgnoreCase.And.None.Contains("generate"));
        }
    }

    [Test]
    public async Task Package_VersionOfTheNuGetPackages_IsThatVersion() =>
        Assert.That(Path.GetFileName(await PackAsync("--version", "3.1.0-beta.2.17+0123abc")), Is.EqualTo("ma-streaming-3.1.0-beta.2.17.tgz"));

    [Test]
    public async Task Package_InAnEmptyFolder_RunsTheReadme()
    {
        var readme = await File.ReadAllTextAsync(Path.Combine(ForeignTests.Folder("node"), "README.md"));
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var broker = new MemoryBroker();
        var configuration = new StreamingApiConfiguration(StreamCreationStrategy.TopicBased, "memory:", []);
        await using var server = await StreamServer.StartAsync(Transport.Kestrel, configuration, broker, null, limit.Token);
        var program = Program().Match(readme).Groups["text"].Value;
        Assert.That(program, Does.Contain("localhost:13579"));
        await File.WriteAllTextAsync(
            Path.Combine(_project.Path, "example.js"), program.Replace("localhost:13579", server.Address, StringComparison.Ordinal), limit.Token);
        Assert.That(await RunAsync("node", "example.js"), Is.EqualTo("Laps Lap 1\n"));
    }

    [Test]
    public async Task Types_ProgramsThatUseThem_CompileAndMistakesDoNot()
    {
        File.Copy(Path.Combine(ForeignTests.Folder("node"), "test", "types.ts"), Path.Combine(_project.Path, "types.ts"));
        var compiler = Path.Combine(NodePackages.Modules, "typescript", "bin", "tsc");
        Assert.That(await RunAsync("node", compiler, "--noEmit", "--strict", "--target", "es2022", "--module", "node16", "types.ts"), Is.Empty);
    }

    private async Task<string> PackAsync(params string[] options)
    {
        var pack = new ProcessStartInfo(ClientPackages.Script, [.. options, "--out", _packages.Path, "node"]);
        pack.Environment["NODE_PATH"] = NodePackages.Modules;
        return (await ForeignTests.RunAsync(pack)).Trim();
    }

    private Task<string> RunAsync(string program, params string[] arguments) =>
        ForeignTests.RunAsync(new ProcessStartInfo(program, arguments) { WorkingDirectory = _project.Path });

    [GeneratedRegex(@"^```js\n(?<text>.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Program();
}
