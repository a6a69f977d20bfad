using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

/// <summary>Reads of a group where something is in their way.</summary>
[TestFixture]
internal sealed class GroupReadTests
{
    private static readonly TopicPartition Main = new("Car", 0);

    [Test]
    public async Task ReadPackets_ClientThatTakesNothing_CommitsNoMoreThanWasWritten()
    {
        await using var api = await TestApi.StartAsync();

        // Large ones: two responses wait for the client, the third is being written, and the rest is read ahead.
        for (var i = 0; i < 8; i++) await api.WriteAsync("Car", "", $"{i}{new string('x', 1_000_000)}");
        using (var read = await api.OpenReadAsync(await ConnectAsync(api)))
        {
            Assert.That((await TestApi.TakeAsync(read, 1))[0], Does.StartWith("0"));
            await Until.TrueAsync(() => Gauges.Read("stream_api_reads_behind") > 0);
        }

        Assert.That(await PositionAsync(api.Broker, "group", Main), Is.InRange(1L, 3L));
    }

    [Test]
    public async Task ReadPackets_ClientGoesWhileItIsWrittenTo_LeavesThatToTheNextMember()
    {
        await using var broker = new MemoryBroker();
        await using var engine = await StreamApi.StartAsync(new StreamingApiConfiguration(), broker, StreamApiOptions.Default, CancellationToken.None).WithDeadline();
        using var gone = new CancellationTokenSource();
        var channel = new Proto.Client.Local.InProcessChannel();
        channel.Bind(binder => PacketWriterService.BindService(binder, engine.PacketWriter));
        channel.Bind(binder => ConnectionManagerService.BindService(binder, engine.ConnectionManager));
        channel.Bind(binder => PacketReaderService.BindService(binder, new ForClientsThatGo(engine.PacketReader, gone)));
        var invoker = channel.CreateCallInvoker();
        await new PacketWriterService.PacketWriterServiceClient(invoker).WriteDataPacketAsync(TestApi.Data("Car", "", "a")).ResponseAsync.WithDeadline();
        var details = new ConnectionDetails { DataSource = "Car", ConsumerGroup = "group" };
        var connection = (await new ConnectionManagerService.ConnectionManagerServiceClient(invoker)
            .NewConnectionAsync(new NewConnectionRequest { Details = details }).ResponseAsync.WithDeadline()).Connection;
        using var read = new PacketReaderService.PacketReaderServiceClient(invoker).ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: gone.Token);

        Assert.That(
            async () => await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(),
            Throws.InstanceOf<RpcException>().With.Property("StatusCode").EqualTo(StatusCode.Cancelled));
        Assert.That(await PositionAsync(broker, "group", Main), Is.Zero);
    }

    [Test]
    public async Task ReadPackets_RetentionWasFasterThanTheGroup_GoesOnAtWhatIsLeftAndSaysSo()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "", "a");
        await TakeAndCloseAsync(api, await ConnectAsync(api), 1);
        await api.WriteAsync("Car", "", "b", "c", "d");
        api.Memory.TrimTo(Main, 3);
        using var again = await api.OpenReadAsync(await ConnectAsync(api));

        Assert.That(await TestApi.TakeAsync(again, 1), Is.EqualTo(new[] { "d" }));
        Assert.That(api.Logger.CountOf("GroupOvertaken"), Is.EqualTo(1));
    }

    [Test]
    public async Task ReadPackets_BrokerFailsWhilePartitionsPassOn_RidesItOut()
    {
        var streams = new ConnectionDetails { DataSource = "Car", Streams = { "one", "two" }, ExcludeMainStream = true, ConsumerGroup = "group" };
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "one", "a");
        await api.WriteAsync("Car", "two", "a");
        using var first = await api.OpenReadAsync(await api.ConnectAsync(streams));
        await TestApi.TakeAsync(first, 2);
        var second = await api.OpenReadAsync(await api.ConnectAsync(streams));

        // Until each has one of them.
        await Until.DoneAsync(TestApi.TakeAsync(second, 1), async () =>
        {
            await api.WriteAsync("Car", "one", "shared");
            await api.WriteAsync("Car", "two", "shared");
        });

        // What the second one had comes back to the first, whose broker does not say at once where it ends.
        var failures = 0;
        api.Broker.BeforeAnswer = _ => Interlocked.Increment(ref failures) <= 3
            ? Task.FromException(new BrokerException(BrokerError.Unavailable, "away"))
            : Task.CompletedTask;
        second.Dispose();
        await api.WriteAsync("Car", "one", "b");
        await api.WriteAsync("Car", "two", "b");

        for (var had = 0; had < 2;) had += (await TestApi.TakeAsync(first, 1)).Count(text => text == "b");
        Assert.That(Volatile.Read(ref failures), Is.GreaterThan(3));
    }

    [Test]
    public async Task ReadPackets_TheGroupCannotBeJoined_SaysWhichAndWhy()
    {
        await using var api = await TestApi.StartAsync();
        await api.Memory.EnsureTopicAsync(new TopicSpec("__group_positions", 1, KeepForever: true), CancellationToken.None);
        await api.Memory.AppendAsync(new("__group_positions", 0), new RecordData("group"u8.ToArray(), new byte[] { 200 }), CancellationToken.None);
        using var read = await api.OpenReadAsync(await ConnectAsync(api));

        var failure = (await Assert.ThrowsAsync<RpcException>(() => TestApi.TakeAsync(read, 1)))!;
        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.DataLoss));
        Assert.That(failure.Status.Detail, Does.Contain("'group'").And.Contain("format 200"));
    }

    /// <summary>A port whose client goes while a response is written to it, which the writer is not told.</summary>
    private sealed class ForClientsThatGo(PacketReaderService.PacketReaderServiceBase inner, CancellationTokenSource gone) : PacketReaderService.PacketReaderServiceBase
    {
        public override Task ReadPackets(ReadPacketsRequest request, IServerStreamWriter<ReadPacketsResponse> responseStream, ServerCallContext context) =>
            inner.ReadPackets(request, new Writer(gone), context);

        private sealed class Writer(CancellationTokenSource gone) : IServerStreamWriter<ReadPacketsResponse>
        {
            public WriteOptions? WriteOptions { get; set; }

            public Task WriteAsync(ReadPacketsResponse message) => gone.CancelAsync();

            public Task WriteAsync(ReadPacketsResponse message, CancellationToken cancellationToken) => WriteAsync(message);
        }
    }

    private static Task<Connection> ConnectAsync(TestApi api) =>
        api.ConnectAsync(new ConnectionDetails { DataSource = "Car", ConsumerGroup = "group" });

    private static async Task TakeAndCloseAsync(TestApi api, Connection connection, int count)
    {
        using var read = await api.OpenReadAsync(connection);
        await TestApi.TakeAsync(read, count);
        await api.Connections.CloseConnectionAsync(new CloseConnectionRequest { Connection = connection }).ResponseAsync.WithDeadline();
        while (await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline())
        {
            // What was on its way.
        }
    }

    // As the next member finds it.
    private static async Task<long?> PositionAsync(IBroker broker, string group, TopicPartition source)
    {
        await using var member = await broker.JoinGroupAsync(group, CancellationToken.None).WithDeadline();
        member.Want([source]);
        while (true)
        {
            var assigned = await member.NextAssignmentAsync(CancellationToken.None).WithDeadline();
            if (assigned.Count > 0) return assigned.Single().Offset;
        }
    }
}
