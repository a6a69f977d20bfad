using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Connections;
using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Packets;

/// <summary>The packet reader service: turns the records of a read into responses.</summary>
internal sealed class PacketReaderEndpoint(
    ReadPlanner planner,
    GroupReads groups,
    ReadLoop loop,
    ConnectionTable connections,
    IFormatLookup formats,
    int responsePacketsMax,
    OpenCalls calls,
    StreamingApiLimits limits,
    Telemetry telemetry,
    TimeProvider clock,
    ILogger logger) : PacketReaderService.PacketReaderServiceBase
{
    // A response with this much goes out before the broker is asked for more. No transport gains from larger ones. Their packets live
    // long enough to be moved by the garbage collector, which halves the rate, and the client waits longer for the first packet.
    private const int PacketsEnough = 1_000;
    private const int BytesEnough = 128 << 10;

    /// <inheritdoc/>
    public override Task ReadPackets(ReadPacketsRequest request, IServerStreamWriter<ReadPacketsResponse> responseStream, ServerCallContext context) =>
        ReadPacketsAsync(request, new ResponseMessage<ReadPacketsResponse>(static r => r.Response, responsePacketsMax), responseStream, context);

    /// <summary>ReadPackets for a transport that sends bytes.</summary>
    public Task ReadPackets(ReadPacketsRequest request, IServerStreamWriter<EncodedResponse> responseStream, ServerCallContext context) =>
        ReadPacketsAsync(request, new EncodedResponse(), responseStream, context);

    /// <inheritdoc/>
    public override Task ReadEssentials(
        ReadEssentialsRequest request, IServerStreamWriter<ReadEssentialsResponse> responseStream, ServerCallContext context) =>
        ReadEssentialsAsync(request, new ResponseMessage<ReadEssentialsResponse>(static r => r.Response, responsePacketsMax), responseStream, context);

    /// <summary>ReadEssentials for a transport that sends bytes.</summary>
    public Task ReadEssentials(ReadEssentialsRequest request, IServerStreamWriter<EncodedResponse> responseStream, ServerCallContext context) =>
        ReadEssentialsAsync(request, new EncodedResponse(), responseStream, context);

    /// <inheritdoc/>
    public override Task ReadDataPackets(
        ReadDataPacketsRequest request, IServerStreamWriter<ReadDataPacketsResponse> responseStream, ServerCallContext context) =>
        ReadDataPacketsAsync(request, new ResponseMessage<ReadDataPacketsResponse>(static r => r.Response, responsePacketsMax), responseStream, context);

    /// <summary>ReadDataPackets for a transport that sends bytes.</summary>
    public Task ReadDataPackets(ReadDataPacketsRequest request, IServerStreamWriter<EncodedResponse> responseStream, ServerCallContext context) =>
        ReadDataPacketsAsync(request, new EncodedResponse(), responseStream, context);

    private StreamingApiLimits Limits => limits;

    private int ResponsePacketsMax => responsePacketsMax;

    private Telemetry Telemetry => telemetry;

    private ILogger Logger => logger;

    private Task ReadPacketsAsync<T>(ReadPacketsRequest request, IResponse<T> response, IServerStreamWriter<T> responses, ServerCallContext context) =>
        ServeAsync(request.Connection, "connection", PlanPacketsAsync, _ => null, response, responses, context);

    private Task ReadEssentialsAsync<T>(ReadEssentialsRequest request, IResponse<T> response, IServerStreamWriter<T> responses, ServerCallContext context) =>
        ServeAsync(request.Connection, "connection", planner.PlanEssentialsAsync, _ => null, response, responses, context);

    private Task ReadDataPacketsAsync<T>(ReadDataPacketsRequest request, IResponse<T> response, IServerStreamWriter<T> responses, ServerCallContext context)
    {
        if (request.Request is not { } data) throw Errors.InvalidArgument("request is missing: it needs a connection");
        return ServeAsync(
            data.Connection,
            "request.connection",
            PlanPacketsAsync,
            dataSource => new PacketFilter(data, dataSource, formats, logger, telemetry),
            response,
            responses,
            context);
    }

    private Task<ReadPlan> PlanPacketsAsync(ConnectionDetails details, CancellationToken cancellationToken) =>
        details.ConsumerGroup.Length > 0 ? groups.JoinAsync(details, cancellationToken) : planner.PlanPacketsAsync(details, cancellationToken);

    private async Task ServeAsync<T>(
        API.Connection? requested,
        string field,
        Func<ConnectionDetails, CancellationToken, Task<ReadPlan>> planAsync,
        Func<string, PacketFilter?> filterOf,
        IResponse<T> response,
        IServerStreamWriter<T> responses,
        ServerCallContext context)
    {
        using var call = calls.Enter();
        if (requested is null) throw Errors.InvalidArgument($"{field} is missing");
        var connection = connections.Find(requested.Id)
            ?? throw Errors.NotFound($"connection {requested.Id} is not open: it was never opened here, was closed, or was idle for too long");
        var details = connection.Details;
        var filter = filterOf(details.DataSource);
        using var read = connection.OpenRead();
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, connection.Closed, calls.Draining);

        // After the end the client may still take the response that is being written, for a while over a network, not at all in process.
        using var abandoned = new CancellationTokenSource(Timeout.InfiniteTimeSpan, clock);
        await using var abandoning = ended.Token.UnsafeRegister(
            _ =>
            {
                if (limits.CloseGrace > TimeSpan.Zero && !context.CancellationToken.IsCancellationRequested) abandoned.CancelAfter(limits.CloseGrace);
                else abandoned.Cancel();
            },
            null).ConfigureAwait(false);
        try
        {
            var plan = await planAsync(details, ended.Token).ConfigureAwait(false);
            await using var leaving = plan.ConfigureAwait(false);
            await context.WriteResponseHeadersAsync([]).ConfigureAwait(false);
            var writer = new ResponseWriter<T>(this, response, responses, plan, abandoned.Token, context.CancellationToken);
            var steps = loop.ReadAsync(plan, ended.Token).GetAsyncEnumerator(ended.Token);
            await using var disposing = steps.ConfigureAwait(false);
            try
            {
                while (true)
                {
                    // The response goes out before the read waits for more.
                    var next = steps.MoveNextAsync();
                    var more = next.IsCompleted
                        ? await next.ConfigureAwait(false)
                        : await FlushAndWaitAsync(next.AsTask(), writer, ended).ConfigureAwait(false);
                    if (!more) break;
                    if (steps.Current.Batch is { } batch) await writer.AddAsync(batch, filter, ended.Token).ConfigureAwait(false);
                    else await writer.FlushAsync().ConfigureAwait(false);
                }
            }
            catch (RpcException)
            {
                await writer.FlushAsync().ConfigureAwait(false); // The packets read before the failure reach the client before it.
                throw;
            }
            finally
            {
                writer.CountDelivered();
            }

            await writer.FlushAsync().ConfigureAwait(false);
            writer.CountDelivered();
        }
        catch (OperationCanceledException) when (connection.Closed.IsCancellationRequested && !context.CancellationToken.IsCancellationRequested)
        {
            // Closing the connection ends its reads with status OK.
        }
        catch (OperationCanceledException) when (calls.Draining.IsCancellationRequested && !context.CancellationToken.IsCancellationRequested)
        {
            throw Errors.ShuttingDown();
        }
    }

    // Writes the response while the read waits for its next step. A failed write ends that wait first, since its enumerator is disposed next.
    private static async ValueTask<bool> FlushAndWaitAsync<T>(Task<bool> next, ResponseWriter<T> writer, CancellationTokenSource ended)
    {
        try
        {
            await writer.FlushAsync().ConfigureAwait(false);
            writer.CountDelivered();
        }
        catch
        {
            await ended.CancelAsync().ConfigureAwait(false);
            await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        return await next.ConfigureAwait(false);
    }

    /// <summary>Collects the packets of one response and writes it.</summary>
    private sealed class ResponseWriter<T>(
        PacketReaderEndpoint endpoint,
        IResponse<T> response,
        IServerStreamWriter<T> responses,
        ReadPlan plan,
        CancellationToken cancellationToken,
        CancellationToken clientGone)
    {
        /// <summary>Bytes of a packet in a response beside its own and its stream's name: tags, lengths, time, offset, partition.</summary>
        private const int OverheadBytes = 48;

        /// <summary>Packets that are counted together: with a listener, counting one costs as much as handing it over.</summary>
        private const int CountedMin = 64;

        private readonly GroupMember? _member = (plan as GroupPlan)?.Member;

        // Where a group's member is in each partition once the response is written.
        private readonly Dictionary<TopicPartition, long> _reached = [];
        private int _bytes;
        private bool _warned;
        private string _stream = "";
        private Telemetry.StreamTags? _tags;
        private int _streamPackets;

        public async ValueTask AddAsync(StreamBatch batch, PacketFilter? filter, CancellationToken reading)
        {
            var stream = batch.Stream;
            if (!ReferenceEquals(stream, _stream))
            {
                CountDelivered();
                (_stream, _tags) = (stream, null);
            }

            var overhead = OverheadBytes + System.Text.Encoding.UTF8.GetByteCount(stream);
            for (var i = 0; i < batch.Records.Count; i++)
            {
                var record = batch.Records[i];
                if (record.Value is not { } value || value.Length > endpoint.Limits.PacketBytesMax)
                {
                    Skip(batch.Source, record);
                    continue;
                }

                if (filter is not null)
                {
                    var passes = filter.PassesAsync(value, stream, reading);
                    if (!passes.IsCompletedSuccessfully) await FlushAsync().ConfigureAwait(false);
                    if (!await passes.ConfigureAwait(false)) continue;
                }

                if (response.Count > 0 && (_bytes + value.Length + overhead > endpoint.Limits.ResponseBytesMax || response.Count >= endpoint.ResponsePacketsMax))
                {
                    Reached(batch.Source, record.Offset);
                    await FlushAsync().ConfigureAwait(false);
                }

                if (!response.TryAdd(value.Span, stream, record, batch.Source.Partition))
                {
                    Skip(batch.Source, record);
                    continue;
                }

                _bytes += value.Length + overhead;
                _streamPackets++;
            }

            Reached(batch.Source, batch.NextOffset);
            if (response.Count >= PacketsEnough || _bytes >= BytesEnough) await FlushAsync().ConfigureAwait(false);
        }

        public ValueTask FlushAsync()
        {
            if (response.Count == 0)
            {
                HandOver(); // All records since the last response were of other sessions or filtered out.
                return default;
            }

            if (_streamPackets >= CountedMin) CountDelivered();
            _bytes = 0;
            var write = responses.WriteAsync(response.Take(), cancellationToken);
            if (!write.IsCompletedSuccessfully) return AwaitAsync(write);
            response.Written();
            HandOver();
            return default;
        }

        private void Reached(TopicPartition source, long next)
        {
            if (_member is not null) _reached[source] = next;
        }

        private void HandOver()
        {
            // A client that has gone received nothing, although a port accepts responses for a while after that.
            if (_reached.Count == 0 || clientGone.IsCancellationRequested) return;
            foreach (var (source, next) in _reached) _member!.HandedOver(source, next);
            _reached.Clear();
        }

        private async ValueTask AwaitAsync(Task write)
        {
            CountDelivered();
            endpoint.Telemetry.ReadBlocks();
            try
            {
                await write.ConfigureAwait(false);
                response.Written();
                HandOver();
            }
            finally
            {
                endpoint.Telemetry.ReadGoesOn();
            }
        }

        /// <summary>Counts the delivered packets: before each wait, and at the end.</summary>
        public void CountDelivered()
        {
            if (_streamPackets == 0) return;
            plan.CountDelivered(endpoint.Telemetry, _tags ??= endpoint.Telemetry.TagsOf(plan.Details.DataSource, _stream), _streamPackets);
            _streamPackets = 0;
        }

        private void Skip(TopicPartition source, Record record)
        {
            var size = record.Value?.Length ?? 0;
            var tooLarge = size > endpoint.Limits.PacketBytesMax;
            endpoint.Telemetry.Skipped(tooLarge ? "too large" : "not a packet");
            if (tooLarge) endpoint.Logger.PacketTooLarge(plan.Details.DataSource, source.Topic, source.Partition, record.Offset, size, endpoint.Limits.PacketBytesMax);
            else if (!_warned) endpoint.Logger.NotAPacket(plan.Details.DataSource, source.Topic, source.Partition, record.Offset);
            _warned |= !tooLarge;
        }
    }
}
