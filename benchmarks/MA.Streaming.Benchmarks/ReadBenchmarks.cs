using MA.Streaming.API;

namespace MA.Streaming.Benchmarks;

/// <summary>Reading a filled log from its start, in responses of many packets and of one.</summary>
internal static class ReadBenchmarks
{
    private const int Packets = 400_000;

    /// <summary>Room for every packet: nothing is dropped before it is read.</summary>
    public const long LogBytes = 512L << 20;

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(
            "read-batched",
            "ReadPackets of a filled log with BatchingResponses, 200 B packets",
            "the same stream, handing out prepared messages of the same size",
            [Metric.Rate(1_000_000), Metric.Allocated],
            scale => OpenAsync(scale.Packets(Packets), batching: true)),
        new(
            "read-single",
            "ReadPackets of a filled log, one 200 B packet a response",
            "the same stream, handing out prepared messages of one packet",
            [Metric.Rate(), Metric.Allocated],
            scale => OpenAsync(scale.Packets(Packets), batching: false)),
    ];

    /// <summary>Reads so many packets and checks the sum of their ids, where one is given. Returns the largest response.</summary>
    public static async Task<int> ReadAsync(PacketReaderService.PacketReaderServiceClient client, Connection connection, int packets, long? idSum)
    {
        using var call = client.ReadPackets(new ReadPacketsRequest { Connection = connection });
        var (read, sum, largest) = (0, 0L, 0);
        while (read < packets && await call.ResponseStream.MoveNext(CancellationToken.None))
        {
            var response = call.ResponseStream.Current.Response;
            for (var i = 0; i < response.Count; i++) sum += (long)response[i].Packet.Id;
            read += response.Count;
            largest = Math.Max(largest, response.Count);
        }

        if (idSum is { } expected)
        {
            Measure.Check(read, packets, "packets read");
            Measure.Check(sum, expected, "sum of their ids");
        }

        return largest;
    }

    public static long IdSum(int packets) => packets * (packets + 1L) / 2;

    private static async Task<Arms> OpenAsync(int packets, bool batching)
    {
        var engine = await Engine.StartAsync(LogBytes, batching);
        await engine.FillAsync(packets);
        var connection = engine.Connect(0);
        var size = await ReadAsync(engine.Reader, connection, packets, IdSum(packets));
        var bare = new Bare(reader: PreparedReader.OfSize(size, packets));
        return new Arms(
            () => Measure.PacketsAsync(packets, () => ReadAsync(engine.Reader, connection, packets, IdSum(packets))),
            () => Measure.PacketsAsync(packets, () => ReadAsync(bare.Reader, connection, packets, idSum: null)),
            engine);
    }
}
