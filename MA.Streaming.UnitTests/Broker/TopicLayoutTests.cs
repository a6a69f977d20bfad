using MA.Streaming.Abstraction;
using MA.Streaming.Core.Broker;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

[TestFixture]
internal sealed class TopicLayoutTests
{
    private static readonly TopicLayout Topics = new(StreamCreationStrategy.TopicBased, [new("Ignored", 3)]);
    private static readonly TopicLayout Partitions = new(
        StreamCreationStrategy.PartitionBased, [new("Chassis", 2), new("Engine", 1), new("Shared", 2), new("Zero", 0)]);

    [TestCase("", "Car", 0)]
    [TestCase("Chassis", "Car.Chassis", 0)]
    [TestCase("Ignored", "Car.Ignored", 0)]
    public void PlaceStream_TopicBased(string stream, string topic, int partition)
    {
        var placement = Topics.PlaceStream("Car", stream);

        Assert.That(placement.Target, Is.EqualTo(new TopicPartition(topic, partition)));
        Assert.That(placement.Topic, Is.EqualTo(new TopicSpec(topic)));
    }

    [TestCase("", 0)]
    [TestCase("Chassis", 2)]
    [TestCase("Engine", 1)]
    [TestCase("Shared", 2)]
    [TestCase("Zero", 0)]
    [TestCase("Unmapped", 0)]
    [TestCase("chassis", 0, Description = "names are case-sensitive")]
    public void PlaceStream_PartitionBased(string stream, int partition)
    {
        var placement = Partitions.PlaceStream("Car", stream);

        Assert.That(placement.Target, Is.EqualTo(new TopicPartition("Car", partition)));
        Assert.That(placement.Topic, Is.EqualTo(new TopicSpec("Car", 3)));
    }

    [TestCase(0, "Zero")]
    [TestCase(1, "Engine")]
    [TestCase(2, "Chassis")]
    [TestCase(3, "")]
    public void FirstStreamOf_Partition_IsTheFirstMapping(int partition, string stream) =>
        Assert.That(Partitions.FirstStreamOf(partition), Is.EqualTo(stream));

    [Test]
    public void PlaceEssential_KeepsForEver()
    {
        Assert.That(Topics.PlaceEssential("Car"), Is.EqualTo(new Placement(new("Car_essential", 0), new("Car_essential", 1, true))));
        Assert.That(Partitions.PlaceEssential("Car").Target.Partition, Is.EqualTo(TopicLayout.ByKey));
        Assert.That(TopicLayout.PlaceSystem("SessionInfo").Topic.KeepForever, Is.True);
        Assert.That(TopicLayout.PlaceSystem("SystemStatus").Topic.KeepForever, Is.False);
    }

    [TestCase("", "empty")]
    [TestCase("a b", "' '")]
    [TestCase("a/b", "'/'")]
    [TestCase("ä", "'ä'")]
    [TestCase("a\u0001", "U+0001")]
    [TestCase(".", "legal")]
    [TestCase("..", "legal")]
    [TestCase("SessionInfo", "system topic")]
    [TestCase("SystemStatus", "system topic")]
    [TestCase("Car_essential", "_essential")]
    [TestCase("__offsets", "__")]
    public void DataSourceError_NotAllowed_SaysWhy(string dataSource, string words)
    {
        foreach (var layout in new[] { Topics, Partitions }) Assert.That(layout.DataSourceError(dataSource), Does.Contain("data_source").And.Contain(words));
    }

    [Test]
    public void DataSourceError_Dots_OnlyInTopicBased()
    {
        Assert.That(Topics.DataSourceError("A.b"), Does.Contain("PartitionBased"));
        Assert.That(Partitions.DataSourceError("A.b"), Is.Null);
    }

    [TestCase(249, true)]
    [TestCase(250, false)]
    public void DataSourceError_Length(int length, bool allowed) =>
        Assert.That(Topics.DataSourceError(new string('a', length)) is null, Is.EqualTo(allowed));

    [TestCase(245, true)]
    [TestCase(246, false)]
    public void StreamError_LengthOfTheTopic(int length, bool allowed)
    {
        var error = Topics.StreamError("Car", new string('s', length));

        Assert.That(error is null, Is.EqualTo(allowed), error);
        Assert.That(error, Is.Null.Or.Contains("250"));
        Assert.That(Partitions.StreamError("Car", new string('s', length)), Is.Null);
    }

    [TestCase("a.b", "'.'")]
    [TestCase("essential", "reserved")]
    [TestCase("x_essential", "reserved")]
    [TestCase("a:b", "':'")]
    public void StreamError_TopicBasedNotAllowed_SaysWhy(string stream, string words)
    {
        Assert.That(Topics.StreamError("Car", stream), Does.Contain("stream").And.Contain(words));
        Assert.That(Partitions.StreamError("Car", stream), Is.Null);
    }

    [TestCase(239, true)]
    [TestCase(240, false)]
    public void EssentialsError_Length(int length, bool allowed) =>
        Assert.That(TopicLayout.EssentialsError(new string('a', length)) is null, Is.EqualTo(allowed));
}
