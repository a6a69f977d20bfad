using Confluent.Kafka;
using Confluent.Kafka.Admin;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;
using TopicPartition = Confluent.Kafka.TopicPartition;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>Our groups are Kafka's: other clients' consumers are members of them, and see and set their positions.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
public sealed class KafkaGroupTests
{
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(10);

    private readonly List<IAsyncDisposable> _ofTest = [];
    private string _servers = "";
    private CancellationTokenSource _limit = null!;
    private string _dataSource = "";
    private string _group = "";

    private CancellationToken Limit => _limit.Token;

    private ConnectionDetails Details => new() { DataSource = _dataSource, Streams = { "one", "two" }, ExcludeMainStream = true, ConsumerGroup = _group };

    [OneTimeSetUp]
    public void Connect() => _servers = TestKafka.Servers;

    [SetUp]
    public void Begin()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        _dataSource = $"Car{Guid.NewGuid():N}"[..12];
        _group = $"dashboards of {_dataSource}";
    }

    [TearDown]
    public async Task End()
    {
        for (var i = _ofTest.Count - 1; i >= 0; i--) await _ofTest[i].DisposeAsync();
        _ofTest.Clear();
        _limit.Dispose();
    }

    [Test]
    public async Task Position_OfARead_IsKafkasCommittedOffset()
    {
        var server = await StartedAsync();
        await WriteAsync(server, "one", 0, 10);
        await WriteAsync(server, "two", 0, 3);
        using (var read = await server.ReadAsync(Details, Limit))
        {
            await read.TakeAsync(13);

            // While it is read: within a second.
            await Until.TrueAsync(() => Committed("one") == 10 && Committed("two") == 3, Limit);
            await WriteAsync(server, "one", 10, 1);
            await read.NextAsync();
            await server.CloseAsync(read.Connection, Limit);
            await read.ToEndAsync();
        }

        // And at the end, which a read does not wait for longer than a second.
        await Until.TrueAsync(() => Committed("one") == 11, Limit);
        Assert.That(Committed("two"), Is.EqualTo(3));
    }

    [Test]
    public async Task Position_CommittedByAnotherClient_IsWhereAReadStarts()
    {
        var server = await StartedAsync();
        await WriteAsync(server, "one", 0, 10);
        await WriteAsync(server, "two", 0, 10);
        using (var other = Consumer())
        {
            other.Commit([new(new TopicPartition($"{_dataSource}.one", 0), 7), new(new TopicPartition($"{_dataSource}.two", 0), 10)]);
            other.Close();
        }

        using var read = await server.ReadAsync(Details, Limit);
        Assert.That(await read.TextsAsync(3), Is.EqualTo(new[] { "one 7", "one 8", "one 9" }));
        await WriteAsync(server, "two", 10, 1);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "two 10" }));
    }

    [Test]
    public async Task Members_OfOursAndOfOthers_ShareAndTakeOverFromOneThatDied()
    {
        var server = await StartedAsync();
        await WriteAsync(server, "one", 0, 5);
        await WriteAsync(server, "two", 0, 5);
        using var read = await server.ReadAsync(Details, Limit);
        await read.TakeAsync(10);

        // Ranges: each of the two topics has one partition, so the member with the lesser id has both.
        var other = Consumer();
        other.Subscribe([$"{_dataSource}.one", $"{_dataSource}.two"]);
        var had = new List<string>();
        using var dead = new CancellationTokenSource();
        var polling = Task.Run(() =>
        {
            while (!dead.IsCancellationRequested)
            {
                if (other.Consume(TimeSpan.FromMilliseconds(50)) is { } result) lock (had) had.Add($"{result.Topic} {result.Offset}");
            }
        });
        var collecting = CollectAsync(read, had);
        await Until.TrueAsync(() => MembersOf(_group) == 2, Limit);
        await WriteAsync(server, "one", 5, 5);
        await WriteAsync(server, "two", 5, 5);
        await Until.TrueAsync(() => CountOf(had) >= 10, Limit);
        Assert.That(had, Is.EquivalentTo(Expected(5, 10)), "every packet once");

        // It dies without a word: Kafka gives it up after its session timeout. What it had it had not committed.
        await dead.CancelAsync();
        await polling.WaitAsync(Limit);
        other.Dispose();
        await WriteAsync(server, "one", 10, 1);
        await WriteAsync(server, "two", 10, 1);
        await Until.TrueAsync(() => Has(had, Expected(10, 11)), Limit);
        await server.CloseAsync(read.Connection, Limit);
        await collecting.WaitAsync(Limit);
    }

    [Test]
    public async Task ReadPackets_WithoutAGroup_LeavesNoneOnTheBroker()
    {
        var server = await StartedAsync();
        var before = Groups();
        await WriteAsync(server, "one", 0, 5);
        var details = Details;
        details.ConsumerGroup = "";
        using var read = await server.ReadAsync(details, Limit);
        await read.TakeAsync(5);

        Assert.That(Groups().Except(before).Where(group => group.Contains("stream-api", StringComparison.Ordinal) || group.Contains(_dataSource, StringComparison.Ordinal)), Is.Empty);
    }

    [Test]
    public async Task ReadPackets_MoreReadsOfGroupsThanAllowed_IsResourceExhaustedUntilOneEnds()
    {
        var server = await StartedAsync(groupReadsMax: 2);
        await WriteAsync(server, "one", 0, 1);
        using var first = await server.ReadAsync(Details, Limit);
        using var second = await server.ReadAsync(Details, Limit);
        var failure = await FailureOfAsync(async () =>
        {
            using var refused = await server.ReadAsync(Details, Limit);
            await refused.NextAsync();
        });
        AssertFailure(failure, StatusCode.ResourceExhausted, _group, "2 reads of consumer groups");

        await server.CloseAsync(first.Connection, Limit);
        await first.ToEndAsync();
        using var third = await server.ReadAsync(Details, Limit);
    }

    private static int CountOf(List<string> had)
    {
        lock (had) return had.Count;
    }

    private static bool Has(List<string> had, IEnumerable<string> wanted)
    {
        lock (had) return wanted.All(had.Contains);
    }

    private async Task CollectAsync(OpenRead read, List<string> had)
    {
        try
        {
            while (true)
            {
                var packet = await read.NextAsync();
                lock (had) had.Add($"{_dataSource}.{packet.Stream} {packet.Offset}");
            }
        }
        catch (EndOfStreamException)
        {
            // Its connection was closed.
        }
    }

    private IEnumerable<string> Expected(int first, int end) =>
        Enumerable.Range(first, end - first).SelectMany(i => new[] { $"{_dataSource}.one {i}", $"{_dataSource}.two {i}" });

    private IConsumer<byte[], byte[]> Consumer() => new ConsumerBuilder<byte[], byte[]>(new ConsumerConfig
    {
        BootstrapServers = _servers,
        GroupId = _group,
        EnableAutoCommit = false,
        AutoOffsetReset = AutoOffsetReset.Earliest,
        SessionTimeoutMs = 6_000,
    }).Build();

    private long? Committed(string stream)
    {
        using var consumer = Consumer();
        var offset = consumer.Committed([new TopicPartition($"{_dataSource}.{stream}", 0)], AnswerTime).Single().Offset;
        return offset.IsSpecial ? null : offset.Value;
    }

    private string[] Groups()
    {
        using var admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _servers }).Build();
        return [.. admin.ListConsumerGroupsAsync(new ListConsumerGroupsOptions { RequestTimeout = AnswerTime }).GetAwaiter().GetResult().Valid.Select(group => group.GroupId)];
    }

    private int MembersOf(string group)
    {
        using var admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _servers }).Build();
        var described = admin.DescribeConsumerGroupsAsync([group], new DescribeConsumerGroupsOptions { RequestTimeout = AnswerTime }).GetAwaiter().GetResult().ConsumerGroupDescriptions.Single();
        return described.State == ConsumerGroupState.Stable ? described.Members.Count : 0;
    }

    private async Task WriteAsync(StreamServer server, string stream, int first, int count)
    {
        for (var i = first; i < first + count; i++) await server.WriteTextAsync(_dataSource, stream, $"{stream} {i}", Limit);
    }

    private async Task<StreamServer> StartedAsync(int groupReadsMax = 64)
    {
        var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _servers, GroupReadsMax = groupReadsMax });
        _ofTest.Add(broker);
        var server = await StreamServer.StartAsync(
            Transport.InProcess,
            new StreamingApiConfiguration(StreamCreationStrategy.TopicBased, _servers, [], integrateSessionManagement: false, integrateDataFormatManagement: false),
            broker,
            null,
            Limit);
        _ofTest.Add(server);
        return server;
    }
}
