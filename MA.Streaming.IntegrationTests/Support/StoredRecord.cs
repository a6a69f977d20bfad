using System.Text;
using MA.Streaming.Core.Broker;
using MA.Streaming.OpenData;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>A record as it stands in the broker.</summary>
internal sealed record StoredRecord(TopicPartition Source, long Offset, DateTimeOffset Timestamp, string? Key, byte[]? Value)
{
    public Packet Packet => Packet.Parser.ParseFrom(Value);

    public string Text => Packet.Content.ToStringUtf8();
}

/// <summary>What a test asks a broker behind the engine's back.</summary>
internal static class BrokerInspection
{
    /// <summary>Every record of a partition.</summary>
    public static async Task<IReadOnlyList<StoredRecord>> StoredAsync(this IBroker broker, TopicPartition source, CancellationToken token)
    {
        var stored = new List<StoredRecord>();
        var request = new ReadRequest([new Position(source, 0)], 1 << 20, ToHighWatermark: true);
        await foreach (var batch in broker.ReadAsync(request, token))
        {
            foreach (var record in batch.Records)
            {
                var key = record.Key is { } bytes ? Encoding.UTF8.GetString(bytes.Span) : null;
                stored.Add(new(source, record.Offset, record.Timestamp, key, record.Value?.ToArray()));
            }
        }

        return stored;
    }

    /// <summary>Waits until a partition holds this many records, and returns them.</summary>
    public static async Task<IReadOnlyList<StoredRecord>> StoredAsync(this IBroker broker, TopicPartition source, int count, CancellationToken token)
    {
        var stored = new List<StoredRecord>();
        var request = new ReadRequest([new Position(source, 0)], 1 << 20, ToHighWatermark: false);
        await foreach (var batch in broker.ReadAsync(request, token))
        {
            foreach (var record in batch.Records)
            {
                var key = record.Key is { } bytes ? Encoding.UTF8.GetString(bytes.Span) : null;
                stored.Add(new(source, record.Offset, record.Timestamp, key, record.Value?.ToArray()));
            }

            if (stored.Count >= count) break;
        }

        return stored;
    }

    /// <summary>The topics that exist now.</summary>
    public static async Task<IReadOnlyDictionary<string, int>> TopicsAsync(this IBroker broker, CancellationToken token)
    {
        var topics = new Dictionary<string, int>();
        await foreach (var topic in broker.WatchTopicsAsync(token))
        {
            if (topic is null) break;
            topics[topic.Name] = topic.Partitions;
        }

        return topics;
    }

    /// <summary>Appends as another program on the same broker does.</summary>
    public static async Task<Appended> AppendForeignAsync(this IBroker broker, string topic, string? key, byte[]? value, CancellationToken token)
    {
        await broker.EnsureTopicAsync(new TopicSpec(topic), token);
        ReadOnlyMemory<byte>? keyBytes = key is null ? null : Encoding.UTF8.GetBytes(key);
        ReadOnlyMemory<byte>? valueBytes = value;
        return await broker.AppendAsync(new(topic, 0), new RecordData(keyBytes, value is null ? null : valueBytes), token);
    }
}
