using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;
using static MA.Streaming.IntegrationTests.Support.DataPackets;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Data formats: one id for one identity, whoever asks, and every id resolves.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class DataFormatTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task Ids_FrozenVectors_AreComputedAsEverywhere()
    {
        Assert.That(await Server.ParametersIdAsync("Vectors", Limit, "vCar:Chassis", "nEngine:Engine"), Is.EqualTo(2015259430960823));
        Assert.That(await Server.EventIdAsync("Vectors", "Lap:Timing", Limit), Is.EqualTo(3064256901731428));
        Assert.That(await Server.ParametersIdAsync("Vectors", Limit, "Temp\u00e9rature_\u00e9", "\u65e5\u672c", "a,b"), Is.EqualTo(7671394700241259));
    }

    [Test]
    public async Task GetParameterDataFormatId_ListsThatJoinToTheSameText_AreDifferent()
    {
        var joined = await Server.ParametersIdAsync(DataSource, Limit, "a,b");
        var separate = await Server.ParametersIdAsync(DataSource, Limit, "a", "b");
        var turned = await Server.ParametersIdAsync(DataSource, Limit, "b", "a");
        var together = await Server.ParametersIdAsync(DataSource, Limit, "ab");
        var anEvent = await Server.EventIdAsync(DataSource, "ab", Limit);
        var elsewhere = await Server.ParametersIdAsync(NewDataSource(), Limit, "ab");

        Assert.That(new[] { joined, separate, turned, together, anEvent, elsewhere }, Is.Unique);
        Assert.That(await Server.ParametersAsync(DataSource, joined, Limit), Is.EqualTo(new[] { "a,b" }));
        Assert.That(await Server.ParametersAsync(DataSource, separate, Limit), Is.EqualTo(new[] { "a", "b" }));
        Assert.That(await Server.ParametersAsync(DataSource, turned, Limit), Is.EqualTo(new[] { "b", "a" }));
        Assert.That(await Server.EventAsync(DataSource, anEvent, Limit), Is.EqualTo("ab"));
    }

    [Test]
    public async Task GetParameterDataFormatId_Again_GivesTheSameIdAndOneDefinition()
    {
        var first = await Server.ParametersIdAsync(DataSource, Limit, "a", "b");
        var again = await Server.ParametersIdAsync(DataSource, Limit, "a", "b");

        Assert.That(again, Is.EqualTo(first));
        Assert.That(first, Is.InRange(1UL, (1UL << 53) - 1));
        Assert.That(await EssentialsAsync(DataSource), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task GetParameterDataFormatId_ManyAtOnceOnTwoServers_GiveOneId()
    {
        var broker = await NewBrokerAsync();
        var servers = new[] { await StartAsync(Configure(), broker), await StartAsync(Configure(), broker) };
        var ids = await Task.WhenAll(Enumerable.Range(0, 32).Select(i => servers[i % 2].ParametersIdAsync(DataSource, Limit, "a", "b")));
        var events = await Task.WhenAll(Enumerable.Range(0, 32).Select(i => servers[i % 2].EventIdAsync(DataSource, "e", Limit)));

        Assert.That(ids.Distinct().Count(), Is.EqualTo(1));
        Assert.That(events.Distinct().Count(), Is.EqualTo(1));
        var definitions = await broker.StoredAsync(new($"{DataSource}_essential", 0), Limit);
        Assert.That(definitions, Has.Count.InRange(2, 4), "one a server and identity at most");
        foreach (var server in servers) Assert.That(await server.ParametersAsync(DataSource, ids[0], Limit), Is.EqualTo(new[] { "a", "b" }));
    }

    [Test]
    public async Task GetParametersListAndGetEvent_UnknownId_AreEmptyAndOk()
    {
        var parameters = await Server.ParametersIdAsync(DataSource, Limit, "a");
        var lap = await Server.EventIdAsync(DataSource, "Lap", Limit);

        Assert.That(await Server.ParametersAsync(DataSource, 42, Limit), Is.Empty);
        Assert.That(await Server.EventAsync(DataSource, 42, Limit), Is.Empty);
        Assert.That(await Server.ParametersAsync(NewDataSource(), parameters, Limit), Is.Empty, "another data source");
        Assert.That(await Server.ParametersAsync(DataSource, lap, Limit), Is.Empty, "an event is no list of parameters");
        Assert.That(await Server.EventAsync(DataSource, parameters, Limit), Is.Empty);
    }

    [Test]
    public async Task EveryRpc_EmptyIdentifiers_AreRefused()
    {
        AssertFailure(await FailureOfAsync(() => Server.ParametersIdAsync(DataSource, Limit)), StatusCode.InvalidArgument, "parameters", "empty");
        AssertFailure(await FailureOfAsync(() => Server.EventIdAsync(DataSource, "", Limit)), StatusCode.InvalidArgument, "event", "empty");
        AssertFailure(await FailureOfAsync(() => Server.ParametersAsync("", 1, Limit)), StatusCode.InvalidArgument, "data_source", "empty");
        AssertFailure(await FailureOfAsync(() => Server.EventAsync("", 1, Limit)), StatusCode.InvalidArgument, "data_source", "empty");
    }

    [Test]
    public async Task GetParametersList_IdRegisteredOnAnotherServerAMomentAgo_Resolves()
    {
        var broker = await NewBrokerAsync();
        var one = await StartAsync(Configure(), broker);
        var other = await StartAsync(Configure(), broker);
        for (var i = 0; i < 50; i++)
        {
            var id = await one.ParametersIdAsync(DataSource, Limit, $"p{i}");
            Assert.That(await other.ParametersAsync(DataSource, id, Limit), Is.EqualTo(new[] { $"p{i}" }));
        }
    }

    [Test]
    public async Task ForeignDefinitions_SeveralIdsForOneIdentity_AllResolveAndTheFirstIsHandedOut()
    {
        var topic = $"{DataSource}_essential";
        await ForeignDefinitionAsync(topic, 111, isEssential: false, "a", "b");
        await ForeignDefinitionAsync(topic, 222, isEssential: true, "a", "b");
        await Server.Broker.AppendForeignAsync(topic, "", new Packet { Type = "DataFormatDefinition", Content = ByteString.CopyFrom(0xFF) }.ToByteArray(), Limit);
        await Server.Broker.AppendForeignAsync(topic, null, null, Limit);
        await ForeignDefinitionAsync(topic, 333, isEssential: true, "c");

        Assert.That(await Server.ParametersIdAsync(DataSource, Limit, "a", "b"), Is.EqualTo(111));
        foreach (var id in (ulong[])[111, 222]) Assert.That(await Server.ParametersAsync(DataSource, id, Limit), Is.EqualTo(new[] { "a", "b" }));
        Assert.That(await Server.ParametersAsync(DataSource, 333, Limit), Is.EqualTo(new[] { "c" }));
    }

    [Test]
    public async Task ForeignDefinition_OfAnotherIdentityUnderOurId_IsAnInternalError()
    {
        // The id that [taken] has here, defined for something else before.
        var server = await StartAsync(Configure());
        var wanted = await server.ParametersIdAsync(DataSource, Limit, "taken");
        await ForeignDefinitionAsync($"{DataSource}_essential", wanted, isEssential: true, "something else");
        AssertFailure(
            await FailureOfAsync(() => Server.ParametersIdAsync(DataSource, Limit, "taken")), StatusCode.Internal, $"{wanted}", "taken", "something else");
    }

    [Test]
    public async Task AutoRegistration_InlineIdentifiers_AreRegisteredOnceAfterTheirPacket()
    {
        var server = await StartAsync(AutoRegistering(true));
        var packet = Periodic(1, "a", "b");
        await server.WriteAsync(DataSource, "one", packet, Limit);
        await server.WriteAsync(DataSource, "one", Row(2, "a", "b"), Limit);
        await server.WriteAsync(DataSource, "one", Event(3, "Lap"), Limit);
        await server.WriteAsync(DataSource, "one", Json(4, """{"json": 1}"""), Limit);
        await server.WriteAsync(DataSource, "one", Synchro(5, "c"), Limit);

        var definitions = await server.Broker.StoredAsync(new($"{DataSource}_essential", 0), 3, Limit);
        var parsed = definitions.Select(r => DataFormatDefinitionPacket.Parser.ParseFrom(r.Packet.Content)).ToList();
        Assert.That(parsed.Select(d => d.EventIdentifier + string.Join('|', d.ParameterIdentifiers?.ParameterIdentifiers.ToArray() ?? [])), Is.EqualTo(new[] { "a|b", "Lap", "c" }));
        Assert.That(await server.ParametersIdAsync(DataSource, Limit, "a", "b"), Is.EqualTo(parsed[0].Identifier));
        Assert.That(await server.EventIdAsync(DataSource, "Lap", Limit), Is.EqualTo(parsed[1].Identifier));
        var stored = await server.Broker.StoredAsync(PlaceOf(DataSource, "one"), Limit);
        Assert.That(stored[0].Packet, Is.EqualTo(packet), "the packet is as it was written");
        await server.ParametersIdAsync(DataSource, Limit, "last");
        Assert.That(await server.Broker.StoredAsync(new($"{DataSource}_essential", 0), Limit), Has.Count.EqualTo(4));
    }

    [Test]
    public async Task AutoRegistration_Off_RegistersNothing()
    {
        var server = await StartAsync(AutoRegistering(false));
        for (var i = 0UL; i < 20; i++) await server.WriteAsync(DataSource, "one", Periodic(i, $"p{i}"), Limit);
        await server.ParametersIdAsync(DataSource, Limit, "asked for");

        Assert.That(await server.Broker.StoredAsync(new($"{DataSource}_essential", 0), Limit), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task AutoRegistration_Fails_TheWriteDoesNot()
    {
        var broker = new GatedBroker(await NewBrokerAsync()) { AppendFails = (target, _) => target.Topic.EndsWith("_essential", StringComparison.Ordinal) ? GatedBroker.Injected() : null };
        var server = await StartAsync(AutoRegistering(true), broker);
        await server.WriteAsync(DataSource, "one", Periodic(1, "a"), Limit);
        await server.WriteAsync(DataSource, "one", Periodic(2, "a"), Limit);

        Assert.That(await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit), Has.Count.EqualTo(2));
    }

    [Test]
    public async Task FormatManagementOff_OwnFormats_ArePublishedAndResolvedOthersAreNot()
    {
        var broker = await NewBrokerAsync();
        var other = await StartAsync(Configure(), broker);
        var foreign = await other.ParametersIdAsync(DataSource, Limit, "foreign");
        var server = await StartAsync(Configure(formats: false), broker);
        var own = await server.ParametersIdAsync(DataSource, Limit, "own");

        Assert.That(await server.ParametersAsync(DataSource, own, Limit), Is.EqualTo(new[] { "own" }));
        Assert.That(await server.ParametersAsync(DataSource, foreign, Limit), Is.Empty);
        Assert.That(await other.ParametersAsync(DataSource, own, Limit), Is.EqualTo(new[] { "own" }));
    }

    [Test]
    public async Task Start_FormatsOnTheBroker_AreKnownWithoutAsking()
    {
        var broker = await NewBrokerAsync();
        var first = await StartAsync(Configure(), broker);
        var ids = new List<ulong>();
        for (var i = 0; i < 200; i++) ids.Add(await first.ParametersIdAsync(DataSource, Limit, $"p{i}"));
        await first.StopEngineAsync();

        var second = await StartAsync(Configure(), broker);
        var found = await Task.WhenAll(ids.Select(id => second.ParametersAsync(DataSource, id, Limit)));
        Assert.That(found.Select(f => f.Single()), Is.EqualTo(Enumerable.Range(0, 200).Select(i => $"p{i}")));
    }

    private Core.Configs.StreamingApiConfiguration AutoRegistering(bool on) =>
        new(Strategy, "memory:", Configure().PartitionMappings) { AutoRegisterDataFormats = on, DrainTimeoutSeconds = 5 };

    private Task<Core.Broker.Appended> ForeignDefinitionAsync(string topic, ulong id, bool isEssential, params string[] parameters) =>
        Server.Broker.AppendForeignAsync(
            topic,
            "",
            new Packet
            {
                Type = "DataFormatDefinition",
                IsEssential = isEssential,
                Content = new DataFormatDefinitionPacket
                {
                    Identifier = id,
                    Type = DataFormatType.Parameter,
                    ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { parameters } },
                }.ToByteString(),
            }.ToByteArray(),
            Limit);
}
