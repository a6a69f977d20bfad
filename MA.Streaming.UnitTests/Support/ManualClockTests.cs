using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Support;

public sealed class ManualClockTests
{
    [Test]
    public void Advance_TimersOnTheWay_FireInOrderEachAtItsTime()
    {
        var clock = new ManualClock();
        var start = clock.GetUtcNow();
        var fired = new List<(string Name, double Seconds)>();
        using var late = clock.CreateTimer(_ => Note("late"), null, TimeSpan.FromSeconds(5), Timeout.InfiniteTimeSpan);
        using var often = clock.CreateTimer(_ => Note("often"), null, TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(2));
        using var never = clock.CreateTimer(_ => Note("never"), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
        never.Dispose();
        clock.Advance(TimeSpan.FromSeconds(1.5));
        clock.Advance(TimeSpan.FromSeconds(4.5));
        Assert.That(fired, Is.EqualTo(new[] { ("often", 2.0), ("often", 4.0), ("late", 5.0), ("often", 6.0) }));
        Assert.That(clock.GetUtcNow(), Is.EqualTo(start.AddSeconds(6)));
        Assert.That(clock.TimerCount, Is.EqualTo(1));

        void Note(string name) => fired.Add((name, (clock.GetUtcNow() - start).TotalSeconds));
    }

    [Test]
    public async Task Delay_OnTheClock_EndsWhenItIsAdvanced()
    {
        var clock = new ManualClock();
        var timestamp = clock.GetTimestamp();
        var delay = Task.Delay(TimeSpan.FromMinutes(10), clock);
        await clock.TimersAsync(1).WithDeadline();
        clock.Advance(TimeSpan.FromMinutes(9));
        Assert.That(delay.IsCompleted, Is.False);
        clock.Advance(TimeSpan.FromMinutes(1));
        await delay.WithDeadline();
        Assert.That(clock.GetElapsedTime(timestamp), Is.EqualTo(TimeSpan.FromMinutes(10)));
    }

    [Test]
    public async Task CancelAfter_OnTheClock_CancelsWhenItIsAdvanced()
    {
        var clock = new ManualClock();
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(30), clock);
        var stopped = new TaskCompletionSource();
        await using var registration = stop.Token.Register(stopped.SetResult);
        clock.Advance(TimeSpan.FromSeconds(30));
        await stopped.Task.WithDeadline();
    }

    [Test]
    public async Task CreateTimer_DueAtOnce_FiresWithoutAdvance()
    {
        var clock = new ManualClock();
        var fired = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var timer = clock.CreateTimer(_ => fired.SetResult(), null, TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        await fired.Task.WithDeadline();
    }

    [Test]
    public void JumpTo_AnyTime_MovesNeitherTimersNorTimestamps()
    {
        var clock = new ManualClock();
        var fired = false;
        var timestamp = clock.GetTimestamp();
        using var timer = clock.CreateTimer(_ => fired = true, null, TimeSpan.FromSeconds(1), Timeout.InfiniteTimeSpan);
        clock.JumpTo(clock.GetUtcNow().AddYears(-1));
        clock.JumpTo(clock.GetUtcNow().AddYears(2));
        Assert.That(fired, Is.False);
        Assert.That(clock.GetTimestamp(), Is.EqualTo(timestamp));
    }

    [Test]
    public async Task WithDeadline_Missed_SaysWhatWasAwaited()
    {
        var nothing = new TaskCompletionSource<int>();
        var exception = await Assert.ThrowsAsync<TimeoutException>(async () => await nothing.Task.WithDeadline(0));
        Assert.That(exception!.Message, Does.Contain("nothing.Task"));
    }

    [Test]
    public async Task WithDeadline_TaskThatTimesOutItself_KeepsItsOwnMessage()
    {
        var itself = Task.FromException<int>(new TimeoutException("its own"));
        var exception = await Assert.ThrowsAsync<TimeoutException>(async () => await itself.WithDeadline());
        Assert.That(exception!.Message, Is.EqualTo("its own"));
    }
}
