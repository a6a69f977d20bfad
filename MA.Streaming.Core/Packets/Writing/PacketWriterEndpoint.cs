using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Internal;

namespace MA.Streaming.Core.Packets;

/// <summary>The packet writer service: an answer means that what it answers for is durable.</summary>
internal sealed class PacketWriterEndpoint(PacketWriter writer, OpenCalls calls, StreamingApiLimits limits)
    : PacketWriterService.PacketWriterServiceBase
{
    /// <inheritdoc/>
    public override async Task<WriteDataPacketResponse> WriteDataPacket(WriteDataPacketRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        await writer.WriteAsync(writer.Prepare(request.Detail), context.CancellationToken).ConfigureAwait(false);
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
                writer.Append(packets, window);
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
                if (!writer.TryPrepare(request.Bytes, packets)) Prepare(WriteDataPacketsRequest.Parser.ParseFrom(request.Bytes.Span), packets);
                request.Taken();
                writer.Append(packets, window);
            }).ConfigureAwait(false);
        return new WriteDataPacketsResponse();
    }

    /// <inheritdoc/>
    public override async Task<WriteInfoPacketResponse> WriteInfoPacket(WriteInfoPacketRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        var record = writer.PrepareInfo(request.Message, request.Type, out var topic);
        await writer.WriteInfoAsync(topic, record, context.CancellationToken).ConfigureAwait(false);
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
                var record = writer.PrepareInfo(request.Message, request.Type, out var topic);
                window.Add(new ValueTask(writer.AppendInfoAsync(topic, record)), record.Bytes);
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
                packets.Add(writer.Prepare(request.Details[i]));
            }
            catch (RpcException exception) when (exception.StatusCode == StatusCode.InvalidArgument)
            {
                throw Errors.InvalidArgument($"details[{i}]: {exception.Status.Detail}");
            }
        }
    }

    // What was received is written, however the stream ends; the answer, or the trailer of the error, says how much of it is durable.
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
                failure = earlier; // An append before the end failed: that is the reason to give.
            }

            if (failure is OperationCanceledException && calls.Draining.IsCancellationRequested) failure = Errors.ShuttingDown();
            throw Errors.WithDurablePackets(failure, window.Durable);
        }
    }
}
