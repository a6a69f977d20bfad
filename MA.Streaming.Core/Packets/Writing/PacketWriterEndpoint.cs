using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Internal;
using MA.Streaming.Core.Records;

namespace MA.Streaming.Core.Packets;

/// <summary>The packet writer service: it answers a packet only when that is durable.</summary>
internal sealed class PacketWriterEndpoint(
    PacketEncoder encoder, PacketAppender appender, EngineRecords records, OpenCalls calls, StreamingApiLimits limits)
    : PacketWriterService.PacketWriterServiceBase
{
    /// <inheritdoc/>
    public override async Task<WriteDataPacketResponse> WriteDataPacket(WriteDataPacketRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        await appender.WriteAsync(encoder.Prepare(request.Detail), context.CancellationToken).ConfigureAwait(false);
        return new WriteDataPacketResponse();
    }

    /// <inheritdoc/>
    public override async Task<WriteDataPacketsResponse> WriteDataPackets(
        IAsyncStreamReader<WriteDataPacketsRequest> requestStream, ServerCallContext context)
    {
        var packets = new List<PreparedPacket>();
        await WriteStreamAsync(
            requestStream,
            context,
            (request, window) =>
            {
                Prepare(request, packets);
                appender.Append(packets, window);
            }).ConfigureAwait(false);
        return new WriteDataPacketsResponse();
    }

    /// <summary>WriteDataPackets for a transport that receives bytes.</summary>
    public async Task<WriteDataPacketsResponse> WriteDataPackets(IAsyncStreamReader<EncodedRequest> requestStream, ServerCallContext context)
    {
        var packets = new List<PreparedPacket>();
        await WriteStreamAsync(
            requestStream,
            context,
            (request, window) =>
            {
                packets.Clear();
                if (!encoder.TryPrepare(request.Bytes, packets)) Prepare(WriteDataPacketsRequest.Parser.ParseFrom(request.Bytes.Span), packets);
                request.Return();
                appender.Append(packets, window);
            }).ConfigureAwait(false);
        return new WriteDataPacketsResponse();
    }

    /// <inheritdoc/>
    public override async Task<WriteInfoPacketResponse> WriteInfoPacket(WriteInfoPacketRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        var record = records.PrepareInfo(request.Message, request.Type, out var topic);
        await records.WriteInfoAsync(topic, record, context.CancellationToken).ConfigureAwait(false);
        return new WriteInfoPacketResponse();
    }

    /// <inheritdoc/>
    public override async Task<WriteInfoPacketsResponse> WriteInfoPackets(
        IAsyncStreamReader<WriteInfoPacketsRequest> requestStream, ServerCallContext context)
    {
        await WriteStreamAsync(
            requestStream,
            context,
            (request, window) =>
            {
                var record = records.PrepareInfo(request.Message, request.Type, out var topic);
                window.Add(new ValueTask(records.AppendInfoAsync(topic, record)), record.Bytes);
            }).ConfigureAwait(false);
        return new WriteInfoPacketsResponse();
    }

    // The whole message is checked before any of it is appended.
    private void Prepare(WriteDataPacketsRequest request, List<PreparedPacket> packets)
    {
        packets.Clear();
        for (var i = 0; i < request.Details.Count; i++)
        {
            try
            {
                packets.Add(encoder.Prepare(request.Details[i]));
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.InvalidArgument)
            {
                throw Errors.InvalidArgument($"details[{i}]: {exception.Status.Detail}");
            }
        }
    }

    // Writes every received packet, however the stream ends. The answer, or the trailer of the error, says how many packets are durable.
    private async Task WriteStreamAsync<T>(IAsyncStreamReader<T> requests, ServerCallContext context, Action<T, WriteWindow> append)
    {
        using var call = calls.Enter();
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, calls.Draining);
        var window = new WriteWindow(limits.StreamWindowBytes);
        try
        {
            while (await requests.MoveNext(ended.Token).ConfigureAwait(false))
            {
                append(requests.Current, window);
                await window.MakeRoomAsync(ended.Token).ConfigureAwait(false);
            }

            await window.DrainAsync().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            var failure = exception;
            try
            {
                await window.DrainAsync().ConfigureAwait(false);
            }
            catch (RpcException earlier)
            {
                failure = earlier; // An append failed before the stream did: its failure is the reason.
            }

            if (failure is OperationCanceledException && calls.Draining.IsCancellationRequested) failure = Errors.ShuttingDown();
            throw Errors.WithDurablePackets(failure, window.Durable);
        }
    }
}
