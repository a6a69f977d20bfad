using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
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

        foreach (var end in ends) await Assert.ThrowsAsync<ObjectDisposedException>(() => end.WithDeadline());
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await between.ToEndAsync());
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
        foreach (var member in members) await Assert.ThrowsAsync<ObjectDisposedException>(async () => await member());
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
