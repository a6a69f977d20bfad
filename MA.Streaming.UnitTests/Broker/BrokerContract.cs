using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using MA.Streaming.Core.Broker;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <summary>
/// What <see cref="IBroker"/> promises, as tests that every adapter passes. An adapter derives a fixture, makes a broker, and says
/// what it can do; a test of something it cannot do is ignored with that reason. Topics have names of their own in every test,
/// so a broker may be shared and need not be empty.
/// </summary>
public abstract partial class BrokerContract
{
    private const int BytesMax = 1 << 20;
    private IBroker? _broker;

    /// <summary>The broker of the running test.</summary>
    protected IBroker Broker => _broker ?? throw new InvalidOperationException("no test is running");

    /// <summary>The offsets of a partition are 0, 1, 2… without gaps.</summary>
    protected virtual bool HasDenseOffsets => true;

    /// <summary><see cref="RemoveBelowAsync"/> is implemented.</summary>
    protected virtual bool SupportsRetention => false;

    /// <summary><see cref="RetainAsync"/> is implemented.</summary>
    protected virtual bool SupportsKeepForever => false;

    /// <summary><see cref="DeleteTopicAsync"/> is implemented.</summary>
    protected virtual bool SupportsTopicDeletion => false;

    /// <summary>Topics can be given more partitions.</summary>
    protected virtual bool SupportsExtension => true;

    /// <summary>Records can be looked up by time.</summary>
    protected virtual bool SupportsTimes => true;

    /// <summary>An append is told the time that its record has.</summary>
    protected virtual bool AcknowledgesTimes => true;

    /// <summary>Nothing is fetched beyond <see cref="ReadRequest.BytesMax"/>, also not by a client library below.</summary>
    protected virtual bool FetchesNoMoreThanAsked => true;

    /// <summary>Positions are kept that a member says while its partitions pass on.</summary>
    protected virtual bool CommitsWhileSharing => true;

    /// <summary>A read that asks for it is resumed without the thread pool, and so are appends.</summary>
    protected virtual bool WorksWithExhaustedThreadPool => false;

    protected static CancellationToken None => CancellationToken.None;

    /// <summary>A broker to test. The test disposes it.</summary>
    protected abstract Task<IBroker> CreateAsync();

    /// <summary>Removes the records before an offset, as retention does; returns when the low watermark is that offset.</summary>
    protected virtual Task RemoveBelowAsync(TopicPartition source, long low) => throw new NotSupportedException();

    /// <summary>Makes retention remove everything it may of these topics, as age or size would; returns when it has.</summary>
    protected virtual Task RetainAsync(params string[] topics) => throw new NotSupportedException();

    /// <summary>Deletes a topic, as an operator does; returns when it is gone.</summary>
    protected virtual Task DeleteTopicAsync(string topic) => throw new NotSupportedException();

    [SetUp]
    public async Task SetUp() => _broker = await CreateAsync().WithDeadline(60);

    [TearDown]
    public async Task TearDown()
    {
        if (_broker is not null) await _broker.DisposeAsync().WithDeadline(60);
        _broker = null;
    }

    // ---- What it is ----

    [Test]
    public void Info_OfAnyBroker_SaysWhatItIs()
    {
        Assert.Multiple(() =>
        {
            Assert.That(Broker.Info.Id, Is.Not.Empty);
            Assert.That(Broker.Info.Name, Is.Not.Empty);
            Assert.That(Broker.Info.Durability, Is.Not.Empty);
            Assert.That(Broker.Info.RecordBytesMax, Is.Positive);
        });
    }

    [Test]
    public async Task CheckAsync_HealthyBroker_SaysSo()
    {
        var health = await Broker.CheckAsync(None).WithDeadline();
        Assert.That(health.IsHealthy, Is.True, health.Detail);
    }

    // ---- Topics ----

    [Test]
    public async Task EnsureTopicAsync_NewTopic_HasTheNameAndThePartitionsAsked()
    {
        var name = NewName();
        var topic = await Broker.EnsureTopicAsync(new TopicSpec(name, 3), None).WithDeadline();
        Assert.That(topic, Is.EqualTo(new TopicInfo(name, 3)));
    }

    [Test]
    public async Task EnsureTopicAsync_KnownTopic_AddsPartitionsAndRemovesNone()
    {
        RequireExtension();
        var name = NewName();
        await Broker.EnsureTopicAsync(new TopicSpec(name, 2), None).WithDeadline();
        await AppendAsync(new TopicPartition(name, 1), "kept");

        var same = await Broker.EnsureTopicAsync(new TopicSpec(name, 2), None).WithDeadline();
        var fewer = await Broker.EnsureTopicAsync(new TopicSpec(name), None).WithDeadline();
        var more = await Broker.EnsureTopicAsync(new TopicSpec(name, 4), None).WithDeadline();
        var appended = await AppendAsync(new TopicPartition(name, 3), "new");

        Assert.Multiple(() =>
        {
            Assert.That(same.Partitions, Is.EqualTo(2));
            Assert.That(fewer.Partitions, Is.EqualTo(2));
            Assert.That(more.Partitions, Is.EqualTo(4));
            Assert.That(appended.Partition, Is.EqualTo(3));
        });
        Assert.That(await TextsAsync(new TopicPartition(name, 1)), Is.EqualTo(new[] { "kept" }));
    }

    [Test]
    public async Task EnsureTopicAsync_ConcurrentCalls_EndInOneTopic()
    {
        RequireExtension();
        var name = NewName();
        var calls = Enumerable.Range(0, 32)
            .Select(i => Task.Run(async () =>
            {
                await Broker.EnsureTopicAsync(new TopicSpec(name, 1 + (i % 4)), None);
                return await Broker.AppendAsync(new TopicPartition(name, 0), Data($"from {i}"), None);
            }))
            .ToArray();
        var appended = await Task.WhenAll(calls).WithDeadline(60);
        var topic = await Broker.EnsureTopicAsync(new TopicSpec(name), None).WithDeadline();

        Assert.Multiple(() =>
        {
            Assert.That(topic.Partitions, Is.EqualTo(4));
            Assert.That(appended.Select(a => a.Offset), Is.Unique);
        });
        Assert.That(await TextsAsync(new TopicPartition(name, 0)), Is.EquivalentTo(Enumerable.Range(0, 32).Select(i => $"from {i}")));
    }

    [Test]
    public async Task EnsureTopicAsync_NamesThatDifferInCase_AreTwoTopics()
    {
        var name = NewName();
        await Broker.EnsureTopicAsync(new TopicSpec(name + "x"), None).WithDeadline();
        await Broker.EnsureTopicAsync(new TopicSpec(name + "X"), None).WithDeadline();
        await AppendAsync(new TopicPartition(name + "x", 0), "small");
        await AppendAsync(new TopicPartition(name + "X", 0), "large");

        Assert.That(await TextsAsync(new TopicPartition(name + "x", 0)), Is.EqualTo(new[] { "small" }));
        Assert.That(await TextsAsync(new TopicPartition(name + "X", 0)), Is.EqualTo(new[] { "large" }));
    }

    [TestCase("con")]
    [TestCase("a..b")]
    [TestCase("-_.")]
    [TestCase("...")]
    public async Task EnsureTopicAsync_UnusualButAllowedName_Works(string prefix)
    {
        var source = await NewTopicAsync(name: prefix + NewName());
        await AppendAsync(source, "there");
        Assert.That(await TextsAsync(source), Is.EqualTo(new[] { "there" }));
    }

    [Test]
    public async Task EnsureTopicAsync_LongestName_Works()
    {
        var source = await NewTopicAsync(name: NewName().PadRight(249, 'x'));
        await AppendAsync(source, "there");
        Assert.That(await TextsAsync(source), Is.EqualTo(new[] { "there" }));
    }

    [TestCase("a/b", "/")]
    [TestCase("a b", " ")]
    [TestCase("car:1", ":")]
    [TestCase("é", "é")]
    [TestCase("a\\b", "\\")]
    [TestCase("line\nbreak", "U+000A")]
    [TestCase("", "empty")]
    [TestCase(".", "'.'")]
    [TestCase("..", "'..'")]
    public void EnsureTopicAsync_NameNotAllowed_NamesWhatIsWrong(string name, string named)
    {
        var exception = Assert.ThrowsAsync(
            Is.InstanceOf<ArgumentException>(), async () => await Broker.EnsureTopicAsync(new TopicSpec(name), None).WithDeadline());
        Assert.That(exception!.Message, Does.Contain(named));
    }

    [Test]
    public void EnsureTopicAsync_NameTooLong_NamesTheLimit()
    {
        var exception = Assert.ThrowsAsync(
            Is.InstanceOf<ArgumentException>(),
            async () => await Broker.EnsureTopicAsync(new TopicSpec(new string('x', 250)), None).WithDeadline());
        Assert.That(exception!.Message, Does.Contain("249").And.Contain("250"));
    }

    [TestCase(0)]
    [TestCase(-1)]
    public void EnsureTopicAsync_NoPartitions_IsRefused(int partitions) => Assert.ThrowsAsync(
        Is.InstanceOf<ArgumentException>(), async () => await Broker.EnsureTopicAsync(new TopicSpec(NewName(), partitions), None).WithDeadline());

    [Test]
    public async Task WatchTopicsAsync_TopicsBeforeAndAfter_ComeAroundOneNull()
    {
        var before = new[] { await NewTopicAsync(), await NewTopicAsync(2) };
        await using var watch = new Watch(Broker);
        var existing = await watch.TakeUntilAsync(topic => topic is null);
        var after = await NewTopicAsync(3);
        var later = await watch.TakeUntilAsync(topic => topic?.Name == after.Topic);
        var last = await NewTopicAsync();
        later.AddRange(await watch.TakeUntilAsync(topic => topic?.Name == last.Topic));

        Assert.Multiple(() =>
        {
            Assert.That(existing, Does.Contain(new TopicInfo(before[0].Topic, 1)).And.Contain(new TopicInfo(before[1].Topic, 2)));
            Assert.That(existing.Count(topic => topic is null), Is.EqualTo(1));
            Assert.That(later, Does.Contain(new TopicInfo(after.Topic, 3)).And.No.Member(null));
        });
    }

    [Test]
    public async Task WatchTopicsAsync_TopicExtended_ComesAgain()
    {
        RequireExtension();
        var source = await NewTopicAsync();
        await using var watch = new Watch(Broker);
        await watch.TakeUntilAsync(topic => topic is null);
        await Broker.EnsureTopicAsync(new TopicSpec(source.Topic, 5), None).WithDeadline();
        await watch.TakeUntilAsync(topic => topic == new TopicInfo(source.Topic, 5));
    }

    [Test]
    public async Task WatchTopicsAsync_WatcherThatDoesNotKeepUp_SeesEveryTopicInTheEnd()
    {
        RequireExtension();
        await using var watch = new Watch(Broker);
        await watch.TakeUntilAsync(topic => topic is null);
        var expected = new Dictionary<string, int>();
        for (var i = 0; i < 50; i++)
        {
            var source = await NewTopicAsync();
            expected[source.Topic] = 1;
            if (i % 5 == 0) expected[source.Topic] = (await Broker.EnsureTopicAsync(new TopicSpec(source.Topic, 3), None).WithDeadline()).Partitions;
        }

        var missing = expected.ToDictionary();
        await watch.TakeUntilAsync(topic =>
        {
            if (topic is not null && missing.GetValueOrDefault(topic.Name) == topic.Partitions) missing.Remove(topic.Name);
            return missing.Count == 0;
        });
    }

    [Test]
    public async Task WatchTopicsAsync_ManyTopicsAtOnce_WakeTheWatcherEveryTime()
    {
        await using var watch = new Watch(Broker);
        await watch.TakeUntilAsync(topic => topic is null);
        for (var round = 0; round < 10; round++)
        {
            var missing = Enumerable.Range(0, 8).Select(_ => NewName()).ToHashSet();
            var creations = missing.Select(name => Broker.EnsureTopicAsync(new TopicSpec(name, 1), None).AsTask()).ToArray();
            await Task.WhenAll(creations).WithDeadline();
            await watch.TakeUntilAsync(topic =>
            {
                missing.Remove(topic!.Name);
                return missing.Count == 0;
            });
        }
    }

    [Test]
    public async Task WatchTopicsAsync_Cancelled_EndsPromptly()
    {
        using var stop = new CancellationTokenSource();
        await using var watch = new Watch(Broker, stop.Token);
        await watch.TakeUntilAsync(topic => topic is null);
        var next = watch.NextAsync();
        await stop.CancelAsync();
        Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => next);
    }

    // ---- Appending ----

    [Test]
    public async Task AppendAsync_ManyRecords_TakeGrowingOffsetsAndTimes()
    {
        var source = await NewTopicAsync();
        var appended = new List<Appended>();
        for (var i = 0; i < 100; i++) appended.Add(await AppendAsync(source, $"{i}"));
        var records = await ReadAllAsync(source);

        Assert.Multiple(() =>
        {
            Assert.That(appended.Select(a => a.Partition), Is.All.Zero);
            Assert.That(appended.Select(a => a.Offset), Is.Ordered.Ascending.And.Unique);
            if (HasDenseOffsets) Assert.That(appended.Select(a => a.Offset), Is.EqualTo(Enumerable.Range(0, 100).Select(i => (long)i)));
            Assert.That(appended.Select(a => a.Timestamp), Is.Ordered.Ascending);
            Assert.That(appended.Select(a => a.Timestamp.Offset), Is.All.EqualTo(TimeSpan.Zero));
            Assert.That(records.Select(r => r.Offset), Is.EqualTo(appended.Select(a => a.Offset)));
            if (AcknowledgesTimes) Assert.That(records.Select(r => r.Timestamp), Is.EqualTo(appended.Select(a => a.Timestamp)));
            Assert.That(records.Select(r => r.Timestamp), Is.Ordered.Ascending);
            Assert.That(records.Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 100).Select(i => $"{i}")));
        });
    }

    [Test]
    public async Task AppendAsync_NotAwaited_KeepsTheOrderOfTheCalls()
    {
        var source = await NewTopicAsync();
        var appends = new Task<Appended>[2000];
        for (var i = 0; i < appends.Length; i++) appends[i] = Broker.AppendAsync(source, Data($"{i}"), None).AsTask();
        var appended = await Task.WhenAll(appends).WithDeadline(60);

        Assert.That(appended.Select(a => a.Offset), Is.Ordered.Ascending.And.Unique);
        Assert.That(await TextsAsync(source), Is.EqualTo(Enumerable.Range(0, appends.Length).Select(i => $"{i}")));
    }

    [TestCase(null, null)]
    [TestCase(null, "")]
    [TestCase(null, "value")]
    [TestCase("", null)]
    [TestCase("", "")]
    [TestCase("", "value")]
    [TestCase("key", null)]
    [TestCase("key", "")]
    [TestCase("key", "value")]
    public async Task AppendAsync_NullAndEmpty_AreKeptApart(string? key, string? value)
    {
        var source = await NewTopicAsync();
        await Broker.AppendAsync(source, new RecordData(Bytes(key), Bytes(value)), None).WithDeadline();
        var record = (await ReadAllAsync(source)).Single();
        Assert.Multiple(() =>
        {
            Assert.That(record.Key, Is.EqualTo(key is null ? null : Encoding.UTF8.GetBytes(key)));
            Assert.That(record.Value, Is.EqualTo(value is null ? null : Encoding.UTF8.GetBytes(value)));
        });
    }

    [Test]
    public async Task AppendAsync_Acknowledged_IsVisible()
    {
        var source = await NewTopicAsync();
        for (var i = 0; i < 20; i++)
        {
            var appended = await AppendAsync(source, $"{i}");
            Assert.That((await WatermarksAsync(source)).High, Is.EqualTo(appended.Offset + 1));
            await using var reading = new BrokerReading(Broker, source, appended.Offset, toHighWatermark: true);
            Assert.That((await reading.ToEndAsync()).SelectMany(b => b.Records).Select(r => r.Text), Is.EqualTo(new[] { $"{i}" }));
        }
    }

    [Test]
    public async Task AppendAsync_LargestRecord_IsReadBack()
    {
        var source = await NewTopicAsync();
        var value = new byte[Broker.Info.RecordBytesMax - 3];
        new Random(1).NextBytes(value);
        await Broker.AppendAsync(source, new RecordData("key"u8.ToArray(), value), None).WithDeadline(60);
        await AppendAsync(source, "after it");

        // It is larger than the read-ahead, and comes all the same.
        await using var reading = new BrokerReading(Broker, source, bytesMax: 1000);
        var records = await reading.TakeAsync(2);
        Assert.That(records[0].Value.AsSpan().SequenceEqual(value), Is.True);
        Assert.That(records[1].Text, Is.EqualTo("after it"));
    }

    [Test]
    public async Task AppendAsync_RecordTooLarge_NamesSizeAndLimitAndAppendsNothing()
    {
        var source = await NewTopicAsync();
        var size = Broker.Info.RecordBytesMax + 1;
        var exception = Assert.ThrowsAsync<BrokerException>(
            async () => await Broker.AppendAsync(source, new RecordData("key"u8.ToArray(), new byte[size - 3]), None).WithDeadline());
        await AppendAsync(source, "fits");

        Assert.Multiple(() =>
        {
            Assert.That(exception!.Error, Is.EqualTo(BrokerError.TooLarge));
            Assert.That(exception.IsTransient, Is.False);
            Assert.That(exception.Message, Does.Contain($"{size}").And.Contain($"{Broker.Info.RecordBytesMax}"));
        });
        Assert.That(await TextsAsync(source), Is.EqualTo(new[] { "fits" }));
    }

    [Test]
    public async Task AppendAsync_TopicOrPartitionNotThere_NamesIt()
    {
        var source = await NewTopicAsync(2);
        var absent = NewName();
        foreach (var target in new[] { new TopicPartition(absent, 0), new TopicPartition(absent, -1), source with { Partition = 2 } })
        {
            var exception = Assert.ThrowsAsync<BrokerException>(async () => await Broker.AppendAsync(target, Data("lost"), None).WithDeadline(60));
            Assert.Multiple(() =>
            {
                Assert.That(exception!.Error, Is.EqualTo(BrokerError.NoSuchTopic));
                Assert.That(exception.Message, Does.Contain(target.Partition == 2 ? target.ToString() : target.Topic));
            });
        }

        Assert.That(await WatermarksAsync(new TopicPartition(absent, 0)), Is.EqualTo(new Watermarks(new TopicPartition(absent, 0), 0, 0)));
    }

    [Test]
    public async Task AppendAsync_CancelledBefore_Throws()
    {
        var source = await NewTopicAsync();
        Assert.ThrowsAsync(
            Is.InstanceOf<OperationCanceledException>(),
            async () => await Broker.AppendAsync(source, Data("never"), new CancellationToken(true)).WithDeadline());
    }

    [Test]
    public async Task AppendAsync_ByKey_PlacesByCrc32()
    {
        const int partitions = 5;
        var topic = (await NewTopicAsync(partitions)).Topic;
        var expected = new Dictionary<string, int>();
        for (var i = 0; i < 60; i++)
        {
            var key = $"session-{i}";
            var appended = await Broker.AppendAsync(new TopicPartition(topic, -1), new RecordData(Bytes(key), Bytes(key)), None).WithDeadline();
            expected[key] = KeyPlacement.PartitionOf(Encoding.UTF8.GetBytes(key), partitions);
            Assert.That(appended.Partition, Is.EqualTo(expected[key]), key);
        }

        var empty = await Broker.AppendAsync(new TopicPartition(topic, -1), new RecordData(Bytes(""), Bytes("of no key")), None).WithDeadline();
        Assert.That(empty.Partition, Is.InRange(0, partitions - 1));
        for (var partition = 0; partition < partitions; partition++)
        {
            var texts = (await TextsAsync(new TopicPartition(topic, partition))).Where(text => text != "of no key");
            Assert.That(texts, Is.EqualTo(expected.Where(pair => pair.Value == partition).Select(pair => pair.Key)));
        }
    }

    [Test]
    public async Task AppendAsync_ManyThreads_KeepEachCallersOrderAndEveryByte()
    {
        const int writers = 6, count = 1500, partitions = 3;
        var topic = (await NewTopicAsync(partitions)).Topic;
        var offsets = new long[writers][];
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            var target = new TopicPartition(topic, writer % partitions);
            var appends = new Task<Appended>[count];
            for (var i = 0; i < count; i++) appends[i] = Broker.AppendAsync(target, Signed(writer, i), None).AsTask();
            offsets[writer] = [.. (await Task.WhenAll(appends)).Select(a => a.Offset)];
        }))).WithDeadline(60);

        foreach (var own in offsets) Assert.That(own, Is.Ordered.Ascending.And.Unique);
        for (var partition = 0; partition < partitions; partition++)
        {
            var records = await ReadAllAsync(new TopicPartition(topic, partition));
            if (HasDenseOffsets) Assert.That(records.Select(r => r.Offset), Is.EqualTo(Enumerable.Range(0, records.Count).Select(i => (long)i)));
            Assert.That(records.Select(r => r.Timestamp), Is.Ordered.Ascending);
            var byWriter = records.GroupBy(r => CheckSigned(r).Writer).ToDictionary(g => g.Key, g => g.ToList());
            Assert.That(byWriter.Keys, Is.EquivalentTo(Enumerable.Range(0, writers).Where(w => w % partitions == partition)));
            foreach (var (writer, own) in byWriter)
            {
                Assert.That(own.Select(r => CheckSigned(r).Number), Is.EqualTo(Enumerable.Range(0, count)), "the order of the calls");
                Assert.That(own.Select(r => r.Offset), Is.EqualTo(offsets[writer]), "the offsets acknowledged");
            }
        }
    }

    // ---- Reading ----

    [Test]
    public async Task ReadAsync_FromAPosition_YieldsTheRecordsFromThereOn()
    {
        var source = await NewTopicAsync();
        var offsets = await AppendManyAsync(source, 30);
        await using var reading = new BrokerReading(Broker, source, offsets[17], toHighWatermark: true);
        var batches = await reading.ToEndAsync();
        Assert.Multiple(() =>
        {
            Assert.That(batches.SelectMany(b => b.Records).Select(r => r.Offset), Is.EqualTo(offsets[17..]));
            Assert.That(batches[^1].NextOffset, Is.EqualTo(offsets[^1] + 1));
            Assert.That(batches.Select(b => b.Missing), Is.All.Null);
        });
    }

    [Test]
    public async Task ReadAsync_SeveralPartitions_YieldsEachInOrder()
    {
        var topics = new[] { (await NewTopicAsync(3)).Topic, (await NewTopicAsync()).Topic };
        TopicPartition[] sources = [new(topics[0], 0), new(topics[0], 1), new(topics[0], 2), new(topics[1], 0)];
        for (var i = 0; i < 200; i++) await AppendAsync(sources[i % 4], $"{i}");

        var request = new ReadRequest([.. sources.Select(source => new Position(source, 0))], BytesMax, ToHighWatermark: true);
        await using var reading = new BrokerReading(Broker, request);
        var records = (await reading.ToEndAsync()).SelectMany(b => b.Records).ToLookup(r => r.Source, r => r.Text);
        for (var s = 0; s < 4; s++) Assert.That(records[sources[s]], Is.EqualTo(Enumerable.Range(0, 50).Select(i => $"{(i * 4) + s}")));
    }

    [Test]
    public async Task ReadAsync_OnePartitionWithMuch_DoesNotStarveTheOthers()
    {
        var topic = (await NewTopicAsync(3)).Topic;
        var value = new string('x', 1000);
        for (var i = 0; i < 400; i++) await AppendAsync(new TopicPartition(topic, 0), value);
        await AppendAsync(new TopicPartition(topic, 1), "one");
        await AppendAsync(new TopicPartition(topic, 2), "two");

        Position[] from = [.. Enumerable.Range(0, 3).Select(p => new Position(new TopicPartition(topic, p), 0))];
        var request = new ReadRequest(from, 4000, ToHighWatermark: true);
        await using var reading = new BrokerReading(Broker, request);
        var order = (await reading.ToEndAsync()).SelectMany(b => b.Records).Select(r => r.Source.Partition).ToList();
        Assert.That(order, Has.Count.EqualTo(402));
        Assert.That(order.FindLastIndex(p => p > 0), Is.LessThan(200), "the small partitions come before half of the large one");
    }

    [TestCase(10)]
    [TestCase(13)]
    [TestCase(1 << 20)]
    public async Task ReadAsync_ToHighWatermark_EndsAtTheWatermarkOfItsStart(int bytesMax)
    {
        var source = await NewTopicAsync(2);
        var second = source with { Partition = 1 };
        var (offsets, ofSecond) = (await AppendManyAsync(source, 41), await AppendManyAsync(second, 41));
        await using var reading = new BrokerReading(Broker, new ReadRequest([new(source, 0), new(second, 0)], bytesMax, ToHighWatermark: true));
        var first = await reading.NextAsync();
        await AppendManyAsync(source, 40);
        await AppendManyAsync(second, 40);
        var rest = await reading.ToEndAsync();
        var read = first!.Records.Concat(rest.SelectMany(b => b.Records)).ToLookup(r => r.Source, r => r.Offset);
        Assert.That(read[source], Is.EqualTo(offsets));
        Assert.That(read[second], Is.EqualTo(ofSecond));
    }

    [Test]
    public async Task ReadAsync_ToHighWatermarkOfNothing_EndsAtOnce()
    {
        var source = await NewTopicAsync(2);
        await AppendManyAsync(source, 3);
        Position[] nothing =
        [
            new(source with { Partition = 1 }, 0), new(source, 3), new(new TopicPartition(NewName(), 0), 0), new(source with { Partition = 7 }, 0),
        ];
        foreach (var position in nothing)
        {
            await using var reading = new BrokerReading(Broker, new ReadRequest([position], BytesMax, ToHighWatermark: true));
            Assert.That((await reading.ToEndAsync()).SelectMany(b => b.Records), Is.Empty, $"{position}");
        }

        await using var past = new BrokerReading(Broker, source, 100, toHighWatermark: true);
        Assert.That(await past.ToEndAsync(), Is.Empty);
        Position[] all = [.. nothing, new(source with { Partition = 3 }, 0)];
        await using var together = new BrokerReading(Broker, new ReadRequest(all, BytesMax, ToHighWatermark: true));
        Assert.That((await together.ToEndAsync()).SelectMany(b => b.Records), Is.Empty);
        await using var empty = new BrokerReading(Broker, new ReadRequest([], BytesMax, ToHighWatermark: true));
        Assert.That(await empty.ToEndAsync(), Is.Empty);
    }

    [Test]
    public async Task ReadAsync_AtTheTail_WaitsForTheNextRecord()
    {
        var source = await NewTopicAsync();
        await AppendAsync(source, "old");
        await using var reading = new BrokerReading(Broker, source);
        Assert.That((await reading.TakeAsync(1)).Single().Text, Is.EqualTo("old"));
        for (var i = 0; i < 50; i++)
        {
            var pending = reading.Begin();
            await AppendAsync(source, $"{i}");
            await pending.WithDeadline();
            Assert.That((await reading.TakeAsync(1)).Single().Text, Is.EqualTo($"{i}"));
        }
    }

    [Test]
    public async Task ReadAsync_SeveralTails_EachWakesTheReader()
    {
        var topic = (await NewTopicAsync(8)).Topic;
        await using var reading = new BrokerReading(
            Broker, new ReadRequest([.. Enumerable.Range(0, 8).Select(p => new Position(new TopicPartition(topic, p), 0))], BytesMax, false));
        for (var i = 0; i < 80; i++)
        {
            var pending = reading.Begin();
            var target = new TopicPartition(topic, (i * 5) % 8);
            await AppendAsync(target, $"{i}");
            await pending.WithDeadline();
            var record = (await reading.TakeAsync(1)).Single();
            Assert.That((record.Source, record.Text), Is.EqualTo((target, $"{i}")));
        }
    }

    [Test]
    public async Task ReadAsync_TopicNotThereYet_WaitsForIt()
    {
        var source = new TopicPartition(NewName(), 0);
        await using var reading = new BrokerReading(Broker, source);
        var pending = reading.Begin();
        await NewTopicAsync(name: source.Topic);
        await AppendAsync(source, "first");
        await pending.WithDeadline();
        Assert.That((await reading.TakeAsync(1)).Single().Text, Is.EqualTo("first"));
    }

    [Test]
    public async Task ReadAsync_PartitionNotThereYet_WaitsForItBesideTheOthers()
    {
        RequireExtension();
        var source = await NewTopicAsync();
        var later = source with { Partition = 2 };
        await using var reading = new BrokerReading(Broker, new ReadRequest([new(later, 0), new(source, 0)], BytesMax, false));
        var pending = reading.Begin();
        await AppendAsync(source, "of the first");
        await pending.WithDeadline();
        var one = (await reading.TakeAsync(1)).Single();
        pending = reading.Begin();
        await NewTopicAsync(3, source.Topic);
        await AppendAsync(later, "of the third");
        await pending.WithDeadline();
        var two = (await reading.TakeAsync(1)).Single();
        Assert.That((one.Text, two.Text), Is.EqualTo(("of the first", "of the third")));
    }

    [Test]
    public async Task ReadAsync_PastTheHighWatermark_WaitsThere()
    {
        if (!HasDenseOffsets) Assert.Ignore("the test needs to know which offset a record will have");
        var source = await NewTopicAsync();
        await AppendManyAsync(source, 2);
        await using var reading = new BrokerReading(Broker, source, 5);
        var pending = reading.Begin();
        await AppendManyAsync(source, 5);
        await pending.WithDeadline();
        Assert.That((await reading.TakeAsync(2)).Select(r => r.Offset), Is.EqualTo(new long[] { 5, 6 }));
    }

    [TestCase(1)]
    [TestCase(100)]
    [TestCase(1000)]
    [TestCase(1 << 20)]
    public async Task ReadAsync_BytesMax_BoundsEveryBatchAndLosesNothing(int bytesMax)
    {
        var source = await NewTopicAsync();
        var random = new Random(7);
        var sizes = Enumerable.Range(0, 300).Select(i => i % 50 == 49 ? 5000 : random.Next(0, 200)).ToArray();
        await Task.WhenAll(sizes.Select(size => Broker.AppendAsync(source, new RecordData(null, new byte[size]), None).AsTask())).WithDeadline();

        // BrokerReading holds every batch against the bound.
        await using var reading = new BrokerReading(Broker, source, toHighWatermark: true, bytesMax: bytesMax);
        var batches = await reading.ToEndAsync();
        Assert.That(batches.SelectMany(b => b.Records).Select(r => r.Value!.Length), Is.EqualTo(sizes));
    }

    [Test]
    public async Task ReadAsync_ManyReadersAtManyPositions_EachYieldsAllFromThere()
    {
        const int readers = 50, before = 500, after = 500;
        var source = await NewTopicAsync();
        var offsets = await AppendManyAsync(source, before);
        var reading = Enumerable.Range(0, readers).Select(i => Task.Run(async () =>
        {
            var from = i * (before / readers);
            await using var read = new BrokerReading(Broker, source, offsets[from], bytesMax: 100 + (i * 37));
            return (From: from, Records: await read.TakeAsync(before + after - from));
        })).ToArray();
        for (var i = 0; i < after; i++) offsets.Add((await AppendAsync(source, $"{before + i}")).Offset);

        foreach (var read in reading)
        {
            var (from, records) = await read.WithDeadline(60);
            Assert.That(records.Select(r => r.Offset), Is.EqualTo(offsets[from..]));
            Assert.That(records.Select(r => r.Text), Is.EqualTo(Enumerable.Range(from, before + after - from).Select(i => $"{i}")));
        }
    }

    [Test]
    public async Task ReadAsync_WhileOthersWrite_YieldsEveryRecordOnce()
    {
        const int writers = 4, count = 2000, partitions = 2;
        var topic = (await NewTopicAsync(partitions)).Topic;
        Position[] from = [.. Enumerable.Range(0, partitions).Select(p => new Position(new TopicPartition(topic, p), 0))];
        var reads = Enumerable.Range(0, 3).Select(i => Task.Run(async () =>
        {
            await using var reading = new BrokerReading(Broker, new ReadRequest(from, 2000, false) { ResumeInline = i == 2 });
            return await reading.TakeAsync(writers * count);
        })).ToArray();
        var writes = Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            for (var i = 0; i < count; i++) await Broker.AppendAsync(new TopicPartition(topic, i % partitions), Signed(writer, i), None);
        })).ToArray();
        await Task.WhenAll(writes).WithDeadline(60);

        foreach (var read in reads)
        {
            var records = await read.WithDeadline(60);
            Assert.That(records, Has.Count.EqualTo(writers * count));
            foreach (var own in records.GroupBy(r => (CheckSigned(r).Writer, r.Source.Partition)))
            {
                var expected = Enumerable.Range(0, count).Where(i => i % partitions == own.Key.Partition);
                Assert.That(own.Select(r => CheckSigned(r).Number), Is.EqualTo(expected));
            }
        }
    }

    [Test]
    public async Task ReadAsync_ReaderThatDoesNotRead_SlowsNoWriterAndNoOtherReader()
    {
        var source = await NewTopicAsync();
        await AppendAsync(source, "0");
        await using var slow = new BrokerReading(Broker, source, bytesMax: 100);
        await slow.NextAsync();
        await using var quick = new BrokerReading(Broker, source);
        var appends = Enumerable.Range(1, 5000).Select(i => Broker.AppendAsync(source, Data($"{i}"), None).AsTask());
        await Task.WhenAll(appends).WithDeadline(60);
        Assert.That(await quick.TakeAsync(5001), Has.Count.EqualTo(5001));
        Assert.That((await slow.TakeAsync(5000)).Select(r => r.Text), Is.EqualTo(Enumerable.Range(1, 5000).Select(i => $"{i}")));
    }

    [Test]
    public async Task ReadAsync_ConsumerThatBlocks_DoesNotBlockAppends()
    {
        var source = await NewTopicAsync();
        using var blocked = new ManualResetEventSlim();
        using var release = new ManualResetEventSlim();
        using var stop = new CancellationTokenSource();
        var consuming = ConsumeAsync();
        try
        {
            await AppendAsync(source, "first");
            await Task.Run(() => blocked.WaitWithDeadline()).WithDeadline(20);
            await AppendManyAsync(source, 100);
        }
        finally
        {
            release.Set();
            await stop.CancelAsync();
            Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => consuming.WithDeadline());
        }

        async Task ConsumeAsync()
        {
            // Not on the test's context: what matters is the thread the broker resumes.
            await foreach (var batch in Broker.ReadAsync(new ReadRequest([new(source, 0)], BytesMax, false), stop.Token).ConfigureAwait(false))
            {
                if (batch.Records.Count == 0) continue;
                blocked.Set();
                release.WaitWithDeadline();
            }
        }
    }

    [Test]
    public async Task ReadAsync_ResumeInlineWithThePoolExhausted_StillReads()
    {
        if (!WorksWithExhaustedThreadPool) Assert.Ignore("this broker needs the thread pool");
        var source = await NewTopicAsync();
        using var stop = new CancellationTokenSource();
        using var read = new CountdownEvent(20);
        using var allRead = new ManualResetEventSlim();
        using var appended = new ManualResetEventSlim();
        Task consuming;
        using (new ExhaustedThreadPool())
        {
            consuming = ConsumeAsync();
            for (var i = 0; i < 20; i++)
            {
                appended.Reset();
                _ = Broker.AppendAsync(source, Data($"{i}"), None).AsTask()
                    .ContinueWith(_ => appended.Set(), None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
                appended.WaitWithDeadline();
            }

            allRead.WaitWithDeadline();
        }

        await stop.CancelAsync();
        Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => consuming.WithDeadline());

        async Task ConsumeAsync()
        {
            var request = new ReadRequest([new(source, 0)], BytesMax, false) { ResumeInline = true };
            await foreach (var batch in Broker.ReadAsync(request, stop.Token).ConfigureAwait(false))
            {
                if (batch.Records.Count > 0 && read.Signal(batch.Records.Count)) allRead.Set();
            }
        }
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task ReadAsync_CancelledWhileItWaits_EndsPromptly(bool resumeInline)
    {
        var source = await NewTopicAsync();
        using var stop = new CancellationTokenSource();
        Position[] from = [new(source, 0), new(new TopicPartition(NewName(), 0), 0)];
        await using var reading = new BrokerReading(Broker, new ReadRequest(from, BytesMax, false) { ResumeInline = resumeInline }, stop.Token);
        await using var other = new BrokerReading(Broker, source);
        var pending = reading.Begin();
        var otherPending = other.Begin();
        await stop.CancelAsync();
        Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => pending.WithDeadline());

        await AppendAsync(source, "for the other");
        await otherPending.WithDeadline();
        Assert.That((await other.TakeAsync(1)).Single().Text, Is.EqualTo("for the other"));
    }

    [Test]
    public async Task ReadAsync_CancelledWithMoreToRead_EndsPromptly()
    {
        var source = await NewTopicAsync();
        await AppendManyAsync(source, 1000);
        using var stop = new CancellationTokenSource();
        await using var reading = new BrokerReading(Broker, new ReadRequest([new(source, 0)], 10, false), stop.Token);
        await reading.NextAsync();
        await stop.CancelAsync();
        Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => reading.NextAsync());
    }

    [Test]
    public async Task ReadAsync_CancelledBefore_Throws()
    {
        var source = await NewTopicAsync();
        await AppendAsync(source, "there");
        await using var reading = new BrokerReading(Broker, new ReadRequest([new(source, 0)], 10, true), new CancellationToken(true));
        Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => reading.NextAsync());
    }

    [Test]
    public async Task ReadAsync_LeftByManyReaders_GoesOnForTheNext()
    {
        var source = await NewTopicAsync();
        for (var i = 0; i < 200; i++)
        {
            var reading = new BrokerReading(Broker, source, i);
            if (i % 3 == 0) _ = reading.Begin();
            await AppendAsync(source, $"{i}");
            if (i % 3 == 1) await reading.NextAsync();
            await reading.DisposeAsync();
        }

        Assert.That(await TextsAsync(source), Is.EqualTo(Enumerable.Range(0, 200).Select(i => $"{i}")));
    }

    // ---- Watermarks and times ----

    [Test]
    public async Task GetWatermarksAsync_SeveralPartitions_ComeInTheOrderAsked()
    {
        var source = await NewTopicAsync(3);
        await AppendManyAsync(source with { Partition = 2 }, 4);
        await AppendManyAsync(source, 7);
        TopicPartition[] asked =
            [source with { Partition = 2 }, new(NewName(), 0), source, source with { Partition = 1 }, source with { Partition = 9 }];
        var marks = await Broker.GetWatermarksAsync(asked, None).WithDeadline();
        Assert.That(marks.Select(m => m.Source), Is.EqualTo(asked));
        Assert.That(marks.Select(m => m.Low), Is.All.Zero);
        Assert.That(marks.Select(m => m.High), HasDenseOffsets ? Is.EqualTo(new long[] { 4, 0, 7, 0, 0 }) : Is.All.GreaterThanOrEqualTo(0));
    }

    [Test]
    public async Task FindOffsetsAsync_AnyTime_IsTheFirstRecordThatIsNotOlder()
    {
        if (!SupportsTimes) Assert.Ignore("this fixture cannot look records up by time");
        var source = await NewTopicAsync();
        var appended = new List<Appended>();
        for (var i = 0; i < 60; i++) appended.Add(await AppendAsync(source, $"{i}"));
        var high = (await WatermarksAsync(source)).High;
        DateTimeOffset[] times =
        [
            DateTimeOffset.MinValue, appended[0].Timestamp.AddDays(-1), .. appended.Select(a => a.Timestamp),
            appended[^1].Timestamp.AddDays(1), DateTimeOffset.MaxValue,
        ];
        foreach (var time in times)
        {
            var found = (await Broker.FindOffsetsAsync([source, new(NewName(), 0)], time, None).WithDeadline(60)).ToArray();
            var expected = appended.Where(a => a.Timestamp >= time).Select(a => a.Offset).DefaultIfEmpty(high).First();
            Assert.That(found, Is.EqualTo(new[] { expected, 0 }), $"{time:O}");
        }
    }

    // ---- Retention and deletion ----

    [Test]
    public async Task ReadAsync_FromBelowTheLowWatermark_YieldsWhatIsMissingFirst()
    {
        RequireRetention();
        var source = await NewTopicAsync();
        var offsets = await AppendManyAsync(source, 50);
        await RemoveBelowAsync(source, offsets[20]);

        Assert.That(await WatermarksAsync(source), Is.EqualTo(new Watermarks(source, offsets[20], offsets[^1] + 1)));
        await using var reading = new BrokerReading(Broker, source, offsets[5], toHighWatermark: true);
        var batches = await reading.ToEndAsync();
        Assert.Multiple(() =>
        {
            Assert.That(batches[0].Missing, Is.EqualTo(new MissingRange(offsets[5], offsets[20], MissingReason.Retention)));
            Assert.That(batches.Skip(1).Select(b => b.Missing), Is.All.Null);
            Assert.That(batches.SelectMany(b => b.Records).Select(r => r.Offset), Is.EqualTo(offsets[20..]));
        });
        var found = await Broker.FindOffsetsAsync([source], DateTimeOffset.MinValue, None).WithDeadline();
        Assert.That(found.Single(), Is.EqualTo(offsets[20]));
    }

    [Test]
    public async Task ReadAsync_RetentionOvertakesTheReader_ReadAheadStaysBoundedAndTheRestIsMissing()
    {
        RequireRetention();
        RequireExactReadAhead();
        const int bytesMax = 10_000;
        var source = await NewTopicAsync();
        var appends = Enumerable.Range(0, 1000).Select(i => Broker.AppendAsync(source, new RecordData(null, new byte[1000]), None).AsTask());
        await Task.WhenAll(appends).WithDeadline(60);
        await using var reading = new BrokerReading(Broker, source, bytesMax: bytesMax);
        await reading.NextAsync();
        await RemoveBelowAsync(source, 1000);
        await AppendAsync(source, "after");

        // What still comes of the removed records was read ahead.
        var bytes = 0L;
        MissingRange? missing = null;
        string? text = null;
        while (text != "after" && await reading.NextAsync() is { } batch)
        {
            bytes += batch.Records.Where(r => r.Value!.Length == 1000).Sum(r => r.Value!.Length);
            missing ??= batch.Missing;
            text = batch.Records.Count > 0 ? batch.Records[^1].Text : null;
        }

        Assert.Multiple(() =>
        {
            Assert.That(bytes, Is.LessThanOrEqualTo(bytesMax + 1000));
            Assert.That(missing, Is.Not.Null);
            Assert.That(missing!.To, Is.EqualTo(1000));
            Assert.That(missing.Reason, Is.EqualTo(MissingReason.Retention));
        });
    }

    [Test]
    public async Task ReadAsync_ToHighWatermarkAndAllRemoved_SaysSoAndEnds()
    {
        RequireRetention();
        var source = await NewTopicAsync();
        var offsets = await AppendManyAsync(source, 10);
        await RemoveBelowAsync(source, offsets[^1] + 1);
        await using var reading = new BrokerReading(Broker, source, toHighWatermark: true);
        var batches = await reading.ToEndAsync();
        Assert.Multiple(() =>
        {
            Assert.That(batches.Select(b => b.Missing), Is.EqualTo(new[] { new MissingRange(0, offsets[^1] + 1, MissingReason.Retention) }));
            Assert.That(batches.SelectMany(b => b.Records), Is.Empty);
        });

        var next = await AppendAsync(source, "goes on");
        Assert.That(next.Offset, Is.GreaterThan(offsets[^1]));
        Assert.That((await WatermarksAsync(source)).Low, Is.EqualTo(offsets[^1] + 1));
    }

    [Test]
    public async Task ReadAsync_ToHighWatermarkAndRetentionGoesBeyond_IsToldOnlyWhatItAskedFor()
    {
        RequireRetention();
        RequireExactReadAhead();
        var source = await NewTopicAsync();
        var appends = Enumerable.Range(0, 100).Select(i => Broker.AppendAsync(source, new RecordData(null, new byte[1000]), None).AsTask());
        var end = (await Task.WhenAll(appends).WithDeadline()).Max(a => a.Offset) + 1;
        await using var reading = new BrokerReading(Broker, source, toHighWatermark: true, bytesMax: 1000);
        await reading.NextAsync();
        var later = await AppendManyAsync(source, 50);
        await RemoveBelowAsync(source, later[30]);
        var rest = await reading.ToEndAsync();
        Assert.Multiple(() =>
        {
            Assert.That(rest[^1].NextOffset, Is.EqualTo(end));
            Assert.That(rest[^1].Missing!.To, Is.EqualTo(end));
            Assert.That(rest.SelectMany(b => b.Records).Select(r => r.Offset), Is.All.LessThan(end));
        });
    }

    [Test]
    public async Task KeepForever_OnceAsked_RetentionTakesNothing()
    {
        if (!SupportsKeepForever) Assert.Ignore("this fixture cannot make retention run");
        var kept = new TopicPartition((await Broker.EnsureTopicAsync(new TopicSpec(NewName(), 1, KeepForever: true), None).WithDeadline()).Name, 0);
        var keptLater = await NewTopicAsync();
        var ordinary = await NewTopicAsync();
        foreach (var source in new[] { kept, keptLater, ordinary }) await AppendManyAsync(source, 100);
        await Broker.EnsureTopicAsync(new TopicSpec(kept.Topic), None).WithDeadline();
        await Broker.EnsureTopicAsync(new TopicSpec(keptLater.Topic, 2, KeepForever: true), None).WithDeadline();
        await AppendAsync(keptLater with { Partition = 1 }, "in a partition added with it");

        await RetainAsync(kept.Topic, keptLater.Topic, ordinary.Topic);

        Assert.That((await WatermarksAsync(ordinary)).Low, Is.Positive);
        Assert.That(await TextsAsync(kept), Has.Count.EqualTo(100));
        Assert.That(await TextsAsync(keptLater), Has.Count.EqualTo(100));
        Assert.That(await TextsAsync(keptLater with { Partition = 1 }), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task ReadAsync_TopicDeleted_SaysWhatIsMissingAndEnds()
    {
        if (!SupportsTopicDeletion) Assert.Ignore("this fixture cannot delete topics");
        var source = await NewTopicAsync();
        await AppendManyAsync(source, 30);
        await using var waiting = new BrokerReading(Broker, source);
        await using var behind = new BrokerReading(Broker, source, bytesMax: 10);
        await waiting.TakeAsync(30);
        var pending = waiting.Begin();
        await behind.NextAsync();

        await DeleteTopicAsync(source.Topic);

        await pending.WithDeadline();
        foreach (var reading in new[] { waiting, behind })
        {
            var batches = await reading.ToEndAsync();
            Assert.That(batches[^1].Missing!.Reason, Is.EqualTo(MissingReason.TopicDeleted));
            Assert.That(batches[^1].NextOffset, Is.EqualTo(30));
        }

        var exception = Assert.ThrowsAsync<BrokerException>(async () => await AppendAsync(source, "lost"));
        Assert.That(exception!.Error, Is.EqualTo(BrokerError.NoSuchTopic));
        Assert.That(await WatermarksAsync(source), Is.EqualTo(new Watermarks(source, 0, 0)));
    }

    [Test]
    public async Task ReadAsync_OneOfItsTopicsDeleted_GoesOnWithTheOthers()
    {
        if (!SupportsTopicDeletion) Assert.Ignore("this fixture cannot delete topics");
        var gone = await NewTopicAsync();
        var stays = await NewTopicAsync();
        await AppendAsync(gone, "gone");
        await using var reading = new BrokerReading(Broker, new ReadRequest([new(gone, 0), new(stays, 0)], BytesMax, false));
        await reading.TakeAsync(1);
        await DeleteTopicAsync(gone.Topic);
        await AppendAsync(stays, "stays");
        Assert.That((await reading.TakeAsync(1)).Single().Text, Is.EqualTo("stays"));
    }

    // ---- Disposal ----

    [Test]
    public async Task DisposeAsync_RunningReadsAndWatches_EndWithObjectDisposed()
    {
        var source = await NewTopicAsync();
        await AppendManyAsync(source, 10);
        await using var watch = new Watch(Broker);
        await watch.TakeUntilAsync(topic => topic is null);
        await using var waiting = new BrokerReading(Broker, source, 10);
        await using var inline = new BrokerReading(Broker, new ReadRequest([new(source, 10)], BytesMax, false) { ResumeInline = true });
        await using var between = new BrokerReading(Broker, source, bytesMax: 1);
        var ends = new[] { waiting.Begin(), inline.Begin(), watch.NextAsync() };
        await between.NextAsync();

        await Broker.DisposeAsync().WithDeadline();

        foreach (var end in ends) Assert.ThrowsAsync<ObjectDisposedException>(() => end.WithDeadline());
        Assert.ThrowsAsync<ObjectDisposedException>(async () => await between.ToEndAsync());
    }

    [Test]
    public async Task DisposeAsync_Done_EveryMemberThrowsAndAgainDoesNothing()
    {
        var source = await NewTopicAsync();
        await Broker.DisposeAsync().WithDeadline();
        await Broker.DisposeAsync().WithDeadline();

        var members = new Func<Task>[]
        {
            () => Broker.EnsureTopicAsync(new TopicSpec(source.Topic), None).WithDeadline(),
            () => Broker.AppendAsync(source, Data("never"), None).WithDeadline(),
            () => Broker.GetWatermarksAsync([source], None).WithDeadline(),
            () => Broker.FindOffsetsAsync([source], DateTimeOffset.MinValue, None).WithDeadline(),
            () => Broker.CheckAsync(None).WithDeadline(),
            () => Broker.ReadAsync(new ReadRequest([new(source, 0)], BytesMax, true), None).GetAsyncEnumerator().MoveNextAsync().WithDeadline(),
            () => Broker.WatchTopicsAsync(None).GetAsyncEnumerator().MoveNextAsync().WithDeadline(),
        };
        foreach (var member in members) Assert.ThrowsAsync<ObjectDisposedException>(async () => await member());
    }

    // ---- For the tests of adapters, too ----

    /// <summary>A name that no other test has.</summary>
    protected static string NewName() => $"contract-{Guid.NewGuid():N}";

    // Not "text is null ? null : bytes": a null array becomes empty memory and not null.
    protected static ReadOnlyMemory<byte>? Bytes(string? text) => text is null ? default(ReadOnlyMemory<byte>?) : Encoding.UTF8.GetBytes(text);

    protected static RecordData Data(string text) => new(Bytes("key"), Bytes(text));

    /// <summary>Partition 0 of a new topic.</summary>
    protected async Task<TopicPartition> NewTopicAsync(int partitions = 1, string? name = null)
    {
        var topic = await Broker.EnsureTopicAsync(new TopicSpec(name ?? NewName(), partitions), None).WithDeadline(30);
        return new TopicPartition(topic.Name, 0);
    }

    protected async Task<Appended> AppendAsync(TopicPartition target, string text) =>
        await Broker.AppendAsync(target, Data(text), None).WithDeadline(30);

    /// <summary>Appends records "0", "1", … and returns their offsets.</summary>
    protected async Task<List<long>> AppendManyAsync(TopicPartition target, int count)
    {
        var appends = Enumerable.Range(0, count).Select(i => Broker.AppendAsync(target, Data($"{i}"), None).AsTask()).ToArray();
        return [.. (await Task.WhenAll(appends).WithDeadline(30)).Select(a => a.Offset)];
    }

    protected async Task<Watermarks> WatermarksAsync(TopicPartition source) =>
        (await Broker.GetWatermarksAsync([source], None).WithDeadline(30)).Single();

    protected async Task<List<string?>> TextsAsync(TopicPartition source) => [.. (await ReadAllAsync(source)).Select(r => r.Text)];

    private protected async Task<List<ReadRecord>> ReadAllAsync(TopicPartition source)
    {
        await using var reading = new BrokerReading(Broker, source, toHighWatermark: true);
        return [.. (await reading.ToEndAsync()).SelectMany(b => b.Records)];
    }

    private void RequireExactReadAhead()
    {
        if (!FetchesNoMoreThanAsked) Assert.Ignore("the client library has fetched the removed records ahead; tests of the adapter remove more than it fetches");
    }

    private void RequireExtension()
    {
        if (!SupportsExtension) Assert.Ignore("this fixture cannot give a topic more partitions");
    }

    private void RequireRetention()
    {
        if (!SupportsRetention) Assert.Ignore("this fixture cannot make retention run");
    }

    // A value that says whose it is, and proves that it is whole.
    private static RecordData Signed(int writer, int number)
    {
        var value = new byte[8 + (number % 90) + 32];
        BinaryPrimitives.WriteInt32LittleEndian(value, writer);
        BinaryPrimitives.WriteInt32LittleEndian(value.AsSpan(4), number);
        new Random((writer * 7919) + number).NextBytes(value.AsSpan(8, number % 90));
        SHA256.HashData(value.AsSpan(0, value.Length - 32), value.AsSpan(value.Length - 32));
        return new RecordData(BitConverter.GetBytes(writer), value);
    }

    private static (int Writer, int Number) CheckSigned(ReadRecord record)
    {
        var value = record.Value!;
        if (!SHA256.HashData(value.AsSpan(0, value.Length - 32)).AsSpan().SequenceEqual(value.AsSpan(value.Length - 32)))
            throw new AssertionException($"{record.Source} offset {record.Offset} is not what was appended");
        return (BinaryPrimitives.ReadInt32LittleEndian(value), BinaryPrimitives.ReadInt32LittleEndian(value.AsSpan(4)));
    }

    private sealed class Watch : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop;
        private readonly IAsyncEnumerator<TopicInfo?> _topics;
        private Task<bool>? _pending;

        public Watch(IBroker broker, CancellationToken cancellationToken = default)
        {
            _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            _topics = broker.WatchTopicsAsync(_stop.Token).GetAsyncEnumerator(CancellationToken.None);
        }

        public Task<bool> NextAsync() => _pending = _topics.MoveNextAsync().WithDeadline();

        public async Task<List<TopicInfo?>> TakeUntilAsync(Func<TopicInfo?, bool> isLast)
        {
            var taken = new List<TopicInfo?>();
            do
            {
                Assert.That(await NextAsync(), Is.True, "a watch has no end");
                taken.Add(_topics.Current);
            }
            while (!isLast(taken[^1]));

            return taken;
        }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            if (_pending is not null) await _pending.ContinueWith(_ => { }, TaskScheduler.Default);
            await _topics.DisposeAsync().WithDeadline();
            _stop.Dispose();
        }
    }
}
