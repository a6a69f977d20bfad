using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Core.Packets;

/// <summary>A stream that packets are written to: its place in the broker, and what every further packet needs again.</summary>
internal sealed class StreamTarget(string dataSource, Placement placement, TopicAppender appender, Telemetry.StreamTags tags)
{
    public string DataSource { get; } = dataSource;

    public Placement Placement { get; } = placement;

    /// <summary>Topic and partition, for messages.</summary>
    public string Name { get; } = placement.Target.ToString();

    public TopicAppender Appender { get; } = appender;

    public Telemetry.StreamTags Tags { get; } = tags;
}

/// <summary>The targets of all streams and essentials that packets were written to. The first packet checks the names.</summary>
internal sealed class StreamTargets(TopicLayout layout, TopicAppenders appenders, Telemetry telemetry)
{
    private readonly ConcurrentDictionary<(string DataSource, string Stream), StreamTarget> _streams = new();
    private readonly ConcurrentDictionary<string, StreamTarget> _essentials = new(StringComparer.Ordinal);

    /// <summary>The target of a stream; INVALID_ARGUMENT where a name is not allowed.</summary>
    public StreamTarget Of(string dataSource, string stream) => TryFind(dataSource, stream, out var known) ? known : Add(dataSource, stream);

    /// <summary>The target of a data source's essentials; INVALID_ARGUMENT where the name is too long for them.</summary>
    public StreamTarget EssentialsOf(string dataSource) => TryFindEssentials(dataSource, out var known) ? known : AddEssentials(dataSource);

    /// <summary>The target of a stream that was written to before.</summary>
    public bool TryFind(string dataSource, string stream, [NotNullWhen(true)] out StreamTarget? target) =>
        _streams.TryGetValue((dataSource, stream), out target);

    /// <summary>The target of essentials that were written to before.</summary>
    public bool TryFindEssentials(string dataSource, [NotNullWhen(true)] out StreamTarget? target) => _essentials.TryGetValue(dataSource, out target);

    private StreamTarget Add(string dataSource, string stream)
    {
        if ((layout.DataSourceError(dataSource) ?? layout.StreamError(dataSource, stream)) is { } error) throw Errors.InvalidArgument(error);
        var placement = layout.PlaceStream(dataSource, stream);
        var target = new StreamTarget(dataSource, placement, appenders.Of(placement.Topic), telemetry.TagsOf(dataSource, stream));
        return _streams.GetOrAdd((dataSource, stream), target);
    }

    private StreamTarget AddEssentials(string dataSource)
    {
        if (TopicLayout.EssentialsError(dataSource) is { } error) throw Errors.InvalidArgument(error);
        var placement = layout.PlaceEssential(dataSource);
        var target = new StreamTarget(dataSource, placement, appenders.Of(placement.Topic), telemetry.TagsOf(dataSource, ""));
        return _essentials.GetOrAdd(dataSource, target);
    }
}
