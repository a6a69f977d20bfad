using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;
using static MA.Streaming.IntegrationTests.Support.DataPackets;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Which packets a ReadDataPackets delivers.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class FilterTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    private const ulong Last = 1_000;

    [Test]
    public async Task ReadDataPackets_NoLists_DeliversAllButTheEmptyIdentifier()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest(),
            (Periodic(1, "a"), true),
            (Row(2, "b", "c"), true),
            (Synchro(3, "d"), true),
            (Event(4, "e"), true),
            (Marker(5), false),
            (Periodic(6, ""), false),
            (Periodic(7, "", "a"), true));
    }

    [Test]
    public async Task ReadDataPackets_IncludeParameters_KeepsMatchesWholeAndAllEvents()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeParameters = { "^vCar", "Engine$" } },
            (Periodic(1, "vCar:Chassis"), true),
            (Row(2, "nEngine"), true),
            (Synchro(3, "x", "y", "vCarSmooth"), true),
            (Periodic(4, "xvCar"), false),
            (Periodic(5, "VCAR"), false),
            (Row(6, "nEngine:Controller"), false),
            (Event(7, "anything"), true),
            (Marker(8), false));
    }

    [Test]
    public async Task ReadDataPackets_ExcludeParameters_WinsAndLetsPacketsThroughByAnotherParameter()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeParameters = { "Car" }, ExcludeParameters = { "^vCar$" } },
            (Periodic(1, "vCar"), false),
            (Periodic(2, "vCar", "nEngine"), false),
            (Periodic(3, "vCar", "aCar"), true),
            (Periodic(4, "vCarSmooth"), true),
            (Event(5, "vCar"), true));
    }

    [Test]
    public async Task ReadDataPackets_ExcludeParametersOnly_KeepsTheRest()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest { ExcludeParameters = { "secret" } },
            (Periodic(1, "my secret value"), false),
            (Periodic(2, "Secret"), true),
            (Periodic(3, "secret", "public"), true),
            (Event(4, "secret"), true));
    }

    [Test]
    public async Task ReadDataPackets_EventLists_LeaveParametersAlone()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeEvents = { "Lap" }, ExcludeEvents = { "Invalid" } },
            (Event(1, "LapStart"), true),
            (Event(2, "LapInvalid"), false),
            (Event(3, "Pit"), false),
            (Periodic(4, "anything"), true));
    }

    [Test]
    public async Task ReadDataPackets_IncludeMarkers_AddsMarkersWhateverTheLists()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeMarkers = true, IncludeParameters = { "^z" }, IncludeEvents = { "^z" } },
            (Marker(1), true),
            (Periodic(2, "a"), false),
            (Event(3, "a"), false),
            (new Packet { Type = "Metadata", Id = 4 }, false));
    }

    [Test]
    public async Task ReadDataPackets_FormatsById_AreResolved()
    {
        var speed = await Server.ParametersIdAsync(DataSource, Limit, "vCar", "nEngine");
        var other = await Server.ParametersIdAsync(DataSource, Limit, "tWater");
        var lap = await Server.EventIdAsync(DataSource, "Lap", Limit);
        var pit = await Server.EventIdAsync(DataSource, "Pit", Limit);

        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeParameters = { "nEngine" }, ExcludeEvents = { "Pit" } },
            (PeriodicById(1, speed), true),
            (PeriodicById(2, other), false),
            (EventById(3, lap), true),
            (EventById(4, pit), false),
            (PeriodicById(5, speed), true));
    }

    [Test]
    public async Task ReadDataPackets_UnknownFormatId_IsDeliveredOnlyWithoutAList()
    {
        await AssertDeliveredAsync(new DataPacketRequest(), (PeriodicById(1, 12_345), true), (EventById(2, 12_345), true));
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeParameters = { "." } }, (PeriodicById(3, 12_345), false), (EventById(4, 12_345), true));
    }

    [Test]
    public async Task ReadDataPackets_FormatDefinedByAnotherServerAfterTheReadBegan_IsCaughtUpWith()
    {
        var broker = await NewBrokerAsync();
        var reading = await StartAsync(Configure(), broker);
        var writing = await StartAsync(Configure(), broker);
        var connection = await reading.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var read = await reading.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection, IncludeParameters = { "^wanted" } }, Limit);
        for (var i = 1UL; i <= 20; i++)
        {
            var id = await writing.ParametersIdAsync(DataSource, Limit, $"wanted{i}");
            await writing.WriteAsync(DataSource, "one", PeriodicById(i, id), Limit);
            Assert.That((await read.NextAsync()).Packet.Id, Is.EqualTo(i));
        }
    }

    [Test]
    public async Task ReadDataPackets_OfASession_ResolvesFormatsAllTheSame()
    {
        var id = await Server.ParametersIdAsync(DataSource, Limit, "wanted");
        await Server.WriteAsync(DataSource, "one", PeriodicById(1, id), Limit, "other");
        await Server.WriteAsync(DataSource, "one", PeriodicById(2, id), Limit, "run");
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, SessionKey = "run" }, Limit);
        using var read = await Server.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection, IncludeParameters = { "wanted" } }, Limit);

        Assert.That((await read.NextAsync()).Packet.Id, Is.EqualTo(2));
    }

    [Test]
    public async Task ReadDataPackets_JsonContent_IsFilteredByItsPropertyNames()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeParameters = { "^vCar$" }, ExcludeEvents = { "^Pit$" } },
            (Json(1, """{"vCar": 1.5, "other": {"x": [1, 2]}}"""), true),
            (Json(2, """{"other": {"vCar": 1}, "list": ["vCar"]}"""), false),
            (Json(3, "  {\"vC\\u0061r\": null}\n"), true),
            (Json(4, """{"Pit": 1}""", "Event"), false),
            (Json(5, """{"Lap": 1}""", "Event"), true),
            (Json(6, "{}"), false));
    }

    [Test]
    public async Task ReadDataPackets_ContentThatIsNeither_IsDeliveredOnlyWithoutAListOfItsKind()
    {
        var request = new DataPacketRequest { IncludeParameters = { "." } };
        await AssertDeliveredAsync(
            request,
            (Json(1, "{\"vCar\": "), false),
            (Raw(2, "PeriodicData", [0xFF, 0xFF]), false),
            (Raw(3, "RowData", []), false),
            (Json(4, "[1, 2]"), false),
            (Raw(5, "Event", [0xFF, 0xFF]), true));
        await AssertDeliveredAsync(
            new DataPacketRequest(), (Json(6, "{\"vCar\": "), true), (Raw(7, "PeriodicData", [0xFF, 0xFF]), true), (Raw(8, "RowData", []), true));
    }

    [Test]
    public async Task ReadDataPackets_InvalidPattern_IsRefusedByFieldAndPattern()
    {
        var bad = new (Action<DataPacketRequest> Change, string Field)[]
        {
            (r => r.IncludeParameters.Add("a(b"), "include_parameters"),
            (r => r.ExcludeParameters.Add("a(b"), "exclude_parameters"),
            (r => r.IncludeEvents.Add("a(b"), "include_events"),
            (r => r.ExcludeEvents.Add("a(b"), "exclude_events"),
        };
        foreach (var (change, field) in bad)
        {
            var failure = await FailureOfFilterAsync(change);
            AssertFailure(failure, StatusCode.InvalidArgument, field, "'a(b'");
        }
    }

    [Test]
    public async Task ReadDataPackets_TooManyOrTooLongPatterns_AreRefused()
    {
        var most = Enumerable.Range(0, 1_000).Select(i => $"p{i}").ToList();
        AssertFailure(
            await FailureOfFilterAsync(r => r.IncludeParameters.Add(most.Append("one more"))), StatusCode.InvalidArgument, "include_parameters", "1001", "1000");
        AssertFailure(
            await FailureOfFilterAsync(r => r.ExcludeEvents.Add(new string('x', 1_001))), StatusCode.InvalidArgument, "exclude_events", "1001", "1000");
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeParameters = { most.Skip(1) }, ExcludeParameters = { new string('x', 1_000) } }, (Periodic(1, "p999"), true), (Periodic(2, "q"), false));
    }

    [Test]
    public async Task ReadDataPackets_PatternWithABackreference_Works()
    {
        await AssertDeliveredAsync(
            new DataPacketRequest { IncludeParameters = { @"^(\w)\1$", "(?<=x)y" } },
            (Periodic(1, "aa"), true),
            (Periodic(2, "ab"), false),
            (Periodic(3, "xy"), true));
    }

    [Test]
    public async Task ReadDataPackets_PatternThatRunsForEver_EndsTheReadOnly()
    {
        const string Pattern = @"^(a+)+\1b$";
        await Server.WriteAsync(DataSource, "one", Periodic(1, new string('a', 40) + "c"), Limit);
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var read = await Server.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection, IncludeParameters = { Pattern } }, Limit);

        AssertFailure(await FailureOfAsync(read.ToEndAsync), StatusCode.InvalidArgument, "include_parameters", Pattern, "100 ms");
        using var healthy = await Server.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection, IncludeParameters = { "^(a+)+c$" } }, Limit);
        Assert.That((await healthy.NextAsync()).Packet.Id, Is.EqualTo(1), "linear in time");
    }

    [Test]
    public async Task ReadDataPackets_PacketsBeforeAPatternThatRunsForEver_AreDelivered()
    {
        await Server.WriteAsync(DataSource, "one", Periodic(1, "good"), Limit);
        await Server.WriteAsync(DataSource, "one", Periodic(2, new string('a', 40) + "c"), Limit);
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var read = await Server.ReadDataPacketsAsync(
            new DataPacketRequest { Connection = connection, IncludeParameters = { "^good$", @"^(a+)+\1b$" } }, Limit);

        Assert.That((await read.NextAsync()).Packet.Id, Is.EqualTo(1));
        AssertFailure(await FailureOfAsync(read.ToEndAsync), StatusCode.InvalidArgument, "include_parameters");
    }

    [Test]
    public async Task ReadDataPackets_ManyDifferentInlineLists_AreEachJudged()
    {
        var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var read = await Server.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection, IncludeParameters = { "[05]$" } }, Limit);
        using var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        for (var i = 0; i < 12; i++)
        {
            var request = new WriteDataPacketsRequest();
            for (var j = 0; j < 1_000; j++) request.Details.Add(Detail(DataSource, "one", Periodic((ulong)((i * 1_000) + j), $"parameter{(i * 1_000) + j}")));
            await call.RequestStream.WriteAsync(request, Limit);
        }

        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        await call.ResponseAsync.WaitAsync(Limit);
        var delivered = await read.TakeAsync(2_400);
        Assert.That(delivered.Select(p => p.Packet.Id), Is.EqualTo(Enumerable.Range(0, 2_400).Select(i => (ulong)i * 5)));
    }

    // Everything is written to a stream of its own, then a packet that every filter takes.
    private async Task AssertDeliveredAsync(DataPacketRequest request, params (Packet Packet, bool IsDelivered)[] packets)
    {
        var last = Periodic(Last, "vCar", "nEngine", "p0", "aa", "zz");
        request = request.Clone();
        if (request.IncludeParameters.Count > 0 && !request.IncludeParameters.Contains(".")) request.IncludeParameters.Add("^zz$");
        foreach (var (packet, _) in packets) await Server.WriteAsync(DataSource, "one", packet, Limit);
        await Server.WriteAsync(DataSource, "one", last, Limit);
        request.Connection = await Server.ConnectAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "one" }, StreamOffsets = { await FirstOffsetAsync(packets[0].Packet) }, ExcludeMainStream = true },
            Limit);
        using var read = await Server.ReadDataPacketsAsync(request, Limit);
        var ids = new List<ulong>();
        for (var id = (await read.NextAsync()).Packet.Id; id != Last; id = (await read.NextAsync()).Packet.Id) ids.Add(id);

        Assert.That(ids, Is.EqualTo(packets.Where(p => p.IsDelivered).Select(p => p.Packet.Id)));
    }

    private async Task<long> FirstOffsetAsync(Packet first) => (await StoredAsync(DataSource, "one")).First(r => r.Packet.Id == first.Id).Offset;

    private async Task<RpcException> FailureOfFilterAsync(Action<DataPacketRequest> change)
    {
        var request = new DataPacketRequest { Connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource }, Limit) };
        change(request);
        return await FailureOfAsync(async () =>
        {
            using var read = await Server.ReadDataPacketsAsync(request, Limit);
            await read.ToEndAsync();
        });
    }
}
