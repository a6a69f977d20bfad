using System.Diagnostics;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using NUnit.Framework;

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
                var kafka = TestKafka.Open(TestKafka.Servers);
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

/// <summary>The Kafka to test against; where there is none, tests that need it are skipped and say why.</summary>
internal static class TestKafka
{
    public const string Variable = "STREAM_API_TEST_KAFKA";

    public static string Servers
    {
        get
        {
            if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } servers) return servers;
            Assert.Ignore($"no Kafka to test against: {Variable} is not set to its host:port");
            throw new UnreachableException();
        }
    }

    public static KafkaBroker Open(string servers)
    {
        try
        {
            return KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = servers });
        }
        catch (BrokerException exception)
        {
            // The native library is not there; says what to run.
            Assert.Ignore(exception.Message);
            throw new UnreachableException();
        }
    }
}
