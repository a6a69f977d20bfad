using Grpc.Core;
using MA.Common.Abstractions;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Routing;
using MA.Streaming.Proto.Client.Local;
using NUnit.Framework;

namespace MA.Streaming.UsageTests;

/// <summary>How the Stream API in process is started and stopped, as documented. All tests share the one static client.</summary>
[NonParallelizable]
public sealed class LocalClientTests
{
    [SetUp]
    public void Start() => StreamingApiClient.Initialise(new StreamingApiConfiguration(brokerUrl: "memory:"));

    [TearDown]
    public void Stop() => StreamingApiClient.Shutdown();

    [Test]
    public async Task Initialise_WithFourProviders_RunsUntilTheProvidedSourceIsCancelled()
    {
        StreamingApiClient.Shutdown();
        Assert.That(StreamingApiClient.Initialised, Is.False);
        Assert.That(StreamingApiClient.GetPacketWriterClient, Throws.InvalidOperationException);

        using var provider = new CancellationTokenSourceProvider();
        ICancellationTokenSourceProvider cancellationTokenSourceProvider = provider;
        IKafkaBrokerAvailabilityChecker checker = new NeverAsked();
        ILoggingDirectoryProvider loggingDirectoryProvider = new LoggingDirectoryProvider("");
        StreamingApiClient.Initialise(
            new StreamingApiConfiguration(StreamCreationStrategy.TopicBased, "memory:", []), cancellationTokenSourceProvider, checker, loggingDirectoryProvider);
        Assert.That(StreamingApiClient.Initialised);
        Assert.That(StreamingApiClient.GetService(typeof(PacketWriterService.PacketWriterServiceClient)), Is.SameAs(StreamingApiClient.GetPacketWriterClient()));
        Assert.That(StreamingApiClient.GetService(typeof(string)), Is.Null);
        var connection = StreamingApiClient.GetConnectionManagerClient().NewConnection(
            new NewConnectionRequest { Details = new ConnectionDetails { DataSource = "TelemetrySource" } }).Connection;
        using var read = StreamingApiClient.GetPacketReaderClient().ReadPackets(new ReadPacketsRequest { Connection = connection });
        var next = read.ResponseStream.MoveNext(CancellationToken.None);

        provider.Provide().Cancel();
        var ended = await Assert.ThrowsAsync<RpcException>(() => next.WithDeadline(30));
        Assert.That(ended!.StatusCode, Is.EqualTo(StatusCode.Unavailable), "cancelling the provided source means Shutdown");
        Assert.That(StreamingApiClient.Initialised, Is.False);
    }

    [Test]
    public void Initialise_Twice_KeepsTheFirst()
    {
        var writer = StreamingApiClient.GetPacketWriterClient();
        StreamingApiClient.Initialise(new StreamingApiConfiguration(brokerUrl: "memory:"));
        Assert.That(StreamingApiClient.GetPacketWriterClient(), Is.SameAs(writer));
    }

    [Test]
    public void StreamingApiConfiguration_ConstructorArguments_AreNamedAsDocumented()
    {
        IStreamingApiConfiguration configuration = new StreamingApiConfiguration(
            streamCreationStrategy: StreamCreationStrategy.PartitionBased,
            brokerUrl: "localhost:9094",
            partitionMappings: [new PartitionMapping(stream: "Stream1", partition: 1), new PartitionMapping("Stream2", 2)],
            streamApiPort: 13580,
            integrateSessionManagement: false,
            integrateDataFormatManagement: false,
            useRemoteKeyGenerator: true,
            remoteKeyGeneratorServiceAddress: "localhost:15379",
            batchingResponses: true,
            initialisationTimeoutSeconds: 10);

        Assert.Multiple(() =>
        {
            Assert.That(configuration.StreamCreationStrategy, Is.EqualTo(StreamCreationStrategy.PartitionBased));
            Assert.That(configuration.BrokerUrl, Is.EqualTo("localhost:9094"));
            Assert.That(configuration.PartitionMappings.Select(m => (m.Stream, m.Partition)), Is.EqualTo([("Stream1", 1), ("Stream2", 2)]));
            Assert.That(configuration.StreamApiPort, Is.EqualTo(13580));
            Assert.That(configuration.IntegrateSessionManagement, Is.False);
            Assert.That(configuration.IntegrateDataFormatManagement, Is.False);
            Assert.That(configuration.UseRemoteKeyGenerator);
            Assert.That(configuration.RemoteKeyGeneratorServiceAddress, Is.EqualTo("localhost:15379"));
            Assert.That(configuration.BatchingResponses);
            Assert.That(configuration.InitialisationTimeoutSeconds, Is.EqualTo(10));
        });
    }

    // The checker is for Kafka addresses.
    private sealed class NeverAsked : IKafkaBrokerAvailabilityChecker
    {
        public bool Check(string brokerUrl) => throw new NotSupportedException(brokerUrl);

        public Task CheckContinuously(string brokerUrl, CancellationTokenSource cancellationTokenSource) => throw new NotSupportedException(brokerUrl);
    }
}
