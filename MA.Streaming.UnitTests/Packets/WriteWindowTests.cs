using MA.Streaming.Core.Packets;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

[TestFixture]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class WriteWindowTests
{
    private readonly List<TaskCompletionSource> _appends = [];

    [Test]
    public async Task Durable_FailureInTheMiddle_CountsUpToTheGap()
    {
        var window = Window(1_000, 5);
        _appends[0].SetResult();
        _appends[1].SetResult();
        _appends[3].SetResult();
        _appends[4].SetResult();
        var drain = window.DrainAsync().AsTask();
        Assert.That(drain.IsCompleted, Is.False);
        _appends[2].SetException(new InvalidDataException("third"));

        Assert.That(async () => await drain.WithDeadline(), Throws.InstanceOf<InvalidDataException>());
        Assert.That(window.Durable, Is.EqualTo(2));
    }

    [Test]
    public async Task DrainAsync_SeveralFailures_ThrowsTheFirstAfterTheLastEnded()
    {
        var window = Window(1_000, 3);
        _appends[1].SetException(new InvalidDataException("second"));
        _appends[0].SetException(new InvalidDataException("first"));
        var drain = window.DrainAsync().AsTask();
        Assert.That(drain.IsCompleted, Is.False);
        _appends[2].SetResult();

        Assert.That(async () => await drain.WithDeadline(), Throws.InstanceOf<InvalidDataException>().With.Message.EqualTo("first"));
        Assert.That(window.Durable, Is.Zero);
    }

    [Test]
    public async Task MakeRoomAsync_BytesExceed_WaitsForTheOldest()
    {
        var window = Window(bytesMax: 2_500, count: 3, bytes: 1_000);
        var room = window.MakeRoomAsync(CancellationToken.None).AsTask();
        Assert.That(room.IsCompleted, Is.False);
        _appends[1].SetResult();
        Assert.That(room.IsCompleted, Is.False, "settled is in order");
        _appends[0].SetResult();
        await room.WithDeadline();

        Assert.That(window.Durable, Is.EqualTo(2));
    }

    [Test]
    public async Task MakeRoomAsync_Cancelled_EndsTheWait()
    {
        var window = Window(bytesMax: 5, count: 1, bytes: 10);
        using var source = new CancellationTokenSource();
        var room = window.MakeRoomAsync(source.Token).AsTask();
        await source.CancelAsync();
        Assert.That(async () => await room.WithDeadline(), Throws.InstanceOf<OperationCanceledException>());
        _appends[0].SetResult();
        await window.DrainAsync().WithDeadline();

        Assert.That(window.Durable, Is.EqualTo(1));
    }

    [Test]
    public async Task DrainAsync_PacketWithoutBytesOnItsWay_IsWaitedFor()
    {
        var window = Window(bytesMax: 100, count: 1, bytes: 0);
        var drain = window.DrainAsync().AsTask();
        Assert.That(drain.IsCompleted, Is.False);
        _appends[0].SetResult();
        await drain.WithDeadline();

        Assert.That(window.Durable, Is.EqualTo(1));
    }

    [Test]
    public void MakeRoomAsync_PacketsWithoutBytes_AreBoundedToo()
    {
        var window = Window(bytesMax: 10_000, count: 10_000, bytes: 0);

        Assert.That(window.MakeRoomAsync(CancellationToken.None).AsTask().IsCompleted, Is.False);
    }

    [Test]
    public void Durable_AppendsThatCompleteAtOnce_NeverQueue()
    {
        var window = new WriteWindow(10);
        for (var i = 0; i < 100; i++)
        {
            window.Add(default, 1_000);
            Assert.That(window.MakeRoomAsync(CancellationToken.None).AsTask().IsCompletedSuccessfully, Is.True);
        }

        Assert.That(window.Durable, Is.EqualTo(100));
    }

    private WriteWindow Window(int bytesMax, int count, int bytes = 1)
    {
        var window = new WriteWindow(bytesMax);
        for (var i = 0; i < count; i++)
        {
            _appends.Add(new TaskCompletionSource());
            window.Add(new ValueTask(_appends[i].Task), bytes);
        }

        return window;
    }
}
