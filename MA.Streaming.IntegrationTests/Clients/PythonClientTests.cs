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
    private readonly ForeignTests _tests = new();

    public static IEnumerable<string> Names { get; } =
        [.. ForeignTests.NamesIn(Path.Combine(ForeignTests.Folder("python"), "tests"), "test_*.py", TestMethod())];

    [OneTimeSetUp]
    public async Task RunThem()
    {
        if (await DebianPython.FindAsync() is not { } python)
        {
            Assert.Ignore(DebianPython.Missing);
            return;
        }

        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var broker = new MemoryBroker();
        var configuration = new StreamingApiConfiguration(
            strategy, "memory:", [new("Chassis", 1), new("Laps", 2), new("Car", 3), new("one", 4), new("two", 5)], batchingResponses: batching);
        await using var server = await StreamServer.StartAsync(Transport.Kestrel, configuration, broker, null, limit.Token);
        using var generated = new WorkingFolder();
        await ForeignTests.RunAsync(python.Start("", Path.Combine(ForeignTests.Folder("python"), "generate.py"), "--out", generated.Path));
        var run = python.Start(generated.Path, Path.Combine(ForeignTests.Folder("python"), "tests", "run.py"));
        run.Environment["STREAM_API_ADDRESS"] = server.Address;
        await _tests.RunTestsAsync(run);
    }

    [TestCaseSource(nameof(Names))]
    public void Client_OfPython_Passes(string test) => _tests.AssertPassed(test);

    [GeneratedRegex(@"^ +def (?<name>test_\w+)\(self")]
    private static partial Regex TestMethod();
}
