using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>The groups of the brokers that live in one process: how they share, and how positions are kept. What every broker's groups do is in the contract.</summary>
public sealed class LocalGroupsTests
{
    private static readonly TopicPartition Positions = new(LocalGroups.Topic, 0);

    private string _directory = null!;

    private static CancellationToken None => CancellationToken.None;

    [SetUp]
    public void SetUp() => _directory = Directory.CreateTempSubdirectory("stream-api-").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_directory, recursive: true);

    [Test]
    public async Task Position_OfAMemberThatLeft_SurvivesTheProcess()
    {
        var source = new TopicPartition("car", 0);
        await using (var broker = await OpenAsync())
        {
            await broker.EnsureTopicAsync(new TopicSpec("car"), None);
            await using var member = await JoinAsync(broker, "group", source);
            await member.NextAssignmentAsync(None).WithDeadline();
            member.HandedOver(source, 12);
        }

        await using var again = await OpenAsync();
        await using var second = await JoinAsync(again, "group", source);
        Assert.That(await second.NextAssignmentAsync(None).WithDeadline(), Is.EqualTo(new[] { new GroupPosition(source, 12) }));
    }

    [Test]
    public async Task Position_OfAMemberThatStays_IsCommittedWithinASecond()
    {
        var source = new TopicPartition("car", 0);
        var clock = new ManualClock();
        await using var broker = new MemoryBroker(clock: clock);
        await using var member = await JoinAsync(broker, "group", source);
        await member.NextAssignmentAsync(None).WithDeadline();
        member.HandedOver(source, 3);
        await using var reading = new BrokerReading(broker, Positions);
        var next = reading.Begin();
        clock.Advance(TimeSpan.FromMilliseconds(400));
        Assert.That(next.IsCompleted, Is.False);

        clock.Advance(TimeSpan.FromMilliseconds(600));
        Assert.That((await reading.TakeAsync(1)).Single().Key, Is.EqualTo("group"u8.ToArray()));
    }

    [Test]
    public async Task Positions_CommittedVeryOften_AreReplacedByOneRecordOfAllOfThem()
    {
        var (source, other) = (new TopicPartition("car", 0), new TopicPartition("car", 1));
        await using (var broker = new MemoryBroker())
        {
            await using (var idle = await JoinAsync(broker, "idle", other))
            {
                await idle.NextAssignmentAsync(None).WithDeadline();
                idle.HandedOver(other, 77);
            }

            // One commit a member that leaves, more than are kept.
            for (var i = 1; i <= 10_020; i++)
            {
                await using var member = await JoinAsync(broker, "busy", source);
                await member.NextAssignmentAsync(None).WithDeadline();
                member.HandedOver(source, i);
            }

            var marks = (await broker.GetWatermarksAsync([Positions], None)).Single();
            Assert.That(marks.High - marks.Low, Is.LessThan(100), $"{marks}");
            await using var busy = await JoinAsync(broker, "busy", source);
            Assert.That(await busy.NextAssignmentAsync(None).WithDeadline(), Is.EqualTo(new[] { new GroupPosition(source, 10_020) }));

            // As the next process finds them.
            var fresh = new LocalGroups(broker, (_, _) => { }, TimeProvider.System, new RecordingLogger());
            await using var read = await fresh.JoinAsync("idle", None);
            read.Want([other]);
            Assert.That(await read.NextAssignmentAsync(None).WithDeadline(), Is.EqualTo(new[] { new GroupPosition(other, 77) }));
        }
    }

    /// <summary>Every position of every group is compared with a model, after the records were replaced and as the next process finds them.</summary>
    [TestCase(true)]
    [TestCase(false)]
    public async Task Positions_OfManyGroupsAfterCompaction_AreAllKept(bool isDurable)
    {
        var model = new Dictionary<(string Group, TopicPartition Source), long>();
        IBroker broker = isDurable ? await OpenAsync() : new MemoryBroker();
        await using var closing = broker;

        // The busy group comes first; one of the others has more partitions than a record holds.
        await CommitAsync("busy", 1, 1);
        await CommitAsync("wide", 1_001, 500);
        for (var group = 0; group < 20; group++) await CommitAsync($"idle {group}", 1 + (group % 3), 100 + group);
        for (var next = 2; next <= 10_050; next++) await CommitAsync("busy", 1, next);

        var marks = (await broker.GetWatermarksAsync([Positions], None)).Single();
        Assert.That(marks.High - marks.Low, Is.LessThan(200), $"{marks}");
        await CompareAsync(broker);
        if (!isDurable) return;

        await broker.DisposeAsync();
        broker = await OpenAsync();
        await using var closingAgain = broker;
        await CompareAsync(broker);

        // A commit by a member that leaves.
        async Task CommitAsync(string group, int partitions, long next)
        {
            TopicPartition[] all = [.. Enumerable.Range(0, partitions).Select(partition => new TopicPartition("car", partition))];
            await using var member = await JoinAsync(broker, group, all);
            await member.NextAssignmentAsync(None).WithDeadline();
            foreach (var source in all)
            {
                member.HandedOver(source, next + source.Partition);
                model[(group, source)] = next + source.Partition;
            }
        }

        async Task CompareAsync(IBroker found)
        {
            var groups = new LocalGroups(found, (_, _) => { }, TimeProvider.System, new RecordingLogger());
            foreach (var group in model.GroupBy(position => position.Key.Group))
            {
                await using var member = await groups.JoinAsync(group.Key, None).AsTask().WithDeadline();
                member.Want([.. group.Select(position => position.Key.Source)]);
                var positions = await member.NextAssignmentAsync(None).WithDeadline();
                Assert.That(
                    positions.OrderBy(position => position.Source.Partition), Is.EqualTo(group.OrderBy(position => position.Key.Source.Partition).Select(position => new GroupPosition(position.Key.Source, position.Value))), group.Key);
            }
        }
    }

    [Test]
    public async Task Positions_OfMoreGroupsThanAreKept_AreReplacedOnlyWhenTheyDoubled()
    {
        // Ten thousand groups: replacing their records leaves as many, so the next replacement waits until there are twice as many.
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        var trims = 0;
        var groups = new LocalGroups(broker, (_, _) => trims++, TimeProvider.System, new RecordingLogger());
        for (var group = 0; group < 10_100; group++)
        {
            await using var member = await groups.JoinAsync($"group {group}", None);
            member.Want([new TopicPartition("car", 0)]);
            await member.NextAssignmentAsync(None).WithDeadline();
            member.HandedOver(new TopicPartition("car", 0), group);
        }

        Assert.That(trims, Is.EqualTo(1));
    }

    [TestCase(new byte[] { 9, 0 }, "format 9")]
    [TestCase(new byte[] { 1, 5, 3 }, "cannot be read")]
    [TestCase(new byte[] { }, "cannot be read")]
    public async Task Positions_OfAnotherFormat_AreRefusedAndNotForgotten(byte[] value, string words)
    {
        await using var broker = new MemoryBroker();
        await broker.EnsureTopicAsync(new TopicSpec(LocalGroups.Topic, 1, KeepForever: true), None);
        await broker.AppendAsync(Positions, new RecordData("group"u8.ToArray(), value), None);

        var failure = (await Assert.ThrowsAsync<BrokerException>(async () => await broker.JoinGroupAsync("group", None).WithDeadline()))!;
        Assert.Multiple(() =>
        {
            Assert.That(failure.Error, Is.EqualTo(BrokerError.Corrupt));
            Assert.That(failure.Message, Does.Contain(words).And.Contain("offset 0"));
        });
    }

    [Test]
    public async Task Positions_ThatCouldNotBeCommitted_AreCommittedLater()
    {
        var source = new TopicPartition("car", 0);
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        var logger = new RecordingLogger();
        var clock = new ManualClock();
        var groups = new LocalGroups(broker, (_, _) => { }, clock, logger);
        await inner.EnsureTopicAsync(new TopicSpec(LocalGroups.Topic, 1, KeepForever: true), None);
        broker.AppendFails = (_, _) => new BrokerException(BrokerError.Full, "no room");
        var member = await groups.JoinAsync("group", None);
        member.Want([source]);
        await member.NextAssignmentAsync(None).WithDeadline();
        member.HandedOver(source, 5);
        await member.DisposeAsync();
        Assert.That(logger.CountOf("CommitFailed"), Is.EqualTo(1));

        broker.AppendFails = null;
        await using var reading = new BrokerReading(inner, Positions);
        var next = reading.Begin();
        clock.Advance(TimeSpan.FromSeconds(1));
        await next.WithDeadline();
    }

    [Test]
    public async Task Share_ManyMembersComeAndGo_StaysEvenAndMovesNoMoreThanNeeded()
    {
        await using var broker = new MemoryBroker();
        TopicPartition[] all = [.. Enumerable.Range(0, 12).Select(i => new TopicPartition("car", i))];
        List<(GroupMember Member, HashSet<TopicPartition> Has)> members = [];
        for (var count = 1; count <= 4; count++)
        {
            members.Add((await JoinAsync(broker, "group", all), []));
            await SettleAsync(members);
            Assert.That(members.Select(member => member.Has.Count), Is.All.EqualTo(12 / count));
            Assert.That(members.SelectMany(member => member.Has), Is.EquivalentTo(all));
        }

        var before = members.Select(member => member.Has.ToHashSet()).ToList();
        await members[3].Member.DisposeAsync();
        members.RemoveAt(3);
        await SettleAsync(members);

        Assert.That(members.Select(member => member.Has.Count), Is.All.EqualTo(4));
        for (var i = 0; i < 3; i++) Assert.That(members[i].Has.IsSupersetOf(before[i]), Is.True, "who stays keeps what it had");
        foreach (var (member, _) in members) await member.DisposeAsync();
    }

    [Test]
    public async Task Share_MembersThatWantDifferentThings_GetOnlyWhatTheyWant()
    {
        await using var broker = new MemoryBroker();
        TopicPartition a = new("a", 0), b = new("b", 0), c = new("c", 0);
        List<(GroupMember Member, HashSet<TopicPartition> Has)> members =
            [(await JoinAsync(broker, "group", a, b), []), (await JoinAsync(broker, "group", b, c), []), (await JoinAsync(broker, "group", b), [])];
        await SettleAsync(members);
        Assert.That(members.Select(member => member.Has), Is.EqualTo(new[] { new[] { a }, [c], [b] }));
        foreach (var (member, _) in members) await member.DisposeAsync();
    }

    // Every member asks until nobody is told anything new.
    private static async Task SettleAsync(List<(GroupMember Member, HashSet<TopicPartition> Has)> members)
    {
        using var still = new CancellationTokenSource();
        await Task.WhenAll(members.Select(async member =>
        {
            try
            {
                while (true)
                {
                    var assigned = await member.Member.NextAssignmentAsync(still.Token);
                    lock (members)
                    {
                        member.Has.Clear();
                        member.Has.UnionWith(assigned.Select(position => position.Source));
                        var wanted = members.SelectMany(each => each.Has).ToList();
                        var isShared = wanted.Count == wanted.Distinct().Count() && members.Max(each => each.Has.Count) - members.Min(each => each.Has.Count) <= 1;
                        if (isShared && members.All(each => each.Has.Count > 0) && wanted.Count is 12 or 3) still.CancelAfter(0);
                    }
                }
            }
            catch (OperationCanceledException)
            {
                // Settled.
            }
        })).WithDeadline();
    }

    private static async Task<GroupMember> JoinAsync(IBroker broker, string group, params TopicPartition[] wanted)
    {
        var member = await broker.JoinGroupAsync(group, None).WithDeadline();
        member.Want(wanted);
        return member;
    }

    private Task<EmbeddedBroker> OpenAsync() => EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = _directory, DiskReserveBytes = 0 });
}
