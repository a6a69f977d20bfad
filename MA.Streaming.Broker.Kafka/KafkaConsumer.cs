using Confluent.Kafka;
using MA.Streaming.Core.Broker;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Broker.Kafka;

/// <summary>A consumer of partitions that come and go, each with something of its owner's. For one thread.</summary>
internal sealed class KafkaConsumer<T>(IConsumer<byte[]?, byte[]?> consumer) : IDisposable
    where T : class
{
    private const int AskedByNameMax = 8;
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(2);
    private static readonly long TimestampMax = DateTimeOffset.MaxValue.ToUnixTimeMilliseconds();
    private static readonly long TimestampMin = DateTimeOffset.MinValue.ToUnixTimeMilliseconds();

    private readonly IAdminClient _admin = new DependentAdminClientBuilder(consumer.Handle).Build();
    private readonly Dictionary<TopicPartition, T> _owners = [];
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);
    private TopicPartition _lastSource;
    private T? _lastOwner;

    public int Count => _owners.Count;

    public IReadOnlyCollection<TopicPartition> Sources => _owners.Keys;

    public T? OwnerOf(TopicPartition source) => _owners.GetValueOrDefault(source);

    public T? OwnerOf(ConsumeResult<byte[]?, byte[]?> result)
    {
        // Records come in runs of one partition.
        if (_lastOwner is not null && result.Partition.Value == _lastSource.Partition && result.Topic == _lastSource.Topic) return _lastOwner;
        _lastSource = new TopicPartition(result.Topic, result.Partition.Value);
        return _lastOwner = _owners.GetValueOrDefault(_lastSource);
    }

    public void Add(IReadOnlyCollection<(TopicPartition Source, T Owner, long Offset)> partitions)
    {
        if (partitions.Count == 0) return;
        Introduce(partitions.Select(partition => partition.Source.Topic));
        foreach (var (source, owner, _) in partitions) _owners[source] = owner;
        _lastOwner = null;
        consumer.IncrementalAssign(partitions.Select(partition =>
            new TopicPartitionOffset(partition.Source.Topic, partition.Source.Partition, partition.Offset)));
    }

    public void Remove(IReadOnlyCollection<TopicPartition> partitions)
    {
        if (partitions.Count == 0) return;
        foreach (var source in partitions) _owners.Remove(source);
        _lastOwner = null;
        consumer.IncrementalUnassign(partitions.Select(source => new Confluent.Kafka.TopicPartition(source.Topic, source.Partition)));
    }

    /// <summary>Reads on from another offset; also what takes a partition up again after an error that stopped it.</summary>
    public void Restart(TopicPartition source, long offset)
    {
        if (!_owners.TryGetValue(source, out var owner)) return;
        Remove([source]);
        Add([(source, owner, offset)]);
    }

    /// <exception cref="ConsumeException">Of the connection, or of one partition.</exception>
    public ConsumeResult<byte[]?, byte[]?>? Consume(TimeSpan timeout) => consumer.Consume(timeout);

    public static Record RecordOf(ConsumeResult<byte[]?, byte[]?> result)
    {
        var (key, value) = (result.Message.Key, result.Message.Value);
        var time = Math.Clamp(result.Message.Timestamp.UnixTimestampMs, TimestampMin, TimestampMax);
        return new Record(
            result.Offset.Value,
            DateTimeOffset.FromUnixTimeMilliseconds(time),
            key is null ? default(ReadOnlyMemory<byte>?) : key,
            value is null ? default(ReadOnlyMemory<byte>?) : value);
    }

    /// <summary>Both ends of a partition as Kafka says now; null when it does not answer.</summary>
    public WatermarkOffsets? Watermarks(TopicPartition source)
    {
        try
        {
            return consumer.QueryWatermarkOffsets(new(source.Topic, source.Partition), AnswerTime);
        }
        catch (KafkaException)
        {
            return null;
        }
    }

    /// <summary>The high watermark that the last fetch brought, records of open transactions included; negative when there is none.</summary>
    public long HighOf(TopicPartition source)
    {
        try
        {
            return consumer.GetWatermarkOffsets(new(source.Topic, source.Partition)).High.Value;
        }
        catch (KafkaException)
        {
            return -1; // The handle does not know the partition (any more).
        }
    }

    public void Dispose()
    {
        _admin.Dispose();
        consumer.Close();
        consumer.Dispose();
    }

    // Measured: a partition of a topic that the handle does not know brings its first record after a second, a known one after one fetch.
    private void Introduce(IEnumerable<string> topics)
    {
        string[] unknown = [.. topics.Where(topic => !_known.Contains(topic)).Distinct(StringComparer.Ordinal)];
        try
        {
            if (unknown.Length > AskedByNameMax) _admin.GetMetadata(AnswerTime);
            else Array.ForEach(unknown, topic => _admin.GetMetadata(topic, AnswerTime));
            _known.UnionWith(unknown);
        }
        catch (KafkaException)
        {
            // Then it comes later: librdkafka asks again by itself.
        }
    }
}
