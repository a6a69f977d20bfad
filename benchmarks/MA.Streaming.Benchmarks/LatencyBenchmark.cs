using System.Diagnostics;
using System.Threading.Channels;
using Grpc.Core;
using MA.Streaming.API;

namespace MA.Streaming.Benchmarks;

/// <summary>From a write to its delivery, at a steady rate.</summary>
internal static class LatencyBenchmark
{
    private const int PacketsASecond = 10_000;
    public static readonly TimeSpan Time = TimeSpan.FromSeconds(3);

    public static Benchmark Latency { get; } = new(
        "latency",
        "from WriteAsync on a client stream to MoveNext on a read, 10,000 packets of 200 B a second, one a message",
        "the same two streams with only a bounded queue between their handlers",
        [new("p50", "µs"), new("p90", "µs"), new("p99", "µs"), new("p99.9", "µs"), new("max", "µs"), new("rate", "packets/s")],
        OpenAsync);

    private static async Task<Arms> OpenAsync(Scale scale)
    {
        var time = scale.Time(Time);
        var engine = await Engine.StartAsync(WriteBenchmarks.LogBytes, batching: false);
        await engine.FillAsync(1);
        var queue = new QueueService();
        var bare = new Bare(queue.Writer, queue.Reader);
        var connection = engine.Connect(-1);
        return new Arms(
            () => RunAsync(engine.Writer, engine.Reader, connection, time), () => RunAsync(bare.Writer, bare.Reader, connection, time), engine);
    }

    public static async Task<Sample> RunAsync(
        PacketWriterService.PacketWriterServiceClient writer, PacketReaderService.PacketReaderServiceClient reader, Connection connection, TimeSpan time)
    {
        var packets = (int)(time.TotalSeconds * PacketsASecond);
        var ticks = new long[packets];
        using var read = reader.ReadPackets(new ReadPacketsRequest { Connection = connection });
        await read.ResponseHeadersAsync;
        var reading = Task.Run(async () =>
        {
            for (var i = 0; i < packets; i++)
            {
                if (!await read.ResponseStream.MoveNext(CancellationToken.None)) throw new InvalidOperationException($"the read ended after {i} packets");
                ticks[i] = Stopwatch.GetTimestamp() - (long)read.ResponseStream.Current.Response[0].Packet.Id;
            }
        });

        var started = Stopwatch.GetTimestamp();
        using var write = writer.WriteDataPackets();
        var request = Workload.Request(1, 1);
        for (var i = 0; i < packets; i++)
        {
            Pace.Until(started + (i * Stopwatch.Frequency / PacketsASecond));

            // The message of the bare stream is handed over as it is, so it must not be written again.
            if (i > 0) request = request.Clone();
            request.Details[0].Message.Id = (ulong)Stopwatch.GetTimestamp();
            await write.RequestStream.WriteAsync(request);
        }

        var elapsed = Stopwatch.GetElapsedTime(started);
        await write.RequestStream.CompleteAsync();
        await write.ResponseAsync;
        await reading;
        var sample = Quantiles.Of(ticks);
        sample["rate"] = packets / elapsed.TotalSeconds;
        return sample;
    }

    /// <summary>What is written to the one service is what the other one hands out.</summary>
    public sealed class QueueService
    {
        private readonly Channel<ReadPacketsResponse> _queue = Channel.CreateBounded<ReadPacketsResponse>(4096);

        public QueueService()
        {
            Writer = new Writing(_queue.Writer);
            Reader = new Reading(_queue.Reader);
        }

        public PacketWriterService.PacketWriterServiceBase Writer { get; }

        public PacketReaderService.PacketReaderServiceBase Reader { get; }

        private sealed class Writing(ChannelWriter<ReadPacketsResponse> queue) : PacketWriterService.PacketWriterServiceBase
        {
            public override async Task<WriteDataPacketsResponse> WriteDataPackets(
                IAsyncStreamReader<WriteDataPacketsRequest> requestStream, ServerCallContext context)
            {
                while (await requestStream.MoveNext(CancellationToken.None))
                {
                    await queue.WriteAsync(new ReadPacketsResponse { Response = { new PacketResponse { Packet = requestStream.Current.Details[0].Message } } });
                }

                return new WriteDataPacketsResponse();
            }
        }

        private sealed class Reading(ChannelReader<ReadPacketsResponse> queue) : PacketReaderService.PacketReaderServiceBase
        {
            public override async Task ReadPackets(
                ReadPacketsRequest request, IServerStreamWriter<ReadPacketsResponse> responseStream, ServerCallContext context)
            {
                await context.WriteResponseHeadersAsync([]);
                await foreach (var response in queue.ReadAllAsync(context.CancellationToken)) await responseStream.WriteAsync(response);
            }
        }
    }
}
