using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <summary>What passes between a reader of a group and its broker, and in which order.</summary>
public sealed class GroupMemberTests
{
    private static readonly TopicPartition A = new("topic", 0);
    private static readonly TopicPartition B = new("topic", 1);

    private readonly List<string> _told = [];
    private GroupMember _member = null!;

    [SetUp]
    public void SetUp()
    {
        _told.Clear();
        _member = new GroupMember(wanted => _told.Add($"wants {string.Join(' ', wanted)}"), () =>
        {
            _told.Add("leaves");
            return default;
        });
    }

    [TearDown]
    public async Task TearDown() => await _member.DisposeAsync();

    [Test]
    public async Task NextAssignment_BeforeItHasJoined_Waits()
    {
        var next = NextAsync();
        Assert.That(next.IsCompleted, Is.False);
        _member.Assign([]);
        Assert.That(await next.WithDeadline(), Is.Empty);
    }

    [Test]
    public async Task NextAssignment_SeveralChangesSince_IsTheLastOne()
    {
        _member.Assign([new(A, 5), new(B, null)]);
        _member.HandedOver(A, 9);
        Assert.That(_member.RevokeAsync([B]).IsCompleted, Is.True, "it was never told that it has it");
        Assert.That(await NextAsync().WithDeadline(), Is.EqualTo(new[] { new GroupPosition(A, 9) }));
        Assert.That(NextAsync().IsCompleted, Is.False);
    }

    [Test]
    public async Task Revoke_APartitionThatIsBeingRead_IsDoneWhenTheReaderAsksAgain()
    {
        _member.Assign([new(A, null), new(B, null)]);
        await NextAsync().WithDeadline();
        var left = _member.RevokeAsync([B]);
        Assert.That(await NextAsync().WithDeadline(), Has.Count.EqualTo(1));
        Assert.That(left.IsCompleted, Is.False, "it was told, and is not done yet");

        _member.HandedOver(B, 7);
        _ = NextAsync();
        await left.WithDeadline();

        Assert.That(_member.TakeHandedOver(), Is.EqualTo(new[] { new Position(B, 7) }));
        Assert.That(_member.TakeHandedOver(), Is.Empty, "taken once");
    }

    [Test]
    public void HandedOver_OfWhatItHasNotOrHadBefore_DoesNotCount()
    {
        _member.Assign([new(A, 5)]);
        _member.HandedOver(A, 5);
        _member.HandedOver(A, 4);
        _member.HandedOver(B, 9);
        Assert.That(_member.TakeHandedOver(), Is.Empty);

        _member.HandedOver(A, 6);
        _member.Remove([A]);
        _member.HandedOver(A, 8);
        Assert.That(_member.TakeHandedOver(), Is.Empty);
    }

    [Test]
    public async Task Dispose_WhileItIsWaitedFor_LetsGo()
    {
        _member.Assign([new(A, null)]);
        await NextAsync().WithDeadline();
        var left = _member.RevokeAsync([A]);
        _member.HandedOver(A, 3);
        await _member.DisposeAsync();
        await _member.DisposeAsync();

        await left.WithDeadline();
        Assert.That(_member.TakeHandedOver(), Is.EqualTo(new[] { new Position(A, 3) }), "what it had still counts");
        Assert.That(_told, Is.EqualTo(new[] { "leaves" }));
        Assert.That(NextAsync, Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task Fail_WhileItWaits_EndsItsWaitAndEveryLaterOne()
    {
        _member.Want([A, B]);
        var next = NextAsync();
        _member.Fail(new BrokerException(BrokerError.Denied, "not this group"));

        var failure = (await Assert.ThrowsAsync<BrokerException>(() => next.WithDeadline()))!;
        await Assert.ThrowsAsync<BrokerException>(NextAsync);
        await _member.RevokeAsync([A]).WithDeadline();
        Assert.That(failure.Error, Is.EqualTo(BrokerError.Denied));
        Assert.That(_told, Is.EqualTo(new[] { "wants topic:0 topic:1" }));
    }

    [Test]
    public async Task NextAssignment_Cancelled_LosesNothing()
    {
        using var cancel = new CancellationTokenSource();
        var next = _member.NextAssignmentAsync(cancel.Token).AsTask();
        await cancel.CancelAsync();
        Assert.That(async () => await next.WithDeadline(), Throws.InstanceOf<OperationCanceledException>());
        _member.Assign([new(A, 1)]);
        Assert.That(await NextAsync().WithDeadline(), Is.EqualTo(new[] { new GroupPosition(A, 1) }));
    }

    private Task<IReadOnlyList<GroupPosition>> NextAsync() => _member.NextAssignmentAsync(CancellationToken.None).AsTask();
}
