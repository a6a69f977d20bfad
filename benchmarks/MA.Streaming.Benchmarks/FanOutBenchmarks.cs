using System.Diagnostics;
using MA.Streaming.API;

namespace MA.Streaming.Benchmarks;

/// <summary>Many readers of one stream while it is being written.</summary>
internal static class FanOutBenchmarks
{
    private const int Deliveries = 2_000_000;
    private const int PacketsMax = 400_000;
    private const string WriterRate = "writer";

    public static IReadOnlyList<Benchmark> All { get; } = [Of(1), Of(10), Of(100)];

    private static Benchmark Of(int readers) => new(
        $"readers-{readers}",
        $"{readers} live batched read{(readers == 1 ? "" : "s")} of one stream, written by a client stream as fast as it goes, 1 packet a message",
        "as many streams that hand out prepared messages of 100 packets, beside a client stream to a handler that only counts",
        [new("deliveries", "packets/s in all"), new(WriterRate, "packets/s meanwhile")],
        scale => OpenAsync(scale, readers));

    private static async Task<Arms> OpenAsync(Scale scale, int readers)
    {
        var packets = Math.Clamp(scale.Packets(Deliveries) / readers, 100, PacketsMax);
        var engine = await Engine.StartAsync(ReadBenchmarks.LogBytes);
        await engine.FillAsync(1);
        var connection = engine.Connect(-1);
        var bare = new Bare(new CountingWriter(), PreparedReader.OfSize(Math.Min(100, packets), packets));
        return new Arms(
            () => RunAsync(engine.Writer, engine.Reader, connection, packets, readers, waitForHeaders: true),
            () => RunAsync(bare.Writer, bare.Reader, connection, packets, readers, waitForHeaders: false),
            engine);
    }

    private static async Task<Sample> RunAsync(
        PacketWriterService.PacketWriterServiceClient writer,
        PacketReaderService.PacketReaderServiceClient reader,
        Connection connection,
        int packets,
        int readers,
        bool waitForHeaders)
    {
        var positioned = new List<Task>();
        var begin = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var reading = new List<Task>();
        for (var i = 0; i < readers; i++)
        {
            var call = reader.ReadPackets(new ReadPacketsRequest { Connection = connection });
            positioned.Add(call.ResponseHeadersAsync);
            reading.Add(ReadAsync(call));
        }

        if (waitForHeaders) await Task.WhenAll(positioned);
        var started = Stopwatch.GetTimestamp();
        begin.SetResult();
        await WriteBenchmarks.WriteStreamAsync(writer, packets, 1);
        var written = Stopwatch.GetElapsedTime(started);
        await Task.WhenAll(reading);
        var delivered = Stopwatch.GetElapsedTime(started);
        return new Sample { ["deliveries"] = (double)packets * readers / delivered.TotalSeconds, [WriterRate] = packets / written.TotalSeconds };

        async Task ReadAsync(Grpc.Core.AsyncServerStreamingCall<ReadPacketsResponse> call)
        {
            using var reading = call;
            await begin.Task;
            var read = 0;
            while (read < packets && await call.ResponseStream.MoveNext(CancellationToken.None)) read += call.ResponseStream.Current.Response.Count;
            if (read < packets) throw new InvalidOperationException($"a read ended after {read} of {packets} packets");
        }
    }
}
