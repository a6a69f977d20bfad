using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>Servers of ours on a Kafka that others use too. Tests keep apart by data sources of their own; each has a deadline.</summary>
public abstract class KafkaInteropFixture
{
    private readonly List<IAsyncDisposable> _ofTest = [];
    private CancellationTokenSource _limit = null!;

    protected static TimeSpan AnswerTime { get; } = TimeSpan.FromSeconds(10);

    /// <summary>Runs out when the test has taken too long.</summary>
    protected CancellationToken Limit => _limit.Token;

    /// <summary>The addresses of the Kafka.</summary>
    protected string Servers { get; private set; } = "";

    /// <summary>A data source of this test only.</summary>
    protected string DataSource { get; private set; } = "";

    [OneTimeSetUp]
    public void FindKafka() => Servers = TestKafka.Servers;

    [SetUp]
    public void Begin()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        DataSource = $"Car{Guid.NewGuid():N}"[..12];
    }

    [TearDown]
    public async Task End()
    {
        for (var i = _ofTest.Count - 1; i >= 0; i--) await _ofTest[i].DisposeAsync();
        _ofTest.Clear();
        _limit.Dispose();
    }

    /// <summary>A server that ends with the test.</summary>
    private protected async Task<StreamServer> StartedAsync(StreamCreationStrategy strategy = StreamCreationStrategy.TopicBased, string prefix = "")
    {
        var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = Servers });
        _ofTest.Add(broker);
        var configuration = new StreamingApiConfiguration(
            strategy, Servers, [new("one", 1), new("two", 2)], batchingResponses: true, initialisationTimeoutSeconds: 10)
        {
            AutoRegisterDataFormats = false,
            DrainTimeoutSeconds = 5,
        };
        var server = await StreamServer.StartAsync(Transport.InProcess, configuration, prefix.Length == 0 ? broker : new PrefixedBroker(broker, prefix), null, Limit);
        _ofTest.Add(server);
        return server;
    }
}
