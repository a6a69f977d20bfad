using Grpc.Core;
using MA.Streaming.API;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class ResumingGuide : GuideFixture
{
    [Test]
    public async Task Run()
    {
        await WriteSamplesAsync("Car44", "", ["vCar"], packets: 10);
        var (connections, reader) = (Api.GetConnectionManagerClient(), Api.GetPacketReaderClient());
        Assert.That(await ReadSomeAsync(connections, reader, from: 0, packets: 4, Token), Is.EqualTo(4));
        Assert.That(await ReadSomeAsync(connections, reader, from: 4, packets: 6, Token), Is.EqualTo(10));
    }

    // <guide>
    // Reads the main stream of a car from an offset on, and returns the offset of the next packet. Store that offset together with
    // your results, and begin there after a restart: you miss nothing and nothing comes twice.
    private static async Task<long> ReadSomeAsync(
        ConnectionManagerService.ConnectionManagerServiceClient connections,
        PacketReaderService.PacketReaderServiceClient reader,
        long from,
        int packets,
        CancellationToken token)
    {
        // The list of streams has none that exists, so this reads the main stream alone.
        var details = new ConnectionDetails { DataSource = "Car44", Streams = { "none" }, MainOffset = from };
        var opened = await connections.NewConnectionAsync(new() { Details = details }, cancellationToken: token);
        using var read = reader.ReadPackets(new() { Connection = opened.Connection }, cancellationToken: token);
        var next = from;
        await foreach (var response in read.ResponseStream.ReadAllAsync(token))
        {
            next = response.Response[^1].Offset + 1;
            if (next >= from + packets) break;
        }

        await connections.CloseConnectionAsync(new() { Connection = opened.Connection }, cancellationToken: token);
        return next;
    }
    // </guide>
}
