using MA.Streaming.API;

namespace MA.Streaming.Benchmarks;

/// <summary>Writing: by unary calls, and by a client stream with few and with many packets a message.</summary>
internal static class WriteBenchmarks
{
    private const int Unary = 300_000;
    private const int Streamed = 1_000_000;
    private const double StreamedTarget = 300_000;

    /// <summary>The log of these benchmarks is full after the first round: from then on it drops as much as it takes.</summary>
    public const long LogBytes = 64 << 20;

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(
            "write-unary",
            "WriteDataPacket, one awaited call after the other, 200 B packets, memory broker",
            "the same calls through the same in-process channel to a handler that only counts",
            [Metric.Rate(), Metric.Allocated],
            scale => OpenAsync(scale.Packets(Unary), WriteUnaryAsync)),
        new(
            "write-stream",
            "WriteDataPackets, 1 packet a message, 200 B packets, until the stream is acknowledged",
            "the same stream to a handler that only counts",
            [Metric.Rate(StreamedTarget), Metric.Allocated],
            scale => OpenAsync(scale.Packets(Streamed), (client, packets) => WriteStreamAsync(client, packets, 1))),
        new(
            "write-stream-100",
            "WriteDataPackets, 100 packets a message, 200 B packets, until the stream is acknowledged",
            "the same stream to a handler that only counts",
            [Metric.Rate(StreamedTarget), Metric.Allocated],
            scale => OpenAsync(scale.Packets(Streamed), (client, packets) => WriteStreamAsync(client, packets, 100))),
    ];

    /// <summary>Writes by a client stream; the message is the same one each time, so that what is allocated is not the client's.</summary>
    public static async Task WriteStreamAsync(PacketWriterService.PacketWriterServiceClient client, int packets, int packetsAMessage)
    {
        var request = Workload.Request(1, packetsAMessage);
        using var call = client.WriteDataPackets();
        for (var sent = 0; sent < packets; sent += packetsAMessage) await call.RequestStream.WriteAsync(request);
        await call.RequestStream.CompleteAsync();
        await call.ResponseAsync;
    }

    public static async Task WriteUnaryAsync(PacketWriterService.PacketWriterServiceClient client, int packets)
    {
        var request = new WriteDataPacketRequest { Detail = Workload.Detail(1) };
        for (var sent = 0; sent < packets; sent++) await client.WriteDataPacketAsync(request);
    }

    private static async Task<Arms> OpenAsync(int packets, Func<PacketWriterService.PacketWriterServiceClient, int, Task> write)
    {
        var engine = await Engine.StartAsync(LogBytes);
        var counting = new CountingWriter();
        var bare = new Bare(counting);
        return new Arms(
            async () =>
            {
                var before = await engine.WrittenAsync();
                var sample = await Measure.PacketsAsync(packets, () => write(engine.Writer, packets));
                Measure.Check(await engine.WrittenAsync() - before, packets, "packets in the log");
                return sample;
            },
            async () =>
            {
                var before = counting.Packets;
                var sample = await Measure.PacketsAsync(packets, () => write(bare.Writer, packets));
                Measure.Check(counting.Packets - before, packets, "packets counted");
                return sample;
            },
            engine);
    }
}
