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
                // Asked wrongly: the detail names field, value and what is allowed. Trying again changes nothing.
                StatusCode.InvalidArgument => $"fix the request: {failure.Status.Detail}",

                // Buffers or disk are full, the broker is away, or time ran out: try again later. After UNAVAILABLE or
                // DEADLINE_EXCEEDED the packet may be in the log all the same.
                StatusCode.ResourceExhausted or StatusCode.Unavailable or StatusCode.DeadlineExceeded => $"later: {failure.Status.Detail}",
                _ => $"{failure.StatusCode}: {failure.Status.Detail}",
            };
        }
    }
    // </guide>
}
