using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Connections;
using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Packets;

/// <summary>The packet reader service: gives what the reader reads its shape as messages.</summary>
internal sealed class PacketReaderEndpoint(
    PacketReader reader,
    ConnectionTable connections,
    Func<string, ResolveFormat> resolveFormatsOf,
    bool batching,
    OpenCalls calls,
    StreamingApiLimits limits,
    Telemetry telemetry,
    TimeProvider clock,
    ILogger logger) : PacketReaderService.PacketReaderServiceBase
{
    // A response with so much goes out before the broker is asked for more: no transport gains from larger ones, while their packets
    // live long enough to be moved by the garbage collector, which halves the rate, and the client waits longer for the first of them.
    private const int PacketsEnough = 1_000;
    private const int BytesEnough = 128 << 10;

    private readonly int _responsePacketsMax = batching ? limits.ResponsePacketsMax : 1;

    /// <inheritdoc/>
    public override Task ReadPackets(ReadPacketsRequest request, IServerStreamWriter<ReadPacketsResponse> responseStream, ServerCallContext context) =>
        ReadPacketsAsync(request, new ResponseMessage<ReadPacketsResponse>(static r => r.Response, _responsePacketsMax), responseStream, context);

    /// <summary>ReadPackets for a transport that sends bytes.</summary>
    public Task ReadPackets(ReadPacketsRequest request, IServerStreamWriter<EncodedResponse> responseStream, ServerCallContext context) =>
        ReadPacketsAsync(request, new EncodedResponse(), responseStream, context);

    /// <inheritdoc/>
    public override Task ReadEssentials(
        ReadEssentialsRequest request, IServerStreamWriter<ReadEssentialsResponse> responseStream, ServerCallContext context) =>
        ReadEssentialsAsync(request, new ResponseMessage<ReadEssentialsResponse>(static r => r.Response, _responsePacketsMax), responseStream, context);

    /// <summary>ReadEssentials for a transport that sends bytes.</summary>
    public Task ReadEssentials(ReadEssentialsRequest request, IServerStreamWriter<EncodedResponse> responseStream, ServerCallContext context) =>
        ReadEssentialsAsync(request, new EncodedResponse(), responseStream, context);

    /// <inheritdoc/>
    public override Task ReadDataPackets(
        ReadDataPacketsRequest request, IServerStreamWriter<ReadDataPacketsResponse> responseStream, ServerCallContext context) =>
        ReadDataPacketsAsync(request, new ResponseMessage<ReadDataPacketsResponse>(static r => r.Response, _responsePacketsMax), responseStream, context);

    /// <summary>ReadDataPackets for a transport that sends bytes.</summary>
    public Task ReadDataPackets(ReadDataPacketsRequest request, IServerStreamWriter<EncodedResponse> responseStream, ServerCallContext context) =>
        ReadDataPacketsAsync(request, new EncodedResponse(), responseStream, context);

    private StreamingApiLimits Limits => limits;

    private Telemetry Telemetry => telemetry;

    private ILogger Logger => logger;

    private Task ReadPacketsAsync<T>(ReadPacketsRequest request, IResponse<T> response, IServerStreamWriter<T> responses, ServerCallContext context) =>
        ServeAsync(request.Connection, "connection", essentials: false, _ => null, response, responses, context);

    private Task ReadEssentialsAsync<T>(ReadEssentialsRequest request, IResponse<T> response, IServerStreamWriter<T> responses, ServerCallContext context) =>
        ServeAsync(request.Connection, "connection", essentials: true, _ => null, response, responses, context);

    private Task ReadDataPacketsAsync<T>(ReadDataPacketsRequest request, IResponse<T> response, IServerStreamWriter<T> responses, ServerCallContext context)
    {
        if (request.Request is not { } data) throw Errors.InvalidArgument("request is missing: it needs a connection");
        return ServeAsync(
            data.Connection,
            "request.connection",
            essentials: false,
            dataSource => new PacketFilter(data, dataSource, resolveFormatsOf(dataSource), logger, telemetry),
            response,
            responses,
            context);
    }

    private async Task ServeAsync<T>(
        API.Connection? requested,
        string field,
        bool essentials,
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

        // A response that is being written may be taken for a while after the end (at once where there is no network between).
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
            var plan = essentials
                ? await reader.PlanEssentialsAsync(details, ended.Token).ConfigureAwait(false)
                : await reader.PlanAsync(details, ended.Token).ConfigureAwait(false);
            await using var leaving = plan.ConfigureAwait(false);
            await context.WriteResponseHeadersAsync([]).ConfigureAwait(false);
            var writer = new ResponseWriter<T>(this, response, responses, plan, abandoned.Token, context.CancellationToken);
            var batches = reader.ReadAsync(details, plan, ended.Token).GetAsyncEnumerator(ended.Token);
            await using var disposing = batches.ConfigureAwait(false);
            try
            {
                while (true)
                {
                    // What is there goes out before anything is waited for.
                    var next = batches.MoveNextAsync();
                    var more = next.IsCompleted
                        ? await next.ConfigureAwait(false)
                        : await FlushAndWaitAsync(next.AsTask(), writer, ended).ConfigureAwait(false);
                    if (!more) break;
                    if (batches.Current.IsHandover) await writer.FlushAsync().ConfigureAwait(false);
                    else await writer.AddAsync(batches.Current, filter, ended.Token).ConfigureAwait(false);
                }
            }
            catch (RpcException)
            {
                await writer.FlushAsync().ConfigureAwait(false); // What was read before the failure comes before it.
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
            // Closing a connection is how its reads end: status OK.
        }
        catch (OperationCanceledException) when (calls.Draining.IsCancellationRequested && !context.CancellationToken.IsCancellationRequested)
        {
            throw Errors.ShuttingDown();
        }
    }

    // Writes while the next batch is being waited for. If writing fails, that wait is ended first: its enumerator is about to be disposed.
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
        /// <summary>What a packet costs in a response beside its own bytes and its stream's name: tags, lengths, time, offset, partition.</summary>
        private const int OverheadBytes = 48;

        /// <summary>Packets that are counted together: where somebody listens, counting one costs as much as handing it over.</summary>
        private const int CountedMin = 64;

        // Where the read of a group's member is in each partition, once the response is written.
        private readonly Dictionary<TopicPartition, long> _reached = [];
        private int _bytes;
        private bool _warned;
        private string _stream = "";
        private Telemetry.StreamTags? _tags;
        private int _streamPackets;

        public async ValueTask AddAsync(StreamBatch batch, PacketFilter? filter, CancellationToken reading)
        {
            var stream = plan.IsEssentials ? "" : batch.Stream;
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

                if (response.Count > 0 && (_bytes + value.Length + overhead > endpoint.Limits.ResponseBytesMax || response.Count >= endpoint._responsePacketsMax))
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
                HandOver(); // Records that are none of this reader's.
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
            if (plan.Group is not null) _reached[source] = next;
        }

        private void HandOver()
        {
            // Who has gone was handed nothing: a port takes responses for a while after that without a word.
            if (_reached.Count == 0 || clientGone.IsCancellationRequested) return;
            foreach (var (source, next) in _reached) plan.Group!.HandedOver(source, next);
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

        /// <summary>Counts what was delivered: before anything is waited for, and at the end.</summary>
        public void CountDelivered()
        {
            if (_streamPackets == 0) return;
            endpoint.Telemetry.Delivered(_tags ??= endpoint.Telemetry.TagsOf(plan.DataSource, _stream), _streamPackets, plan.IsEssentials);
            _streamPackets = 0;
        }

        private void Skip(TopicPartition source, Record record)
        {
            var size = record.Value?.Length ?? 0;
            var tooLarge = size > endpoint.Limits.PacketBytesMax;
            endpoint.Telemetry.Skipped(tooLarge ? "too large" : "not a packet");
            if (tooLarge) endpoint.Logger.PacketTooLarge(plan.DataSource, source.Topic, source.Partition, record.Offset, size, endpoint.Limits.PacketBytesMax);
            else if (!_warned) endpoint.Logger.NotAPacket(plan.DataSource, source.Topic, source.Partition, record.Offset);
            _warned |= !tooLarge;
        }
    }
}
