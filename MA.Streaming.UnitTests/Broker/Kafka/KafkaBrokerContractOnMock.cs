using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Kafka;

/// <summary>The contract on librdkafka's mock cluster, as far as that goes: it runs wherever the native library is.</summary>
[Parallelizable(ParallelScope.Self)]
public sealed class KafkaBrokerContractOnMock : BrokerContract
{
    private MockCluster? _cluster;

    // The mock ignores requests to create and extend topics; the fixture creates them by the side door.
    protected override bool SupportsExtension => false;

    // The mock does not look records up by time.
    protected override bool SupportsTimes => false;

    // The mock acknowledges every record with one and the same time.
    protected override bool AcknowledgesTimes => false;

    // The mock answers REBALANCE_IN_PROGRESS then, where Kafka takes them.
    protected override bool CommitsWhileSharing => false;

    protected override async Task<IBroker> CreateAsync()
    {
        _cluster = new MockCluster();
        var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = _cluster.Servers });
        await broker.CheckAsync(None);
        return new Creating(broker, _cluster);
    }

    [NUnit.Framework.TearDown]
    public void RemoveCluster() => _cluster?.Dispose();

    /// <summary>Creates topics by the side door.</summary>
    private sealed class Creating(IBroker inner, MockCluster cluster) : IBroker
    {
        private readonly HashSet<string> _known = [];

        public BrokerInfo Info => inner.Info;

        public ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken)
        {
            if (topic.Partitions > 0 && TopicNames.IsAllowed(topic.Name))
            {
                lock (_known)
                {
                    if (_known.Add(topic.Name)) cluster.CreateTopic(topic.Name, topic.Partitions);
                }
            }

            return inner.EnsureTopicAsync(topic, cancellationToken);
        }

        public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken) =>
            inner.AppendAsync(target, record, cancellationToken);

        public IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, CancellationToken cancellationToken) => inner.ReadAsync(request, cancellationToken);

        public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken) => inner.JoinGroupAsync(group, cancellationToken);

        public ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken) =>
            inner.GetWatermarksAsync(partitions, cancellationToken);

        public ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
            IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken) =>
            inner.FindOffsetsAsync(partitions, notBefore, cancellationToken);

        public IAsyncEnumerable<TopicInfo?> WatchTopicsAsync(CancellationToken cancellationToken) => inner.WatchTopicsAsync(cancellationToken);

        public ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken) => inner.CheckAsync(cancellationToken);

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }
}
