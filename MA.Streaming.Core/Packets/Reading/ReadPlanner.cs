using MA.Streaming.API;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Core.Packets;

/// <summary>Turns the details of a connection into partitions and offsets, now and when topics appear.</summary>
internal sealed class ReadPlanner(IBroker broker, TopicLayout layout, TopicDirectory directory)
{
    /// <summary>Plans a read of the packets of a connection.</summary>
    public async Task<ReadPlan> PlanPacketsAsync(ConnectionDetails details, CancellationToken cancellationToken)
    {
        var starts = new Dictionary<TopicPartition, ReadStart>();
        foreach (var (source, start) in Sources(details)) starts.TryAdd(source, start);
        return await PositionAsync(new PacketsPlan(details), starts, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Plans a read of the essential packets of a connection.</summary>
    public async Task<ReadPlan> PlanEssentialsAsync(ConnectionDetails details, CancellationToken cancellationToken)
    {
        var topic = TopicLayout.EssentialsTopic(details.DataSource);
        var starts = PartitionsOf(topic).ToDictionary(source => source, source => new ReadStart("", StartIn(source.Partition, details.EssentialsOffset)));
        return await PositionAsync(new EssentialsPlan(details), starts, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Every partition of a connection's streams that exists, or is listed and may come to exist. A partition that comes twice has
    /// the name of its first mention.</summary>
    public IEnumerable<(TopicPartition Source, ReadStart Start)> Sources(ConnectionDetails details)
    {
        var dataSource = details.DataSource;
        if (details.Streams.Count == 0)
        {
            foreach (var source in PartitionsOf(dataSource))
            {
                var stream = layout.FirstStreamOf(source.Partition);
                if (source.Partition == 0 && stream.Length == 0 && details.ExcludeMainStream) continue;
                if (!layout.IsPartitionBased && details.ExcludeMainStream) continue;
                yield return (source, new(stream, StartIn(source.Partition, details.MainOffset)));
            }

            if (layout.IsPartitionBased) yield break;
            foreach (var stream in directory.StreamsOf(dataSource))
            {
                var start = details.MainOffset == ReadStart.Latest ? ReadStart.Latest : 0;
                foreach (var source in PartitionsOf(TopicLayout.StreamTopic(dataSource, stream))) yield return (source, new(stream, start));
            }

            yield break;
        }

        for (var i = 0; i < details.Streams.Count; i++)
        {
            var stream = details.Streams[i];
            var offset = i < details.StreamOffsets.Count ? details.StreamOffsets[i] : 0;
            if (stream.Length == 0) yield return (new(dataSource, 0), new("", offset));
            else if (!layout.IsPartitionBased)
            {
                foreach (var source in PartitionsOf(TopicLayout.StreamTopic(dataSource, stream)))
                {
                    yield return (source, new(stream, StartIn(source.Partition, offset)));
                }
            }
            else if (layout.TryGetMapped(stream, out var partition))
            {
                yield return (new(dataSource, partition), new(stream, offset));
            }
        }

        if (!details.ExcludeMainStream) yield return (new(dataSource, 0), new("", details.MainOffset));
    }

    /// <summary>Calls back, on any thread, when a topic of the connection appears or grows.</summary>
    public IDisposable Watch(ConnectionDetails details, Action changed) => directory.Subscribe(topic => Concerns(details, topic), changed);

    /// <summary>Adds the partitions that have appeared; they are read from their first record on.</summary>
    public void AddNewSources(PacketsPlan plan)
    {
        foreach (var (source, start) in Sources(plan.Details))
        {
            if (!plan.Positions.ContainsKey(source)) plan.Positions.Add(source, new ReadPosition(start.Stream, 0));
        }
    }

    /// <summary>Adds positions to a plan, each moved to what the broker holds.</summary>
    /// <exception cref="BrokerException">The broker does not give its watermarks.</exception>
    public async Task PlaceAsync(ReadPlan plan, Dictionary<TopicPartition, ReadStart> starts, CancellationToken cancellationToken)
    {
        var sources = starts.Keys.ToList();
        var marks = sources.Count == 0 ? [] : await broker.GetWatermarksAsync(sources, cancellationToken).ConfigureAwait(false);
        for (var i = 0; i < sources.Count; i++)
        {
            var (stream, start) = starts[sources[i]];
            var next = start == ReadStart.Latest ? marks[i].High : Math.Clamp(start, marks[i].Low, marks[i].High);

            // A read from the latest offset on fails where retention removes something from then on; a read from the earliest gets the rest.
            plan.Positions.Add(
                sources[i],
                new ReadPosition(stream, next) { HasRead = start == ReadStart.Latest, End = plan.IsBounded ? marks[i].High : long.MaxValue });
        }
    }

    private static long StartIn(int partition, long offset) => partition == 0 || offset <= 0 ? offset : 0;

    private IEnumerable<TopicPartition> PartitionsOf(string topic)
    {
        var partitions = Math.Max(1, directory.PartitionsOf(topic));
        for (var partition = 0; partition < partitions; partition++) yield return new(topic, partition);
    }

    private bool Concerns(ConnectionDetails details, string topic)
    {
        if (!topic.StartsWith(details.DataSource, StringComparison.Ordinal)) return false;
        if (topic.Length == details.DataSource.Length) return true;
        if (layout.IsPartitionBased || topic[details.DataSource.Length] != '.') return false;
        return details.Streams.Count == 0 || details.Streams.Contains(topic[(details.DataSource.Length + 1)..]);
    }

    private async Task<ReadPlan> PositionAsync(ReadPlan plan, Dictionary<TopicPartition, ReadStart> starts, CancellationToken cancellationToken)
    {
        try
        {
            await PlaceAsync(plan, starts, cancellationToken).ConfigureAwait(false);
            return plan;
        }
        catch (BrokerException exception)
        {
            throw Errors.From(exception, $"positioning a read of {plan.Details.DataSource}");
        }
    }
}
