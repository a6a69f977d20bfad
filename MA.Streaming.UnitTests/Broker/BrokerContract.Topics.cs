using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <content>Topics: names, partitions, those who watch for them.</content>
public abstract partial class BrokerContract
{
    [Test]
    public async Task EnsureTopicAsync_NewTopic_HasTheNameAndThePartitionsAsked()
    {
        var name = NewName();
        var topic = await Broker.EnsureTopicAsync(new TopicSpec(name, 3), None).WithDeadline();
        Assert.That(topic, Is.EqualTo(new TopicInfo(name, 3)));
    }

    [Test]
    public async Task EnsureTopicAsync_KnownTopic_AddsPartitionsAndRemovesNone()
    {
        RequireExtension();
        var name = NewName();
        await Broker.EnsureTopicAsync(new TopicSpec(name, 2), None).WithDeadline();
        await AppendAsync(new TopicPartition(name, 1), "kept");

        var same = await Broker.EnsureTopicAsync(new TopicSpec(name, 2), None).WithDeadline();
        var fewer = await Broker.EnsureTopicAsync(new TopicSpec(name), None).WithDeadline();
        var more = await Broker.EnsureTopicAsync(new TopicSpec(name, 4), None).WithDeadline();
        var appended = await AppendAsync(new TopicPartition(name, 3), "new");

        Assert.Multiple(() =>
        {
            Assert.That(same.Partitions, Is.EqualTo(2));
            Assert.That(fewer.Partitions, Is.EqualTo(2));
            Assert.That(more.Partitions, Is.EqualTo(4));
            Assert.That(appended.Partition, Is.EqualTo(3));
        });
        Assert.That(await TextsAsync(new TopicPartition(name, 1)), Is.EqualTo(new[] { "kept" }));
    }

    [Test]
    public async Task EnsureTopicAsync_ConcurrentCalls_EndInOneTopic()
    {
        RequireExtension();
        var name = NewName();
        var calls = Enumerable.Range(0, 32)
            .Select(i => Task.Run(async () =>
            {
                await Broker.EnsureTopicAsync(new TopicSpec(name, 1 + (i % 4)), None);
                return await Broker.AppendAsync(new TopicPartition(name, 0), Data($"from {i}"), None);
            }))
            .ToArray();
        var appended = await Task.WhenAll(calls).WithDeadline(60);
        var topic = await Broker.EnsureTopicAsync(new TopicSpec(name), None).WithDeadline();

        Assert.Multiple(() =>
        {
            Assert.That(topic.Partitions, Is.EqualTo(4));
            Assert.That(appended.Select(a => a.Offset), Is.Unique);
        });
        Assert.That(await TextsAsync(new TopicPartition(name, 0)), Is.EquivalentTo(Enumerable.Range(0, 32).Select(i => $"from {i}")));
    }

    [Test]
    public async Task EnsureTopicAsync_NamesThatDifferInCase_AreTwoTopics()
    {
        var name = NewName();
        await Broker.EnsureTopicAsync(new TopicSpec(name + "x"), None).WithDeadline();
        await Broker.EnsureTopicAsync(new TopicSpec(name + "X"), None).WithDeadline();
        await AppendAsync(new TopicPartition(name + "x", 0), "small");
        await AppendAsync(new TopicPartition(name + "X", 0), "large");

        Assert.That(await TextsAsync(new TopicPartition(name + "x", 0)), Is.EqualTo(new[] { "small" }));
        Assert.That(await TextsAsync(new TopicPartition(name + "X", 0)), Is.EqualTo(new[] { "large" }));
    }

    [TestCase("con")]
    [TestCase("a..b")]
    [TestCase("-_.")]
    [TestCase("...")]
    public async Task EnsureTopicAsync_UnusualButAllowedName_Works(string prefix)
    {
        var source = await NewTopicAsync(name: prefix + NewName());
        await AppendAsync(source, "there");
        Assert.That(await TextsAsync(source), Is.EqualTo(new[] { "there" }));
    }

    [Test]
    public async Task EnsureTopicAsync_LongestName_Works()
    {
        var source = await NewTopicAsync(name: NewName().PadRight(249, 'x'));
        await AppendAsync(source, "there");
        Assert.That(await TextsAsync(source), Is.EqualTo(new[] { "there" }));
    }

    [TestCase("a/b", "/")]
    [TestCase("a b", " ")]
    [TestCase("car:1", ":")]
    [TestCase("é", "é")]
    [TestCase("a\\b", "\\")]
    [TestCase("line\nbreak", "U+000A")]
    [TestCase("", "empty")]
    [TestCase(".", "'.'")]
    [TestCase("..", "'..'")]
    public async Task EnsureTopicAsync_NameNotAllowed_NamesWhatIsWrong(string name, string named)
    {
        var exception = await Assert.ThrowsAsync(
            Is.InstanceOf<ArgumentException>(), async () => await Broker.EnsureTopicAsync(new TopicSpec(name), None).WithDeadline());
        Assert.That(exception!.Message, Does.Contain(named));
    }

    [Test]
    public async Task EnsureTopicAsync_NameTooLong_NamesTheLimit()
    {
        var exception = await Assert.ThrowsAsync(
            Is.InstanceOf<ArgumentException>(),
            async () => await Broker.EnsureTopicAsync(new TopicSpec(new string('x', 250)), None).WithDeadline());
        Assert.That(exception!.Message, Does.Contain("249").And.Contain("250"));
    }

    [TestCase(0)]
    [TestCase(-1)]
    public async Task EnsureTopicAsync_NoPartitions_IsRefused(int partitions) => await Assert.ThrowsAsync(
        Is.InstanceOf<ArgumentException>(), async () => await Broker.EnsureTopicAsync(new TopicSpec(NewName(), partitions), None).WithDeadline());

    [Test]
    public async Task WatchTopicsAsync_TopicsBeforeAndAfter_ComeAroundOneNull()
    {
        var before = new[] { await NewTopicAsync(), await NewTopicAsync(2) };
        await using var watch = new Watch(Broker);
        var existing = await watch.TakeUntilAsync(topic => topic is null);
        var after = await NewTopicAsync(3);
        var later = await watch.TakeUntilAsync(topic => topic?.Name == after.Topic);
        var last = await NewTopicAsync();
        later.AddRange(await watch.TakeUntilAsync(topic => topic?.Name == last.Topic));

        Assert.Multiple(() =>
        {
            Assert.That(existing, Does.Contain(new TopicInfo(before[0].Topic, 1)).And.Contain(new TopicInfo(before[1].Topic, 2)));
            Assert.That(existing.Count(topic => topic is null), Is.EqualTo(1));
            Assert.That(later, Does.Contain(new TopicInfo(after.Topic, 3)).And.No.Member(null));
        });
    }

    [Test]
    public async Task WatchTopicsAsync_TopicExtended_ComesAgain()
    {
        RequireExtension();
        var source = await NewTopicAsync();
        await using var watch = new Watch(Broker);
        await watch.TakeUntilAsync(topic => topic is null);
        await Broker.EnsureTopicAsync(new TopicSpec(source.Topic, 5), None).WithDeadline();
        await watch.TakeUntilAsync(topic => topic == new TopicInfo(source.Topic, 5));
    }

    [Test]
    public async Task WatchTopicsAsync_WatcherThatDoesNotKeepUp_SeesEveryTopicInTheEnd()
    {
        RequireExtension();
        await using var watch = new Watch(Broker);
        await watch.TakeUntilAsync(topic => topic is null);
        var expected = new Dictionary<string, int>();
        for (var i = 0; i < 50; i++)
        {
            var source = await NewTopicAsync();
            expected[source.Topic] = 1;
            if (i % 5 == 0) expected[source.Topic] = (await Broker.EnsureTopicAsync(new TopicSpec(source.Topic, 3), None).WithDeadline()).Partitions;
        }

        var missing = expected.ToDictionary();
        await watch.TakeUntilAsync(topic =>
        {
            if (topic is not null && missing.GetValueOrDefault(topic.Name) == topic.Partitions) missing.Remove(topic.Name);
            return missing.Count == 0;
        });
    }

    [Test]
    public async Task WatchTopicsAsync_ManyTopicsAtOnce_WakeTheWatcherEveryTime()
    {
        await using var watch = new Watch(Broker);
        await watch.TakeUntilAsync(topic => topic is null);
        for (var round = 0; round < 10; round++)
        {
            var missing = Enumerable.Range(0, 8).Select(_ => NewName()).ToHashSet();
            var creations = missing.Select(name => Broker.EnsureTopicAsync(new TopicSpec(name, 1), None).AsTask()).ToArray();
            await Task.WhenAll(creations).WithDeadline();
            await watch.TakeUntilAsync(topic =>
            {
                missing.Remove(topic!.Name);
                return missing.Count == 0;
            });
        }
    }

    [Test]
    public async Task WatchTopicsAsync_Cancelled_EndsPromptly()
    {
        using var stop = new CancellationTokenSource();
        await using var watch = new Watch(Broker, stop.Token);
        await watch.TakeUntilAsync(topic => topic is null);
        var next = watch.NextAsync();
        await stop.CancelAsync();
        await Assert.ThrowsAsync(Is.InstanceOf<OperationCanceledException>(), () => next);
    }
}
