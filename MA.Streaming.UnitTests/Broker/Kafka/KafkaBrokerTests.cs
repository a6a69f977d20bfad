using System.Text;
using Confluent.Kafka;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Proto.ServerComponent;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using Microsoft.Extensions.Logging;
using NUnit.Framework;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.UnitTests.Broker.Kafka;

/// <summary>What is Kafka's own, on librdkafka's mock cluster, which fails on request.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class KafkaBrokerTests
{
    private const short ProduceRequest = 0;
    private const short FetchRequest = 1;

    private MockCluster _cluster = null!;

    private static CancellationToken None => CancellationToken.None;

    [SetUp]
    public void MakeCluster()
    {
        _cluster = new MockCluster(3);
    }

    [TearDown]
    public void RemoveCluster() => _cluster?.Dispose();

    [Test]
    public async Task Open_NoKafkaThere_WaitsForNothingAndFailsWithItsAddress()
    {
        await using var broker = Open("127.0.0.1:1");
        var exception = await Assert.ThrowsAsync<BrokerException>(async () => await broker.GetWatermarksAsync([new("any", 0)], None).WithDeadline(30));
        var health = await broker.CheckAsync(None).WithDeadline(30);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(exception!.Error, Is.EqualTo(BrokerError.Unavailable));
            Assert.That(exception.Message, Does.Contain("127.0.0.1:1"));
            Assert.That(health.IsHealthy, Is.False);
            Assert.That(health.Detail, Does.Contain("127.0.0.1:1").And.Contain("refused"));
        }

        await Assert.ThrowsAsync<BrokerException>(async () =>
        {
            await foreach (var topic in broker.WatchTopicsAsync(None)) Assert.Fail($"{topic} is not there");
        });
    }

    [Test]
    public async Task JoinGroup_NoKafkaThere_FailsInTimeAndSaysWhy()
    {
        // Time is what the group looks at between two polls of the library; only that is moved.
        var options = new KafkaBrokerOptions { BootstrapServers = "127.0.0.1:1" };
        var (clock, logger) = (new ManualClock(), new RecordingLogger());
        var clients = new KafkaClients(options, logger);
        await using var groups = new KafkaGroups(options, clients, _ => true, clock, logger);
        var member = groups.Join("dashboards");
        member.Want([new("car", 0)]);
        var next = member.NextAssignmentAsync(None).AsTask();
        await Until.TrueAsync(() => Task.FromResult(clients.Complaint is not null));
        Assert.That(next.IsCompleted, Is.False);

        clock.Advance(TimeSpan.FromSeconds(31));

        var failure = (await Assert.ThrowsAsync<BrokerException>(() => next.WithDeadline()))!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(failure.Error, Is.EqualTo(BrokerError.Unavailable));
            Assert.That(failure.Message, Does.Contain("'dashboards'").And.Contain("30 s").And.Contain("127.0.0.1:1"));
        }
    }

    [TestCase("acks", "0")]
    [TestCase("enable.idempotence", "false")]
    [TestCase("enable.auto.commit", "true")]
    [TestCase("group.id", "mine")]
    [TestCase("isolation.level", "read_uncommitted")]
    [TestCase("auto.offset.reset", "latest")]
    [TestCase("bootstrap.servers", "elsewhere:1")]
    public void Open_PropertyOnWhichPromisesHang_IsRefusedByName(string name, string value)
    {
        var exception = Assert.Throws<KafkaSettingException>(() => Open(_cluster.Servers, (name, value)));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(exception!.Key, Is.EqualTo($"Kafka.Properties[{name}]"));
            Assert.That(exception.Message, Does.StartWith("nothing: "));
        }
    }

    [Test]
    public void Open_PropertyThatLibrdkafkaDoesNotKnow_IsRefusedByName()
    {
        var exception = Assert.Throws<KafkaSettingException>(() => Open(_cluster.Servers, ("no.such.property", "secret")));
        Assert.That(exception!.Message, Does.Contain("no.such.property").And.Not.Contain("secret"));
    }

    [Test]
    public async Task Open_PropertiesOfOneKindOfClient_AreKeptFromTheOthers()
    {
        await using var broker = Open(_cluster.Servers, ("linger.ms", "1"), ("compression.type", "lz4"), ("fetch.wait.max.ms", "5"), ("client.id", "mine"));
        _cluster.CreateTopic("a", 1);
        await AppendAsync(broker, "a", "x");
        Assert.That(await TextsAsync(broker, "a"), Is.EqualTo(new[] { "x" }));
    }

    [Test]
    public void Options_AsText_HaveNoSecrets()
    {
        var options = new KafkaBrokerOptions
        {
            BootstrapServers = "a:1",
            Kafka = new KafkaOptions { SaslUsername = "me", SaslPassword = "secret", Properties = new Dictionary<string, string> { ["ssl.key.password"] = "secret" } },
        };
        Assert.That($"{options}", Does.Contain("me").And.Contain("ssl.key.password").And.Not.Contain("secret"));
    }

    [Test]
    public async Task AppendAsync_BrokerFailsForAWhile_DeliversOnceAndInOrder()
    {
        await using var broker = Open(_cluster.Servers);
        _cluster.CreateTopic("a", 1);
        _cluster.FailRequests(ProduceRequest, ErrorCode.NotLeaderForPartition, ErrorCode.NotEnoughReplicas, ErrorCode.RequestTimedOut, ErrorCode.Local_Transport);
        var appends = Enumerable.Range(0, 1000).Select(i => broker.AppendAsync(new("a", 0), Data($"{i}"), None).AsTask()).ToArray();
        var appended = await Task.WhenAll(appends).WithDeadline(60);
        Assert.That(appended.Select(a => a.Offset), Is.EqualTo(Enumerable.Range(0, 1000).Select(i => (long)i)));
        Assert.That(await TextsAsync(broker, "a"), Is.EqualTo(Enumerable.Range(0, 1000).Select(i => $"{i}")));
    }

    [TestCase(ErrorCode.TopicAuthorizationFailed, BrokerError.Denied)]
    [TestCase(ErrorCode.MsgSizeTooLarge, BrokerError.TooLarge)]
    public async Task AppendAsync_Refused_SaysWhichTopicAndWhatItWasAt(ErrorCode code, BrokerError expected)
    {
        await using var broker = Open(_cluster.Servers);
        _cluster.CreateTopic("mine", 1);
        _cluster.FailRequests(ProduceRequest, code);
        var exception = await Assert.ThrowsAsync<BrokerException>(async () => await AppendAsync(broker, "mine", "x"));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(exception!.Error, Is.EqualTo(expected));
            Assert.That(exception.Message, Does.Contain("mine"));
        }
    }

    [Test]
    public async Task AppendAsync_NotDeliveredInTime_FailsWithTheReason()
    {
        await using var broker = KafkaBroker.Open(new KafkaBrokerOptions
        {
            BootstrapServers = _cluster.Servers,
            Kafka = new KafkaOptions { DeliveryTimeout = TimeSpan.FromSeconds(2) },
        });
        _cluster.CreateTopic("a", 1);
        await AppendAsync(broker, "a", "x");
        for (var i = 1; i <= 3; i++) _cluster.SetDown(i);
        var exception = await Assert.ThrowsAsync<BrokerException>(async () => await AppendAsync(broker, "a", "lost"));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(exception!.Error, Is.EqualTo(BrokerError.Unavailable));
            Assert.That(exception.Message, Does.Contain("'a'").And.Contain("2 s").And.Contain(_cluster.Servers));
        }

        for (var i = 1; i <= 3; i++) _cluster.SetUp(i);
        await AppendAsync(broker, "a", "y");
        Assert.That(await TextsAsync(broker, "a"), Is.EqualTo(new[] { "x", "y" }));
    }

    [Test]
    public async Task AppendAsync_ProducerFailedForGood_IsReplacedAndKeepsTheOrder()
    {
        var log = new RecordingLogger();
        await using var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers }, logger: log.CreateLogger<KafkaBroker>());
        _cluster.CreateTopic("a", 1);
        await AppendAsync(broker, "a", "before");
        var appends = Enumerable.Range(0, 100).Select(i =>
        {
            if (i == 50) MockCluster.FailForGood(broker.Writer.Handle);
            return broker.AppendAsync(new("a", 0), Data($"{i}"), None).AsTask();
        }).ToArray();
        var outcomes = await Task.WhenAll(appends.Select(append => append.ContinueWith(done => done.IsCompletedSuccessfully, TaskScheduler.Default))).WithDeadline(60);
        await AppendAsync(broker, "a", "after");

        // What failed is there at most once, what did not exactly once, and all in order.
        var texts = await TextsAsync(broker, "a");
        var acknowledged = Enumerable.Range(0, 100).Where(i => outcomes[i]).Select(i => $"{i}");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(texts, Is.Unique);
            Assert.That(acknowledged, Is.SubsetOf(texts));
            Assert.That(texts[1..^1].Select(int.Parse), Is.Ordered);
            Assert.That(texts[^1], Is.EqualTo("after"));
            Assert.That(log.CountOf("ProducerReplaced"), Is.EqualTo(1));
        }
    }

    [Test]
    public async Task AppendAsync_MoreThanMayBeInFlight_WaitsInOrderWithinTheBound()
    {
        const int bound = 100_000;
        await using var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers, InFlightBytesMax = bound });
        _cluster.CreateTopic("a", 1);
        await AppendAsync(broker, "a", "known");
        for (var i = 1; i <= 3; i++) _cluster.SetRoundTrip(i, 20);
        var most = 0L;
        var appends = new List<Task<Appended>>();
        for (var i = 0; i < 2000; i++)
        {
            appends.Add(broker.AppendAsync(new("a", 0), new RecordData(null, Encoding.UTF8.GetBytes($"{i}".PadRight(500))), None).AsTask());
            most = Math.Max(most, broker.Writer.InFlightBytes);
        }

        var appended = await Task.WhenAll(appends).WithDeadline(60);
        Assert.That(most, Is.InRange(1, bound));
        Assert.That(appended.Select(a => a.Offset), Is.EqualTo(Enumerable.Range(1, 2000).Select(i => (long)i)));
    }

    [Test]
    public async Task AppendAsync_MoreThanMayWait_IsRefusedWithTheNumbers()
    {
        await using var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers, InFlightBytesMax = 1, QueuedBytesMax = 10_000 });
        _cluster.CreateTopic("a", 1);
        await AppendAsync(broker, "a", "known");
        for (var i = 1; i <= 3; i++) _cluster.SetRoundTrip(i, 500);
        var appends = Enumerable.Range(0, 12).Select(_ => broker.AppendAsync(new("a", 0), new RecordData(null, new byte[1000]), None).AsTask()).ToArray();
        var refused = appends.Where(append => append.IsFaulted).ToArray();
        Assert.That(refused, Is.Not.Empty);
        var exception = (BrokerException)refused[0].Exception!.InnerException!;
        using (Assert.EnterMultipleScope())
        {
            Assert.That(exception.Error, Is.EqualTo(BrokerError.Full));
            Assert.That(exception.Message, Does.Contain("10000"));
        }

        for (var i = 1; i <= 3; i++) _cluster.SetRoundTrip(i, 0);
        await Task.WhenAll(appends.Except(refused)).WithDeadline(60);
    }

    [Test]
    public async Task ReadAsync_Refused_SaysWhichTopicAndThatItWasReading()
    {
        await using var broker = Open(_cluster.Servers);
        _cluster.CreateTopic("theirs", 1);
        await AppendAsync(broker, "theirs", "x");
        _cluster.FailRequests(FetchRequest, [.. Enumerable.Repeat(ErrorCode.TopicAuthorizationFailed, 10)]);
        var exception = await Assert.ThrowsAsync<BrokerException>(async () => await TextsAsync(broker, "theirs"));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(exception!.Error, Is.EqualTo(BrokerError.Denied));
            Assert.That(exception.Message, Does.Contain("theirs"));
        }
    }

    [Test]
    public async Task ReadAsync_BrokerFailsForAWhile_GoesOnWithoutLossOrRepetition()
    {
        await using var broker = Open(_cluster.Servers);
        _cluster.CreateTopic("a", 1);
        _cluster.SetLeader("a", 0, 1);
        await AppendAsync(broker, "a", "0");
        await using var reading = new BrokerReading(broker, new TopicPartition("a", 0));
        await reading.TakeAsync(1);
        _cluster.FailRequests(FetchRequest, ErrorCode.NotLeaderForPartition, ErrorCode.ReplicaNotAvailable, ErrorCode.Local_Transport, ErrorCode.KafkaStorageError);
        var taking = reading.TakeAsync(300);
        for (var i = 1; i <= 300; i++)
        {
            if (i == 100) _cluster.SetLeader("a", 0, 2);
            await AppendAsync(broker, "a", $"{i}");
        }

        Assert.That((await taking.WithDeadline(60)).Select(record => record.Text), Is.EqualTo(Enumerable.Range(1, 300).Select(i => $"{i}")));
    }

    [Test]
    public async Task ReadAsync_ManyReaders_ShareOneTailAndFewCatchUpConsumers()
    {
        await using var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers, TailBytesMax = 20_000 });
        _cluster.CreateTopic("a", 1);
        var appends = Enumerable.Range(0, 2000).Select(i => broker.AppendAsync(new("a", 0), Data($"{i}"), None).AsTask());
        await Task.WhenAll(appends).WithDeadline(60);
        var reads = Enumerable.Range(0, 100).Select(async i =>
        {
            await using var reading = new BrokerReading(broker, new TopicPartition("a", 0), i * 20, bytesMax: 500);
            return (await reading.TakeAsync(2500 - (i * 20))).Select(record => record.Text).ToArray();
        }).ToArray();
        for (var i = 2000; i < 2500; i++) await AppendAsync(broker, "a", $"{i}");
        var most = broker.CatchUp.Workers;
        for (var i = 0; i < reads.Length; i++)
            Assert.That(await reads[i].WithDeadline(120), Is.EqualTo(Enumerable.Range(i * 20, 2500 - (i * 20)).Select(n => $"{n}")), $"reader {i}");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(most, Is.InRange(1, 4));
            Assert.That(broker.Tail.Bytes, Is.LessThanOrEqualTo(20_000));
        }
    }

    [Test]
    public async Task ReadAsync_RingTooSmallForItsReader_LosesNothing()
    {
        await using var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers, TailBytesMax = 0 });
        _cluster.CreateTopic("a", 1);
        await AppendAsync(broker, "a", "0");
        await using var reading = new BrokerReading(broker, new TopicPartition("a", 0));
        var taking = reading.TakeAsync(500);
        for (var i = 1; i < 500; i++) await AppendAsync(broker, "a", $"{i}");
        Assert.That((await taking.WithDeadline(60)).Select(record => record.Text), Is.EqualTo(Enumerable.Range(0, 500).Select(i => $"{i}")));
    }

    [Test]
    public async Task CheckAsync_KafkaGoesAndComesBack_SaysSo()
    {
        var log = new RecordingLogger();
        await using var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers }, logger: log.CreateLogger<KafkaBroker>());
        Assert.That((await broker.CheckAsync(None).WithDeadline()).IsHealthy, Is.True);
        for (var i = 1; i <= 3; i++) _cluster.SetDown(i);
        await Until.TrueAsync(async () => !(await broker.CheckAsync(None)).IsHealthy);
        for (var i = 1; i <= 3; i++) _cluster.SetUp(i);
        await Until.TrueAsync(async () => (await broker.CheckAsync(None)).IsHealthy);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(log.CountOf("Unreachable"), Is.EqualTo(1));
            Assert.That(log.CountOf("ReachableAgain"), Is.EqualTo(1));
        }
    }

    [Test]
    public async Task DisposeAsync_KafkaIsDown_RefusesWhatIsOnItsWay()
    {
        var broker = Open(_cluster.Servers);
        _cluster.CreateTopic("a", 1);
        await AppendAsync(broker, "a", "x");
        for (var i = 1; i <= 3; i++) _cluster.SetDown(i);
        var append = broker.AppendAsync(new("a", 0), Data("lost"), None).AsTask();
        await broker.DisposeAsync().WithDeadline(30);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => append.WithDeadline());
    }

    [Test]
    public async Task Checker_BrokerThereAndNotThere_SaysSo()
    {
        var checker = new KafkaBrokerAvailabilityChecker();
        using (Assert.EnterMultipleScope())
        {
            Assert.That(checker.Check(_cluster.Servers), Is.True);
            Assert.That(await checker.CheckAsync(_cluster.Servers).WithDeadline(), Is.True);
            Assert.That(await checker.CheckAsync("127.0.0.1:1").WithDeadline(20), Is.False);
        }
    }

    [Test]
    public async Task CheckContinuously_BrokerLost_CancelsTheSource()
    {
        using var source = new CancellationTokenSource();
        var checking = new KafkaBrokerAvailabilityChecker().CheckContinuously(_cluster.Servers, source);
        for (var i = 1; i <= 3; i++) _cluster.SetDown(i);
        await checking.WithDeadline(60);
        Assert.That(source.IsCancellationRequested, Is.True);
    }

    [Test]
    public async Task CheckContinuously_SourceCancelled_Ends()
    {
        using var source = new CancellationTokenSource();
        var checking = new KafkaBrokerAvailabilityChecker().CheckContinuously(_cluster.Servers, source);
        await source.CancelAsync();
        await checking.WithDeadline(20);
    }

    private static KafkaBroker Open(string servers, params (string Name, string Value)[] properties) => KafkaBroker.Open(new KafkaBrokerOptions
    {
        BootstrapServers = servers,
        Kafka = new KafkaOptions { Properties = properties.ToDictionary(property => property.Name, property => property.Value) },
    });

    private static RecordData Data(string text) => new(default(ReadOnlyMemory<byte>), Encoding.UTF8.GetBytes(text));

    private static Task<Appended> AppendAsync(KafkaBroker broker, string topic, string text) =>
        broker.AppendAsync(new TopicPartition(topic, 0), Data(text), None).WithDeadline(40);

    private static async Task<List<string>> TextsAsync(KafkaBroker broker, string topic)
    {
        await using var reading = new BrokerReading(broker, new TopicPartition(topic, 0), toHighWatermark: true);
        return [.. (await reading.ToEndAsync()).SelectMany(batch => batch.Records).Select(record => record.Text!)];
    }
}
