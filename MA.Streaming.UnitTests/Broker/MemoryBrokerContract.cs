using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

[Parallelizable(ParallelScope.Self)]
public sealed class MemoryBrokerContract : BrokerContract
{
    private const int BytesHeldMax = 64 << 20;

    protected override bool SupportsRetention => true;

    protected override bool SupportsKeepForever => true;

    protected override bool SupportsTopicDeletion => true;

    protected override bool WorksWithExhaustedThreadPool => true;

    protected override Task<IBroker> CreateAsync() =>
        Task.FromResult<IBroker>(new MemoryBroker(MemoryBrokerOptions.Default with { BytesMax = BytesHeldMax }));

    protected override Task RemoveBelowAsync(TopicPartition source, long low)
    {
        ((MemoryBroker)Broker).TrimTo(source, low);
        return Task.CompletedTask;
    }

    protected override async Task RetainAsync(params string[] topics)
    {
        // Twice the bound of something else: then everything older is gone that may go.
        var other = await NewTopicAsync();
        var value = new byte[1 << 20];
        for (var i = 0; i < 2 * BytesHeldMax / value.Length; i++) await Broker.AppendAsync(other, new RecordData(null, value), None);
    }

    protected override Task DeleteTopicAsync(string topic)
    {
        ((MemoryBroker)Broker).DeleteTopic(topic);
        return Task.CompletedTask;
    }
}
