using System.Text;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <content>Appends: order, place, what is refused.</content>
public abstract partial class BrokerContract
{
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
        var exception = await Assert.ThrowsAsync<BrokerException>(
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
            var exception = await Assert.ThrowsAsync<BrokerException>(async () => await Broker.AppendAsync(target, Data("lost"), None).WithDeadline(60));
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
        await Assert.ThrowsAsync(
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
}
