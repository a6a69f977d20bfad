using System.Diagnostics;
using System.Text.RegularExpressions;
using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The tests of clients/node against a server.</summary>
[TestFixture(StreamCreationStrategy.TopicBased, false)]
[TestFixture(StreamCreationStrategy.PartitionBased, true)]
[Parallelizable(ParallelScope.Self)]
public sealed partial class NodeClientTests(StreamCreationStrategy strategy, bool batching)
{
    private readonly ForeignTests _tests = new();

    public static IEnumerable<string> Names { get; } =
        [.. ForeignTests.NamesIn(Path.Combine(ForeignTests.Folder("node"), "test"), "*.test.js", TestCall())];

    [OneTimeSetUp]
    public async Task RunThem()
    {
        if (!await NodePackages.AreThereAsync())
        {
            Assert.Ignore(NodePackages.Missing);
            return;
        }

        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var broker = new MemoryBroker();
        var configuration = new StreamingApiConfiguration(strategy, "memory:", [new("Chassis", 1), new("Laps", 2)], batchingResponses: batching);
        await using var server = await StreamServer.StartAsync(Transport.Kestrel, configuration, broker, null, limit.Token);
        var run = new ProcessStartInfo("node", [Path.Combine(ForeignTests.Folder("node"), "test", "run.js")]);
        run.Environment["NODE_PATH"] = NodePackages.Modules;
        run.Environment["STREAM_API_ADDRESS"] = server.Address;
        await _tests.RunTestsAsync(run);
    }

    [TestCaseSource(nameof(Names))]
    public void Client_OfNode_Passes(string test) => _tests.AssertPassed(test);

    [GeneratedRegex("^test\\('(?<name>[^']+)'")]
    private static partial Regex TestCall();
}
