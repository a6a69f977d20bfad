using Google.Protobuf;
using MA.Streaming.API;
using MA.Streaming.OpenData;
using Timestamp = Google.Protobuf.WellKnownTypes.Timestamp;

namespace MA.Streaming.Benchmarks;

/// <summary>What the engine allocates beside what it is asked for: the log when writing, the messages when reading.</summary>
internal static class AllocationBenchmarks
{
    private const int Written = 200_000;
    private const int Read = 100_000;
    private const string Beyond = "beyond";

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(
            "allocation-write",
            "client stream, 1 packet a message, the client reusing its message; beyond = all that is allocated less the array of the record's bytes",
            "the same stream to a handler that only counts (nothing subtracted)",
            [new(Beyond, "B/packet", Target.AtMost(200)), new("record", "B/packet"), new("in all", "B/packet")],
            OpenWriteAsync),
        new(
            "allocation-read",
            "batched read, every response kept; beyond = all that is allocated less the objects the responses are made of, each counted once",
            "the same stream, handing out prepared messages (nothing subtracted)",
            [new(Beyond, "B/packet", Target.AtMost(100)), new("messages", "B/packet"), new("in all", "B/packet")],
            OpenReadAsync),
    ];

    private static async Task<Arms> OpenWriteAsync(Scale scale)
    {
        var packets = scale.Packets(Written);
        var engine = await Engine.StartAsync(WriteBenchmarks.LogBytes);
        var bare = new Bare(new CountingWriter());
        return new Arms(
            () => RunAsync(engine.Writer, Workload.ArrayBytes(Workload.PacketBytes)), () => RunAsync(bare.Writer, 0), engine);

        async Task<Sample> RunAsync(PacketWriterService.PacketWriterServiceClient client, long recordBytes)
        {
            var sample = await Measure.PacketsAsync(packets, () => WriteBenchmarks.WriteStreamAsync(client, packets, 1));
            return Of(sample["allocated"], recordBytes, "record");
        }
    }

    private static async Task<Arms> OpenReadAsync(Scale scale)
    {
        var packets = scale.Packets(Read);
        var engine = await Engine.StartAsync(ReadBenchmarks.LogBytes);
        await engine.FillAsync(packets);
        var connection = engine.Connect(0);
        var size = await ReadBenchmarks.ReadAsync(engine.Reader, connection, packets, ReadBenchmarks.IdSum(packets));
        var bare = new Bare(reader: PreparedReader.OfSize(size, packets));
        return new Arms(
            async () =>
            {
                var responses = new List<ReadPacketsResponse>(packets);
                var sample = await Measure.PacketsAsync(packets, () => ReadAsync(engine.Reader, responses));
                return Of(sample["allocated"], (double)MessageSizes.Of(responses) / packets, "messages");
            },
            async () =>
            {
                var responses = new List<ReadPacketsResponse>(packets);
                var sample = await Measure.PacketsAsync(packets, () => ReadAsync(bare.Reader, responses));
                return Of(sample["allocated"], 0, "messages");
            },
            engine);

        async Task ReadAsync(PacketReaderService.PacketReaderServiceClient client, List<ReadPacketsResponse> responses)
        {
            using var call = client.ReadPackets(new ReadPacketsRequest { Connection = connection });
            var read = 0;
            while (read < packets && await call.ResponseStream.MoveNext(CancellationToken.None))
            {
                responses.Add(call.ResponseStream.Current);
                read += call.ResponseStream.Current.Response.Count;
            }
        }
    }

    private static Sample Of(double inAll, double subtracted, string what) =>
        new() { [Beyond] = inAll - subtracted, [what] = subtracted, ["in all"] = inAll };

    /// <summary>Bytes of the objects that responses are made of; one that several share counts once.</summary>
    private static class MessageSizes
    {
        private static readonly long Response = SizeOf(static () => new ReadPacketsResponse());
        private static readonly long PacketResponse = SizeOf(static () => new PacketResponse());
        private static readonly long Packet = SizeOf(static () => new Packet());
        private static readonly long Timestamp = SizeOf(static () => new Timestamp());
        private static readonly long ContentHolder = SizeOf(static () => UnsafeByteOperations.UnsafeWrap(new byte[1])) - Workload.ArrayBytes(1);

        public static long Of(IReadOnlyList<ReadPacketsResponse> responses)
        {
            var bytes = 0L;
            var strings = new HashSet<string>(ReferenceEqualityComparer.Instance);
            foreach (var response in responses)
            {
                bytes += Response + Workload.ArrayBytes(response.Response.Capacity * IntPtr.Size);
                foreach (var packet in response.Response)
                {
                    bytes += PacketResponse + Packet + Timestamp + ContentHolder + Workload.ArrayBytes(packet.Packet.Content.Length);
                    strings.Add(packet.Packet.Type);
                    strings.Add(packet.Packet.SessionKey);
                    strings.Add(packet.Stream);
                }
            }

            return bytes + strings.Sum(text => (22 + (2L * text.Length) + 7) & ~7L);
        }

        private static long SizeOf(Func<object> create)
        {
            const int Count = 1_000;
            var kept = new object[Count];
            kept[0] = create();
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < Count; i++) kept[i] = create();
            var bytes = (GC.GetAllocatedBytesForCurrentThread() - before) / Count;
            GC.KeepAlive(kept);
            return bytes;
        }
    }
}
