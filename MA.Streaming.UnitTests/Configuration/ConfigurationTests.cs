using MA.Streaming.Abstraction;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Configuration;

[TestFixture]
internal sealed class ConfigurationTests
{
    private static IEnumerable<TestCaseData> Bad()
    {
        yield return Case(new(streamCreationStrategy: (StreamCreationStrategy)7), "StreamCreationStrategy", "7", "TopicBased");
        yield return Case(new(streamApiPort: -1), "StreamApiPort", "-1", "65535");
        yield return Case(new(streamApiPort: 65_536), "StreamApiPort", "65536", "65535");
        yield return Case(new(initialisationTimeoutSeconds: 0), "InitialisationTimeoutSeconds", "0", "86400");
        yield return Case(new(partitionMappings: [new("a", -1)]), "PartitionMappings[0].Partition", "-1", "9999");
        yield return Case(new(partitionMappings: [new("a", 1), new("a", 2)]), "PartitionMappings[1].Partition", "2", "1");
        yield return Case(new(partitionMappings: [new("", 1)]), "PartitionMappings[0].Stream", "\"\"", "not empty");
        yield return Case(new(useRemoteKeyGenerator: true), "RemoteKeyGeneratorServiceAddress", "\"\"", "host:port");
        yield return Case(new() { SessionIdleTimeout = TimeSpan.FromSeconds(-1) }, "SessionIdleTimeout", "-00:00:01", "zero");
        yield return Case(new() { ConnectionIdleTimeout = TimeSpan.FromDays(40_000) }, "ConnectionIdleTimeout", "40000", "36500");
        yield return Case(new() { DrainTimeoutSeconds = 3_601 }, "DrainTimeoutSeconds", "3601", "3600");
        yield return Case(new() { Embedded = new() { RetentionAge = TimeSpan.Zero } }, "Embedded.RetentionAge", "00:00:00", "more than zero");
        yield return Case(new() { Embedded = new() { RetentionBytes = 0 } }, "Embedded.RetentionBytes", "0", "1 or more");
        yield return Case(new() { Embedded = new() { SegmentBytesMax = 1000 } }, "Embedded.SegmentBytesMax", "1000", "1048576 to 1073741824");
        yield return Case(new() { Embedded = new() { UndrainedBytesMax = 0 } }, "Embedded.UndrainedBytesMax", "0", "4194304");
        yield return Case(new() { Embedded = new() { TailBytesMax = -1 } }, "Embedded.TailBytesMax", "-1", "0 to");
        yield return Case(new() { Embedded = new() { DiskReserveBytes = -1 } }, "Embedded.DiskReserveBytes", "-1", "0 or more");
        yield return Case(new(brokerUrl: "localhost"), "BrokerUrl", "'localhost'", "host:port");
        yield return Case(new(brokerUrl: "embeded:here"), "BrokerUrl", "'embeded:here'", "'embedded:PATH'");
        yield return Case(new(brokerUrl: "memory"), "BrokerUrl", "'memory'", "'memory:'");
        yield return Case(new(brokerUrl: "localhost:0"), "BrokerUrl", "'localhost:0'", "host:port");
        yield return Case(new(brokerUrl: "localhost:65536"), "BrokerUrl", "'localhost:65536'", "host:port");
        yield return Case(new(brokerUrl: "a:9092,,b:9092"), "BrokerUrl", "'a:9092,,b:9092'", "host:port");
        yield return Case(new(brokerUrl: "tcp://a:9092"), "BrokerUrl", "'tcp://a:9092'", "host:port");
        yield return Case(new(brokerUrl: "embedded:a\0b"), "BrokerUrl", "embedded:a", "no NUL");
        yield return Case(new() { Limits = new() { PacketBytesMax = 4_000_000 } }, "Limits.PacketBytesMax", "4000000", "3670016");
        yield return Case(new() { Limits = new() { PendingBytesMax = 0 } }, "Limits.PendingBytesMax", "0", "1 or more");
        yield return Case(new() { Limits = new() { WriteTimeout = TimeSpan.Zero } }, "Limits.WriteTimeout", "00:00:00", "more than zero");
        yield return Case(new() { Limits = new() { NotificationsMax = 0 } }, "Limits.NotificationsMax", "0", "1000000");

        static TestCaseData Case(StreamingApiConfiguration configuration, string key, string value, string allowed) =>
            new TestCaseData(configuration, key, value, allowed).SetArgDisplayNames(key, value);
    }

    [TestCaseSource(nameof(Bad))]
    public void Check_BadValue_MessageNamesKeyValueAndAllowed(StreamingApiConfiguration configuration, string key, string value, string allowed)
    {
        var exception = Assert.Throws<ConfigurationException>(() => StreamApi.CheckConfiguration(configuration))!;

        Assert.That(exception.Key, Is.EqualTo(key));
        Assert.That(exception.Message, Does.Contain(key).And.Contain(value).And.Contain(allowed));
    }

    [TestCase("", (int)BrokerKind.Embedded, "stream-api-data")]
    [TestCase(" ", (int)BrokerKind.Embedded, "stream-api-data")]
    [TestCase("embedded:", (int)BrokerKind.Embedded, "stream-api-data")]
    [TestCase("embedded:/data/car 1", (int)BrokerKind.Embedded, "/data/car 1")]
    [TestCase("memory:", (int)BrokerKind.Memory, "")]
    [TestCase("localhost:9094", (int)BrokerKind.Kafka, "localhost:9094")]
    [TestCase("kafka-1:9092, kafka_2:9092,[::1]:9093", (int)BrokerKind.Kafka, "kafka-1:9092,kafka_2:9092,[::1]:9093")]
    public void Parse_BrokerUrl_NamesKindAndPlace(string url, int kind, string place) =>
        Assert.That(BrokerAddress.Parse(url), Is.EqualTo(new BrokerAddress((BrokerKind)kind, place)));

    [Test]
    public void Check_DefaultsAndEmptyMappings_AreAllowed()
    {
        Assert.That(() => StreamApi.CheckConfiguration(new StreamingApiConfiguration()), Throws.Nothing);
        Assert.That(() => StreamApi.CheckConfiguration(new StreamingApiConfiguration(partitionMappings: [new("", 0)])), Throws.Nothing);
        Assert.That(() => StreamApi.CheckConfiguration(new StreamingApiConfiguration(partitionMappings: [new("a", 1), new("a", 1)])), Throws.Nothing);
    }
}
