using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using Microsoft.Extensions.Logging.Abstractions;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

[TestFixture]
internal sealed class TopicAppenderTests
{
    private static readonly TopicPartition Target = new("Car", 0);

    private GatedBroker _broker = null!;
    private TopicDirectory _directory = null!;

    [SetUp]
    public void Open()
    {
        _broker = new GatedBroker(new MemoryBroker());
        _directory = new TopicDirectory(_broker, NullLogger.Instance, TimeProvider.System);
    }

    [TearDown]
    public async Task Close()
    {
        _broker.ReleaseAll();
        await _directory.DisposeAsync();
        await _broker.DisposeAsync();
    }

    [Test]
    public async Task AppendAsync_TopicBeingCreated_KeepsTheOrderOfTheCalls()
    {
        var goOn = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _broker.BeforeEnsure = _ => goOn.Task;
        var appender = Appender();

        var early = Enumerable.Range(0, 100).Select(i => appender.AppendAsync(Target, Record(i)).AsTask()).ToArray();
        Assert.That(early.Any(append => append.IsCompleted), Is.False);
        goOn.SetResult();
        var late = Enumerable.Range(100, 100).Select(i => appender.AppendAsync(Target, Record(i)).AsTask()).ToArray();

        var appended = await Task.WhenAll(early.Concat(late)).WithDeadline();
        Assert.That(appended.Select(a => a.Offset), Is.EqualTo(Enumerable.Range(0, 200).Select(i => (long)i)));
        Assert.That(_broker.EnsureCalls, Is.EqualTo(1));
    }

    [Test]
    public async Task AppendAsync_Created_IsInTheDirectoryBeforeItsAnswer()
    {
        await Appender().AppendAsync(Target, Record(0)).AsTask().WithDeadline();

        Assert.That(_directory.PartitionsOf("Car"), Is.EqualTo(1));
    }

    [Test]
    public async Task AppendAsync_CreationFailsForGood_FailsAllThatWaitAndTriesAnew()
    {
        var failing = true;
        _broker.BeforeEnsure = _ => failing ? Task.FromException(new BrokerException(BrokerError.Denied, "not you")) : Task.CompletedTask;
        var appender = Appender();

        var refused = await Assert.ThrowsAsync<BrokerException>(() => appender.AppendAsync(Target, Record(0)).AsTask().WithDeadline());
        Assert.That(refused!.Error, Is.EqualTo(BrokerError.Denied));
        failing = false;
        Assert.That((await appender.AppendAsync(Target, Record(0)).AsTask().WithDeadline()).Offset, Is.Zero);
    }

    [Test]
    public async Task AppendAsync_CreationFailsForAMoment_IsTriedAgain()
    {
        var clock = new ManualClock();
        var failures = 3;
        _broker.BeforeEnsure = _ => failures-- > 0 ? Task.FromException(new BrokerException(BrokerError.Unavailable, "down")) : Task.CompletedTask;

        var append = Appender(clock).AppendAsync(Target, Record(0)).AsTask();
        for (var tries = 2; tries <= 4; tries++)
        {
            await clock.TimersAsync(1).WithDeadline();
            clock.Advance(TimeSpan.FromMilliseconds(100 << (tries - 2))); // As long as the pause, not longer: the next one begins behind it.
            await _broker.EnsureCallsAsync(tries).WithDeadline();
        }

        Assert.That((await append.WithDeadline()).Offset, Is.Zero);
    }

    [Test]
    public async Task AppendAsync_CreationFailsForGood_SaysWhyBeforeTheAppendTimesOut()
    {
        var clock = new ManualClock();
        var started = clock.GetUtcNow();
        _broker.BeforeEnsure = _ => Task.FromException(new BrokerException(BrokerError.Unavailable, "down"));
        var append = Appender(clock).AppendAsync(Target, Record(0)).AsTask();
        while (!append.IsCompleted)
        {
            await Task.WhenAny(append, clock.TimersAsync(1)).WithDeadline();
            clock.Advance(TimeSpan.FromMilliseconds(100));
        }

        Assert.That((await Assert.ThrowsAsync<BrokerException>(() => append.WithDeadline()))!.Message, Is.EqualTo("down"));
        Assert.That(clock.GetUtcNow() - started, Is.EqualTo(TimeSpan.FromSeconds(22.5)).Within(TimeSpan.FromSeconds(1)));
    }

    [Test]
    public async Task AppendAsync_TopicWasDeleted_CreatesItAnew()
    {
        var appender = Appender();
        await appender.AppendAsync(Target, Record(0)).AsTask().WithDeadline();
        ((MemoryBroker)_broker.Inner).DeleteTopic("Car");
        Assert.That(
            (await Assert.ThrowsAsync<BrokerException>(() => appender.AppendAsync(Target, Record(1)).AsTask().WithDeadline()))!.Error,
            Is.EqualTo(BrokerError.NoSuchTopic));

        appender.Failed(new BrokerException(BrokerError.NoSuchTopic, "gone"));
        Assert.That((await appender.AppendAsync(Target, Record(2)).AsTask().WithDeadline()).Offset, Is.Zero);
    }

    private static RecordData Record(int number) => new(default(ReadOnlyMemory<byte>?), BitConverter.GetBytes(number));

    private TopicAppender Appender(TimeProvider? clock = null) =>
        new(_broker, _directory, new TopicSpec("Car"), TimeSpan.FromSeconds(30), clock ?? TimeProvider.System);
}
