using Confluent.Kafka;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.UnitTests.Broker.Kafka;

/// <summary>The contract on a real Kafka.</summary>
[Parallelizable(ParallelScope.Self)]
public sealed class KafkaBrokerContract : BrokerContract
{
    protected override bool SupportsRetention => true;

    protected override bool SupportsTopicDeletion => true;

    // librdkafka fills its own queue, bounded in bytes, whatever a reader asks for.
    protected override bool FetchesNoMoreThanAsked => false;

    protected override async Task<IBroker> CreateAsync()
    {
        var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = TestKafka.Servers });
        await broker.CheckAsync(None); // What it is, it knows when Kafka has answered.
        return broker;
    }

    protected override async Task RemoveBelowAsync(TopicPartition source, long low)
    {
        using var admin = Admin();
        await admin.DeleteRecordsAsync([new TopicPartitionOffset(source.Topic, source.Partition, low)]);
        await Until.TrueAsync(async () => (await WatermarksAsync(source)).Low == low, seconds: 30);
    }

    protected override async Task DeleteTopicAsync(string topic)
    {
        using var admin = Admin();
        await admin.DeleteTopicsAsync([topic]);
    }

    private static IAdminClient Admin() => new AdminClientBuilder(new AdminClientConfig { BootstrapServers = TestKafka.Servers }).Build();
}
