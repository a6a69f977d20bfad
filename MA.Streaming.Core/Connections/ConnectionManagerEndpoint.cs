using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Internal;

namespace MA.Streaming.Core.Connections;

/// <summary>The connection manager service.</summary>
internal sealed class ConnectionManagerEndpoint(ConnectionTable connections, TopicLayout layout, OpenCalls calls)
    : ConnectionManagerService.ConnectionManagerServiceBase
{
    private const int StreamsMax = 10_000;
    private const int GroupNameLengthMax = 249;
    private const long Latest = -1;

    /// <inheritdoc/>
    public override Task<NewConnectionResponse> NewConnection(NewConnectionRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (request.Details is not { } details) throw Errors.InvalidArgument("details are missing: they need a data_source");
        Check(details);

        // A copy: in process the caller may go on with the message.
        var connection = connections.Open(details.Clone());
        return Task.FromResult(new NewConnectionResponse { Connection = new API.Connection { Id = connection.Id } });
    }

    /// <inheritdoc/>
    public override Task<GetConnectionResponse> GetConnection(GetConnectionRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (request.Connection is null) throw Errors.InvalidArgument("connection is missing");
        var response = new GetConnectionResponse();
        if (connections.Find(request.Connection.Id) is { } connection) response.Details = connection.Details.Clone();
        return Task.FromResult(response);
    }

    /// <inheritdoc/>
    public override Task<CloseConnectionResponse> CloseConnection(CloseConnectionRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (request.Connection is null) throw Errors.InvalidArgument("connection is missing");
        return Task.FromResult(new CloseConnectionResponse { Success = connections.Close(request.Connection.Id) });
    }

    private void Check(ConnectionDetails details)
    {
        if (TopicLayout.TopicNameError("details.data_source", details.DataSource, details.DataSource) is { } error) throw Errors.InvalidArgument(error);
        if (details.Streams.Count > StreamsMax)
        {
            throw Errors.InvalidArgument($"details.streams has {details.Streams.Count} entries; allowed are {StreamsMax}; leave it empty to read them all");
        }

        if (!layout.IsPartitionBased)
        {
            foreach (var stream in details.Streams)
            {
                if (stream.Length == 0) continue; // The main stream by its own name.
                var topic = TopicLayout.StreamTopic(details.DataSource, stream);
                if (TopicLayout.TopicNameError("details.streams", stream, topic) is { } streamError) throw Errors.InvalidArgument(streamError);
            }
        }

        if (details.StreamOffsets.Count > details.Streams.Count)
        {
            throw Errors.InvalidArgument(
                $"details.stream_offsets has {details.StreamOffsets.Count} entries for {details.Streams.Count} streams; allowed are at most as many");
        }

        CheckOffset("details.main_offset", details.MainOffset);
        CheckOffset("details.essentials_offset", details.EssentialsOffset);
        for (var i = 0; i < details.StreamOffsets.Count; i++) CheckOffset($"details.stream_offsets[{i}]", details.StreamOffsets[i]);
        CheckGroup(details.ConsumerGroup);
    }

    private static void CheckGroup(string group)
    {
        if (group.Length > GroupNameLengthMax)
            throw Errors.InvalidArgument($"details.consumer_group has {group.Length} characters; allowed are {GroupNameLengthMax}; empty reads without a group");
        foreach (var c in group)
        {
            if (char.IsControl(c)) throw Errors.InvalidArgument($"details.consumer_group contains the control character U+{(int)c:X4}; allowed are all others");
        }
    }

    private static void CheckOffset(string field, long offset)
    {
        if (offset < Latest) throw Errors.InvalidArgument($"{field} is {offset}; allowed are -1 (latest), 0 (earliest) and offsets above");
    }
}
