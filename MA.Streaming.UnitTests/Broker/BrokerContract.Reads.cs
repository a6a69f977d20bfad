using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <content>Reads: from where, how much, beside what.</content>
public abstract partial class BrokerContract
{
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
            await Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => consuming.WithDeadline());
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
    [NonParallelizable]
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
        await Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => consuming.WithDeadline());

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
        await Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => pending.WithDeadline());

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
        await Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => reading.NextAsync());
    }

    [Test]
    public async Task ReadAsync_CancelledBefore_Throws()
    {
        var source = await NewTopicAsync();
        await AppendAsync(source, "there");
        await using var reading = new BrokerReading(Broker, new ReadRequest([new(source, 0)], 10, true), new CancellationToken(true));
        await Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => reading.NextAsync());
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
}
