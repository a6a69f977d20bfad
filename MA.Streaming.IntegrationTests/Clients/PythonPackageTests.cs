using System.Diagnostics;
using System.IO.Compression;
using System.Text.RegularExpressions;
using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Samples;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The wheel of clients/python, installed as a user does.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
public sealed partial class PythonPackageTests
{
    private readonly WorkingFolder _packages = new();
    private DebianPython _python = null!;
    private string _wheel = "";

    [OneTimeSetUp]
    public async Task MakeIt()
    {
        if (await DebianPython.FindAsync() is not { } python)
        {
            Assert.Ignore(DebianPython.Missing);
            return;
        }

        _python = python;
        _wheel = await PackAsync();
    }

    [OneTimeTearDown]
    public void RemoveIt() => _packages.Dispose();

    [Test]
    public void Wheel_Holds_GeneratedCodeAndTypesAndNoTests()
    {
        using var archive = ZipFile.OpenRead(_wheel);
        var files = archive.Entries.Select(entry => entry.FullName).ToList();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(Path.GetFileName(_wheel), Is.EqualTo($"ma_streaming-{ClientPackages.PythonVersion}-py3-none-any.whl"));
            Assert.That(files, Is.SupersetOf(new[]
            {
                "ma/py.typed", "ma/streaming/api/v1/api_pb2.py", "ma/streaming/api/v1/api_pb2.pyi", "ma/streaming/api/v1/api_pb2_grpc.py",
                "ma/streaming/api/v1/api_pb2_grpc.pyi", "ma/streaming/open_data/v1/open_data_pb2.py", "ma/streaming/open_data/v1/open_data_pb2.pyi",
                "stream_api/client.py", "stream_api/py.typed", "stream_reader_sqlrace/atlas_session_writer.py", "stream_reader_sqlrace/py.typed",
            }));
            Assert.That(files, Has.None.Contains("test").IgnoreCase.And.None.Contains("generate").And.None.Contains("setup"));
        }
    }

    [TestCase("3.1.0", "3.1.0")]
    [TestCase("3.1.0-rc.2", "3.1.0rc2")]
    [TestCase("3.1.0-beta.2.17+0123abc", "3.1.0b2.post17")]
    public async Task Wheel_VersionOfTheNuGetPackages_IsThatVersion(string version, string python) =>
        Assert.That(Path.GetFileName(await PackAsync("--version", version)), Is.EqualTo($"ma_streaming-{python}-py3-none-any.whl"));

    [Test]
    public void Wheel_VersionThatIsNone_IsRefused() =>
        Assert.That(
            async () => await PackAsync("--version", "3.x"),
            Throws.InvalidOperationException.With.Message.Contains("'3.x' is not allowed; expected a version of the NuGet packages"));

    [Test]
    public async Task Wheel_InAnEmptyEnvironment_RunsTheReadme()
    {
        using var folder = new WorkingFolder();
        await ForeignTests.RunAsync(_python.Start("", "-m", "venv", "--without-pip", "--system-site-packages", folder.Path));
        var interpreter = Path.Combine(folder.Path, "bin", "python");
        await ForeignTests.RunAsync(_python.StartProgram(interpreter, "", "-m", "pip", "install", "--no-index", _wheel));
        await RunReadmeAsync(interpreter);
    }

    [Test]
    public async Task Install_ByTheCommandOfTheReadme_RunsTheReadme()
    {
        if (!_python.IsOfSystem || !await ForeignTests.WorksAsync(_python.Start("", "-c", "import ensurepip")))
        {
            Assert.Ignore("Debian's packages for Python, with python3-venv, are not installed, and a test installs nothing into the system");
            return;
        }

        using var folder = new WorkingFolder();
        await ForeignTests.RunAsync(new ProcessStartInfo(Path.Combine(ForeignTests.Folder("python"), "install"), [folder.Path]));
        await RunReadmeAsync(Path.Combine(folder.Path, "bin", "python"));
    }

    private async Task<string> PackAsync(params string[] options)
    {
        var pack = _python.StartProgram(ClientPackages.Script, "", [.. options, "--out", _packages.Path, "python"]);
        return (await ForeignTests.RunAsync(pack)).Trim();
    }

    /// <summary>Runs the programs of the README, one after the other, in a folder where there is nothing else.</summary>
    private async Task RunReadmeAsync(string interpreter)
    {
        var readme = await File.ReadAllTextAsync(Path.Combine(ForeignTests.Folder("python"), "README.md"));
        var programs = Program().Matches(readme).Select(match => match.Groups["text"].Value).ToList();
        Assert.That(programs, Has.Count.EqualTo(2));

        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var broker = new MemoryBroker();
        var configuration = new StreamingApiConfiguration(StreamCreationStrategy.TopicBased, "memory:", []);
        await using var server = await StreamServer.StartAsync(Transport.Kestrel, configuration, broker, null, limit.Token);
        using var folder = new WorkingFolder();
        await File.WriteAllTextAsync(
            Path.Combine(folder.Path, "example.py"), string.Concat(programs).Replace("localhost:13579", server.Address, StringComparison.Ordinal), limit.Token);
        var run = _python.StartProgram(interpreter, "", "example.py");
        run.WorkingDirectory = folder.Path;
        var output = await ForeignTests.RunAsync(run);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(output, Does.Contain("2025-03-16 15:00:00.010000+00:00 {'vCar': 72.1}"));
            Assert.That(File.Exists(Path.Combine(folder.Path, "sessions.sqlite")));
        }
    }

    [GeneratedRegex(@"^```python\n(?<text>.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Program();
}
