using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>An answer means durable; a failure says what is.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class AcknowledgementTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task WriteDataPacket_BrokerHoldsTheAppendBack_AnswersOnlyOnceItIsDurable()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        broker.HoldAll();
        var write = server.WriteTextAsync(DataSource, "one", "hello", Limit);
        await broker.HeldAsync(1, Limit);
        Assert.That(write.IsCompleted, Is.False);

        broker.ReleaseAll();
        await write.WaitAsync(Limit);
        Assert.That(await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task WriteDataPackets_HalfClosedWhileAppendsWait_AnswersOnlyOnceAllAreDurable()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        broker.HoldAll();
        using var call = server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 3; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        await broker.HeldAsync(3, Limit);
        Assert.That(call.ResponseAsync.IsCompleted, Is.False);

        broker.ReleaseAll();
        await call.ResponseAsync.WaitAsync(Limit);
        Assert.That((await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit)).Select(r => r.Text), Is.EqualTo(new[] { "0", "1", "2" }));
    }

    [Test]
    public async Task WriteDataPackets_NothingWritten_IsAnswered()
    {
        using var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        await call.RequestStream.CompleteAsync().WaitAsync(Limit);

        Assert.That(await call.ResponseAsync.WaitAsync(Limit), Is.Not.Null);
        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
    }

    [Test]
    public async Task WriteDataPackets_MessageWithABadPacket_IsAppendedInNoPart()
    {
        using var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        await call.RequestStream.WriteAsync(Request(DataSource, "one", "a", "b"), Limit);
        var bad = Request(DataSource, "one", "c", "d");
        bad.Details.Add(Detail("not allowed", "one", TextPacket("e")));
        await TryWriteAsync(call, bad);

        var failure = await FailureOfAsync(() => call.ResponseAsync.WaitAsync(Limit));
        AssertFailure(failure, StatusCode.InvalidArgument, "data_source", "'not allowed'", "' '");
        Assert.That(failure.Trailers.GetValue("durable-packets"), Is.EqualTo("2"));
        Assert.That((await StoredAsync(DataSource, "one")).Select(r => r.Text), Is.EqualTo(new[] { "a", "b" }));
    }

    [Test]
    public async Task WriteDataPackets_FirstMessageBad_SaysThatNothingIsDurable()
    {
        using var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        await TryWriteAsync(call, new WriteDataPacketsRequest { Details = { new DataPacketDetails { DataSource = DataSource } } });

        var failure = await FailureOfAsync(() => call.ResponseAsync.WaitAsync(Limit));
        AssertFailure(failure, StatusCode.InvalidArgument, "message", DataSource);
        Assert.That(failure.Trailers.GetValue("durable-packets"), Is.EqualTo("0"));
        Assert.That(await Server.Broker.TopicsAsync(Limit), Does.Not.ContainKey(PlaceOf(DataSource, "").Topic));
    }

    [Test]
    public async Task WriteDataPackets_AppendFailsMidway_CountsThePacketsBeforeTheGap()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        broker.AppendFails = (_, record) => Packet.Parser.ParseFrom(record.Value!.Value.Span).Content.ToStringUtf8() == "2" ? GatedBroker.Injected() : null;
        using var call = server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 5; i++) await TryWriteAsync(call, Request(DataSource, "one", $"{i}"));
        await TryCompleteAsync(call);

        var failure = await FailureOfAsync(() => call.ResponseAsync.WaitAsync(Limit));
        AssertFailure(failure, StatusCode.Unavailable, PlaceOf(DataSource, "one").ToString(), "injected");
        Assert.That(failure.Trailers.GetValue("durable-packets"), Is.EqualTo("2"));
    }

    [Test]
    public async Task WriteDataPacket_BrokerUnreachable_IsUnavailableAndSaysWhereAndWhy()
    {
        var broker = new GatedBroker(await NewBrokerAsync()) { AppendFails = (_, _) => GatedBroker.Injected() };
        var server = await StartAsync(Configure(), broker);

        var failure = await FailureOfAsync(() => server.WriteTextAsync(DataSource, "one", "x", Limit));
        AssertFailure(failure, StatusCode.Unavailable, PlaceOf(DataSource, "one").ToString(), "injected");
    }

    [Test]
    public async Task WriteDataPacket_BrokerFull_IsResourceExhausted()
    {
        var broker = new GatedBroker(await NewBrokerAsync()) { AppendFails = (_, _) => GatedBroker.Injected(BrokerError.Full) };
        var server = await StartAsync(Configure(), broker);

        var failure = await FailureOfAsync(() => server.WriteTextAsync(DataSource, "one", "x", Limit));
        AssertFailure(failure, StatusCode.ResourceExhausted, PlaceOf(DataSource, "one").ToString());
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task WriteDataPacket_OneCopyOfAnEssentialPacketFails_TheStatusSaysWhichIsDurable(bool essentialsFail)
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        var essentials = $"{DataSource}_essential";
        broker.AppendFails = (target, _) => (target.Topic == essentials == essentialsFail) ? GatedBroker.Injected() : null;

        var failure = await FailureOfAsync(() => server.WriteAsync(DataSource, "one", TextPacket("x", essential: true), Limit));
        var stream = PlaceOf(DataSource, "one").ToString();
        AssertFailure(
            failure, StatusCode.Unavailable, essentialsFail ? $"durable in {stream}, but not in {essentials}" : $"durable in {essentials}, but not in {stream}");
    }

    [Test]
    public async Task WriteDataPacket_StillWaitingAfterTheWriteTimeout_IsResourceExhausted()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(limits: new StreamingApiLimits { WriteTimeout = TimeSpan.FromMilliseconds(100) }), broker);
        broker.HoldAll();

        var failure = await FailureOfAsync(() => server.WriteTextAsync(DataSource, "one", "x", Limit));
        broker.ReleaseAll();
        AssertFailure(failure, StatusCode.ResourceExhausted, PlaceOf(DataSource, "one").ToString(), "0.1 s");
    }

    [Test]
    public async Task WriteDataPacket_WaitingAtTheDeadline_IsDeadlineExceeded()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        broker.HoldAll();
        var deadline = TimeProvider.System.GetUtcNow().UtcDateTime.AddMilliseconds(200);

        var failure = await FailureOfAsync(async () => await server.Writer.WriteDataPacketAsync(
            new WriteDataPacketRequest { Detail = Detail(DataSource, "one", TextPacket("x")) }, deadline: deadline, cancellationToken: Limit));
        broker.ReleaseAll();
        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.DeadlineExceeded));
    }

    [Test]
    public async Task WriteDataPacket_MoreBytesWaitThanAllowed_IsRefusedAtOnceAndTakenAgainLater()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(limits: new StreamingApiLimits { PendingBytesMax = 10_000 }), broker);
        broker.HoldAll();
        var waiting = Enumerable.Range(0, 3).Select(_ => server.WriteTextAsync(DataSource, "one", new string('x', 3_000), Limit)).ToList();
        await broker.HeldAsync(3, Limit);

        var failure = await FailureOfAsync(() => server.WriteTextAsync(DataSource, "one", new string('x', 3_000), Limit));
        AssertFailure(failure, StatusCode.ResourceExhausted, "10000");

        broker.ReleaseAll();
        await Task.WhenAll(waiting).WaitAsync(Limit);
        await server.WriteTextAsync(DataSource, "one", new string('x', 3_000), Limit);
        Assert.That(await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit), Has.Count.EqualTo(4));
    }

    [Test]
    public async Task WriteDataPacket_MissingParts_AreNamed()
    {
        AssertFailure(
            await FailureOfAsync(async () => await Server.Writer.WriteDataPacketAsync(new WriteDataPacketRequest(), cancellationToken: Limit)),
            StatusCode.InvalidArgument,
            "detail",
            "data_source",
            "message");
        AssertFailure(
            await FailureOfAsync(async () => await Server.Writer.WriteDataPacketAsync(
                new WriteDataPacketRequest { Detail = new DataPacketDetails { DataSource = DataSource } }, cancellationToken: Limit)),
            StatusCode.InvalidArgument,
            "detail.message",
            DataSource);
        AssertFailure(
            await FailureOfAsync(async () => await Server.Writer.WriteInfoPacketAsync(new WriteInfoPacketRequest(), cancellationToken: Limit)),
            StatusCode.InvalidArgument,
            "message");
        AssertFailure(
            await FailureOfAsync(async () => await Server.Writer.WriteInfoPacketAsync(
                new WriteInfoPacketRequest { Message = TextPacket("x"), Type = (InfoType)9 }, cancellationToken: Limit)),
            StatusCode.InvalidArgument,
            "type",
            "9",
            "0",
            "1",
            "2");
    }

    [Test]
    public async Task WriteDataPacket_PacketAtTheLimit_IsTakenAndOneByteMoreIsRefused()
    {
        // The service's limit, or the broker's where that is less.
        var limit = Math.Min(3_670_016, Server.Broker.Info.RecordBytesMax);
        var around = new Packet { Type = "RawCANData", Content = ByteString.CopyFrom(new byte[limit / 2]) }.CalculateSize() - (limit / 2);
        var content = new byte[limit + 1 - around];
        new Random(1).NextBytes(content);
        var packet = new Packet { Type = "RawCANData", Content = ByteString.CopyFrom(content.AsSpan(1)) };
        packet.Content = ByteString.CopyFrom(content.AsSpan(1 + packet.CalculateSize() - limit));
        Assert.That(packet.CalculateSize(), Is.EqualTo(limit));
        await Server.WriteAsync(DataSource, "one", packet, Limit);

        packet.Content = ByteString.CopyFrom(content.AsSpan(0, packet.Content.Length + 1));
        var failure = await FailureOfAsync(() => Server.WriteAsync(DataSource, "one", packet, Limit));
        AssertFailure(failure, StatusCode.InvalidArgument, $"{limit + 1}", $"{limit}");
        Assert.That(await StoredAsync(DataSource, "one"), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task WriteDataPacket_MessageOver16MiB_IsResourceExhausted()
    {
        var packet = new Packet { Type = "RawCANData", Content = ByteString.CopyFrom(new byte[16 << 20]) };

        var failure = await FailureOfAsync(() => Server.WriteAsync(DataSource, "one", packet, Limit));
        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted), failure.Status.Detail);
    }

    [Test]
    public async Task WriteDataPackets_HalfClosedAndNeverAwaited_IsWrittenToItsEnd()
    {
        var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 200; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
        await call.RequestStream.CompleteAsync().WaitAsync(Limit);

        var stored = await Server.Broker.StoredAsync(PlaceOf(DataSource, "one"), 200, Limit);
        Assert.That(stored.Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 200).Select(i => $"{i}")));
        call.Dispose();
    }

    [Test]
    public async Task WriteDataPackets_Cancelled_KeepsWhatWasReceived()
    {
        using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(Limit);
        using var call = Server.Writer.WriteDataPackets(cancellationToken: cancellation.Token);
        for (var i = 0; i < 3; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
        await Server.Broker.StoredAsync(PlaceOf(DataSource, "one"), 3, Limit);

        await cancellation.CancelAsync();
        var failure = await FailureOfAsync(() => call.ResponseAsync.WaitAsync(Limit));
        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.Cancelled));
        Assert.That((await StoredAsync(DataSource, "one")).Select(r => r.Text), Is.EqualTo(new[] { "0", "1", "2" }));
    }

    [Test]
    public async Task WriteDataPackets_InProcessCancelledAfterWrites_KeepsEveryCompletedWrite()
    {
        if (Transport != Transport.InProcess) return;
        using var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 50; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
        call.Dispose();

        var stored = await Server.Broker.StoredAsync(PlaceOf(DataSource, "one"), 50, Limit);
        Assert.That(stored.Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 50).Select(i => $"{i}")));
    }

    [Test]
    public async Task WriteDataPackets_HalfClosedThenDisposedInProcess_IsWrittenToItsEnd()
    {
        if (Transport != Transport.InProcess) return;
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        broker.HoldAll();
        using (var call = server.Writer.WriteDataPackets(cancellationToken: Limit))
        {
            for (var i = 0; i < 20; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
            await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        }

        broker.ReleaseAll();
        var stored = await broker.StoredAsync(PlaceOf(DataSource, "one"), 20, Limit);
        Assert.That(stored.Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 20).Select(i => $"{i}")));
    }

    [Test]
    public async Task WriteDataPacket_InProcessCallsNotAwaited_StandInTheOrderOfTheCalls()
    {
        if (Transport != Transport.InProcess) return;
        var writes = Enumerable.Range(0, 1_000)
            .Select(i => Server.Writer.WriteDataPacketAsync(
                new WriteDataPacketRequest { Detail = Detail(DataSource, "one", TextPacket($"{i}")) }, cancellationToken: Limit).ResponseAsync)
            .ToList();
        await Task.WhenAll(writes).WaitAsync(Limit);

        Assert.That((await StoredAsync(DataSource, "one")).Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 1_000).Select(i => $"{i}")));
    }

    [Test]
    public async Task WriteDataPackets_TopicBeingCreated_StandsInOrderBehindIt()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        var created = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        broker.BeforeEnsure = _ => created.Task;
        using var call = server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 20; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        Assert.That(call.ResponseAsync.IsCompleted, Is.False);

        created.SetResult();
        await call.ResponseAsync.WaitAsync(Limit);
        Assert.That(
            (await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit)).Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 20).Select(i => $"{i}")));
    }

    [Test]
    public async Task WriteDataPacket_AnotherDataSourcesTopicIsBeingCreated_DoesNotWait()
    {
        var other = NewDataSource();
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        await server.WriteTextAsync(other, "one", "first", Limit);
        var created = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        broker.BeforeEnsure = _ => created.Task;
        var waiting = server.WriteTextAsync(DataSource, "one", "waits", Limit);

        await server.WriteTextAsync(other, "one", "second", Limit);
        Assert.That(waiting.IsCompleted, Is.False);
        created.SetResult();
        await waiting.WaitAsync(Limit);
    }

    [Test]
    public async Task WriteDataPackets_MoreThanTheWindow_WaitsForTheBrokerAndLosesNothing()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(limits: new StreamingApiLimits { StreamWindowBytes = 50_000 }), broker);
        broker.HoldAll();
        using var call = server.Writer.WriteDataPackets(cancellationToken: Limit);
        var writing = WriteAllAsync();
        await broker.HeldAsync(5, Limit);
        Assert.That(broker.HeldCount, Is.EqualTo(5), "the window bounds what is on its way");

        broker.ReleaseAll();
        await writing.WaitAsync(Limit);
        await call.ResponseAsync.WaitAsync(Limit);
        Assert.That(await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit), Has.Count.EqualTo(100));

        async Task WriteAllAsync()
        {
            for (var i = 0; i < 100; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", new string('x', 10_000)), Limit);
            await call.RequestStream.CompleteAsync();
        }
    }

    [Test]
    public async Task Stop_OpenClientStream_KeepsWhatWasReceivedAndSaysUnavailable()
    {
        var server = await StartAsync(Configure());
        using var call = server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 3; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
        await server.Broker.StoredAsync(PlaceOf(DataSource, "one"), 3, Limit);

        await server.StopEngineAsync();
        var failure = await FailureOfAsync(() => call.ResponseAsync.WaitAsync(Limit));
        AssertFailure(failure, StatusCode.Unavailable, "shutting down");
        Assert.That(failure.Trailers.GetValue("durable-packets"), Is.EqualTo("3"));

        // A network server that has stopped says nothing any more: the status is the client's own.
        var late = await FailureOfAsync(() => server.WriteTextAsync(DataSource, "one", "late", Limit));
        AssertFailure(late, StatusCode.Unavailable, Transport == Transport.InProcess ? "shutting down" : "");
    }

    [Test]
    public async Task Stop_HalfClosedStreamWhoseAppendsWait_IsWrittenBeforeTheEngineEnds()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        broker.HoldAll();
        using var call = server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 3; i++) await call.RequestStream.WriteAsync(Request(DataSource, "one", $"{i}"), Limit);
        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        await broker.HeldAsync(3, Limit);

        var stopping = server.StopEngineAsync().AsTask();
        Assert.That(stopping.IsCompleted, Is.False);
        broker.ReleaseAll();
        await stopping.WaitAsync(Limit);
        Assert.That(await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit), Has.Count.EqualTo(3));
    }

    private static WriteDataPacketsRequest Request(string dataSource, string stream, params string[] texts) =>
        new() { Details = { texts.Select(text => Detail(dataSource, stream, TextPacket(text))) } };

    // The stream may have failed while the client still writes.
    private async Task TryWriteAsync(AsyncClientStreamingCall<WriteDataPacketsRequest, WriteDataPacketsResponse> call, WriteDataPacketsRequest request)
    {
        try
        {
            await call.RequestStream.WriteAsync(request, Limit);
        }
        catch (RpcException)
        {
            // The response tells why.
        }
    }

    private async Task TryCompleteAsync(AsyncClientStreamingCall<WriteDataPacketsRequest, WriteDataPacketsResponse> call)
    {
        try
        {
            await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        }
        catch (RpcException)
        {
            // The response tells why.
        }
    }
}
