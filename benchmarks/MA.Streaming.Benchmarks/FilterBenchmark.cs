using MA.Streaming.API;

namespace MA.Streaming.Benchmarks;

/// <summary>What a filter costs: the same packets delivered with and without one.</summary>
internal static class FilterBenchmark
{
    private const int Packets = 400_000;
    private const int Parameters = 1_000;

    public static Benchmark Filter { get; } = new(
        "read-filtered",
        "ReadDataPackets with 3 patterns that pass all of 1,000 parameters, a registered format each",
        "ReadDataPackets of the same packets without patterns",
        [Metric.Rate() with { Target = Target.RatioAtLeast(0.9) }, Metric.Allocated],
        OpenAsync);

    private static async Task<Arms> OpenAsync(Scale scale)
    {
        var packets = scale.Packets(Packets);
        var engine = await Engine.StartAsync(ReadBenchmarks.LogBytes);
        var formats = new List<ulong>();
        for (var i = 0; i < Parameters; i++)
        {
            var request = new GetParameterDataFormatIdRequest { DataSource = Workload.DataSource, Parameters = { $"p{i}{"ABC"[i % 3]}:Chassis" } };
            formats.Add((await engine.Formats.GetParameterDataFormatIdAsync(request)).DataFormatIdentifier);
        }

        await engine.FillAsync(packets, formats);
        var connection = engine.Connect(0);
        var unfiltered = new DataPacketRequest { Connection = connection };
        var filtered = new DataPacketRequest
        {
            Connection = connection,
            IncludeParameters = { "^p[0-9]+A:Chassis$", "B:Cha", "C:.*s$" },
        };
        return new Arms(
            () => Measure.PacketsAsync(packets, () => ReadAsync(filtered)), () => Measure.PacketsAsync(packets, () => ReadAsync(unfiltered)), engine);

        async Task ReadAsync(DataPacketRequest request)
        {
            using var call = engine.Reader.ReadDataPackets(new ReadDataPacketsRequest { Request = request });
            var (read, sum) = (0, 0L);
            while (read < packets && await call.ResponseStream.MoveNext(CancellationToken.None))
            {
                var response = call.ResponseStream.Current.Response;
                for (var i = 0; i < response.Count; i++) sum += (long)response[i].Packet.Id;
                read += response.Count;
            }

            Measure.Check(read, packets, "packets read");
            Measure.Check(sum, ReadBenchmarks.IdSum(packets), "sum of their ids");
        }
    }
}
