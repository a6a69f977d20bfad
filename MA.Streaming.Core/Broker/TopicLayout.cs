using MA.Streaming.Abstraction;

namespace MA.Streaming.Core.Broker;

/// <summary>Where a stream's records stand, and how many partitions its topic has when it is created.</summary>
internal readonly record struct Placement(TopicPartition Target, TopicSpec Topic);

/// <summary>
/// Data sources and streams ⇄ topics and partitions, for both strategies; the system topics; the rules for names. Pure: knows
/// nothing of which topics exist.
/// </summary>
internal sealed class TopicLayout
{
    public const string SessionInfo = "SessionInfo";
    public const string SystemStatus = "SystemStatus";
    public const string EssentialSuffix = "_essential";
    public const int TopicNameLengthMax = 249;

    /// <summary>Partition of an append that the broker places by key.</summary>
    public const int ByKey = -1;

    private readonly Dictionary<string, int> _partitions = new(StringComparer.Ordinal);

    public TopicLayout(StreamCreationStrategy strategy, IReadOnlyList<PartitionMapping> mappings)
    {
        IsPartitionBased = strategy == StreamCreationStrategy.PartitionBased;
        if (!IsPartitionBased) return;
        foreach (var mapping in mappings) _partitions.TryAdd(mapping.Stream, mapping.Partition);
        MappedStreams = [.. mappings.Select(m => m.Stream).Distinct(StringComparer.Ordinal)];
        MainPartitions = mappings.Count == 0 ? 1 : mappings.Max(m => m.Partition) + 1;
    }

    public bool IsPartitionBased { get; }

    /// <summary>The mapped streams in the order of the configuration; none in TopicBased.</summary>
    public IReadOnlyList<string> MappedStreams { get; } = [];

    /// <summary>How many partitions a data source's own topic is created with.</summary>
    public int MainPartitions { get; } = 1;

    public static string EssentialsTopic(string dataSource) => dataSource + EssentialSuffix;

    /// <summary>Where a packet of this stream goes.</summary>
    public Placement PlaceStream(string dataSource, string stream)
    {
        if (stream.Length == 0) return new(new(dataSource, 0), new(dataSource, MainPartitions));
        if (IsPartitionBased) return new(new(dataSource, _partitions.GetValueOrDefault(stream, 0)), new(dataSource, MainPartitions));
        var topic = StreamTopic(dataSource, stream);
        return new(new(topic, 0), new(topic));
    }

    /// <summary>Where the essential copy of a packet goes.</summary>
    public Placement PlaceEssential(string dataSource)
    {
        var topic = EssentialsTopic(dataSource);
        return new(new(topic, IsPartitionBased ? ByKey : 0), new(topic, 1, KeepForever: true));
    }

    public static Placement PlaceSystem(string topic) => new(new(topic, ByKey), new(topic, 1, KeepForever: topic == SessionInfo));

    /// <summary>TopicBased: the topic of a named stream.</summary>
    public static string StreamTopic(string dataSource, string stream) => $"{dataSource}.{stream}";

    /// <summary>PartitionBased: the partition a stream is mapped to.</summary>
    public bool TryGetMapped(string stream, out int partition) => _partitions.TryGetValue(stream, out partition);

    /// <summary>PartitionBased: the first mapped stream of a partition, else the main stream's empty name.</summary>
    public string FirstStreamOf(int partition)
    {
        foreach (var stream in MappedStreams)
        {
            if (_partitions[stream] == partition) return stream;
        }

        return "";
    }

    /// <summary>Null when a packet may be written to this data source; else what is wrong with the name, in the caller's words.</summary>
    public string? DataSourceError(string dataSource)
    {
        if (TopicNameError("data_source", dataSource, dataSource) is { } error) return error;
        if (dataSource is SessionInfo or SystemStatus) return $"data_source '{dataSource}' is the name of a system topic; choose another";
        if (dataSource.EndsWith(EssentialSuffix, StringComparison.Ordinal))
            return $"data_source '{dataSource}' ends in '{EssentialSuffix}', which marks topics of essential packets; choose another";
        if (dataSource.StartsWith("__", StringComparison.Ordinal))
            return $"data_source '{dataSource}' starts with '__', which marks the broker's own topics; choose another";
        if (!IsPartitionBased && dataSource.Contains('.', StringComparison.Ordinal))
        {
            return $"data_source '{dataSource}' contains '.': in the TopicBased strategy 'A.b' is stream 'b' of data source 'A'; "
                + "replace the dots, or use the PartitionBased strategy";
        }

        return null;
    }

    /// <summary>Null when a packet may be written to this stream of a valid data source; else what is wrong.</summary>
    public string? StreamError(string dataSource, string stream)
    {
        if (stream.Length == 0 || IsPartitionBased) return null;
        if (IllegalCharacterError("stream", stream) is { } error) return error;
        if (stream.Contains('.', StringComparison.Ordinal))
            return $"stream '{stream}' contains '.', which separates data source and stream in topic names; replace the dots";
        if (stream == "essential" || stream.EndsWith(EssentialSuffix, StringComparison.Ordinal))
            return $"stream '{stream}' is reserved: 'essential' and names that end in '{EssentialSuffix}' belong to essential packets";
        var length = dataSource.Length + 1 + stream.Length;
        return length > TopicNameLengthMax
            ? $"stream '{Shown(stream)}' makes a topic name of {length} characters ('{{data_source}}.{{stream}}'); allowed are {TopicNameLengthMax}"
            : null;
    }

    /// <summary>Null when an essential packet may be written to this valid data source; else what is wrong.</summary>
    public static string? EssentialsError(string dataSource) =>
        dataSource.Length + EssentialSuffix.Length > TopicNameLengthMax
            ? $"data_source '{Shown(dataSource)}' has {dataSource.Length} characters; with '{EssentialSuffix}' for essential packets the topic name "
                + $"has more than {TopicNameLengthMax}"
            : null;

    /// <summary>Null when a topic of this name may exist (reading accepts every one that may); else what is wrong.</summary>
    public static string? TopicNameError(string field, string value, string topic)
    {
        if (value.Length == 0) return $"{field} must not be empty";
        if (IllegalCharacterError(field, value) is { } error) return error;
        if (topic is "." or "..") return $"{field} '{value}' is not a legal topic name";
        return topic.Length > TopicNameLengthMax
            ? $"{field} '{Shown(value)}' makes a topic name of {topic.Length} characters; allowed are 1 to {TopicNameLengthMax}"
            : null;
    }

    private static string? IllegalCharacterError(string field, string value)
    {
        foreach (var c in value)
        {
            if (!char.IsAsciiLetterOrDigit(c) && c is not ('.' or '_' or '-'))
            {
                var shown = char.IsControl(c) || char.IsSurrogate(c) ? $"U+{(int)c:X4}" : $"'{c}'";
                return $"{field} '{Shown(value)}' contains {shown}; allowed are the characters a-z, A-Z, 0-9, '.', '_' and '-'";
            }
        }

        return null;
    }

    private static string Shown(string value) => value.Length <= 100 ? value : value[..100] + "…";
}
