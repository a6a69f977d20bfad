using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <content>Groups: sharing, handing on, positions.</content>
public abstract partial class BrokerContract
{
    // A new group of Kafka's waits for more members before it answers, and takes time for a rebalance.
    private const int GroupSeconds = 30;

    [Test]
    public async Task JoinGroup_TheOnlyMember_HasAllThatItWantsAndNoPositions()
    {
        var topic = await NewTopicAsync(3);
        var wanted = Partitions(topic, 3);
        await using var member = await JoinAsync(NewName(), wanted);

        await member.UntilAsync(has => has.SetEquals(wanted));

        Assert.That(member.Offsets.Values, Is.All.Null);
    }

    [Test]
    public async Task JoinGroup_OfTopicsThatDoNotExist_AnswersAndGetsThemWhenTheyDo()
    {
        var name = NewName();
        await using var member = await JoinAsync(NewName(), [new(name, 0)]);
        await member.NextAsync();

        await NewTopicAsync(1, name);
        await member.UntilAsync(has => has.Contains(new(name, 0)));
    }

    [Test]
    public async Task JoinGroup_AfterAMemberHasLeft_GoesOnWhereItWas()
    {
        var topic = await NewTopicAsync(2);
        await AppendManyAsync(topic, 10);
        var (group, wanted) = (NewName(), Partitions(topic, 2));
        await using (var first = await JoinAsync(group, wanted))
        {
            await first.UntilAsync(has => has.SetEquals(wanted));
            first.Membership.HandedOver(topic, 4);
            first.Membership.HandedOver(topic, 7);
            first.Membership.HandedOver(topic, 5);
        }

        await using var second = await JoinAsync(group, wanted);
        await using var other = await JoinAsync(NewName(), wanted);
        await second.UntilAsync(has => has.SetEquals(wanted));
        await other.UntilAsync(has => has.SetEquals(wanted));

        Assert.Multiple(() =>
        {
            Assert.That(second.Offsets[topic], Is.EqualTo(7));
            Assert.That(second.Offsets[topic with { Partition = 1 }], Is.Null, "nothing was said of it");
            Assert.That(other.Offsets.Values, Is.All.Null, "another group");
        });
    }

    [Test]
    public async Task JoinGroup_ASecondMember_SharesAndGoesOnWhereTheFirstIsDone()
    {
        if (!CommitsWhileSharing) Assert.Ignore("this broker refuses commits while a group shares its partitions out");
        var topic = await NewTopicAsync(4);
        await AppendManyAsync(topic, 100);
        var (group, wanted) = (NewName(), Partitions(topic, 4));
        await using var first = await JoinAsync(group, wanted);
        await first.UntilAsync(has => has.SetEquals(wanted));
        foreach (var source in wanted) first.Membership.HandedOver(source, 10);

        await using var second = await JoinAsync(group, wanted);
        await first.NextAsync(); // Fewer, and those that are gone are not yet given up.
        Assert.That(first.Has.Count, Is.LessThan(4));
        foreach (var source in wanted) first.Membership.HandedOver(source, 20);
        await Task.WhenAll(first.UntilAsync(has => has.Count == 2), second.UntilAsync(has => has.Count == 2));

        Assert.Multiple(() =>
        {
            Assert.That(first.Has.Intersect(second.Has), Is.Empty);
            Assert.That(first.Has.Union(second.Has), Is.EquivalentTo(wanted));
            Assert.That(second.Offsets.Values, Is.All.EqualTo(20));
        });
    }

    [Test]
    public async Task JoinGroup_AMemberLeaves_TheOtherGetsItsPartitionsWhereItWas()
    {
        var topic = await NewTopicAsync(2);
        await AppendManyAsync(topic, 10);
        var (group, wanted) = (NewName(), Partitions(topic, 2));
        await using var first = await JoinAsync(group, wanted);
        await using var second = await JoinAsync(group, wanted);
        await Task.WhenAll(first.UntilAsync(has => has.Count == 1), second.UntilAsync(has => has.Count == 1));
        var source = second.Has.Single();

        second.Membership.HandedOver(source, 3);
        await second.DisposeAsync();
        await first.UntilAsync(has => has.Count == 2);

        Assert.That(first.Offsets[source], Is.EqualTo(3));
    }

    [Test]
    public async Task JoinGroup_AMemberThatDoesNotGiveUp_IsNotWaitedForForEver()
    {
        if (!CommitsWhileSharing) Assert.Ignore("this broker refuses commits while a group shares its partitions out");
        var topic = await NewTopicAsync(2);
        await AppendManyAsync(topic, 10);
        var (group, wanted) = (NewName(), Partitions(topic, 2));
        await using var stuck = await JoinAsync(group, wanted);
        await stuck.UntilAsync(has => has.Count == 2);
        foreach (var source in wanted) stuck.Membership.HandedOver(source, 3);

        await using var second = await JoinAsync(group, wanted);
        await second.UntilAsync(has => has.Count == 1);
        var taken = second.Has.Single();
        stuck.Membership.HandedOver(taken, 9); // Too late: it is not its any more.
        Assert.That(second.Offsets[taken], Is.EqualTo(3));

        await second.DisposeAsync();
        await stuck.NextAsync(); // Without what it lost; then with it again.
        await stuck.UntilAsync(has => has.Count == 2);
        Assert.That(stuck.Offsets[taken], Is.EqualTo(3));
    }

    [Test]
    public async Task JoinGroup_TheBrokerIsDisposed_TellsTheMember()
    {
        var topic = await NewTopicAsync();
        var member = await JoinAsync(NewName(), [topic]);
        await member.UntilAsync(has => has.Count == 1);

        await Broker.DisposeAsync().WithDeadline(60);

        Assert.That(member.NextAsync, Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(async () => await Broker.JoinGroupAsync("late", None).WithDeadline(), Throws.InstanceOf<ObjectDisposedException>());
        await member.DisposeAsync();
    }

    private static HashSet<TopicPartition> Partitions(TopicPartition topic, int count) => [.. Enumerable.Range(0, count).Select(i => topic with { Partition = i })];

    private async Task<TestMember> JoinAsync(string group, IReadOnlyCollection<TopicPartition> wanted)
    {
        var member = new TestMember(await Broker.JoinGroupAsync(group, None).WithDeadline());
        member.Membership.Want(wanted);
        return member;
    }

    /// <summary>A member that asks for its next assignment while it waits for it, and once it has what a test waited for.</summary>
    private sealed class TestMember(GroupMember membership) : IAsyncDisposable
    {
        private Task<IReadOnlyList<GroupPosition>>? _asked;

        public GroupMember Membership { get; } = membership;

        public HashSet<TopicPartition> Has { get; private set; } = [];

        public IReadOnlyDictionary<TopicPartition, long?> Offsets { get; private set; } = new Dictionary<TopicPartition, long?>();

        public async Task NextAsync()
        {
            _asked ??= Membership.NextAssignmentAsync(None).AsTask();
            var assignment = await _asked.WithDeadline(GroupSeconds, "the next assignment");
            _asked = null;
            Offsets = assignment.ToDictionary(position => position.Source, position => position.Offset);
            Has = [.. Offsets.Keys];
        }

        public async Task UntilAsync(Func<HashSet<TopicPartition>, bool> isEnough)
        {
            while (!isEnough(Has)) await NextAsync();
            _asked ??= Membership.NextAssignmentAsync(None).AsTask();
        }

        public async ValueTask DisposeAsync()
        {
            await Membership.DisposeAsync().WithDeadline();
            if (_asked is not null) await ((Task)_asked).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
