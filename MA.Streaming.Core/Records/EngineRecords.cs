using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Records;

/// <summary>Appends the records of the engine's own topics: sessions, data formats and info packets.</summary>
internal sealed class EngineRecords(
    TopicLayout layout, TopicAppenders appenders, StreamTargets targets, PacketEncoder encoder, UnaryWrites unary, Telemetry telemetry)
{
    /// <summary>Throws where packets may not be written to this data source.</summary>
    public void CheckDataSource(string dataSource)
    {
        if (layout.DataSourceError(dataSource) is { } error) throw Errors.InvalidArgument(error);
    }

    /// <summary>Appends a packet to the SessionInfo topic under its session's key and returns its place. Waits no longer than the write
    /// timeout; after that its outcome is unknown.</summary>
    public Task<Appended> AppendSessionAsync(Packet packet) =>
        InTimeAsync(
            AppendByKeyAsync(TopicLayout.SessionInfo, encoder.Encode(packet, packet.SessionKey)),
            TopicLayout.SessionInfo,
            AppenderOf(TopicLayout.SessionInfo));

    /// <summary>Appends a data format to the essentials and the main stream of a data source, with the empty key, and returns the place of the
    /// essentials copy. Waits no longer than the write timeout; after that its outcome is unknown.</summary>
    public async Task<Appended> AppendFormatAsync(string dataSource, Packet packet)
    {
        var essentials = targets.EssentialsOf(dataSource);
        var main = targets.Of(dataSource, "");
        var record = encoder.Encode(packet, "");
        var pair = PacketAppender.EssentialPairAsync(
            essentials,
            essentials.Appender.AppendAsync(essentials.Placement.Target, record),
            main,
            main.Appender.AppendAsync(main.Placement.Target, record));
        return await InTimeAsync(pair.AsTask(), essentials.Placement.Topic.Name, essentials.Appender).ConfigureAwait(false);
    }

    /// <summary>Checks and encodes an info packet, and names its topic.</summary>
    public RecordData PrepareInfo(Packet? packet, InfoType type, out string topic)
    {
        if (packet is null) throw Errors.InvalidArgument("message is missing");
        topic = type switch
        {
            InfoType.Unspecified or InfoType.SessionInfo => TopicLayout.SessionInfo,
            InfoType.SystemStatus => TopicLayout.SystemStatus,
            _ => throw Errors.InvalidArgument(
                $"type {(int)type} is not an InfoType; allowed are 0 (unspecified: session info), 1 (session info) and 2 (system status)"),
        };
        return encoder.Encode(packet, packet.SessionKey);
    }

    /// <summary>Appends a prepared info packet of a unary call.</summary>
    public ValueTask WriteInfoAsync(string topic, RecordData record, CancellationToken cancellationToken)
    {
        var reserved = unary.Reserve(record);
        return unary.WaitAsync(AppendInfoAsync(topic, record), reserved, topic, AppenderOf(topic), cancellationToken);
    }

    /// <summary>Appends a prepared info packet.</summary>
    public async Task AppendInfoAsync(string topic, RecordData record)
    {
        var tags = telemetry.TagsOf("", "");
        telemetry.InfoPublished(tags);
        await AppendByKeyAsync(topic, record).ConfigureAwait(false);
        telemetry.InfoRouted(tags, record.Bytes);
    }

    private TopicAppender AppenderOf(string topic) => appenders.Of(TopicLayout.PlaceSystem(topic).Topic);

    private async Task<Appended> AppendByKeyAsync(string topic, RecordData record)
    {
        var placement = TopicLayout.PlaceSystem(topic);
        var appender = appenders.Of(placement.Topic);
        try
        {
            return await appender.AppendAsync(placement.Target, record).ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            appender.Failed(exception);
            throw Errors.From(exception, $"writing to {topic}");
        }
    }

    private async Task<Appended> InTimeAsync(Task<Appended> append, string target, TopicAppender appender)
    {
        await unary.WaitAsync(append, reserved: 0, target, appender, CancellationToken.None).ConfigureAwait(false);
        return await append.ConfigureAwait(false);
    }
}
