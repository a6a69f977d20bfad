using Google.Protobuf;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Topics that others made: with several partitions, with fewer than the mappings need, with names alike.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(LayoutVariants))]
[Parallelizable(ParallelScope.Self)]
public sealed class LayoutTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task SessionInfo_SeveralPartitions_FoldsToTheSameOrderedSessionsEverywhere()
    {
        var broker = await NewBrokerAsync();
        await broker.EnsureTopicAsync(new TopicSpec("SessionInfo", 4), Limit);
        var server = await StartAsync(Configure(), broker);
        var keys = new List<string>();
        for (var i = 0; i < 40; i++)
        {
            keys.Add(await server.CreateSessionAsync(DataSource, Limit));
            await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = keys[i], Identifier = $"{i}" }, cancellationToken: Limit);
        }

        for (var partition = 0; partition < 4; partition++) Assert.That(await broker.StoredAsync(new("SessionInfo", partition), Limit), Is.Not.Empty);
        var late = await StartAsync(Configure(), broker);
        foreach (var each in new[] { server, late })
        {
            var listed = await each.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
            Assert.That(listed.SessionKeys, Is.EqualTo(keys));
            Assert.That((await each.InfoAsync(keys[7], Limit)).Identifier, Is.EqualTo("7"));
        }
    }

    [Test]
    public async Task SessionInfo_GrowsWhileServersRun_LosesNoSession()
    {
        var broker = await NewBrokerAsync();
        var servers = new[] { await StartAsync(Configure(), broker), await StartAsync(Configure(), broker) };
        var keys = new List<string>();
        for (var partitions = 1; partitions <= 5; partitions++)
        {
            await broker.EnsureTopicAsync(new TopicSpec("SessionInfo", partitions), Limit);
            for (var i = 0; i < 10; i++) keys.Add(await servers[i % 2].CreateSessionAsync(DataSource, Limit));
        }

        foreach (var server in servers)
        {
            foreach (var key in keys)
            {
                var ended = await server.Sessions.EndSessionAsync(new() { SessionKey = key }, cancellationToken: Limit);
                Assert.That(ended.Success, Is.True);
            }
        }
    }

    [Test]
    public async Task Essentials_SeveralPartitions_AreAllReadAndDefineFormats()
    {
        var topic = $"{DataSource}_essential";
        await Server.Broker.EnsureTopicAsync(new TopicSpec(topic, 3), Limit);
        var ids = new List<ulong>();
        for (var i = 0; i < 10; i++)
        {
            await Server.WriteAsync(DataSource, "one", TextPacket($"{i}", $"key{i}", essential: true), Limit);
            ids.Add(await Server.ParametersIdAsync(DataSource, Limit, $"p{i}"));
        }

        var packets = await Server.EssentialsNowAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        Assert.That(packets, Has.Count.EqualTo(20));
        Assert.That(
            packets.Where(p => p.Packet.Type == "RawCANData").Select(p => p.Packet.Content.ToStringUtf8()), Is.EquivalentTo(Enumerable.Range(0, 10).Select(i => $"{i}")));
        var second = await Server.Broker.StoredAsync(new(topic, 1), Limit);
        Assert.That(second, IsPartitionBased ? Is.Not.Empty : Is.Empty, "by key in PartitionBased, partition 0 in TopicBased");
        for (var i = 0; i < 10; i++) Assert.That(await Server.ParametersAsync(DataSource, ids[i], Limit), Is.EqualTo(new[] { $"p{i}" }));
    }

    [Test]
    public async Task Formats_DefinedInAnotherPartitionOfTheEssentials_Resolve()
    {
        var topic = $"{DataSource}_essential";
        await Server.Broker.EnsureTopicAsync(new TopicSpec(topic, 3), Limit);
        var definition = new OpenData.DataFormatDefinitionPacket { Identifier = 77, Type = OpenData.DataFormatType.Event, EventIdentifier = "Lap" };
        var value = new OpenData.Packet { Type = "DataFormatDefinition", Content = definition.ToByteString() }.ToByteArray();
        await Server.Broker.AppendAsync(new(topic, 2), new RecordData(Array.Empty<byte>(), value), Limit);

        // A topic that another program made is known within a second.
        while (await Server.EventAsync(DataSource, 77, Limit) != "Lap") Limit.ThrowIfCancellationRequested();
        Assert.That(await Server.EventIdAsync(DataSource, "Lap", Limit), Is.EqualTo(77));
    }

    [Test]
    public async Task MainTopic_SeveralPartitions_IsReadWholeWithoutStreamsAndAtPartitionZeroWithThem()
    {
        if (IsPartitionBased) return;
        await Server.Broker.EnsureTopicAsync(new TopicSpec(DataSource, 3), Limit);
        for (var partition = 0; partition < 3; partition++) await ForeignAsync(new(DataSource, partition), $"main {partition}");
        using var all = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        using var listed = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "one" } }, Limit);

        Assert.That(await all.TextsAsync(3), Is.EquivalentTo(new[] { "main 0", "main 1", "main 2" }));
        await ForeignAsync(new(DataSource, 1), "not wanted");
        await ForeignAsync(new(DataSource, 0), "wanted");
        Assert.That(await listed.TextsAsync(2), Is.EqualTo(new[] { "main 0", "wanted" }));
    }

    [Test]
    public async Task StreamTopic_SeveralPartitionsAlsoLater_IsReadWhole()
    {
        if (IsPartitionBased) return;
        var topic = $"{DataSource}.one";
        await Server.Broker.EnsureTopicAsync(new TopicSpec(topic, 2), Limit);
        for (var partition = 0; partition < 2; partition++) await ForeignAsync(new(topic, partition), $"{partition}");
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "one" } }, Limit);
        Assert.That(await read.TextsAsync(2), Is.EquivalentTo(new[] { "0", "1" }));

        await Server.Broker.EnsureTopicAsync(new TopicSpec(topic, 4), Limit);
        for (var partition = 2; partition < 4; partition++) await ForeignAsync(new(topic, partition), $"{partition}");
        Assert.That(await read.TextsAsync(2), Is.EquivalentTo(new[] { "2", "3" }));
    }

    [Test]
    public async Task MainTopic_FewerPartitionsThanMapped_IsExtendedAndReadOn()
    {
        if (!IsPartitionBased) return;
        await Server.Broker.AppendForeignAsync(DataSource, "", TextPacket("old").ToByteArray(), Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "old" }));
        await Server.WriteTextAsync(DataSource, "two", "new", Limit);

        var packet = await read.NextAsync();
        Assert.That((packet.Stream, packet.Packet.Content.ToStringUtf8()), Is.EqualTo(("two", "new")));
        Assert.That((await Server.Broker.TopicsAsync(Limit))[DataSource], Is.EqualTo(3));
    }

    [Test]
    public async Task DataSources_OneNameStartingWithTheOther_AreKeptApart()
    {
        var longer = DataSource + "x";
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        foreach (var stream in new[] { "", "one" }) await Server.WriteTextAsync(longer, stream, "not mine", Limit);
        await Server.WriteAsync(longer, "", TextPacket("not mine", essential: true), Limit);
        await Server.WriteTextAsync(DataSource, "one", "mine", Limit);

        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "mine" }));
        var created = await Server.Sessions.CreateSessionAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(
            created.NewSession.TopicPartitionOffsets.Keys,
            Is.All.Matches<string>(k => k!.StartsWith($"{DataSource}:", StringComparison.Ordinal) || k.StartsWith($"{DataSource}.", StringComparison.Ordinal) || k.StartsWith($"{DataSource}_", StringComparison.Ordinal)));
    }

    [Test]
    public async Task Essentials_OfADataSource_AreNoStreamOfIt()
    {
        await Server.WriteAsync(DataSource, "one", TextPacket("x", essential: true), Limit);
        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        await Server.WriteTextAsync(DataSource, "one", "y", Limit);

        Assert.That(await read.TextsAsync(2), Is.EqualTo(new[] { "x", "y" }), "the essentials copy is not delivered as well");
        var key = await Server.CreateSessionAsync(DataSource, Limit);
        Assert.That((await Server.InfoAsync(key, Limit)).Streams, Has.None.Contains("essential"));
    }

    [Test]
    public async Task SystemStatus_Record_IsNotInSessionInfo()
    {
        var server = await StartAsync(Configure());
        await server.Writer.WriteInfoPacketAsync(new() { Message = TextPacket("up", "svc"), Type = InfoType.SystemStatus }, cancellationToken: Limit);

        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = "SystemStatus" }, Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "up" }));
        Assert.That(await server.Broker.StoredAsync(new("SessionInfo", 0), Limit), Is.Empty);
    }

    private async Task ForeignAsync(TopicPartition target, string text) =>
        await Server.Broker.AppendAsync(target, new RecordData(Array.Empty<byte>(), TextPacket(text).ToByteArray()), Limit);
}
