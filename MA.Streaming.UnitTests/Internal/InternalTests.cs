using Grpc.Core;
using MA.Streaming.Core.Internal;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Internal;

[TestFixture]
internal sealed class InternalTests
{
    [Test]
    public async Task ChangeFeed_SlowSubscriber_OverflowsAlone()
    {
        var feed = new ChangeFeed<int>(4);
        using var slow = feed.Subscribe(_ => true);
        using var quick = feed.Subscribe(n => n % 2 == 0);
        for (var i = 0; i < 10; i++)
        {
            feed.Publish(i);
            if (i % 2 == 0) Assert.That(await quick.Changes.ReadAsync().WithDeadline(), Is.EqualTo(i));
        }

        for (var i = 0; i < 4; i++) Assert.That(await slow.Changes.ReadAsync().WithDeadline(), Is.EqualTo(i));
        Assert.That(async () => await slow.Changes.Completion.WithDeadline(), Throws.InstanceOf<FeedOverflowException>());
        feed.Publish(100);
        Assert.That(await quick.Changes.ReadAsync().WithDeadline(), Is.EqualTo(100));
    }

    [Test]
    public async Task OpenCalls_Drain_WaitsForOpenOnesAndRefusesNewOnes()
    {
        using var calls = new OpenCalls();
        var call = calls.Enter();
        var drain = calls.DrainAsync(TimeSpan.FromSeconds(30), new ManualClock());
        Assert.That(calls.Draining.IsCancellationRequested, Is.True);
        Assert.That(Assert.Throws<RpcException>(() => calls.Enter())!.StatusCode, Is.EqualTo(StatusCode.Unavailable));
        Assert.That(drain.IsCompleted, Is.False);
        call.Dispose();

        Assert.That(await drain.WithDeadline(), Is.True);
        Assert.That(calls.Count, Is.Zero);
    }

    [Test]
    public async Task OpenCalls_DrainTimesOut_IsFalse()
    {
        var clock = new ManualClock();
        using var calls = new OpenCalls();
        using var call = calls.Enter();
        var drain = calls.DrainAsync(TimeSpan.FromSeconds(30), clock);
        await clock.TimersAsync(1).WithDeadline();
        clock.Advance(TimeSpan.FromSeconds(31));

        Assert.That(await drain.WithDeadline(), Is.False);
        Assert.That(calls.Count, Is.EqualTo(1));
    }
}
