using System.Globalization;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

[TestFixture]
internal sealed class PacketWriterEndpointTests
{
    [Test]
    public async Task WriteDataPackets_HalfClosed_AnswersWhenEverythingIsDurable()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "", "warm up");
        api.Broker.Holds = _ => true;
        using var call = api.Writer.WriteDataPackets();
        foreach (var text in new[] { "a", "b" }) await Send(call, text);
        await call.RequestStream.CompleteAsync().WithDeadline();
        Assert.That(call.ResponseAsync.IsCompleted, Is.False);
        api.Broker.Release();
        Assert.That(call.ResponseAsync.IsCompleted, Is.False);
        api.Broker.Release();

        await call.ResponseAsync.WithDeadline();
    }

    [Test]
    public async Task WriteDataPackets_EmptyPacketOnItsWay_IsWaitedFor()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "", "warm up");
        api.Broker.Holds = _ => true;
        using var call = api.Writer.WriteDataPackets();
        await call.RequestStream.WriteAsync(
            new WriteDataPacketsRequest { Details = { new DataPacketDetails { DataSource = "Car", Message = new OpenData.Packet() } } }).WithDeadline();
        await call.RequestStream.CompleteAsync().WithDeadline();
        await api.Broker.HeldAsync(1).WithDeadline();
        Assert.That(call.ResponseAsync.IsCompleted, Is.False, "acknowledged means durable, for a packet of no bytes too");
        api.Broker.ReleaseAll();

        await call.ResponseAsync.WithDeadline();
    }

    [Test]
    public async Task WriteDataPackets_AnAppendFails_TrailerCountsWhatIsDurable()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "", "warm up");
        api.Broker.Holds = _ => true;
        using var call = api.Writer.WriteDataPackets();
        foreach (var text in new[] { "a", "b", "c" }) await Send(call, text);
        await call.RequestStream.CompleteAsync().WithDeadline();
        api.Broker.Release();
        api.Broker.Release(failure: new BrokerException(BrokerError.Full, "no room"));
        api.Broker.Release();
        var exception = (await Assert.ThrowsAsync<RpcException>(async () => await call.ResponseAsync.WithDeadline()))!;

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
        Assert.That(exception.Trailers.GetValue("durable-packets"), Is.EqualTo("1"));
    }

    [Test]
    public async Task WriteDataPackets_MessageWithABadPacket_AppendsNoneOfThatMessage()
    {
        await using var api = await TestApi.StartAsync();
        using var call = api.Writer.WriteDataPackets();
        await Send(call, "a");
        var bad = new WriteDataPacketsRequest { Details = { TestApi.Detail("Car", "", "b"), TestApi.Detail("not allowed", "", "c") } };
        await EndOf(call.RequestStream.WriteAsync(bad));
        var exception = (await Assert.ThrowsAsync<RpcException>(async () => await call.ResponseAsync.WithDeadline()))!;

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.InvalidArgument));
        Assert.That(exception.Status.Detail, Does.Contain("data_source").And.Contain("' '"));
        Assert.That(exception.Trailers.GetValue("durable-packets"), Is.EqualTo("1"));
        Assert.That(await CountAsync(api), Is.EqualTo(1));
    }

    [Test]
    public async Task WriteDataPackets_Cancelled_KeepsWhatWasReceived()
    {
        await using var api = await TestApi.StartAsync();
        var call = api.Writer.WriteDataPackets();
        for (var i = 0; i < 5; i++) await Send(call, $"{i}");
        call.Dispose();

        Assert.That(await CountAsync(api), Is.EqualTo(5));
    }

    [Test]
    public async Task WriteDataPackets_WindowFull_WriterWaits()
    {
        var limits = StreamingApiLimits.Default with { StreamWindowBytes = 1_000 };
        await using var api = await TestApi.StartAsync(new StreamingApiConfiguration { Limits = limits });
        await api.WriteAsync("Car", "", "warm up");
        api.Broker.Holds = _ => true;
        using var call = api.Writer.WriteDataPackets();
        var packet = new WriteDataPacketsRequest { Details = { TestApi.Detail("Car", "", new string('x', 300)) } };
        await call.RequestStream.WriteAsync(packet).WithDeadline();
        await call.RequestStream.WriteAsync(packet).WithDeadline();
        var write = call.RequestStream.WriteAsync(packet);
        await api.Broker.HeldAsync(3).WithDeadline();
        Assert.That(write.IsCompleted, Is.False);
        api.Broker.ReleaseAll();
        await write.WithDeadline();
        await call.RequestStream.CompleteAsync().WithDeadline();
        await call.ResponseAsync.WithDeadline();

        Assert.That(await CountAsync(api), Is.EqualTo(4));
    }

    [Test]
    public async Task Dispose_HalfClosedStreamOnItsWay_IsWrittenAndAnswered()
    {
        var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "", "warm up");
        api.Broker.Holds = _ => true;
        using var halfClosed = api.Writer.WriteDataPackets();
        await Send(halfClosed, "a");
        await halfClosed.RequestStream.CompleteAsync().WithDeadline();
        using var open = api.Writer.WriteDataPackets();
        await Send(open, "b");
        var disposing = api.Api.DisposeAsync().AsTask();
        Assert.That(disposing.IsCompleted, Is.False);
        api.Broker.ReleaseAll();
        await halfClosed.ResponseAsync.WithDeadline();
        var exception = (await Assert.ThrowsAsync<RpcException>(async () => await open.ResponseAsync.WithDeadline()))!;

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.Unavailable));
        Assert.That(exception.Trailers.GetValue("durable-packets"), Is.EqualTo("1"), "it was received, so it was written");
        await disposing.WithDeadline();
        Assert.That(
            (await Assert.ThrowsAsync<RpcException>(async () => await api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", "late")).ResponseAsync))!.StatusCode,
            Is.EqualTo(StatusCode.Unavailable));
    }

    [Test]
    public async Task WriteInfoPackets_HalfClosed_IsWritten()
    {
        await using var api = await TestApi.StartAsync();
        using var call = api.Writer.WriteInfoPackets();
        await call.RequestStream.WriteAsync(
            new WriteInfoPacketsRequest { Message = TestApi.Packet("up"), Type = InfoType.SystemStatus }).WithDeadline();
        await call.RequestStream.CompleteAsync().WithDeadline();
        await call.ResponseAsync.WithDeadline();

        Assert.That((await api.Memory.GetWatermarksAsync([new("SystemStatus", 0)], default))[0].High, Is.EqualTo(1));
    }

    [Test]
    public async Task WriteDataPackets_MessageReusedAfterEachWrite_StoresWhatWasWritten()
    {
        await using var api = await TestApi.StartAsync();
        var connection = await api.ConnectAsync(new ConnectionDetails { DataSource = "Car" });
        using var read = await api.OpenReadAsync(connection);
        using var call = api.Writer.WriteDataPackets();
        var detail = TestApi.Detail("Car", "", "");
        var request = new WriteDataPacketsRequest { Details = { detail } };
        for (var i = 0; i < 20; i++)
        {
            detail.Message.Content = Google.Protobuf.ByteString.CopyFromUtf8(i.ToString(CultureInfo.InvariantCulture));
            await call.RequestStream.WriteAsync(request).WithDeadline();
        }

        Assert.That(await TestApi.TakeAsync(read, 20), Is.EqualTo(Enumerable.Range(0, 20).Select(i => $"{i}")));
    }

    private static Task Send(AsyncClientStreamingCall<WriteDataPacketsRequest, WriteDataPacketsResponse> call, string text) =>
        call.RequestStream.WriteAsync(new WriteDataPacketsRequest { Details = { TestApi.Detail("Car", "", text) } }).WithDeadline();

    private static async Task EndOf(Task task)
    {
        try
        {
            await task.WithDeadline();
        }
        catch (RpcException)
        {
            // The response says why.
        }
    }

    private static async Task<long> CountAsync(TestApi api) => (await api.Memory.GetWatermarksAsync([new("Car", 0)], default))[0].High;
}
