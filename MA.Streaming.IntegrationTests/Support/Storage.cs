using MA.Streaming.Broker.Embedded;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>What the engine stands on.</summary>
public enum Storage
{
    Memory,
    Embedded,

    /// <summary>A real Kafka, where there is one to test against.</summary>
    Kafka,
}

/// <summary>A broker for tests, with what it needs; gone when it is disposed.</summary>
internal sealed class TestBroker : IAsyncDisposable
{
    private readonly DirectoryInfo? _directory;

    private TestBroker(IBroker broker, DirectoryInfo? directory) => (Broker, _directory) = (broker, directory);

    public IBroker Broker { get; }

    public static async Task<TestBroker> OpenAsync(Storage storage)
    {
        switch (storage)
        {
            case Storage.Memory:
                return new TestBroker(new MemoryBroker(), null);
            case Storage.Kafka:
                var kafka = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = TestKafka.Servers });
                await kafka.CheckAsync(CancellationToken.None);
                return new TestBroker(new PrefixedBroker(kafka, $"{Guid.NewGuid():N}"[..6]), null);
            default:
                var directory = Directory.CreateTempSubdirectory("stream-api-scenarios-");
                return new TestBroker(await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = directory.FullName }), directory);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Broker.DisposeAsync();
        _directory?.Delete(recursive: true);
    }
}
