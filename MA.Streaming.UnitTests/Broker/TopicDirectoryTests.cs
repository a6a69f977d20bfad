using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using Microsoft.Extensions.Logging.Abstractions;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

[TestFixture]
internal sealed class TopicDirectoryTests
{
    private MemoryBroker _broker = null!;

    [SetUp]
    public void Open() => _broker = new MemoryBroker();

    [TearDown]
    public async Task Close() => await _broker.DisposeAsync();

    [Test]
    public async Task Listed_TopicsThatExist_AreAllKnown()
    {
        for (var i = 0; i < 100; i++) await EnsureAsync($"Car.s{i}", i + 1);
        await using var directory = Directory();
        await directory.Listed.WithDeadline();

        Assert.That(Enumerable.Range(0, 100).Select(i => directory.PartitionsOf($"Car.s{i}")), Is.EqualTo(Enumerable.Range(1, 100)));
        Assert.That(directory.StreamsOf("Car"), Is.EqualTo(Enumerable.Range(0, 100).Select(i => $"s{i}")));
        Assert.That(directory.PartitionsOf("Car"), Is.Zero);
    }

    [TestCase("Car", new string[0])]
    [TestCase("Car_essential", new string[0])]
    [TestCase("Car.x_essential", new string[0])]
    [TestCase("Car.", new string[0])]
    [TestCase(".Car", new string[0])]
    [TestCase("Cars.a", new string[0])]
    [TestCase("Car.a", new[] { "a" })]
    [TestCase("Car.a.b", new[] { "a.b" })]
    public async Task StreamsOf_Topic_IsAStreamOfItsDataSource(string topic, string[] streams)
    {
        await using var directory = Directory();
        directory.Add(new TopicInfo(topic, 1));

        Assert.That(directory.StreamsOf("Car"), Is.EqualTo(streams));
    }

    [Test]
    public async Task Subscribe_NewAndGrownTopics_AreSaidOnceEach()
    {
        await using var directory = Directory();
        await directory.Listed.WithDeadline();
        var said = 0;
        using (directory.Subscribe(topic => topic == "Car", () => said++))
        {
            directory.Add(new TopicInfo("Car", 1));
            directory.Add(new TopicInfo("Car", 1));
            directory.Add(new TopicInfo("Bike", 1));
            directory.Add(new TopicInfo("Car", 3));
            directory.Add(new TopicInfo("Car", 2));
        }

        directory.Add(new TopicInfo("Car", 4));
        Assert.That(said, Is.EqualTo(2));
        Assert.That(directory.PartitionsOf("Car"), Is.EqualTo(4));
    }

    [Test]
    public async Task Watch_TopicCreatedElsewhere_IsLearned()
    {
        await using var directory = Directory();
        await directory.Listed.WithDeadline();
        var learned = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var subscription = directory.Subscribe(topic => topic == "Car.new", () => learned.TrySetResult());

        await EnsureAsync("Car.new", 1);
        await learned.Task.WithDeadline();
        Assert.That(directory.StreamsOf("Car"), Is.EqualTo(["new"]));
    }

    private TopicDirectory Directory() => new(_broker, NullLogger.Instance, TimeProvider.System);

    private async Task EnsureAsync(string topic, int partitions) =>
        await _broker.EnsureTopicAsync(new TopicSpec(topic, partitions), CancellationToken.None).AsTask().WithDeadline();
}
