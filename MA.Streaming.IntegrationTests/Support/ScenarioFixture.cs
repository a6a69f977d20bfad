using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>
/// A suite that runs in memory on every transport with both strategies, and once on disk and on Kafka. The tests of a fixture share one
/// server and keep apart by data sources of their own; a test that needs another configuration starts a server of its own. Every test
/// has <see cref="Limit"/> as its deadline.
/// </summary>
public abstract class ScenarioFixture(Transport transport, StreamCreationStrategy strategy, Storage storage)
{
    private static int _dataSources;

    private readonly List<IAsyncDisposable> _ofTest = [];
    private TestBroker _broker = null!;
    private StreamServer _server = null!;
    private CancellationTokenSource _limit = null!;
    private string? _dataSource;

    /// <summary>In memory the transports × the strategies; on disk and on Kafka each scenario once.</summary>
    public static IEnumerable<TestFixtureData> Variants { get; } =
    [
        .. from transport in Enum.GetValues<Transport>()
           from strategy in Enum.GetValues<StreamCreationStrategy>()
           select new TestFixtureData(transport, strategy, Storage.Memory),
        new TestFixtureData(Transport.InProcess, StreamCreationStrategy.TopicBased, Storage.Embedded),
        new TestFixtureData(Transport.InProcess, StreamCreationStrategy.TopicBased, Storage.Kafka),
    ];

    /// <summary>The same, and where it matters where things are, on disk and on Kafka with the other strategy too.</summary>
    public static IEnumerable<TestFixtureData> LayoutVariants { get; } =
    [
        .. Variants,
        new TestFixtureData(Transport.InProcess, StreamCreationStrategy.PartitionBased, Storage.Embedded),
        new TestFixtureData(Transport.InProcess, StreamCreationStrategy.PartitionBased, Storage.Kafka),
    ];

    protected Transport Transport { get; } = transport;

    protected StreamCreationStrategy Strategy { get; } = strategy;

    protected Storage Storage { get; } = storage;

    protected bool IsPartitionBased => Strategy == StreamCreationStrategy.PartitionBased;

    /// <summary>Runs out when the test has taken too long.</summary>
    protected CancellationToken Limit => _limit.Token;

    /// <summary>A data source of this test only.</summary>
    protected string DataSource => _dataSource ??= NewDataSource();

    private protected StreamServer Server => _server;

    [OneTimeSetUp]
    public async Task StartSharedServer()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        _broker = await TestBroker.OpenAsync(Storage);
        _server = await StreamServer.StartAsync(Transport, Configure(), _broker.Broker, null, limit.Token);
    }

    [OneTimeTearDown]
    public async Task StopSharedServer()
    {
        // There is none where the fixture was skipped.
        if (_server is not null) await _server.DisposeAsync();
        if (_broker is not null) await _broker.DisposeAsync();
    }

    [SetUp]
    public void StartLimit()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        _dataSource = null;
    }

    [TearDown]
    public async Task StopWhatTheTestStarted()
    {
        // Engines before their brokers.
        for (var i = _ofTest.Count - 1; i >= 0; i--) await _ofTest[i].DisposeAsync();
        _ofTest.Clear();
        _limit.Dispose();
    }

    protected static string NewDataSource() => $"Car{Interlocked.Increment(ref _dataSources)}";

    /// <summary>Streams "one" at partition 1, "two" and "twin" at partition 2 (PartitionBased); "other" is not mapped.</summary>
    protected StreamingApiConfiguration Configure(
        bool batching = false, bool sessions = true, bool formats = true, IReadOnlyList<PartitionMapping>? mappings = null, StreamingApiLimits? limits = null) =>
        new(
            Strategy,
            "memory:",
            mappings ?? [new("one", 1), new("two", 2), new("twin", 2)],
            integrateSessionManagement: sessions,
            integrateDataFormatManagement: formats,
            batchingResponses: batching,
            initialisationTimeoutSeconds: 10)
        {
            DrainTimeoutSeconds = 5,
            Limits = limits ?? StreamingApiLimits.Default,

            // The records of most tests should be their own.
            AutoRegisterDataFormats = false,
        };

    /// <summary>A broker that ends with the test.</summary>
    protected async Task<IBroker> NewBrokerAsync()
    {
        var broker = await TestBroker.OpenAsync(Storage);
        _ofTest.Add(broker);
        return broker.Broker;
    }

    /// <summary>A broker in memory whatever the variant: for what only it does.</summary>
    protected MemoryBroker NewMemoryBroker(MemoryBrokerOptions options)
    {
        var broker = new MemoryBroker(options);
        _ofTest.Add(broker);
        return broker;
    }

    /// <summary>A server that ends with the test, over a broker of its own unless one is given.</summary>
    private protected async Task<StreamServer> StartAsync(
        StreamingApiConfiguration configuration, IBroker? broker = null, StreamApiOptions? options = null)
    {
        var server = await StreamServer.StartAsync(Transport, configuration, broker ?? await NewBrokerAsync(), options, Limit);
        _ofTest.Add(server);
        return server;
    }

    /// <summary>Where the records of a stream stand.</summary>
    protected TopicPartition PlaceOf(string dataSource, string stream) => (IsPartitionBased, stream) switch
    {
        (_, "") => new(dataSource, 0),
        (true, "one") => new(dataSource, 1),
        (true, "two" or "twin") => new(dataSource, 2),
        (true, _) => new(dataSource, 0),
        (false, _) => new($"{dataSource}.{stream}", 0),
    };

    private protected Task<IReadOnlyList<StoredRecord>> StoredAsync(string dataSource, string stream) =>
        Server.Broker.StoredAsync(PlaceOf(dataSource, stream), Limit);

    private protected Task<IReadOnlyList<StoredRecord>> EssentialsAsync(string dataSource) =>
        Server.Broker.StoredAsync(new($"{dataSource}_essential", 0), Limit);
}
