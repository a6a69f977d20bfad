using System.Globalization;
using Confluent.Kafka;
using Grpc.Core;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>Three real brokers that fail. Acknowledged: there exactly once. Failed: at most once. Readers lose and repeat nothing.</summary>
[TestFixture]
[Category("KafkaFaults")]
[NonParallelizable]
public sealed class KafkaFaultTests
{
    private const int Packets = 100_000;
    private const int Writers = 8;

    private static readonly StatusCode[] FaultStatuses = [StatusCode.Unavailable, StatusCode.ResourceExhausted];

    private readonly List<IAsyncDisposable> _ofTest = [];
    private KafkaCluster _cluster = null!;
    private CancellationTokenSource _limit = null!;
    private string _dataSource = "";

    private CancellationToken Limit => _limit.Token;

    [OneTimeSetUp]
    public async Task StartCluster() => _cluster = await KafkaCluster.StartAsync(3, "--secure");

    [OneTimeTearDown]
    public async Task StopCluster()
    {
        if (_cluster is not null) await _cluster.DisposeAsync();
    }

    [SetUp]
    public void Begin()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        _dataSource = $"Car{Guid.NewGuid():N}"[..12];
    }

    [TearDown]
    public async Task End()
    {
        for (var i = _ofTest.Count - 1; i >= 0; i--) await _ofTest[i].DisposeAsync();
        _ofTest.Clear();
        _limit.Dispose();
    }

    [Test]
    public Task EveryBrokerDownFor20Seconds_InTheMiddle_NothingAcknowledgedIsLost() => UnderFaultAsync(
        () => EveryBrokerAsync("kill"),
        async () =>
        {
            await Task.Delay(TimeSpan.FromSeconds(20), Limit);
            await EveryBrokerAsync("start");
        });

    [Test]
    public Task LeaderKilled_InTheMiddle_NothingAcknowledgedIsLost() => UnderFaultAsync(
        () => _cluster.BrokerAsync(1, "kill"),
        async () =>
        {
            await Task.Delay(TimeSpan.FromSeconds(8), Limit);
            await _cluster.BrokerAsync(1, "start");
        });

    [Test]
    public Task LeaderPaused_InTheMiddle_NothingAcknowledgedIsLost() => UnderFaultAsync(
        () => _cluster.BrokerAsync(2, "pause"),
        async () =>
        {
            await Task.Delay(TimeSpan.FromSeconds(12), Limit);
            await _cluster.BrokerAsync(2, "resume");
        });

    [Test]
    public async Task BrokersKilledInTurn_UnderTwoServersReadingAsAGroup_NothingIsLost()
    {
        const int brokers = 3;
        var (first, second) = (await StartedAsync(), await StartedAsync());
        var turns = Enumerable.Range(0, brokers).Select(_ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).ToArray();
        var traffic = new CheckedTraffic(first, _dataSource, Writers, Packets) { BeforePacket = number => turns[number * brokers / (Packets / Writers)].Task };
        var writing = traffic.WriteAsync(Limit);
        var reading = traffic.ReadAsync(writing, Limit);
        var group = traffic.ReadAsGroupAsync($"group of {_dataSource}", [first, second], writing, Limit);

        // One after the other while a third of everything is written, among them the group's coordinator and the leader of every stream.
        for (var broker = 1; broker <= brokers; broker++)
        {
            turns[broker - 1].SetResult();
            await Until.TrueAsync(() => traffic.Settled >= Packets * (broker - 1) / brokers + Packets / 50, Limit);
            await _cluster.BrokerAsync(broker, "kill");
            Assert.That(traffic.Settled, Is.LessThan(Packets * broker / brokers), "the fault came too late");
            await Task.Delay(TimeSpan.FromSeconds(4), Limit);
            await _cluster.BrokerAsync(broker, "start");
        }

        await writing.WaitAsync(Limit);
        await reading.WaitAsync(Limit);
        var (all, repeated) = await group.WaitAsync(Limit);
        TestContext.Out.WriteLine($"{traffic.Acknowledged} acknowledged, {repeated} delivered to the group more than once");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(traffic.Acknowledged, Is.GreaterThan(Packets / 2));
            Assert.That(traffic.Failures, Is.All.AnyOf(FaultStatuses.Cast<object>().ToArray()));

            // What passes on without a commit comes again; never half of everything.
            Assert.That(repeated, Is.LessThan(all / 2));
        }

        await traffic.VerifyAsync(await StartedAsync(), Limit);
    }

    [Test]
    public async Task ControllerRestarted_InTheMiddle_NothingAcknowledgedIsLost()
    {
        var status = await _cluster.ToolAsync("quorum", "describe", "--status");
        var leader = int.Parse(status.Split('\n').Single(line => line.StartsWith("LeaderId", StringComparison.Ordinal)).Split(':')[1], CultureInfo.InvariantCulture);
        var stopping = Task.CompletedTask;
        await UnderFaultAsync(
            () =>
            {
                stopping = _cluster.BrokerAsync(leader, "stop");
                return Task.CompletedTask;
            },
            async () =>
            {
                await stopping;
                await _cluster.BrokerAsync(leader, "start");
            });
    }

    [Test]
    public async Task EveryBrokerSlow_ForMostOfTheTime_FailsNothing()
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(Limit);
        var (pulsing, pulses) = (Task.CompletedTask, 0);
        var traffic = await UnderFaultAsync(
            () =>
            {
                pulsing = Task.WhenAll(Enumerable.Range(1, 3).Select(broker => Task.Run(() => PulseAsync(broker), Limit)));
                return Task.CompletedTask;
            },
            async traffic =>
            {
                // While much is written to brokers that stand still three quarters of the time, each by itself.
                await Until.TrueAsync(() => traffic.Settled >= Packets * 3 / 5, Limit);
                await end.CancelAsync();
                await pulsing;
            });
        Assert.That(traffic.Failures, Is.Empty);
        Assert.That(pulses, Is.GreaterThan(10), "the brokers were not slow");

        async Task PulseAsync(int broker)
        {
            while (!end.IsCancellationRequested)
            {
                await _cluster.BrokerAsync(broker, "pause");
                try
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(300), Limit);
                }
                finally
                {
                    await _cluster.BrokerAsync(broker, "resume");
                }

                Interlocked.Increment(ref pulses);
                await Task.Delay(TimeSpan.FromMilliseconds(100), Limit);
            }
        }
    }

    [Test]
    public async Task EveryBrokerPaused_WritersPushOn_MemoryStaysBoundedAndTheyAreToldOrWait()
    {
        // 800 MB to write, of which the writers would have 190 MB on their way, each byte twice, if nobody stopped them.
        var server = await StartedAsync(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers, InFlightBytesMax = 16 << 20 });
        var traffic = new CheckedTraffic(server, _dataSource, Writers, Packets) { ContentBytes = 8_000, OutstandingMax = 3_000 };
        var (heap, workingSet) = Memory();
        var writing = traffic.WriteAsync(Limit);
        var reading = traffic.ReadAsync(writing, Limit);
        await Until.TrueAsync(() => traffic.Settled >= Packets / 5, Limit);
        await EveryBrokerAsync("pause");
        var (settled, issued) = (traffic.Settled, -1);
        try
        {
            // Until the writers have come to stand.
            while (traffic.Issued != issued)
            {
                issued = traffic.Issued;
                await Task.Delay(TimeSpan.FromSeconds(1), Limit);
            }

            var (heapNow, workingSetNow) = Memory();
            TestContext.Out.WriteLine($"{settled} settled, {issued} called: heap {heap >> 20} to {heapNow >> 20} MiB, working set {workingSet >> 20} to {workingSetNow >> 20} MiB");
            using (Assert.EnterMultipleScope())
            {
                Assert.That(settled, Is.LessThan(Packets), "the fault came too late");
                // 64 MiB of waiting packets, each once as a message and once encoded, and what the test keeps of writes that were refused.
                Assert.That(heapNow - heap, Is.LessThan(300L << 20), "managed memory");
                Assert.That(workingSetNow - workingSet, Is.LessThan(750L << 20), "all memory");
            }
        }
        finally
        {
            await EveryBrokerAsync("resume");
        }

        await writing.WaitAsync(Limit);
        await reading.WaitAsync(Limit);
        TestContext.Out.WriteLine($"{traffic.Acknowledged} acknowledged, {traffic.Failures.Count()} failed");
        Assert.That(traffic.Settled, Is.EqualTo(Packets));
        Assert.That(traffic.Failures, Does.Contain(StatusCode.ResourceExhausted).And.All.AnyOf(FaultStatuses.Cast<object>().ToArray()));
        Assert.That(traffic.Acknowledged, Is.GreaterThan(Packets / 5));
        await traffic.VerifyAsync(await StartedAsync(), Limit);
    }

    [Test]
    public async Task ReadersStandStill_WhileMuchIsWritten_MemoryStaysBoundedAndTheyCatchUp()
    {
        const int readers = 4;
        var server = await StartedAsync(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers, TailBytesMax = 16 << 20 });
        var traffic = new CheckedTraffic(server, _dataSource, Writers, Packets) { ContentBytes = 4_000 };
        var (heap, workingSet) = Memory();
        var pause = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var writing = traffic.WriteAsync(Limit);
        var healthy = traffic.ReadAsync(writing, Limit);
        var slow = Enumerable.Range(0, readers).Select(_ => traffic.ReadAsync(writing, Limit, pause.Task)).ToArray();
        await writing.WaitAsync(Limit);
        await healthy.WaitAsync(Limit);

        // 400 MB have gone by; the slow ones have had a response each.
        Assert.That(slow.Count(read => read.IsCompleted), Is.Zero);
        var (heapNow, workingSetNow) = Memory();
        pause.SetResult();
        var most = workingSetNow;
        await Until.DoneAsync(
            Task.WhenAll(slow),
            () =>
            {
                most = Math.Max(most, Environment.WorkingSet);
                return Task.CompletedTask;
            },
            Limit);
        TestContext.Out.WriteLine($"heap {heap >> 20} to {heapNow >> 20} MiB, working set {workingSet >> 20} to {workingSetNow >> 20}, then {most >> 20} MiB");
        using (Assert.EnterMultipleScope())
        {
            Assert.That(heapNow - heap, Is.LessThan(120L << 20), "managed memory while they stand still");
            Assert.That(most - workingSet, Is.LessThan(600L << 20), "all memory while they catch up");
            Assert.That(traffic.Failures, Is.Empty);
        }

        await traffic.VerifyAsync(await StartedAsync(), Limit);
    }

    [Test]
    public async Task EveryBrokerDown_AtStart_IsWaitedFor()
    {
        await EveryBrokerAsync("kill");
        var starting = StartedAsync();
        await EveryBrokerAsync("start");
        await (await starting.WaitAsync(Limit)).WriteTextAsync(_dataSource, "", "there", Limit);
    }

    [Test]
    public async Task EveryBrokerDown_AtStart_IsNamed()
    {
        var dead = "127.0.0.1:1";
        var error = await Assert.ThrowsAsync<InitialisationException>(async () =>
        {
            await using var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = dead });
            await StreamServer.StartAsync(Transport.InProcess, new StreamingApiConfiguration(brokerUrl: dead), broker, null, Limit);
        });
        Assert.That(error!.Message, Does.Contain(dead).And.Contain("listing"));
    }

    [Test]
    public async Task PacketTooLarge_ForTheTopic_IsRefusedWithSizeAndHurtsNoOther()
    {
        var server = await StartedAsync();
        await server.WriteTextAsync(_dataSource, "", "before", Limit);
        var random = new byte[2 << 20];
        new Random(1).NextBytes(random);
        var packet = new OpenData.Packet { Type = "RawCANData", Content = Google.Protobuf.ByteString.CopyFrom(random) };
        AssertFailure(await FailureOfAsync(() => server.WriteAsync(_dataSource, "", packet, Limit)), StatusCode.InvalidArgument, "bytes");

        // A topic that takes less than its broker.
        await _cluster.ToolAsync("configs", "--alter", "--entity-type", "topics", "--entity-name", _dataSource, "--add-config", "max.message.bytes=10000");
        var half = new OpenData.Packet { Type = "RawCANData", Content = Google.Protobuf.ByteString.CopyFrom(random.AsSpan(0, 500_000)) };
        AssertFailure(await FailureOfAsync(() => server.WriteAsync(_dataSource, "", half, Limit)), StatusCode.InvalidArgument, _dataSource, "max.message.bytes");
        await server.WriteTextAsync(_dataSource, "", "after", Limit);
        var texts = (await server.Broker.StoredAsync(new(_dataSource, 0), Limit)).Select(record => record.Text);
        Assert.That(texts, Is.EqualTo(new[] { "before", "after" }));
    }

    [Test]
    public async Task TopicDeleted_UnderAReader_EndsItAndIsMadeAnewByTheNextWrite()
    {
        var server = await StartedAsync();
        for (var i = 0; i < 100; i++) await server.WriteTextAsync(_dataSource, "", $"{i}", Limit);
        using var read = await server.ReadAsync(new() { DataSource = _dataSource }, Limit);
        await read.TakeAsync(100);
        var end = FailureOfAsync(() => read.NextAsync());
        await _cluster.ToolAsync("topics", "--delete", "--topic", _dataSource);
        AssertFailure(await end.WaitAsync(Limit), StatusCode.OutOfRange, _dataSource, "deleted");

        // The first write may still meet the topic that is gone; it says so, and the next one makes it anew.
        await Until.SucceedsAsync<RpcException>(
            () => server.WriteTextAsync(_dataSource, "", "anew", Limit), exception => exception.StatusCode == StatusCode.Unavailable, Limit);

        using var again = await server.ReadAsync(new() { DataSource = _dataSource }, Limit);
        Assert.That(await again.TextsAsync(1), Is.EqualTo(new[] { "anew" }));
    }

    [Test]
    public async Task Retention_OvertakesAReader_EndsItWithTheRangeAndWhatIsLeft()
    {
        // More than is read ahead anywhere: by the reader, by its client library, and on the way.
        var server = await StartedAsync();
        using var read = await server.ReadAsync(new() { DataSource = _dataSource }, Limit);
        await server.WriteTextAsync(_dataSource, "", "first", Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "first" }));
        var random = new Random(1);
        var bytes = new byte[100_000];
        for (var i = 0; i < 1500; i++)
        {
            random.NextBytes(bytes);
            await server.WriteAsync(_dataSource, "", new() { Type = "RawCANData", Content = Google.Protobuf.ByteString.CopyFrom(bytes) }, Limit);
        }

        using (var admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _cluster.Servers }).Build())
            await admin.DeleteRecordsAsync([new TopicPartitionOffset(_dataSource, 0, 1490)]);
        var failure = await FailureOfAsync(async () =>
        {
            while (true) await read.NextAsync();
        });
        AssertFailure(failure, StatusCode.OutOfRange, _dataSource, "1490", "retention");
        using var again = await server.ReadAsync(new() { DataSource = _dataSource }, Limit);
        Assert.That((await again.TakeAsync(11)).Select(packet => packet.Packet.Content.Length), Is.All.EqualTo(100_000));
    }

    [Test]
    public async Task UserWithoutRights_IsRefusedWithTopicAndOperation()
    {
        await _cluster.ToolAsync("acls", "--add", "--allow-principal", "User:reader", "--operation", "Describe", "--topic", "*");
        await (await StartedAsync()).WriteTextAsync(_dataSource, "", "theirs", Limit);

        // May see that the topic is there, and no more.
        await using var broker = KafkaBroker.Open(Secure("reader", "reader-secret"));
        var write = await Assert.ThrowsAsync<Core.Broker.BrokerException>(
            async () => await broker.AppendAsync(new(_dataSource, 0), new(default(ReadOnlyMemory<byte>), new byte[1]), Limit));
        var read = await Assert.ThrowsAsync<Core.Broker.BrokerException>(async () => await broker.StoredAsync(new(_dataSource, 0), Limit));
        var create = await Assert.ThrowsAsync<Core.Broker.BrokerException>(async () => await broker.EnsureTopicAsync(new($"{_dataSource}.new"), Limit));
        await using var member = await broker.JoinGroupAsync($"group of {_dataSource}", Limit);
        member.Want([new(_dataSource, 0)]);
        var join = await Assert.ThrowsAsync<Core.Broker.BrokerException>(async () =>
        {
            while (true) await member.NextAssignmentAsync(Limit);
        });
        using (Assert.EnterMultipleScope())
        {
            foreach (var (error, operation) in new[] { (write, "writing"), (read, "reading"), (create, "creating"), (join, "member of group") })
            {
                Assert.That(error!.Error, Is.EqualTo(Core.Broker.BrokerError.Denied), error.Message);
                Assert.That(error.Message, Does.Contain(_dataSource).And.Contain(operation).And.Not.Contain("reader-secret"));
            }
        }

        // With the rights it needs the same broker writes and reads.
        foreach (var operation in new[] { "Read", "Write" })
            await _cluster.ToolAsync("acls", "--add", "--allow-principal", "User:reader", "--operation", operation, "--topic", _dataSource);
        await Until.SucceedsAsync<Core.Broker.BrokerException>(
            () => broker.AppendAsync(
                new(_dataSource, 0), new(default(ReadOnlyMemory<byte>), Google.Protobuf.MessageExtensions.ToByteArray(TextPacket("mine"))), Limit).AsTask(),
            exception => exception.Error == Core.Broker.BrokerError.Denied,
            Limit);

        Assert.That((await broker.StoredAsync(new(_dataSource, 0), Limit)).Select(record => record.Text), Is.EqualTo(new[] { "theirs", "mine" }));
    }

    [Test]
    public async Task WrongPassword_AtStart_IsSaidWithoutThePassword()
    {
        await using var broker = KafkaBroker.Open(Secure("writer", "not-the-secret"));
        var error = await Assert.ThrowsAsync<InitialisationException>(
            async () => await StreamServer.StartAsync(Transport.InProcess, new StreamingApiConfiguration(brokerUrl: _cluster.SecureServers), broker, null, Limit));
        Assert.That(error!.Message, Does.Contain("uthentication").And.Not.Contain("not-the-secret"));
    }

    private KafkaBrokerOptions Secure(string user, string password) => new()
    {
        BootstrapServers = _cluster.SecureServers,
        Kafka = new KafkaOptions
        {
            SecurityProtocol = "sasl_ssl",
            SaslMechanism = "SCRAM-SHA-256",
            SaslUsername = user,
            SaslPassword = password,
            SslCaLocation = _cluster.CertificateOfAuthority,
        },
    };

    // Writers and a reader, a fault when a fifth is written, and a look at everything when all is over.
    private Task UnderFaultAsync(Func<Task> strike, Func<Task> mend) => UnderFaultAsync(strike, _ => mend());

    private async Task<CheckedTraffic> UnderFaultAsync(Func<Task> strike, Func<CheckedTraffic, Task> mend)
    {
        var server = await StartedAsync();
        var traffic = new CheckedTraffic(server, _dataSource, Writers, Packets);
        var writing = traffic.WriteAsync(Limit);
        var reading = traffic.ReadAsync(writing, Limit);
        await Until.TrueAsync(() => traffic.Settled >= Packets / 5, Limit);
        await strike();
        var settled = traffic.Settled;
        await mend(traffic);
        Assert.That(settled, Is.LessThan(Packets), "the fault came too late");
        await writing.WaitAsync(Limit);
        await reading.WaitAsync(Limit);
        TestContext.Out.WriteLine($"{traffic.Acknowledged} acknowledged, {traffic.Failures.Count()} failed");
        Assert.That(traffic.Settled, Is.EqualTo(Packets));
        Assert.That(traffic.Failures, Is.All.AnyOf(FaultStatuses.Cast<object>().ToArray()));
        Assert.That(traffic.Acknowledged, Is.GreaterThan(Packets / 5));
        await traffic.VerifyAsync(await StartedAsync(), Limit);
        return traffic;
    }

    // What is in use, without what could be collected.
    private static (long Heap, long WorkingSet) Memory()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return (GC.GetTotalMemory(forceFullCollection: true), Environment.WorkingSet);
    }

    private Task EveryBrokerAsync(string action) => Task.WhenAll(Enumerable.Range(1, 3).Select(i => _cluster.BrokerAsync(i, action)));

    private Task<StreamServer> StartedAsync() => StartedAsync(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers });

    private async Task<StreamServer> StartedAsync(KafkaBrokerOptions options)
    {
        var broker = KafkaBroker.Open(options);
        _ofTest.Add(broker);
        var configuration = new StreamingApiConfiguration(brokerUrl: _cluster.Servers, batchingResponses: true, initialisationTimeoutSeconds: 90)
        {
            AutoRegisterDataFormats = false,
            DrainTimeoutSeconds = 5,
        };
        var server = await StreamServer.StartAsync(Transport.InProcess, configuration, broker, null, Limit);
        _ofTest.Add(server);
        return server;
    }
}
