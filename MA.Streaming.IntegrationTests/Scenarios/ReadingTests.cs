using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>What a read delivers, where it starts and how it ends.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class ReadingTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    private static readonly object[] Offsets =
    [
        new object[] { 0L, 0 },
        new object[] { 2L, 2 },
        new object[] { 5L, 5 },
        new object[] { 99L, 5 },
        new object[] { -1L, 5 },
    ];

    [TestCaseSource(nameof(Offsets))]
    public async Task ReadPackets_ListedStreamAtAnOffset_StartsThere(long offset, int first)
    {
        for (var i = 0; i < 5; i++) await Server.WriteTextAsync(DataSource, "one", $"{i}", Limit);
        using var read = await Server.ReadAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "one" }, StreamOffsets = { offset }, ExcludeMainStream = true }, Limit);
        await Server.WriteTextAsync(DataSource, "one", "5", Limit);

        Assert.That(await read.TextsAsync(6 - first), Is.EqualTo(Enumerable.Range(first, 6 - first).Select(i => $"{i}")));
    }

    [TestCaseSource(nameof(Offsets))]
    public async Task ReadPackets_MainStreamAtAnOffset_StartsThere(long offset, int first)
    {
        for (var i = 0; i < 5; i++) await Server.WriteTextAsync(DataSource, "", $"{i}", Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "one" }, MainOffset = offset }, Limit);
        await Server.WriteTextAsync(DataSource, "", "5", Limit);

        var packets = await read.TakeAsync(6 - first);
        Assert.That(packets.Select(p => p.Packet.Content.ToStringUtf8()), Is.EqualTo(Enumerable.Range(first, 6 - first).Select(i => $"{i}")));
        Assert.That(packets.Select(p => p.Stream), Is.All.Empty);
    }

    [TestCaseSource(nameof(Offsets))]
    public async Task ReadEssentials_AtAnOffset_StartsThereAndEndsAtTheWatermark(long offset, int first)
    {
        for (var i = 0; i < 5; i++) await Server.WriteAsync(DataSource, "one", TextPacket($"{i}", essential: true), Limit);
        var packets = await Server.EssentialsNowAsync(new ConnectionDetails { DataSource = DataSource, EssentialsOffset = offset }, Limit);

        Assert.That(packets.Select(p => p.Packet.Content.ToStringUtf8()), Is.EqualTo(Enumerable.Range(first, 5 - first).Select(i => $"{i}")));
        Assert.That(packets.Select(p => p.Stream), Is.All.Empty);
    }

    [Test]
    public async Task ReadEssentials_AbsentTopic_EndsAtOnce()
    {
        Assert.That(await Server.EssentialsNowAsync(new ConnectionDetails { DataSource = DataSource }, Limit), Is.Empty);
        Assert.That(await Server.Broker.TopicsAsync(Limit), Does.Not.ContainKey($"{DataSource}_essential"));
    }

    [Test]
    public async Task ReadPackets_NoStreamsListed_DeliversEverythingWithItsStream()
    {
        foreach (var stream in new[] { "", "one", "two", "twin", "other" }) await Server.WriteTextAsync(DataSource, stream, $"in {stream}", Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);

        var packets = (await read.TakeAsync(5)).Select(p => (p.Stream, p.Packet.Content.ToStringUtf8()));
        Assert.That(packets, Is.EquivalentTo(
            IsPartitionBased
                ? new[] { ("", "in "), ("one", "in one"), ("two", "in two"), ("two", "in twin"), ("", "in other") }
                : [("", "in "), ("one", "in one"), ("two", "in two"), ("twin", "in twin"), ("other", "in other")]));
    }

    [Test]
    public async Task ReadPackets_NoStreamsListed_TakesUpStreamsThatAppear()
    {
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, MainOffset = -1 }, Limit);
        foreach (var stream in new[] { "", "one", "two", "other" })
        {
            await Server.WriteTextAsync(DataSource, stream, $"in {stream}", Limit);
            Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { $"in {stream}" }));
        }
    }

    [Test]
    public async Task ReadPackets_ManyStreamsAppearingAtOnce_LosesAndRepeatsNothing()
    {
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        var writes = Enumerable.Range(0, 40).Select(async stream =>
        {
            for (var i = 0; i < 10; i++) await Server.WriteTextAsync(DataSource, $"s{stream}", $"{stream}.{i}", Limit);
        });
        await Task.WhenAll(writes);

        var texts = await read.TextsAsync(400);
        Assert.That(texts, Is.Unique);
        foreach (var stream in texts.GroupBy(t => t.Split('.')[0])) Assert.That(stream, Is.EqualTo(Enumerable.Range(0, 10).Select(i => $"{stream.Key}.{i}")));
    }

    [Test]
    public async Task ReadPackets_NoStreamsListedFromLatest_SkipsWhatExistsInEveryStream()
    {
        foreach (var stream in new[] { "", "one", "two" }) await Server.WriteTextAsync(DataSource, stream, "old", Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, MainOffset = -1 }, Limit);
        foreach (var stream in new[] { "", "one", "two" }) await Server.WriteTextAsync(DataSource, stream, $"new {stream}", Limit);

        Assert.That(await read.TextsAsync(3), Is.EquivalentTo(new[] { "new ", "new one", "new two" }));
    }

    [Test]
    public async Task ReadPackets_NoStreamsListedFromAnOffset_AppliesItToTheMainStreamOnly()
    {
        foreach (var stream in new[] { "", "one" })
        {
            for (var i = 0; i < 3; i++) await Server.WriteTextAsync(DataSource, stream, $"{stream}{i}", Limit);
        }

        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, MainOffset = 2 }, Limit);
        Assert.That(await read.TextsAsync(4), Is.EquivalentTo(new[] { "2", "one0", "one1", "one2" }));
    }

    [Test]
    public async Task ReadPackets_NoStreamsListedWithoutMain_LeavesTheMainStreamOut()
    {
        await Server.WriteTextAsync(DataSource, "", "main", Limit);
        await Server.WriteTextAsync(DataSource, "one", "1", Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, ExcludeMainStream = true }, Limit);
        await Server.WriteTextAsync(DataSource, "", "main", Limit);
        await Server.WriteTextAsync(DataSource, "two", "2", Limit);
        await Server.WriteTextAsync(DataSource, "one", "3", Limit);

        Assert.That(await read.TextsAsync(3), Is.EquivalentTo(new[] { "1", "2", "3" }));
    }

    [Test]
    public async Task ReadPackets_ListedStreams_DeliversThemAndMain()
    {
        foreach (var stream in new[] { "", "one", "two", "other" }) await Server.WriteTextAsync(DataSource, stream, $"in {stream}", Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "one" } }, Limit);

        // PartitionBased: what is not mapped is in the main stream.
        var expected = IsPartitionBased ? new[] { "in ", "in one", "in other" } : ["in ", "in one"];
        Assert.That(await read.TextsAsync(expected.Length), Is.EquivalentTo(expected));
        await Server.WriteTextAsync(DataSource, "two", "not wanted", Limit);
        await Server.WriteTextAsync(DataSource, "one", "next", Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "next" }));
    }

    [TestCase(0L)]
    [TestCase(-1L)]
    [TestCase(7L)]
    public async Task ReadPackets_ListedStreamThatIsNotThereYet_StartsAtItsFirstRecordAndMakesNoTopic(long offset)
    {
        using var read = await Server.ReadAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "one" }, StreamOffsets = { offset }, ExcludeMainStream = true }, Limit);
        Assert.That(await Server.Broker.TopicsAsync(Limit), Does.Not.ContainKey(PlaceOf(DataSource, "one").Topic));
        for (var i = 0; i < 3; i++) await Server.WriteTextAsync(DataSource, "one", $"{i}", Limit);

        Assert.That(await read.TextsAsync(3), Is.EqualTo(new[] { "0", "1", "2" }));
    }

    [Test]
    public async Task ReadPackets_MissingStreamOffsets_AreZero()
    {
        foreach (var stream in new[] { "one", "two" }) await Server.WriteTextAsync(DataSource, stream, $"old {stream}", Limit);
        using var read = await Server.ReadAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "one", "two" }, StreamOffsets = { -1 }, ExcludeMainStream = true }, Limit);
        await Server.WriteTextAsync(DataSource, "one", "new one", Limit);

        Assert.That(await read.TextsAsync(2), Is.EquivalentTo(new[] { "old two", "new one" }));
    }

    [Test]
    public async Task ReadPackets_StreamListedTwice_IsDeliveredOnce()
    {
        await Server.WriteTextAsync(DataSource, "one", "a", Limit);
        using var read = await Server.ReadAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "one", "one" }, ExcludeMainStream = true }, Limit);
        await Server.WriteTextAsync(DataSource, "one", "b", Limit);

        Assert.That(await read.TextsAsync(2), Is.EqualTo(new[] { "a", "b" }));
    }

    [Test]
    public async Task ReadPackets_StreamsThatShareAPartition_AreDeliveredUnderTheFirstListedName()
    {
        await Server.WriteTextAsync(DataSource, "two", "a", Limit);
        await Server.WriteTextAsync(DataSource, "twin", "b", Limit);
        using var read = await Server.ReadAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "twin", "two" }, ExcludeMainStream = true }, Limit);

        var packets = (await read.TakeAsync(2)).Select(p => (p.Stream, p.Packet.Content.ToStringUtf8()));
        Assert.That(packets, Is.EquivalentTo(IsPartitionBased ? new[] { ("twin", "a"), ("twin", "b") } : [("two", "a"), ("twin", "b")]));
    }

    [Test]
    public async Task ReadPackets_OnlyUnmappedStreamsListedWithoutMain_StaysOpenAndEmpty()
    {
        if (!IsPartitionBased) return;
        using var read = await Server.ReadAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "other" }, ExcludeMainStream = true }, Limit);
        await Server.WriteTextAsync(DataSource, "other", "in main", Limit);

        Assert.That(await Server.CloseAsync(read.Connection, Limit), Is.True);
        Assert.That(await read.ToEndAsync(), Is.Empty);
    }

    [Test]
    public async Task ReadPackets_PartitionZeroMapped_IsReadOnceUnderTheMappedName()
    {
        if (!IsPartitionBased) return;
        var server = await StartAsync(Configure(mappings: [new("zero", 0), new("one", 1)]));
        await server.WriteTextAsync(DataSource, "zero", "a", Limit);
        await server.WriteTextAsync(DataSource, "", "b", Limit);
        using var all = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var listed = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "zero" } }, Limit);
        await server.WriteTextAsync(DataSource, "zero", "c", Limit);

        foreach (var read in new[] { all, listed })
        {
            var packets = await read.TakeAsync(3);
            Assert.That(packets.Select(p => p.Packet.Content.ToStringUtf8()), Is.EqualTo(new[] { "a", "b", "c" }));
            Assert.That(packets.Select(p => p.Stream), Is.All.EqualTo("zero"));
        }
    }

    [Test]
    public async Task ReadPackets_OfASession_DeliversByRecordKeyOnly()
    {
        await Server.WriteAsync(DataSource, "one", TextPacket("by detail", "other"), Limit, "run");
        await Server.WriteAsync(DataSource, "one", TextPacket("by packet", "run"), Limit);
        await Server.WriteAsync(DataSource, "one", TextPacket("not: other key", "run"), Limit, "other");
        await Server.WriteAsync(DataSource, "one", TextPacket("not: case", "Run"), Limit);
        await Server.WriteTextAsync(DataSource, "one", "not: no key", Limit);
        await Server.ParametersIdAsync(DataSource, Limit, "p");
        await Server.WriteAsync(DataSource, "", TextPacket("main", "run"), Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, SessionKey = "run" }, Limit);

        Assert.That(await read.TextsAsync(3), Is.EquivalentTo(new[] { "by detail", "by packet", "main" }));
        await Server.CloseAsync(read.Connection, Limit);
        Assert.That(await read.ToEndAsync(), Is.Empty);
    }

    [Test]
    public async Task ReadEssentials_OfASession_DeliversByRecordKeyOnly()
    {
        await Server.WriteAsync(DataSource, "one", TextPacket("mine", "run", essential: true), Limit);
        await Server.WriteAsync(DataSource, "one", TextPacket("theirs", "other", essential: true), Limit);

        var packets = await Server.EssentialsNowAsync(new ConnectionDetails { DataSource = DataSource, SessionKey = "run" }, Limit);
        Assert.That(packets.Select(p => p.Packet.Content.ToStringUtf8()), Is.EqualTo(new[] { "mine" }));
    }

    [Test]
    public async Task ReadPackets_ForeignRecords_SkipsWhatIsNoPacketAndGoesOn()
    {
        var topic = IsPartitionBased ? DataSource : $"{DataSource}.one";
        await Server.Broker.AppendForeignAsync(topic, "k", TextPacket("a").ToByteArray(), Limit);
        await Server.Broker.AppendForeignAsync(topic, "k", null, Limit);
        await Server.Broker.AppendForeignAsync(topic, null, [0xFF, 0xFF, 0xFF], Limit);
        var large = new Packet { Content = ByteString.CopyFrom(new byte[3_900_000]) }.ToByteArray();
        if (large.Length < Server.Broker.Info.RecordBytesMax) await Server.Broker.AppendForeignAsync(topic, "k", large, Limit);
        await Server.Broker.AppendForeignAsync(topic, null, TextPacket("b").ToByteArray(), Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);

        Assert.That(await read.TextsAsync(2), Is.EqualTo(new[] { "a", "b" }));
    }

    [Test]
    public async Task ReadPackets_SeveralReadsOnOneConnection_EachGetEverything()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var first = await Server.ReadPacketsAsync(connection, Limit);
        using var second = await Server.ReadPacketsAsync(connection, Limit);
        for (var i = 0; i < 20; i++) await Server.WriteTextAsync(DataSource, "one", $"{i}", Limit);

        var expected = Enumerable.Range(0, 20).Select(i => $"{i}").ToList();
        Assert.That(await first.TextsAsync(20), Is.EqualTo(expected));
        Assert.That(await second.TextsAsync(20), Is.EqualTo(expected));
    }

    [Test]
    public async Task CloseConnection_OpenReads_EndWithOk()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var packets = await Server.ReadPacketsAsync(connection, Limit);
        using var data = await Server.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection }, Limit);
        await Server.WriteTextAsync(DataSource, "one", "hello", Limit);
        await packets.NextAsync();

        Assert.That(await Server.CloseAsync(connection, Limit), Is.True);
        Assert.That(await packets.ToEndAsync(), Is.Empty);
        Assert.That(await data.ToEndAsync(), Is.Empty);
    }

    [Test]
    public async Task CloseConnection_ReadThatNobodyReads_AnswersAtOnceAndReleasesTheRead()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var limits = new StreamingApiLimits { CloseGrace = TimeSpan.FromMilliseconds(200) };
        var server = await StartAsync(Configure(limits: limits, sessions: false, formats: false), broker);
        for (var i = 0; i < 40; i++) await server.WriteTextAsync(DataSource, "one", new string('x', 500_000), Limit);
        using var blocked = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        await broker.OpenReadsAsync(1, Limit);

        Assert.That(await server.CloseAsync(blocked.Connection, Limit), Is.True);
        await broker.OpenReadsAsync(0, Limit);
        if (Transport == Transport.InProcess)
        {
            Assert.That(await blocked.ToEndAsync(), Has.Count.LessThan(40));
        }
        else
        {
            var failure = await FailureOfAsync(blocked.ToEndAsync);
            Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.Cancelled), failure.Status.Detail);
        }
    }

    [Test]
    [Timing]
    public async Task ReadPackets_ClientCancels_ReleasesEverythingWithinASecond()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(sessions: false, formats: false), broker);
        var idle = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        for (var i = 0; i < 40; i++) await server.WriteTextAsync(DataSource, "one", new string('x', 500_000), Limit);
        var blocked = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        await broker.OpenReadsAsync(2, Limit);

        var cancelled = TimeProvider.System.GetTimestamp();
        idle.Dispose();
        blocked.Dispose();
        await broker.OpenReadsAsync(0, Limit);
        Assert.That(TimeProvider.System.GetElapsedTime(cancelled), Is.LessThan(TimeSpan.FromSeconds(1)));
    }

    [Test]
    public async Task Stop_OpenReads_EndWithUnavailable()
    {
        var server = await StartAsync(Configure());
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        await server.StopEngineAsync();

        AssertFailure(await FailureOfAsync(read.ToEndAsync), StatusCode.Unavailable, "shutting down");
    }

    [Test]
    public async Task ReadPackets_BatchingOff_DeliversOnePacketAResponse()
    {
        for (var i = 0; i < 50; i++) await Server.WriteTextAsync(DataSource, "one", $"{i}", Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        await read.TakeAsync(50);

        Assert.That(read.ResponseSizes, Is.All.EqualTo(1));
    }

    [Test]
    public async Task ReadPackets_BatchingOn_DeliversWhatIsThereWithinTheLimits()
    {
        var server = await StartAsync(Configure(batching: true, limits: new StreamingApiLimits { ResponsePacketsMax = 100 }));
        using var call = server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 10; i++)
        {
            var request = new WriteDataPacketsRequest();
            for (var j = 0; j < 100; j++) request.Details.Add(Detail(DataSource, "one", TextPacket($"{(i * 100) + j}")));
            await call.RequestStream.WriteAsync(request, Limit);
        }

        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        await call.ResponseAsync.WaitAsync(Limit);
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);

        Assert.That(await read.TextsAsync(1_000), Is.EqualTo(Enumerable.Range(0, 1_000).Select(i => $"{i}")));
        Assert.That(read.ResponseSizes, Is.All.InRange(1, 100));
        Assert.That(read.ResponseSizes, Has.Count.LessThan(100));
        await server.WriteTextAsync(DataSource, "one", "alone", Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "alone" }), "a batch never waits");
    }

    [Test]
    public async Task ReadPackets_BatchingLargePackets_KeepsResponsesUnderTheirBytes()
    {
        var server = await StartAsync(Configure(batching: true));
        for (var i = 0; i < 12; i++) await server.WriteTextAsync(DataSource, "one", new string('x', 1_000_000), Limit);
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        await read.TakeAsync(12);

        Assert.That(read.ResponseSizes, Is.All.InRange(1, 3));
    }

    [Test]
    public async Task ReadPackets_BrokerFaultsMidRead_GoesOnWithNothingLostOrTwice()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        for (var i = 0; i < 10; i++)
        {
            await server.WriteTextAsync(DataSource, "one", $"{i}", Limit);
            if (i is 3 or 6) broker.CutReads(GatedBroker.Injected());
        }

        Assert.That(await read.TextsAsync(10), Is.EqualTo(Enumerable.Range(0, 10).Select(i => $"{i}")));
    }

    [Test]
    public async Task ReadPackets_BrokerCannotBeReachedToPosition_IsUnavailable()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        var connection = await server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        broker.WatermarksFail = () => GatedBroker.Injected();

        // Over the network a failure that sends no headers shows at the first message only.
        var failure = await FailureOfAsync(async () =>
        {
            using var read = await server.ReadPacketsAsync(connection, Limit);
            await read.ToEndAsync();
        });
        AssertFailure(failure, StatusCode.Unavailable, DataSource, "injected");
    }

    [Test]
    public async Task ReadDataPackets_PacketsOfEveryType_DeliversDataAndEventsOnly()
    {
        string[] types =
        [
            "Configuration", "PeriodicData", "RowData", "SynchroData", "Event", "Marker", "Metadata", "RawCANData", "Error", "NewSession", "EndOfSession", "Weather",
        ];
        foreach (var type in types) await Server.WriteAsync(DataSource, "one", new Packet { Type = type }, Limit);
        await Server.WriteAsync(DataSource, "one", new Packet { Type = "RowData", Id = 99 }, Limit);

        Assert.That(await DataTypesAsync(markers: false), Is.EqualTo(new[] { "PeriodicData", "RowData", "SynchroData", "Event", "RowData" }));
        Assert.That(await DataTypesAsync(markers: true), Is.EqualTo(new[] { "PeriodicData", "RowData", "SynchroData", "Event", "Marker", "RowData" }));
    }

    private async Task<IReadOnlyList<string>> DataTypesAsync(bool markers)
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var read = await Server.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection, IncludeMarkers = markers }, Limit);
        var types = new List<string>();
        Packet packet;
        do
        {
            packet = (await read.NextAsync()).Packet;
            types.Add(packet.Type);
        }
        while (packet.Id != 99);
        return types;
    }
}
