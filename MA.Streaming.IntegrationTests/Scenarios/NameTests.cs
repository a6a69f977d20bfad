using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Which names writers may use, and that readers may use those that exist.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class NameTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    private static readonly object[] BadDataSources =
    [
        new[] { "", "empty" },
        new[] { "a b", "' '" },
        new[] { "a/b", "'/'" },
        new[] { "Größe", "'ö'" },
        new[] { "a\u0007b", "U+0007" },
        new[] { ".", "data_source" },
        new[] { "..", "data_source" },
        new[] { "SessionInfo", "system topic" },
        new[] { "SystemStatus", "system topic" },
        new[] { "car_essential", "_essential" },
        new[] { "__consumer_offsets", "__" },
    ];

    [TestCaseSource(nameof(BadDataSources))]
    public async Task EveryWriter_DataSourceThatIsNotAllowed_IsRefusedWithTheReason(string dataSource, string reason)
    {
        string[] words = dataSource.Length == 0 || dataSource.Contains('\a', StringComparison.Ordinal) ? ["data_source", reason] : ["data_source", $"'{dataSource}'", reason];
        AssertFailure(await FailureOfAsync(() => Server.WriteTextAsync(dataSource, "", "x", Limit)), StatusCode.InvalidArgument, words);
        AssertFailure(await FailureOfAsync(() => WriteStreamAsync(dataSource, "")), StatusCode.InvalidArgument, words);
        AssertFailure(await FailureOfAsync(() => Server.CreateSessionAsync(dataSource, Limit)), StatusCode.InvalidArgument, words);
        AssertFailure(await FailureOfAsync(() => Server.ParametersIdAsync(dataSource, Limit, "p")), StatusCode.InvalidArgument, words);
        AssertFailure(await FailureOfAsync(() => Server.EventIdAsync(dataSource, "e", Limit)), StatusCode.InvalidArgument, words);
    }

    [Test]
    public async Task WriteDataPacket_DataSourceWithADot_IsAllowedInPartitionBasedOnly()
    {
        var dataSource = $"{DataSource}.b";
        if (IsPartitionBased)
        {
            await Server.WriteTextAsync(dataSource, "one", "hello", Limit);
            Assert.That((await StoredAsync(dataSource, "one")).Select(r => r.Text), Is.EqualTo(new[] { "hello" }));
        }
        else
        {
            var failure = await FailureOfAsync(() => Server.WriteTextAsync(dataSource, "", "hello", Limit));
            AssertFailure(failure, StatusCode.InvalidArgument, "data_source", $"'{dataSource}'", "replace the dots", "PartitionBased");
        }
    }

    [TestCase("a.b", "'.'")]
    [TestCase("essential", "essential")]
    [TestCase("my_essential", "_essential")]
    [TestCase("a b", "' '")]
    [TestCase("a:b", "':'")]
    public async Task WriteDataPacket_StreamThatIsNoPartOfATopicName_IsRefusedInTopicBasedOnly(string stream, string reason)
    {
        if (IsPartitionBased)
        {
            await Server.WriteTextAsync(DataSource, stream, "hello", Limit);
            Assert.That((await StoredAsync(DataSource, "")).Select(r => r.Text), Is.EqualTo(new[] { "hello" }));
        }
        else
        {
            AssertFailure(await FailureOfAsync(() => Server.WriteTextAsync(DataSource, stream, "x", Limit)), StatusCode.InvalidArgument, "stream", $"'{stream}'", reason);
            AssertFailure(await FailureOfAsync(() => WriteStreamAsync(DataSource, stream)), StatusCode.InvalidArgument, "stream", $"'{stream}'", reason);
        }
    }

    [Test]
    public async Task WriteDataPacket_DataSourceOf249Characters_IsTheLongest()
    {
        var longest = DataSource.PadRight(249, 'x');
        await Server.WriteTextAsync(longest, "", "hello", Limit);
        Assert.That(await StoredAsync(longest, ""), Has.Count.EqualTo(1));

        AssertFailure(await FailureOfAsync(() => Server.WriteTextAsync(longest + "x", "", "x", Limit)), StatusCode.InvalidArgument, "data_source", "250", "249");
    }

    [Test]
    public async Task WriteDataPacket_EssentialsTopicNameTooLong_IsRefused()
    {
        var longest = DataSource.PadRight(239, 'x');
        await Server.WriteAsync(longest, "", TextPacket("x", essential: true), Limit);
        Assert.That(await EssentialsAsync(longest), Has.Count.EqualTo(1));

        var failure = await FailureOfAsync(() => Server.WriteAsync(longest + "x", "", TextPacket("x", essential: true), Limit));
        AssertFailure(failure, StatusCode.InvalidArgument, "data_source", "240", "249", "_essential");
        AssertFailure(await FailureOfAsync(() => Server.ParametersIdAsync(longest + "x", Limit, "p")), StatusCode.InvalidArgument, "data_source", "249");
    }

    [Test]
    public async Task WriteDataPacket_StreamTopicNameTooLong_IsRefusedInTopicBased()
    {
        var stream = new string('s', 248 - DataSource.Length);
        await Server.WriteTextAsync(DataSource, stream, "x", Limit);
        Assert.That(await StoredAsync(DataSource, stream), Has.Count.EqualTo(1));
        if (IsPartitionBased) return;
        var failure = await FailureOfAsync(() => Server.WriteTextAsync(DataSource, stream + "s", "x", Limit));
        AssertFailure(failure, StatusCode.InvalidArgument, "stream", "250", "249");
    }

    [Test]
    public async Task WriteDataPacket_NamesThatDifferInCase_AreDifferent()
    {
        await Server.WriteTextAsync(DataSource, "", "upper", Limit);
        await Server.WriteTextAsync(DataSource.ToLowerInvariant(), "", "lower", Limit);

        Assert.That((await StoredAsync(DataSource, "")).Select(r => r.Text), Is.EqualTo(new[] { "upper" }));
    }

    [Test]
    public async Task NewConnection_NamesThatOnlyReadersMayUse_AreAccepted()
    {
        foreach (var dataSource in new[] { "SessionInfo", "SystemStatus", "car_essential", "__offsets", "A.b" })
        {
            var connection = await Server.ConnectAsync(new ConnectionDetails { DataSource = dataSource, Streams = { "b.c", "essential" } }, Limit);
            Assert.That(connection.Id, Is.Positive);
        }
    }

    [Test]
    public async Task ReadPackets_ExistingTopicThatWritersMayNotUse_IsRead()
    {
        await Server.Broker.AppendForeignAsync($"{DataSource}.b", "", TextPacketBytes("foreign"), Limit);

        using var read = await Server.ReadAsync(new ConnectionDetails { DataSource = $"{DataSource}.b" }, Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "foreign" }));
    }

    [Test]
    public async Task GetCurrentSessions_DataSourceThatMayNotBeWritten_IsListed()
    {
        var response = await Server.Sessions.GetCurrentSessionsAsync(new() { DataSource = "car_essential" }, cancellationToken: Limit);

        Assert.That(response.Success, Is.True);
        Assert.That(response.SessionKeys, Is.Empty);
    }

    [Test]
    public async Task NewConnection_NameThatIsNoTopicName_IsRefused()
    {
        foreach (var (dataSource, words) in new[] { ("", "empty"), ("a b", "' '"), (new string('x', 250), "249") })
        {
            var failure = await FailureOfAsync(() => Server.ConnectAsync(new ConnectionDetails { DataSource = dataSource }, Limit));
            AssertFailure(failure, StatusCode.InvalidArgument, "data_source", words);
        }

        if (IsPartitionBased) return;
        var badStream = await FailureOfAsync(() => Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "good", "b\u00e4d" } }, Limit));
        AssertFailure(badStream, StatusCode.InvalidArgument, "streams", "'bäd'", "'ä'");
    }

    [Test]
    public async Task WriteDataPacket_TwoDataSourcesWithTheSameMappings_AreServedAlike()
    {
        var other = NewDataSource();
        await Server.WriteTextAsync(DataSource, "two", "mine", Limit);
        await Server.WriteTextAsync(other, "two", "theirs", Limit);

        Assert.That((await StoredAsync(DataSource, "two")).Select(r => r.Text), Is.EqualTo(new[] { "mine" }));
        Assert.That((await StoredAsync(other, "two")).Select(r => r.Text), Is.EqualTo(new[] { "theirs" }));
    }

    [Test]
    public async Task WriteDataPacket_PartitionBasedWithoutMappings_EveryStreamIsTheMainStream()
    {
        if (!IsPartitionBased) return;
        var server = await StartAsync(Configure(mappings: []));
        await server.WriteTextAsync(DataSource, "one", "hello", Limit);

        Assert.That((await server.Broker.StoredAsync(new(DataSource, 0), Limit)).Select(r => r.Text), Is.EqualTo(new[] { "hello" }));
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        Assert.That((await read.NextAsync()).Stream, Is.Empty);
    }

    private static byte[] TextPacketBytes(string text)
    {
        var packet = TextPacket(text);
        var bytes = new byte[packet.CalculateSize()];
        using var output = new Google.Protobuf.CodedOutputStream(bytes);
        packet.WriteTo(output);
        return bytes;
    }

    private async Task WriteStreamAsync(string dataSource, string stream)
    {
        using var call = Server.Writer.WriteDataPackets(cancellationToken: Limit);
        await call.RequestStream.WriteAsync(new WriteDataPacketsRequest { Details = { Detail(dataSource, stream, TextPacket("x")) } }, Limit);
        await call.RequestStream.CompleteAsync().WaitAsync(Limit);
        await call.ResponseAsync.WaitAsync(Limit);
    }
}
