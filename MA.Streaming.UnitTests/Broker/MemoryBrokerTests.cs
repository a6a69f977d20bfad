using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <summary>What the memory broker promises beyond the contract: its bounds, what goes first, and what an append costs.</summary>
public sealed class MemoryBrokerTests
{
    private const int Overhead = MemoryBroker.RecordOverheadBytes;

    private static CancellationToken None => CancellationToken.None;

    [Test]
    public async Task Info_AndHealth_SayWhatItHolds()
    {
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = 10_000, RecordBytesMax = 500 });
        await using var other = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        await AppendAsync(broker, source, new byte[100]);
        var health = await broker.CheckAsync(None);

        Assert.Multiple(() =>
        {
            var info = new BrokerInfo(broker.Info.Id, "memory:", 500, "none: records live as long as this process", IsShared: false);
            Assert.That(broker.Info, Is.EqualTo(info));
            Assert.That(broker.Info.Id, Is.Not.EqualTo(other.Info.Id));
            Assert.That(other.Info.RecordBytesMax, Is.EqualTo(4 << 20));
            Assert.That(health, Is.EqualTo(new BrokerHealth(true, $"holds {100 + Overhead} of 10000 bytes")));
        });
    }

    [TestCase(Overhead, 1)]
    [TestCase(0, 1)]
    [TestCase(1000, 0)]
    [TestCase(1000, -1)]
    public void Options_NoRoomForAnyRecord_AreRefused(long bytesMax, int recordBytesMax) => Assert.That(
        () => new MemoryBroker(new MemoryBrokerOptions { BytesMax = bytesMax, RecordBytesMax = recordBytesMax }),
        Throws.InstanceOf<ArgumentOutOfRangeException>());

    [Test]
    public async Task Info_RecordLimitAboveTheBound_IsTheBound()
    {
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = 1000 });
        var source = await NewTopicAsync(broker, "t");
        Assert.That(broker.Info.RecordBytesMax, Is.EqualTo(1000 - Overhead));
        await AppendAsync(broker, source, new byte[1000 - Overhead]);
        await AppendAsync(broker, source, new byte[1000 - Overhead]);
        Assert.That(await WatermarksAsync(broker, source), Is.EqualTo(new Watermarks(source, 1, 2)));
    }

    [Test]
    public async Task AppendAsync_Always_CompletesBeforeItReturns()
    {
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = 10_000 });
        var source = await NewTopicAsync(broker, "t");
        for (var i = 0; i < 1000; i++)
        {
            var append = broker.AppendAsync(source, new RecordData(null, new byte[100]), None);
            Assert.That(append.IsCompletedSuccessfully, Is.True);
        }
    }

    [Test]
    public async Task AppendAsync_NobodyReads_AllocatesNothingButItsSlot()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        var data = new RecordData(new byte[16], new byte[100]);
        for (var i = 0; i < 5000; i++) await broker.AppendAsync(source, data, None);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var completed = 0;
        for (var i = 0; i < 50_000; i++)
        {
            var append = broker.AppendAsync(source, data, None);
            if (append.IsCompletedSuccessfully) completed++;
        }

        var bytes = (GC.GetAllocatedBytesForCurrentThread() - before) / 50_000.0;

        Assert.That(completed, Is.EqualTo(50_000));
        Assert.That(bytes, Is.LessThan(Unsafe.SizeOf<Record>() + 5));
        Assert.That(Unsafe.SizeOf<Record>() + 48, Is.LessThanOrEqualTo(Overhead), "what is counted covers the slot and two array headers");
    }

    [Test]
    public async Task AppendAsync_ClockGoesBack_TimestampsDoNot()
    {
        var clock = new ManualClock();
        await using var broker = new MemoryBroker(null, clock);
        var source = await NewTopicAsync(broker, "t");
        var start = clock.GetUtcNow();
        var times = new List<DateTimeOffset> { await TimeOfAppendAsync() };
        clock.JumpTo(start.AddHours(-1));
        times.Add(await TimeOfAppendAsync());
        clock.JumpTo(start.AddTicks(1));
        times.Add(await TimeOfAppendAsync());
        Assert.That(times, Is.EqualTo(new[] { start, start, start.AddTicks(1) }));

        async Task<DateTimeOffset> TimeOfAppendAsync() => (await AppendAsync(broker, source, [])).Timestamp;
    }

    [Test]
    public async Task ReadAsync_RequestThatMakesNoSense_IsRefusedAtOnce()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        Position[][] requests = [[new(source, 0), new(source, 5)], [new(source, -1)], [new(source with { Partition = -1 }, 0)]];
        foreach (var from in requests)
        {
            Assert.That(() => broker.ReadAsync(new ReadRequest(from, 1000, false), None), Throws.ArgumentException.With.Message.Contains("t:"));
        }
    }

    [Test]
    public async Task ReadAsync_ResumeInline_RunsOnTheAppendingThreadWithoutAnyLockHeld()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        var other = await NewTopicAsync(broker, "other");
        using var stop = new CancellationTokenSource();
        var threads = new List<int>();
        var consuming = ConsumeAsync();
        for (var i = 0; i < 3; i++)
        {
            var before = threads.Count;
            var append = broker.AppendAsync(source, new RecordData(null, new byte[1]), None);
            Assert.That(append.IsCompletedSuccessfully, Is.True);
            Assert.That(threads, Has.Count.EqualTo(before + 2), "this record and that of the other thread came before the append returned");
        }

        Assert.That(threads, Is.All.EqualTo(Environment.CurrentManagedThreadId));
        await stop.CancelAsync();
        await Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => consuming.WithDeadline());

        async Task ConsumeAsync()
        {
            var request = new ReadRequest([new(source, 0), new(other, 0)], 1, false) { ResumeInline = true };
            await foreach (var batch in broker.ReadAsync(request, stop.Token).ConfigureAwait(false))
            {
                threads.Add(Environment.CurrentManagedThreadId);
                if (batch.Source != source || batch.Records[0].Value!.Value.Length != 1) continue;

                // Another thread can do anything while this one is inside an append.
                var another = new Thread(() =>
                {
                    _ = broker.AppendAsync(source, new RecordData(null, new byte[2]), None).AsTask();
                    broker.TrimTo(source, 0);
                    broker.DeleteTopic("absent");
                    _ = broker.EnsureTopicAsync(new TopicSpec($"t{threads.Count}"), None).AsTask();
                    _ = broker.GetWatermarksAsync([source, other], None).AsTask();
                });
                another.Start();
                another.JoinWithDeadline();
            }
        }
    }

    [Test]
    public async Task ReadAsync_Batch_IsAViewOfWhatIsHeld()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        var value = new byte[10];
        await AppendAsync(broker, source, value);
        await using var one = broker.ReadAsync(new ReadRequest([new(source, 0)], 1000, false), None).GetAsyncEnumerator();
        await one.MoveNextAsync().WithDeadline();
        var view = one.Current.Records;
        await AppendAsync(broker, source, new byte[20]);
        broker.TrimTo(source, 2);
        Assert.That(view, Has.Count.EqualTo(1), "a batch does not grow or shrink");
        Assert.That(view[0].Value!.Value.Equals(value), Is.True, "the bytes are those that were appended, not a copy");
    }

    [Test]
    public async Task Eviction_TopicsOfDifferentRates_LoseTheirOldestTogetherAndKeepTheirYoungest()
    {
        var clock = new ManualClock();
        const int cost = 100 + Overhead, held = 2000;
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = held * cost }, clock);
        var sources = new[] { await NewTopicAsync(broker, "fast"), await NewTopicAsync(broker, "slow"), await NewTopicAsync(broker, "rare") };
        var times = sources.ToDictionary(s => s, _ => new List<DateTimeOffset>());
        for (var i = 0; i < 20_000; i++)
        {
            clock.Advance(TimeSpan.FromSeconds(1));
            var source = sources[i % 150 == 0 ? 2 : i % 15 == 0 ? 1 : 0];
            times[source].Add((await broker.AppendAsync(source, new RecordData(null, new byte[100]), None)).Timestamp);
        }

        var marks = await broker.GetWatermarksAsync(sources, None);
        var removed = marks.Select(m => times[m.Source][(int)m.Low - 1]).Max();
        var retained = marks.Select(m => times[m.Source][(int)m.Low]).Min();
        Assert.Multiple(() =>
        {
            Assert.That(marks.Sum(m => m.High - m.Low), Is.InRange(held * 3 / 4, held), "no more is removed than must be");
            Assert.That((removed - retained).TotalSeconds, Is.LessThan(held / 4), "no topic loses records much younger than another one keeps");
            Assert.That(broker.BytesHeld, Is.EqualTo(marks.Sum(m => m.High - m.Low) * cost));
        });
    }

    [Test]
    public async Task Eviction_KeptForever_StaysAndTheRestMakesRoom()
    {
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = 100 * (100 + Overhead) });
        var kept = await NewTopicAsync(broker, "kept", keepForever: true);
        var other = await NewTopicAsync(broker, "other");
        for (var i = 0; i < 60; i++) await AppendAsync(broker, i < 40 ? kept : other, new byte[100]);
        for (var i = 0; i < 60; i++) await AppendAsync(broker, kept, new byte[100]);
        Assert.That(await WatermarksAsync(broker, kept), Is.EqualTo(new Watermarks(kept, 0, 100)));
        Assert.That(await WatermarksAsync(broker, other), Is.EqualTo(new Watermarks(other, 20, 20)));
        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.False);

        foreach (var target in new[] { kept, other })
        {
            var exception = await Assert.ThrowsAsync<BrokerException>(() => AppendAsync(broker, target, new byte[100]));
            Assert.Multiple(() =>
            {
                Assert.That(exception!.Error, Is.EqualTo(BrokerError.Full));
                Assert.That(exception.IsTransient, Is.True);
                Assert.That(exception.Message, Does.Contain($"{100 * (100 + Overhead)}").And.Contain(target.Topic));
            });
        }

        broker.DeleteTopic("kept");
        Assert.That(broker.BytesHeld, Is.Zero);
        Assert.That((await AppendAsync(broker, other, new byte[100])).Offset, Is.EqualTo(20));
        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.True);
    }

    [Test]
    public async Task Eviction_RecordOfAlmostTheBound_TakesTheRoomOfAll()
    {
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = 50_000 });
        var small = await NewTopicAsync(broker, "small");
        var large = await NewTopicAsync(broker, "large");
        for (var i = 0; i < 100; i++) await AppendAsync(broker, small, new byte[100]);
        await AppendAsync(broker, large, new byte[50_000 - Overhead]);
        Assert.That(await WatermarksAsync(broker, small), Is.EqualTo(new Watermarks(small, 100, 100)));
        await AppendAsync(broker, small, new byte[100]);
        Assert.That(await WatermarksAsync(broker, large), Is.EqualTo(new Watermarks(large, 1, 1)));
        Assert.That(broker.BytesHeld, Is.EqualTo(100 + Overhead));
    }

    [Test]
    public async Task Eviction_ReaderThatStandsStill_KeepsNothingAlive()
    {
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = 1 << 20 });
        var source = await NewTopicAsync(broker, "t");
        var early = AppendTracked(broker, source, 3000);
        await using var reading = new BrokerReading(broker, source, bytesMax: 100);
        await reading.NextAsync();
        AppendTracked(broker, source, 20_000);

        Assert.That(await WatermarksAsync(broker, source), Has.Property("Low").GreaterThan(3000));
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Assert.That(early.Skip(2000).Count(value => value.IsAlive), Is.LessThan(5), "evicted records are garbage");
        Assert.That((await reading.NextAsync())!.Missing, Is.Not.Null);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static List<WeakReference> AppendTracked(MemoryBroker broker, TopicPartition source, int count)
        {
            var values = new List<WeakReference>(count);
            for (var i = 0; i < count; i++)
            {
                var value = new byte[100];
                values.Add(new WeakReference(value));
                _ = broker.AppendAsync(source, new RecordData(null, value), None).AsTask();
            }

            return values;
        }
    }

    [Test]
    public async Task TrimTo_AnyOffset_RemovesExactlyWhatIsBefore()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t", keepForever: true);
        for (var i = 0; i < 3000; i++) await AppendAsync(broker, source, new byte[10]);
        foreach (var (trim, low) in new (long, long)[] { (0, 0), (1, 1), (15, 15), (16, 16), (1000, 1000), (500, 1000), (2999, 2999), (9000, 3000) })
        {
            broker.TrimTo(source, trim);
            Assert.That(await WatermarksAsync(broker, source), Is.EqualTo(new Watermarks(source, low, 3000)));
            Assert.That(broker.BytesHeld, Is.EqualTo((3000 - low) * (10 + Overhead)));
            await using var reading = new BrokerReading(broker, source, toHighWatermark: true);
            var batches = await reading.ToEndAsync();
            Assert.That(batches.Sum(b => b.Records.Count), Is.EqualTo(3000 - low));
            Assert.That(batches[0].Missing, Is.EqualTo(low == 0 ? null : new MissingRange(0, low, MissingReason.Retention)));
        }

        Assert.That((await AppendAsync(broker, source, [])).Offset, Is.EqualTo(3000));
        Assert.That(() => broker.TrimTo(new TopicPartition("absent", 0), 1), Throws.InstanceOf<BrokerException>());
    }

    [Test]
    public async Task DeleteTopic_ReaderWithNothingLeft_GetsAnEmptyRangeAndEnds()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        await AppendAsync(broker, source, []);
        await using var atEnd = new BrokerReading(broker, source, 1);
        await using var past = new BrokerReading(broker, source, 7);
        var begun = new[] { atEnd.Begin(), past.Begin() };
        broker.DeleteTopic("t");
        broker.DeleteTopic("t");
        await Task.WhenAll(begun).WithDeadline();
        Assert.That((await atEnd.ToEndAsync()).Single().Missing, Is.EqualTo(new MissingRange(1, 1, MissingReason.TopicDeleted)));
        Assert.That((await past.ToEndAsync()).Single().Missing, Is.EqualTo(new MissingRange(7, 7, MissingReason.TopicDeleted)));
    }

    [Test]
    public async Task DeleteTopic_BoundedRead_IsToldOnlyWhatItAskedFor()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        for (var i = 0; i < 10; i++) await AppendAsync(broker, source, new byte[10]);
        await using var reading = new BrokerReading(broker, source, toHighWatermark: true, bytesMax: 10);
        await reading.NextAsync();
        for (var i = 0; i < 10; i++) await AppendAsync(broker, source, new byte[10]);
        broker.DeleteTopic("t");
        Assert.That((await reading.ToEndAsync()).Single().Missing, Is.EqualTo(new MissingRange(1, 10, MissingReason.TopicDeleted)));
    }

    [Test]
    public async Task DeleteTopic_MadeAgain_IsAnotherTopic()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t", partitions: 3, keepForever: true);
        await AppendAsync(broker, source, new byte[10]);
        broker.DeleteTopic("t");
        Assert.That(broker.BytesHeld, Is.Zero);
        await using var reading = new BrokerReading(broker, source);
        var begun = reading.Begin();
        Assert.That(begun.IsCompleted, Is.False);
        Assert.That(await broker.EnsureTopicAsync(new TopicSpec("t", 2), None), Is.EqualTo(new TopicInfo("t", 2)));
        Assert.That((await AppendAsync(broker, source, new byte[5])).Offset, Is.Zero);
        Assert.That((await reading.TakeAsync(1)).Single().Value, Has.Length.EqualTo(5));
        await using var topics = broker.WatchTopicsAsync(None).GetAsyncEnumerator();
        Assert.That(await topics.MoveNextAsync().WithDeadline(), Is.True);
        Assert.That(topics.Current, Is.EqualTo(new TopicInfo("t", 2)));
        Assert.That(await topics.MoveNextAsync().WithDeadline(), Is.True);
        Assert.That(topics.Current, Is.Null);
    }

    [Test]
    public async Task Bound_ManyWritersTopicsAndTrims_IsNeverExceeded()
    {
        const long bytesMax = 200_000;
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = bytesMax });
        var sources = new List<TopicPartition>();
        for (var i = 0; i < 6; i++) sources.Add(await NewTopicAsync(broker, $"t{i}"));
        using var stop = new CancellationTokenSource();
        var watching = Task.Run(() =>
        {
            var most = 0L;
            while (!stop.IsCancellationRequested) most = Math.Max(most, broker.BytesHeld);
            return most;
        });
        await Task.WhenAll(Enumerable.Range(0, 4).Select(writer => Task.Run(async () =>
        {
            var random = new Random(writer);
            for (var i = 0; i < 20_000; i++)
            {
                var source = sources[random.Next(sources.Count)];
                if (i % 100 == 99) broker.TrimTo(source, (await broker.GetWatermarksAsync([source], None))[0].Low + random.Next(20));
                else await broker.AppendAsync(source, new RecordData(null, new byte[random.Next(i % 50 == 0 ? 20_000 : 300)]), None);
            }
        }))).WithDeadline(60);
        await stop.CancelAsync();

        var counted = 0L;
        foreach (var source in sources)
        {
            await using var reading = new BrokerReading(broker, source, (await WatermarksAsync(broker, source)).Low, toHighWatermark: true);
            foreach (var batch in await reading.ToEndAsync()) counted += batch.Bytes + (batch.Records.Count * Overhead);
        }

        var most = await watching.WithDeadline();
        Assert.Multiple(() =>
        {
            Assert.That(most, Is.InRange(bytesMax / 2, bytesMax));
            Assert.That(broker.BytesHeld, Is.EqualTo(counted), "what is counted is what is held");
        });
    }

    [Test]
    public async Task Bound_ManyWritersOfATopicKeptForever_FillItToTheLastByteAndNoFurther()
    {
        const int cost = 1000 + Overhead, room = 500;
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = room * cost });
        var kept = await NewTopicAsync(broker, "kept", partitions: 2, keepForever: true);
        var other = await NewTopicAsync(broker, "other");
        var appended = await Task.WhenAll(Enumerable.Range(0, 4).Select(writer => Task.Run(async () =>
        {
            var done = 0;
            for (var i = 0; i < room; i++)
            {
                try
                {
                    await broker.AppendAsync(kept with { Partition = i % 2 }, new RecordData(null, new byte[1000]), None);
                    done++;
                    await broker.AppendAsync(other, new RecordData(null, new byte[10]), None);
                }
                catch (BrokerException exception) when (exception.Error == BrokerError.Full)
                {
                    // Expected at the end, and only there: the sum below says so.
                }
            }

            return done;
        }))).WithDeadline(60);

        Assert.That(appended.Sum(), Is.EqualTo(room));
        Assert.That(broker.BytesHeld, Is.EqualTo(room * cost));
    }

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public async Task ReadAsync_WritersReadersAndRetentionTogether_LoseNothingUnsaid(int seed)
    {
        const int partitions = 3, writers = 3, readers = 6, count = 40_000;
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = 400_000 });
        var source = await NewTopicAsync(broker, "t", partitions);
        long[] ends = [-1, -1, -1];
        Position[] start = [.. Enumerable.Range(0, partitions).Select(p => new Position(source with { Partition = p }, 0))];
        var reads = Enumerable.Range(0, readers).Select(i => Task.Run(() => ReadToEndsAsync(new Random((seed * 100) + i), i % 3 == 0))).ToArray();
        await Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(async () =>
        {
            var random = new Random((seed * 1000) + writer);
            for (var i = 0; i < count; i++)
            {
                var value = new byte[12 + random.Next(100)];
                MemoryMarshal.Write(value, new Signature(writer, i, HashCode.Combine(writer, i, value.Length)));
                var appended = await broker.AppendAsync(source with { Partition = random.Next(partitions) }, new RecordData(null, value), None);
                if (i % 1000 == 0) broker.TrimTo(source with { Partition = appended.Partition }, appended.Offset - 50);
            }
        }))).WithDeadline(60);

        // The last record of each partition is the readers' sign to stop.
        for (var p = 0; p < partitions; p++) Volatile.Write(ref ends[p], (await AppendAsync(broker, source with { Partition = p }, [])).Offset + 1);
        foreach (var read in reads) await read.WithDeadline(60);

        async Task ReadToEndsAsync(Random random, bool resumeInline)
        {
            var next = start.ToDictionary(p => p.Source, p => p.Offset);
            var lastOf = new Dictionary<(TopicPartition, int), int>();
            while (!IsAtEnds(next))
            {
                // Leaves and comes back at random, as connections do.
                Position[] from = [.. next.Select(pair => new Position(pair.Key, pair.Value))];
                var request = new ReadRequest(from, random.Next(1, 5000), ToHighWatermark: false) { ResumeInline = resumeInline };
                var left = random.Next(1, 500);
                await using var reading = new BrokerReading(broker, request);
                while (left-- > 0 && await reading.NextAsync() is { } batch)
                {
                    var expected = batch.Missing?.To ?? next[batch.Source];
                    foreach (var record in batch.Records)
                    {
                        Check(record.Offset == expected, record, $"comes instead of {expected}");
                        expected++;
                        if (record.Value!.Length == 0) continue;
                        var (writer, number, hash) = MemoryMarshal.Read<Signature>(record.Value);
                        Check(hash == HashCode.Combine(writer, number, record.Value.Length), record, "is not what was appended");
                        Check(number > lastOf.GetValueOrDefault((batch.Source, writer), -1), record, "is out of its writer's order");
                        lastOf[(batch.Source, writer)] = number;
                    }

                    if (batch.NextOffset != expected) throw new AssertionException($"{batch.Source}: next is {batch.NextOffset}, not {expected}");
                    next[batch.Source] = batch.NextOffset;
                    if (IsAtEnds(next)) return;
                }
            }
        }

        bool IsAtEnds(Dictionary<TopicPartition, long> next) => next.All(pair => pair.Value == Volatile.Read(ref ends[pair.Key.Partition]));

        static void Check(bool holds, ReadRecord record, string failure)
        {
            if (!holds) throw new AssertionException($"{record.Source}: the record at {record.Offset} {failure}");
        }
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task ReadAsync_AtTheTailOfAFastWriter_NeverSleepsThroughARecord(bool resumeInline)
    {
        const int count = 300_000;
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        using var started = new CountdownEvent(2);
        var reads = Enumerable.Range(0, 2).Select(_ => Task.Run(async () =>
        {
            var got = 0;
            started.Signal();
            await foreach (var batch in broker.ReadAsync(new ReadRequest([new(source, 0)], 1 << 20, false) { ResumeInline = resumeInline }, None))
            {
                got += batch.Records.Count;
                if (got == count) return;
            }
        })).ToArray();
        Assert.That(started.Wait(TimeSpan.FromSeconds(Deadline.DefaultSeconds)), Is.True);
        for (var i = 0; i < count; i++) await broker.AppendAsync(source, new RecordData(null, null), None);

        // A lost wake-up shows as a reader that waits although nothing is appended any more.
        await Task.WhenAll(reads).WithDeadline(20);
    }

    [Test]
    public async Task ReadAsync_CancelledWhileItGoesToSleep_AlwaysEnds()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        var random = new Random(1);
        for (var i = 0; i < 20_000; i++)
        {
            using var stop = new CancellationTokenSource();
            var token = stop.Token;
            var spins = random.Next(60);
            using var ready = new Barrier(2);
            var reading = Task.Run(async () =>
            {
                ready.SignalAndWait();
                await foreach (var _ in broker.ReadAsync(new ReadRequest([new(source, 0)], 1, false), token)) Assert.Fail("there is nothing to read");
            });
            ready.SignalAndWait();
            Thread.SpinWait(spins);
            await stop.CancelAsync();
            try
            {
                await reading.WithDeadline();
                Assert.Fail("a cancelled read throws");
            }
            catch (OperationCanceledException)
            {
                // As it should.
            }
        }
    }

    [Test]
    public async Task ReadAsync_Left_IsForgotten()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t", partitions: 2);
        var requests = new List<WeakReference>();
        for (var i = 0; i < 10; i++) requests.Add(await ReadAndLeaveAsync());
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Assert.That(requests.Count(request => request.IsAlive), Is.LessThan(2), "neither a quiet partition nor an absent one keeps readers");

        // Names that never come to exist must cost nothing once nobody asks for them.
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var i = 0; i < 20_000; i++) await LeaveAbsentAsync($"a-name-that-somebody-mistyped-{i}");
        Assert.That(GC.GetTotalMemory(forceFullCollection: true) - before, Is.LessThan(1_000_000));

        async Task<WeakReference> ReadAndLeaveAsync()
        {
            var request = new ReadRequest([new(source, 0), new(source with { Partition = 1 }, 7), new(new TopicPartition("absent", 0), 0)], 1, false);
            await using var reading = new BrokerReading(broker, request);
            Assert.That(reading.Begin().IsCompleted, Is.False);
            return new WeakReference(request);
        }

        async Task LeaveAbsentAsync(string name)
        {
            using var stop = new CancellationTokenSource();
            var request = new ReadRequest([new(new TopicPartition(name, 0), 0)], 1, false);
            await using var batches = broker.ReadAsync(request, stop.Token).GetAsyncEnumerator();
            var pending = batches.MoveNextAsync().AsTask();
            await stop.CancelAsync();
            await ((Task)pending).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    [Test]
    public async Task DeleteTopic_WhileOthersAppend_LeavesNothingBehind()
    {
        await using var broker = new MemoryBroker();
        var source = await NewTopicAsync(broker, "t");
        using var stop = new CancellationTokenSource();
        var appends = Enumerable.Range(0, 2).Select(_ => Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                try
                {
                    await broker.AppendAsync(source, new RecordData(null, new byte[10]), None);
                }
                catch (BrokerException exception) when (exception.Error == BrokerError.NoSuchTopic)
                {
                    await broker.EnsureTopicAsync(new TopicSpec("t"), None);
                }
            }
        })).ToArray();
        for (var i = 0; i < 500; i++)
        {
            // Only a topic that is being written to is worth deleting.
            await Until.TrueAsync(() => broker.BytesHeld > 0 || appends.Any(append => append.IsCompleted));
            broker.DeleteTopic("t");
        }

        await stop.CancelAsync();
        await Task.WhenAll(appends).WithDeadline();
        broker.DeleteTopic("t");
        Assert.That(broker.BytesHeld, Is.Zero);
    }

    [TestCase(1)]
    [TestCase(3)]
    public async Task Bound_RoomForFewerRecordsThanThereAreWriters_NoAppendFails(int room)
    {
        const int cost = 100 + Overhead;
        await using var broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = room * cost });
        var sources = new List<TopicPartition>();
        for (var i = 0; i < 4; i++) sources.Add(await NewTopicAsync(broker, $"t{i}"));
        await Task.WhenAll(sources.Select(source => Task.Run(async () =>
        {
            for (var i = 0; i < 30_000; i++) await broker.AppendAsync(source, new RecordData(null, new byte[100]), None);
        }))).WithDeadline(60);
        Assert.That(broker.BytesHeld, Is.EqualTo(room * cost));
    }

    private static async Task<TopicPartition> NewTopicAsync(MemoryBroker broker, string name, int partitions = 1, bool keepForever = false)
    {
        await broker.EnsureTopicAsync(new TopicSpec(name, partitions, keepForever), None);
        return new TopicPartition(name, 0);
    }

    private static async Task<Appended> AppendAsync(MemoryBroker broker, TopicPartition target, byte[] value) =>
        await broker.AppendAsync(target, new RecordData(null, value), None).WithDeadline();

    private static async Task<Watermarks> WatermarksAsync(MemoryBroker broker, TopicPartition source) =>
        (await broker.GetWatermarksAsync([source], None).WithDeadline()).Single();

    private readonly record struct Signature(int Writer, int Number, int Hash);
}
