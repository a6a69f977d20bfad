using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Routing;
using MA.Streaming.Hosting;
using MA.Streaming.Proto.Core.Abstractions;
using MA.Streaming.Proto.ServerComponent;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>The server class that customers' programs make by hand.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class ServerClassTests
{
    private readonly NoKafka _kafka = new();
    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void StartLimit() => _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));

    [TearDown]
    public void StopLimit() => _limit.Dispose();

    [Test]
    public async Task Server_StartAndStop_ServesWithAWarningAndALogFile()
    {
        using var folder = new TemporaryFolder();
        using var stop = new CancellationTokenSourceProvider();
        using var server = new Server(
            new StreamingApiConfiguration(brokerUrl: "memory:", streamApiPort: 0), stop, _kafka, new LoggingDirectoryProvider(folder.Path))
        { PrometheusMetricPort = 0 };
        Assert.That(server.BindAddress, Is.EqualTo("*"), "people's deployments expect every interface");
        IServer face = server;
        await face.Start().WaitAsync(Limit);
        var inner = (StreamingApiServer)server.GetService(typeof(StreamingApiServer))!;
        using var channel = GrpcChannel.ForAddress($"http://127.0.0.1:{new Uri(inner.Addresses.Single()).Port}");
        Assert.That((await new SessionManagementService.SessionManagementServiceClient(channel).CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: Limit)).Success, Is.True);
        Assert.That(server.GetService(typeof(PacketWriterService.PacketWriterServiceBase)), Is.Not.Null);
        Assert.That(server.GetService(typeof(PacketWriterService.PacketWriterServiceClient)), Is.Null, "registerServices is false");
        Assert.That(server.GetService(typeof(IStreamingApiConfiguration)), Is.Not.Null);

        await face.Stop().WaitAsync(Limit);
        Assert.That(inner.State, Is.EqualTo(ServerState.Stopped));
        var log = await File.ReadAllTextAsync(Directory.EnumerateFiles(folder.Path, "*.log").Single(), Limit);
        Assert.That(log, Does.Contain("everybody who reaches this machine may read and write").And.Contain("Stream API stopped"));
        Assert.That(_kafka.Asked, Is.Zero, "the checker is asked for Kafka only");
    }

    [Test]
    public async Task Server_RegisterServices_GivesClientsInProcess()
    {
        using var stop = new CancellationTokenSourceProvider();
        using var server = new Server(
            new StreamingApiConfiguration(brokerUrl: "memory:", streamApiPort: 0), stop, _kafka, new LoggingDirectoryProvider(""), registerServices: true)
        {
            PrometheusMetricPort = 0,
            BindAddress = "localhost",
        };
        await server.Start().WaitAsync(Limit);
        var writer = (PacketWriterService.PacketWriterServiceClient)server.GetService(typeof(PacketWriterService.PacketWriterServiceClient))!;
        await writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("x")) }, cancellationToken: Limit);
        Type[] clients =
        [
            typeof(PacketReaderService.PacketReaderServiceClient), typeof(ConnectionManagerService.ConnectionManagerServiceClient),
            typeof(SessionManagementService.SessionManagementServiceClient), typeof(DataFormatManagerService.DataFormatManagerServiceClient),
        ];
        Assert.That(clients.Select(server.GetService), Is.All.Not.Null);
        Assert.That(server.GetService(typeof(Uri)), Is.Null);
    }

    [Test]
    public async Task Server_CancelledSource_MeansStop()
    {
        using var stop = new CancellationTokenSourceProvider();
        using var server = new Server(new StreamingApiConfiguration(brokerUrl: "memory:", streamApiPort: 0), stop, _kafka, new LoggingDirectoryProvider(""))
        {
            PrometheusMetricPort = 0,
            BindAddress = "127.0.0.1",
        };
        await server.Start().WaitAsync(Limit);
        var inner = (StreamingApiServer)server.GetService(typeof(StreamingApiServer))!;
        using var channel = GrpcChannel.ForAddress(inner.Addresses.Single());
        using var starts = new SessionManagementService.SessionManagementServiceClient(channel).GetSessionStartNotification(new() { DataSource = "Car" }, cancellationToken: Limit);
        await starts.ResponseHeadersAsync.WaitAsync(Limit);
        await stop.Provide().CancelAsync();
        AssertFailure(await FailureOfAsync(() => starts.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable, "shutting down");
        await server.Stop().WaitAsync(Limit);
        Assert.That(inner.State, Is.EqualTo(ServerState.Stopped));
    }

    private sealed class NoKafka : IKafkaBrokerAvailabilityChecker
    {
        public int Asked { get; private set; }

        public bool Check(string brokerUrl)
        {
            Asked++;
            return false;
        }

        public Task CheckContinuously(string brokerUrl, CancellationTokenSource cancellationTokenSource) => Task.CompletedTask;
    }
}
