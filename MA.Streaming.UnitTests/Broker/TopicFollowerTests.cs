using System.Collections.Concurrent;
using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

[TestFixture]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class TopicFollowerTests : IAsyncDisposable
{
    private readonly GatedBroker _broker = new(new MemoryBroker());
    private readonly RecordingLogger _logger = new();
    private readonly ManualClock _clock = new();
    private readonly ConcurrentQueue<string> _folded = new();
    private readonly TopicDirectory _directory;
    private TopicFollower? _follower;

    public TopicFollowerTests() => _directory = new TopicDirectory(_broker, _logger, _clock);

    public async ValueTask DisposeAsync()
    {
        if (_follower is not null) await _follower.DisposeAsync();
        await _directory.DisposeAsync();
        await _broker.DisposeAsync();
    }

    [Test]
    public async Task CaughtUp_TopicAbsent_IsAtOnce() => await Follow().CaughtUp.WithDeadline();

    [Test]
    public async Task CaughtUp_RecordsThere_MeansTheyAreFolded()
    {
        await CreateAsync(2);
        for (var i = 0; i < 100; i++) await AppendAsync(i % 2, $"{i}");
        await Follow().CaughtUp.WithDeadline();

        Assert.That(_folded, Has.Count.EqualTo(100));
    }

    [Test]
    public async Task CaughtUp_RetentionTookTheFirst_CountsPositionsNotRecords()
    {
        await CreateAsync(1);
        for (var i = 0; i < 5; i++) await AppendAsync(0, $"{i}");
        ((MemoryBroker)_broker.Inner).TrimTo(new("T", 0), 5);

        await Follow().CaughtUp.WithDeadline();
        Assert.That(_folded, Is.Empty);
    }

    [Test]
    public async Task WaitForAsync_Appended_CompletesWhenFolded()
    {
        var follower = Follow();
        await follower.CaughtUp.WithDeadline();
        var waiting = follower.WaitForAsync(0, 1, CancellationToken.None);
        await CreateAsync(1);
        await AppendAsync(0, "a");
        await follower.WaitForAsync(0, 0, CancellationToken.None).WithDeadline();
        Assert.That(waiting.IsCompleted, Is.False);
        await AppendAsync(0, "b");
        await waiting.WithDeadline();

        Assert.That(_folded, Is.EqualTo(new[] { "a", "b" }));
    }

    [Test]
    public async Task WaitForAsync_Cancelled_Ends()
    {
        var follower = Follow();
        using var source = new CancellationTokenSource();
        var waiting = follower.WaitForAsync(0, 1, source.Token);
        await source.CancelAsync();

        Assert.That(async () => await waiting.WithDeadline(), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public async Task Partitions_Added_AreFollowed()
    {
        await CreateAsync(1);
        var follower = Follow();
        await AppendAsync(0, "a");
        await CreateAsync(3);
        await AppendAsync(2, "b");
        await follower.WaitForAsync(2, 0, CancellationToken.None).WithDeadline();
        await follower.WaitForAsync(0, 0, CancellationToken.None).WithDeadline();

        Assert.That(_folded, Is.EquivalentTo(new[] { "a", "b" }));
    }

    [TestCase(true)]
    [TestCase(false, Description = "What no broker should throw")]
    public async Task Reading_Fails_ResumesWithoutLossOrRepetition(bool isOfBroker)
    {
        Exception failure = isOfBroker ? new BrokerException(BrokerError.Unavailable, "away") : new InvalidOperationException("away");
        await CreateAsync(1);
        var follower = Follow();
        for (var round = 0; round < 3; round++)
        {
            await AppendAsync(0, $"{round}");
            await follower.WaitForAsync(0, round, CancellationToken.None).WithDeadline();
            var reads = _broker.ReadCalls;
            _broker.CutReads(failure);
            await _clock.TimersAsync(1).WithDeadline();
            Assert.That(follower.LastError?.Message, Is.EqualTo("away"));
            _clock.Advance(TimeSpan.FromSeconds(5));
            await _broker.ReadCallsAsync(reads + 1).WithDeadline();
        }

        await AppendAsync(0, "3");
        await follower.WaitForAsync(0, 3, CancellationToken.None).WithDeadline();
        Assert.That(_folded, Is.EqualTo(new[] { "0", "1", "2", "3" }));
        Assert.That(follower.LastError, Is.Null);
    }

    [Test]
    public async Task Fold_Throws_IsLoggedAndTheNextIsFolded()
    {
        await CreateAsync(1);
        var follower = Follow();
        await AppendAsync(0, "bad");
        await AppendAsync(0, "good");
        await follower.WaitForAsync(0, 1, CancellationToken.None).WithDeadline();

        Assert.That(_folded, Is.EqualTo(new[] { "good" }));
        Assert.That(_logger.CountOf("FoldFailed"), Is.EqualTo(1));
    }

    [Test]
    public async Task CatchUpAsync_RecordsThere_WaitsForThem()
    {
        await CreateAsync(1);
        var follower = Follow();
        await AppendAsync(0, "a");
        await follower.CatchUpAsync(-1, CancellationToken.None).WithDeadline();

        Assert.That(_folded, Is.EqualTo(new[] { "a" }));
    }

    [Test]
    public async Task DisposeAsync_SomebodyWaits_IsTold()
    {
        var follower = Follow();
        var before = follower.WaitForAsync(0, 9, CancellationToken.None);
        await follower.DisposeAsync().WithDeadline();
        _follower = null;

        Assert.That(async () => await before.WithDeadline(), Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(async () => await follower.WaitForAsync(0, 9, CancellationToken.None).WithDeadline(), Throws.InstanceOf<ObjectDisposedException>());
    }

    private TopicFollower Follow() => _follower = new TopicFollower(
        _broker,
        _directory,
        "T",
        (_, record) =>
        {
            var text = Encoding.UTF8.GetString(record.Value!.Value.Span);
            if (text == "bad") throw new InvalidDataException(text);
            _folded.Enqueue(text);
        },
        _logger,
        _clock);

    private async Task CreateAsync(int partitions) =>
        _directory.Add(await _broker.EnsureTopicAsync(new TopicSpec("T", partitions), CancellationToken.None).WithDeadline());

    private Task AppendAsync(int partition, string text) =>
        _broker.AppendAsync(new("T", partition), new RecordData(null, Encoding.UTF8.GetBytes(text)), CancellationToken.None).WithDeadline();
}
