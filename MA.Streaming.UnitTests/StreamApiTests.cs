using System.Diagnostics.Metrics;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Core.Routing;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NSubstitute;
using NUnit.Framework;

namespace MA.Streaming.UnitTests;

[TestFixture]
internal sealed class StreamApiTests
{
    [TearDown]
    public void Shutdown() => StreamingApiClient.Shutdown();

    [Test]
    public async Task StartAsync_NoProgress_FailsWithBrokerAndLastErrorAndLeavesNothing()
    {
        var clock = new ManualClock();
        await using var broker = new GatedBroker(new MemoryBroker())
        {
            BeforeAnswer = _ => throw new BrokerException(BrokerError.Unavailable, "nobody home"),
        };
        var starting = StreamApi.StartAsync(new StreamingApiConfiguration(), broker, new StreamApiOptions { Clock = clock });
        for (var i = 0; i < 100 && !starting.IsCompleted; i++)
        {
            await Task.WhenAny(starting, clock.TimersAsync(1)).WithDeadline();
            clock.Advance(TimeSpan.FromSeconds(1));
        }

        var exception = (await Assert.ThrowsAsync<InitialisationException>(async () => await starting.WithDeadline()))!;
        Assert.That(exception.Message, Does.Contain("memory:").And.Contain("nobody home").And.Contain("3 s"));
        Assert.That(clock.TimerCount, Is.Zero, "something is left running");
    }

    [Test]
    public async Task StartAsync_BothManagersOff_NeedsNoBroker()
    {
        await using var broker = new GatedBroker(new MemoryBroker()) { BeforeAnswer = token => Task.Delay(Timeout.Infinite, token) };
        var api = await StreamApi.StartAsync(
            new StreamingApiConfiguration(integrateSessionManagement: false, integrateDataFormatManagement: false), broker).WithDeadline();
        await api.DisposeAsync().WithDeadline();
    }

    [Test]
    public async Task Telemetry_Instruments_HaveTheDocumentedNames()
    {
        var names = new HashSet<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, _) =>
        {
            if (instrument.Meter.Name == "MA.Streaming") names.Add(instrument.Name);
        };
        listener.Start();
        await using var api = await TestApi.StartAsync();

        Assert.That(names, Is.SupersetOf(new[]
        {
            "stream_api_connections_total", "stream_api_packets_routed_total", "stream_api_sessions_active", "stream_api_data_formats_registered",
            "stream_api_data_packets_published_total", "stream_api_data_packets_routed_total", "stream_api_data_packets_routed_bytes_total",
            "stream_api_info_packets_published_total", "stream_api_info_packets_routed_total", "stream_api_info_packets_routed_bytes_total",
            "stream_api_sessions_total", "stream_api_data_formats_total", "stream_api_data_packets_read_total",
            "stream_api_data_packets_delivered_total", "stream_api_essential_packets_read_total", "stream_api_essential_packets_delivered_total",
        }));
    }

    [Test]
    public void Telemetry_MoreSeriesThanAllowed_TheRestIsOther()
    {
        using var telemetry = new Telemetry();
        var series = Enumerable.Range(0, 3_000).Select(i => telemetry.TagsOf($"Car{i}", "").DataSource.Value).ToHashSet();

        Assert.That(series, Has.Count.LessThanOrEqualTo(1_001).And.Contains("other"));
    }

    [Test]
    public async Task LocalStreamingApi_TwoSideBySide_ShareNothing()
    {
        await using var one = await LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: "memory:")).WithDeadline();
        await using var two = await LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: "memory:")).WithDeadline();
        await one.GetSessionManagementClient().CreateSessionAsync(new CreateSessionRequest { DataSource = "Car" }).ResponseAsync.WithDeadline();
        var other = await two.GetSessionManagementClient().GetCurrentSessionsAsync(new GetCurrentSessionsRequest { DataSource = "Car" }).ResponseAsync.WithDeadline();

        Assert.That(other.SessionKeys, Is.Empty);
        Assert.That(one.GetService(typeof(PacketWriterService.PacketWriterServiceClient)), Is.SameAs(one.GetPacketWriterClient()));
        Assert.That(one.GetService(typeof(string)), Is.Null);
    }

    [Test]
    public void StreamingApiClient_BeforeInitialise_Throws()
    {
        Assert.That(StreamingApiClient.Initialised, Is.False);
        Assert.That(() => StreamingApiClient.GetPacketWriterClient(), Throws.InvalidOperationException.With.Message.Contains("Initialise"));
        Assert.That(() => StreamingApiClient.GetService(typeof(string)), Throws.InvalidOperationException);
        Assert.That(StreamingApiClient.Shutdown, Throws.Nothing);
    }

    [Test]
    public void StreamingApiClient_InitialisedTwice_KeepsTheFirst()
    {
        StreamingApiClient.Initialise(new StreamingApiConfiguration(brokerUrl: "memory:"));
        var writer = StreamingApiClient.GetPacketWriterClient();
        StreamingApiClient.Initialise(new StreamingApiConfiguration(brokerUrl: "memory:"));
        Assert.That(StreamingApiClient.GetPacketWriterClient(), Is.SameAs(writer));
        StreamingApiClient.Shutdown();
        StreamingApiClient.Shutdown();

        Assert.That(StreamingApiClient.Initialised, Is.False);
    }

    [Test]
    public void StreamingApiClient_BadConfiguration_LeavesNothing()
    {
        Assert.That(() => StreamingApiClient.Initialise(new StreamingApiConfiguration(streamApiPort: -1)), Throws.InstanceOf<ConfigurationException>());
        Assert.That(StreamingApiClient.Initialised, Is.False);
        Assert.That(() => StreamingApiClient.Initialise(new StreamingApiConfiguration(brokerUrl: "memory:")), Throws.Nothing);
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task StreamingApiClient_Providers_DecideLogAndShutdown(bool logs)
    {
        var directory = Directory.CreateTempSubdirectory("stream-api-test");
        try
        {
            using var source = new CancellationTokenSourceProvider();
            var checker = Substitute.For<Abstraction.IKafkaBrokerAvailabilityChecker>();
            StreamingApiClient.Initialise(
                new StreamingApiConfiguration(brokerUrl: "memory:"), source, checker, new LoggingDirectoryProvider(logs ? directory.FullName : ""));
            Assert.That(StreamingApiClient.Initialised, Is.True);
            await source.Provide().CancelAsync();
            await Until.TrueAsync(() => !StreamingApiClient.Initialised);
            Assert.That(checker.ReceivedCalls(), Is.Empty, "it is asked for Kafka addresses only");
            Assert.That(directory.GetFiles(), logs ? Is.Not.Empty : Is.Empty);
        }
        finally
        {
            StreamingApiClient.Shutdown();
            await Until.TrueAsync(() => TryDelete(directory));
        }
    }

    private static bool TryDelete(DirectoryInfo directory)
    {
        try
        {
            directory.Delete(recursive: true);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }
}
