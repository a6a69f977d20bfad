using System.Diagnostics;
using System.Text.RegularExpressions;
using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Samples;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The tests of clients/python, with code generated from the protocol as it is, against a server.</summary>
[TestFixture(StreamCreationStrategy.TopicBased, false)]
[TestFixture(StreamCreationStrategy.PartitionBased, true)]
[Parallelizable(ParallelScope.Self)]
public sealed partial class PythonClientTests(StreamCreationStrategy strategy, bool batching)
{
    private const string Python = "/usr/bin/python3";
    private static readonly Lazy<Task<string?>> Unpacked = new(FindAsync);

    private readonly ForeignTests _tests = new();

    public static IEnumerable<string> Names { get; } =
        [.. ForeignTests.NamesIn(Path.Combine(ForeignTests.Folder("python"), "tests"), "test_*.py", TestMethod())];

    [OneTimeSetUp]
    public async Task RunThem()
    {
        if (await Unpacked.Value is not { } root)
        {
            Assert.Ignore($"{Python} with grpcio and protobuf, or protoc with its plugin for Python, is not there: eng/install-clients installs them");
            return;
        }

        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var broker = new MemoryBroker();
        var configuration = new StreamingApiConfiguration(
            strategy, "memory:", [new("Chassis", 1), new("Laps", 2), new("Car", 3), new("one", 4), new("two", 5)], batchingResponses: batching);
        await using var server = await StreamServer.StartAsync(Transport.Kestrel, configuration, broker, null, limit.Token);
        using var generated = new WorkingFolder();
        await ForeignTests.RunAsync(Start(root, "", Path.Combine(ForeignTests.Folder("python"), "generate.py"), "--out", generated.Path));
        var run = Start(root, generated.Path, Path.Combine(ForeignTests.Folder("python"), "tests", "run.py"));
        run.Environment["STREAM_API_ADDRESS"] = server.Address;
        await _tests.RunTestsAsync(run);
    }

    [TestCaseSource(nameof(Names))]
    public void Client_OfPython_Passes(string test) => _tests.AssertPassed(test);

    /// <summary>Where the packages are: "" for the system, the folder of unpacked ones, or null for nowhere.</summary>
    private static async Task<string?> FindAsync()
    {
        foreach (var root in new[] { "", Path.Combine(ForeignTests.Cache, "debian") })
        {
            var probe = Start(root, "", "-c", "import grpc, google.protobuf, shutil, sys; sys.exit(not (shutil.which('protoc') and shutil.which('grpc_python_plugin')))");
            if (await ForeignTests.WorksAsync(probe)) return root;
        }

        return null;
    }

    private static ProcessStartInfo Start(string root, string path, params string[] arguments)
    {
        var start = new ProcessStartInfo(Python, arguments);
        start.Environment["PYTHONDONTWRITEBYTECODE"] = "1";
        start.Environment["PYTHONPATH"] = path;
        if (root.Length == 0) return start;
        var libraries = Directory.Exists($"{root}/usr/lib") ? Directory.GetDirectories($"{root}/usr/lib", "*-linux-gnu*") : [];
        start.Environment["PYTHONPATH"] = $"{path}:{root}/usr/lib/python3/dist-packages";
        start.Environment["PATH"] = $"{root}/usr/bin:{Environment.GetEnvironmentVariable("PATH")}";
        start.Environment["LD_LIBRARY_PATH"] = string.Join(':', libraries);
        return start;
    }

    [GeneratedRegex(@"^ +def (?<name>test_\w+)\(self")]
    private static partial Regex TestMethod();
}
