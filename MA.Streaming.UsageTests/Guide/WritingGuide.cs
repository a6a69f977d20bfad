using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class WritingGuide : GuideFixture
{
    [Test]
    public async Task Run()
    {
        Assert.That(await RunAsync(Api.GetPacketWriterClient(), "FP1", Token), Is.EqualTo(1_001));
        Assert.That(await CountAsync("Car44", 1_001), Is.EqualTo(1_001));
    }

    // <guide>
    private static async Task<int> RunAsync(PacketWriterService.PacketWriterServiceClient writer, string sessionKey, CancellationToken token)
    {
        // One packet. The call answers when the packet is durable and readable.
        await writer.WriteDataPacketAsync(new() { Detail = Detail("Chassis", Speeds(71.3, 72.1)) }, cancellationToken: token);

        // Many packets: a client stream. WriteAsync waits while 4 MiB are on their way to the disk. That is the back pressure.
        var written = 1;
        using var call = writer.WriteDataPackets(cancellationToken: token);
        try
        {
            for (var i = 0; i < 100; i++)
            {
                var message = new WriteDataPacketsRequest();
                for (var j = 0; j < 10; j++) message.Details.Add(Detail("Chassis", Speeds(72.0 + i, 72.1 + i)));
                await call.RequestStream.WriteAsync(message, token);
                written += message.Details.Count;
            }

            await call.RequestStream.CompleteAsync();
            await call; // Every packet is durable now, and not before.
        }
        catch (RpcException failure)
        {
            // The trailer says how many packets from the start of the stream are safe. Go on behind them.
            var durable = failure.Trailers.GetValue("durable-packets");
            Console.Error.WriteLine($"{failure.StatusCode}: {failure.Status.Detail}; durable: {durable}");
            throw;
        }

        return written;

        DataPacketDetails Detail(string stream, PeriodicDataPacket content) => new()
        {
            DataSource = "Car44",
            Stream = stream,
            SessionKey = sessionKey,
            Message = new Packet { Type = "PeriodicData", SessionKey = sessionKey, Content = content.ToByteString() },
        };
    }

    // Samples of one parameter, 10 ms apart.
    private static PeriodicDataPacket Speeds(params double[] speeds) => new()
    {
        DataFormat = new() { ParameterIdentifiers = new() { ParameterIdentifiers = { "vCar" } } },
        StartTime = (ulong)DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() * 1_000_000,
        Interval = 10_000_000,
        Columns =
        {
            new SampleColumn
            {
                DoubleSamples = new() { Samples = { speeds.Select(v => new DoubleSample { Value = v, Status = DataStatus.Valid }) } },
            },
        },
    };
    // </guide>
}
