using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class ReadingGuide : GuideFixture
{
    [Test]
    public async Task Run()
    {
        await WriteSamplesAsync("Car44", "Chassis", ["vCar", "nEngine"], 3);
        await WriteSamplesAsync("Car44", "Chassis", ["pBrake"], 3);
        var seen = new List<string>();
        await FollowAsync(
            Api.GetConnectionManagerClient(), Api.GetPacketReaderClient(), Api.GetDataFormatManagerClient(), seen.Add, stopAfter: 6, Token);
        Assert.That(seen, Is.EqualTo(new[] { "vCar", "vCar", "vCar", "nEngine", "nEngine", "nEngine" }), "whole packets, where one parameter passes");
    }

    // <guide>
    private static async Task FollowAsync(
        ConnectionManagerService.ConnectionManagerServiceClient connections,
        PacketReaderService.PacketReaderServiceClient reader,
        DataFormatManagerService.DataFormatManagerServiceClient formats,
        Action<string> onSample,
        int stopAfter,
        CancellationToken token)
    {
        // Read all streams of the car, also those that appear later, from the beginning (0). -1 means from now on, n that offset.
        var opened = await connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car44", MainOffset = 0 } }, cancellationToken: token);

        // Take only packets with a parameter that matches, and no events.
        var request = new DataPacketRequest { Connection = opened.Connection, IncludeParameters = { "^vCar$", "^tTyre" }, ExcludeEvents = { "." } };
        using var read = reader.ReadDataPackets(new() { Request = request }, cancellationToken: token);

        // The decoder asks once for each data format and remembers the answer.
        var decoder = new SampleDecoder(id =>
        {
            var list = formats.GetParametersList(new() { DataSource = "Car44", DataFormatIdentifier = id });
            return list.Parameters.Count > 0 ? list.Parameters : null;
        });

        var count = 0;
        await foreach (var response in read.ResponseStream.ReadAllAsync(token))
        {
            foreach (var packet in response.Response)
            {
                if (!SampleDecoder.IsSampleType(packet.Packet.Type)) continue;
                foreach (var sample in decoder.Decode(packet.Packet))
                {
                    if (sample.Status == DataStatus.Valid) onSample(sample.Parameter);
                    count++;
                }
            }

            // A read stays open for packets that are still to come. Closing its connection ends it with OK.
            if (count >= stopAfter) await connections.CloseConnectionAsync(new() { Connection = opened.Connection }, cancellationToken: token);
        }
    }
    // </guide>
}
