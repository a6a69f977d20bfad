using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Who is slow costs himself, not his neighbours on the channel.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class BackpressureTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task ReadPackets_OneThatNeverReadsBesideFiftyHealthyOnes_HoldsNobodyUp()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var blocked = await Server.ReadPacketsAsync(connection, Limit);
        var healthy = new List<OpenRead>();
        for (var i = 0; i < 50; i++) healthy.Add(await Server.ReadPacketsAsync(connection, Limit));
        const int Packets = 100;
        var reading = healthy.Select(async read =>
        {
            for (var i = 0; i < Packets; i++) Assert.That((await read.NextAsync()).Packet.Content, Has.Length.EqualTo(20_000));
        }).ToList();

        // 2 MB: far more than the blocked one takes.
        for (var i = 0; i < Packets; i++) await Server.WriteTextAsync(DataSource, "one", new string('x', 20_000), Limit);
        await Task.WhenAll(reading).WaitAsync(Limit);
        foreach (var read in healthy) read.Dispose();

        // And it gets everything once it reads.
        Assert.That(await blocked.TakeAsync(Packets), Has.Count.EqualTo(Packets));
    }

    [Test]
    public async Task WriteDataPackets_HundredThatWaitForTheBroker_LeaveUnaryCallsAlone()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(limits: new StreamingApiLimits { StreamWindowBytes = 10_000 }), broker);
        await server.WriteTextAsync(DataSource, "one", "first", Limit);
        broker.HoldAll();
        var streams = Enumerable.Range(0, 100).Select(_ => server.Writer.WriteDataPackets(cancellationToken: Limit)).ToList();

        // Each far beyond its window and its share of the connection's, so that all of them stand still.
        var writing = streams.Select(async stream =>
        {
            for (var i = 0; i < 20; i++)
            {
                await stream.RequestStream.WriteAsync(
                    new WriteDataPacketsRequest { Details = { Detail(DataSource, "one", TextPacket(new string('x', 20_000))) } }, Limit);
            }

            await stream.RequestStream.CompleteAsync();
        }).ToList();
        await broker.HeldAsync(100, Limit);

        for (var i = 0; i < 100; i++)
        {
            var connection = await server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
            Assert.That(await server.CloseAsync(connection, Limit), Is.True);
        }

        using (var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit)) Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "first" }));
        Assert.That(streams.Select(s => s.ResponseAsync.IsCompleted), Is.All.False);
        broker.ReleaseAll();
        await Task.WhenAll(writing).WaitAsync(Limit);
        await Task.WhenAll(streams.Select(s => s.ResponseAsync)).WaitAsync(Limit);
        foreach (var stream in streams) stream.Dispose();
        Assert.That(await broker.GetWatermarksAsync([PlaceOf(DataSource, "one")], Limit), Has.One.Property("High").EqualTo(2_001));
    }

    [Test]
    public async Task ReadPackets_TwoThousandOnOneChannel_AllDeliver()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, MainOffset = -1 }, Limit);
        var calls = Enumerable.Range(0, 2_000)
            .Select(_ => Server.Reader.ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: Limit))
            .ToList();
        await Task.WhenAll(calls.Select(c => c.ResponseHeadersAsync)).WaitAsync(Limit);
        await Server.WriteTextAsync(DataSource, "", "hello", Limit);

        var delivered = await Task.WhenAll(calls.Select(c => c.ResponseStream.MoveNext(Limit)));
        Assert.That(delivered, Is.All.True);
        Assert.That(calls.Select(c => c.ResponseStream.Current.Response.Single().Packet.Content.ToStringUtf8()), Is.All.EqualTo("hello"));

        await Server.CloseAsync(connection, Limit);
        Assert.That(await Task.WhenAll(calls.Select(c => c.ResponseStream.MoveNext(Limit))), Is.All.False);
        foreach (var call in calls) call.Dispose();
    }

    [Test]
    public async Task CloseConnection_ByTheVeryClientWhoseReadIsBlocked_DoesNotDeadlock()
    {
        for (var i = 0; i < 20; i++) await Server.WriteTextAsync(DataSource, "one", new string('x', 500_000), Limit);
        for (var round = 0; round < 5; round++)
        {
            var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
            await read.NextAsync();
            Assert.That(await Server.CloseAsync(read.Connection, Limit), Is.True);
            Assert.That(await Server.CloseAsync(read.Connection, Limit), Is.False);
            read.Dispose();
        }
    }

    [Test]
    public async Task BlockingUnaryCalls_InProcessFromTwoHundredPoolThreads_AllReturn()
    {
        // Over the network the client itself needs the thread pool that these calls block.
        if (Transport != Transport.InProcess) return;
        if (Storage == Storage.Kafka) Assert.Ignore("Kafka's admin client answers on the thread pool: blocked threads wait until it has grown");

        // A server of its own: the first session makes the topic, which must not need the thread pool either.
        var server = await StartAsync(Configure());
        var done = new List<Task>();
        for (var i = 0; i < 200; i++)
        {
            var finished = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            done.Add(finished.Task);
            ThreadPool.UnsafeQueueUserWorkItem(
                _ =>
                {
                    try
                    {
                        // Waits for its record to be folded.
                        var created = server.Sessions.CreateSession(new() { DataSource = DataSource }, cancellationToken: Limit);
                        server.Writer.WriteDataPacket(
                            new WriteDataPacketRequest { Detail = Detail(DataSource, "one", TextPacket("x", created.SessionKey)) }, cancellationToken: Limit);
                        finished.SetResult();
                    }
                    catch (Exception exception)
                    {
                        finished.SetException(exception);
                    }
                },
                null);
        }

        await Task.WhenAll(done).WaitAsync(Limit);
        Assert.That(await server.Broker.StoredAsync(PlaceOf(DataSource, "one"), Limit), Has.Count.EqualTo(200));
    }

    [Test]
    public async Task Deadline_OfAnOpenRead_EndsIt()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        var deadline = TimeProvider.System.GetUtcNow().UtcDateTime.AddMilliseconds(300);
        using var call = Server.Reader.ReadPackets(new ReadPacketsRequest { Connection = connection }, deadline: deadline, cancellationToken: Limit);

        var failure = await FailureOfAsync(() => call.ResponseStream.MoveNext(Limit));
        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.DeadlineExceeded));
    }
}
