using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class ErrorsGuide : GuideFixture
{
    [Test]
    public async Task Run() => Assert.That(await WriteAsync(Api.GetPacketWriterClient(), Token), Does.StartWith("fix the request").And.Contain("data_source"));

    // <guide>
    private static async Task<string> WriteAsync(PacketWriterService.PacketWriterServiceClient writer, CancellationToken token)
    {
        var detail = new DataPacketDetails { DataSource = "Car/44", Message = new Packet { Type = "Marker" } };
        try
        {
            await writer.WriteDataPacketAsync(new() { Detail = detail }, deadline: DateTime.UtcNow.AddSeconds(10), cancellationToken: token);
            return "durable";
        }
        catch (RpcException failure)
        {
            return failure.StatusCode switch
            {
                // The request is wrong. The detail names the field, the value and what is allowed. Do not repeat it.
                StatusCode.InvalidArgument => $"fix the request: {failure.Status.Detail}",

                // A buffer or the disk is full, the broker is away, or the time is over. Try again later. After UNAVAILABLE or
                // DEADLINE_EXCEEDED the packet may be in the log.
                StatusCode.ResourceExhausted or StatusCode.Unavailable or StatusCode.DeadlineExceeded => $"later: {failure.Status.Detail}",
                _ => $"{failure.StatusCode}: {failure.Status.Detail}",
            };
        }
    }
    // </guide>
}
