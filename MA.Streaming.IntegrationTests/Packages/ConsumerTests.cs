using System.IO.Compression;
using MA.Streaming.IntegrationTests.Tool;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Packages;

/// <summary>A program outside the tree that references the packages: it restores, builds without a warning, and runs.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class ConsumerTests
{
    private const string Kafka = "MA.Streaming.Broker.Kafka";

    private readonly PackageFeed _feed = new();
    private readonly CancellationTokenSource _limit = new(TimeSpan.FromMinutes(5));
    private string _project = "";

    [OneTimeSetUp]
    public async Task Build()
    {
        // The libraries that this run has built. The program is packed by PublishedPackageTests: its packages need builds of their own.
        foreach (var project in PackageFeed.PackableProjects.Where(project => !project.EndsWith("Tool.csproj", StringComparison.Ordinal)))
            await _feed.PackAsync(project, ["--no-build", "-c", ToolProcess.Configuration], _limit.Token);
        _project = _feed.Project("Customer", "MA.Streaming.Proto.Client.Local", QuickStart.Local, "<TreatWarningsAsErrors>true</TreatWarningsAsErrors>");
        await _feed.DotnetAsync(_project, _limit.Token, "build", "-v", "q", "-nologo", "-o", "out");
    }

    [OneTimeTearDown]
    public void End()
    {
        _feed.Dispose();
        _limit.Dispose();
    }

    [Test]
    public void Restore_OfThePackages_TookTheOnesUnderTestAndTheGenuineNativeLibrary()
    {
        Assert.That(Path.Combine(_feed.Cache, Kafka.ToLowerInvariant(), _feed.Version), Does.Exist);
        var native = new FileInfo(Path.Combine(_feed.Cache, "librdkafka.redist", "2.16.0", "runtimes", "linux-x64", "native", "librdkafka.so"));
        Assert.That(native, Does.Exist);
        Assert.That(native.Length, Is.GreaterThan(8_000_000));
    }

    [Test]
    public void KafkaPackage_Files_AreOursAlone()
    {
        using var package = ZipFile.OpenRead(_feed.PathOf(Kafka));
        Assert.That(package.Entries.Where(entry => entry.Name.Contains("rdkafka", StringComparison.Ordinal)), Is.Empty);
        Assert.That(new FileInfo(_feed.PathOf(Kafka)).Length, Is.LessThan(500_000));
    }

    [Test]
    public async Task Run_OnTheDurableLog_WritesAndReadsBack() => await RunAsync("embedded:");

    [Test]
    public async Task Run_OnKafka_WritesAndReadsBack() => await RunAsync(TestKafka.Servers);

    private async Task RunAsync(string broker)
    {
        var said = await _feed.DotnetAsync(_project, _limit.Token, "out/Customer.dll", broker);
        Assert.That(said, Does.StartWith("librdkafka 2.16.0\n").And.Match(QuickStart.Speeds));
    }
}
