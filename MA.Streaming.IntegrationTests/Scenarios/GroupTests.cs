using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Reads that are members of a consumer group: they share the partitions, and the group goes on where it was.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class GroupTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    private static int _groups;

    private readonly string _group = $"group {Interlocked.Increment(ref _groups)}";

    private ConnectionDetails Details(params string[] streams) => new() { DataSource = DataSource, Streams = { streams }, ConsumerGroup = $"{_group} of {DataSource}" };

    [Test]
    public async Task ReadPackets_TheGroupComesAgain_GoesOnBehindWhatItHad()
    {
        await WriteAsync("one", 0, 3);
        using (var read = await Server.ReadAsync(Details("one"), Limit))
        {
            Assert.That(await read.TextsAsync(3), Is.EqualTo(Texts("one", 0, 3)));
            await Server.CloseAsync(read.Connection, Limit);
            await read.ToEndAsync();
        }

        await WriteAsync("one", 3, 3);
        using var again = await Server.ReadAsync(Details("one"), Limit);
        Assert.That(await again.TextsAsync(3), Is.EqualTo(Texts("one", 3, 3)));
    }

    [Test]
    public async Task ReadPackets_AnotherGroupAndNoGroup_HaveEverything()
    {
        await WriteAsync("one", 0, 3);
        var other = Details("one");
        other.ConsumerGroup += " too";
        var none = Details("one");
        none.ConsumerGroup = "";
        foreach (var details in new[] { Details("one"), other, none, none })
        {
            using var read = await Server.ReadAsync(details, Limit);
            Assert.That(await read.TextsAsync(3), Is.EqualTo(Texts("one", 0, 3)), $"'{details.ConsumerGroup}'");
            await Server.CloseAsync(read.Connection, Limit);
        }
    }

    [TestCase(-1L, 6, TestName = "ReadPackets_OffsetsOfAGroup_SayOnlyWhereItStarts(latest)")]
    [TestCase(2L, 2, TestName = "ReadPackets_OffsetsOfAGroup_SayOnlyWhereItStarts(2)")]
    public async Task ReadPackets_OffsetsOfAGroup_SayOnlyWhereItStarts(long offset, int first)
    {
        await WriteAsync("one", 0, 6);
        var details = Details("one");
        details.ExcludeMainStream = true;
        details.StreamOffsets.Add(offset);
        using (var read = await Server.ReadAsync(details, Limit))
        {
            await WriteAsync("one", 6, 1);
            Assert.That(await read.TextsAsync(7 - first), Is.EqualTo(Texts("one", first, 7 - first)));
            await Server.CloseAsync(read.Connection, Limit);
            await read.ToEndAsync();
        }

        await WriteAsync("one", 7, 2);
        using var again = await Server.ReadAsync(details, Limit);
        Assert.That(await again.TextsAsync(2), Is.EqualTo(Texts("one", 7, 2)), "it has a position now");
    }

    [Test]
    public async Task ReadPackets_FromTheLatestWithoutHavingHadAny_GoesOnFromThere()
    {
        await WriteAsync("one", 0, 3);
        var details = Details("one");
        details.ExcludeMainStream = true;
        details.StreamOffsets.Add(-1);
        using (var read = await Server.ReadAsync(details, Limit))
        {
            await Server.CloseAsync(read.Connection, Limit);
            await read.ToEndAsync();
        }

        // Written while nobody read: the group had its place, and does not jump to the new end.
        await WriteAsync("one", 3, 2);
        using var again = await Server.ReadAsync(details, Limit);
        Assert.That(await again.TextsAsync(2), Is.EqualTo(Texts("one", 3, 2)));
    }

    [Test]
    public async Task ReadPackets_TwoMembers_HaveEveryPacketOnceBetweenThem()
    {
        string[] streams = ["", "one", "two"];
        foreach (var stream in streams) await WriteAsync(stream, 0, 20);
        using var first = await Server.ReadAsync(Details("one", "two"), Limit);
        var had = new List<string>(await first.TextsAsync(10));
        var connection = first.Connection;

        // Two on one connection are two members as well.
        using var second = await Server.ReadPacketsAsync(connection, Limit);
        foreach (var stream in streams) await WriteAsync(stream, 20, 20);
        var reading = Task.WhenAll(CollectAsync(first, had), CollectAsync(second, had));
        await Until.TrueAsync(() => Count(had) >= 120, Limit);
        await Server.CloseAsync(connection, Limit);
        await reading.WaitAsync(Limit);

        Assert.That(had, Is.EquivalentTo(streams.SelectMany(stream => Texts(stream, 0, 40))));
    }

    [Test]
    public async Task ReadPackets_MoreMembersThanPartitions_SendHeadersAndTakeOver()
    {
        var details = Details("one");
        details.ExcludeMainStream = true;
        await WriteAsync("one", 0, 1);
        var first = await Server.ReadAsync(details, Limit);
        Assert.That(await first.TextsAsync(1), Is.EqualTo(Texts("one", 0, 1)));
        using var second = await Server.ReadAsync(details, Limit); // Its headers have come, with nothing to read.

        // The first one goes away without a word; until the server has heard of it, packets may still be sent to where it was.
        first.Dispose();
        var (taken, written) = (second.NextAsync(), 1);
        await Until.DoneAsync(taken, () => WriteAsync("one", written++, 1), Limit);

        string[] had = [(await taken).Packet.Content.ToStringUtf8()];
        var from = Texts("one", 0, written).ToList().IndexOf(had[0]);
        if (Transport == Transport.InProcess) Assert.That(from, Is.EqualTo(1), "with no network between, the server knows at once");
        await WriteAsync("one", written, 3);
        had = [.. had, .. await second.TextsAsync(written + 2 - from)];
        Assert.That(had, Is.EqualTo(Texts("one", from, written + 3 - from)));
    }

    [Test]
    public async Task ReadPackets_AStreamAppears_IsReadFromItsBeginningByOneMember()
    {
        using var first = await Server.ReadAsync(Details(), Limit);
        using var second = await Server.ReadAsync(Details(), Limit);
        await WriteAsync("", 0, 2);
        await WriteAsync("one", 0, 5);
        await WriteAsync("two", 0, 5);
        var had = new List<string>();
        var reading = Task.WhenAll(CollectAsync(first, had), CollectAsync(second, had));
        await Until.TrueAsync(() => Count(had) >= 12, Limit);
        await Server.CloseAsync(first.Connection, Limit);
        await Server.CloseAsync(second.Connection, Limit);
        await reading.WaitAsync(Limit);

        Assert.That(had, Is.EquivalentTo(Texts("", 0, 2).Concat(Texts("one", 0, 5)).Concat(Texts("two", 0, 5))));
    }

    [Test]
    public async Task ReadPackets_PacketsOfOtherSessions_AreNotInTheWayOfTheGroup()
    {
        var details = Details("one");
        details.SessionKey = "mine";
        for (var i = 0; i < 3; i++)
        {
            await Server.WriteAsync(DataSource, "one", TextPacket($"theirs {i}", "theirs"), Limit);
            await Server.WriteAsync(DataSource, "one", TextPacket($"mine {i}", "mine"), Limit);
        }

        using (var read = await Server.ReadAsync(details, Limit))
        {
            Assert.That(await read.TextsAsync(3), Is.EqualTo(Enumerable.Range(0, 3).Select(i => $"mine {i}")));
            await Server.CloseAsync(read.Connection, Limit);
            await read.ToEndAsync();
        }

        await Server.WriteAsync(DataSource, "one", TextPacket("mine 3", "mine"), Limit);
        using var again = await Server.ReadAsync(details, Limit);
        Assert.That(await again.TextsAsync(1), Is.EqualTo(new[] { "mine 3" }));
    }

    [Test]
    public async Task ReadDataPackets_OfAGroup_SharesItsPositions()
    {
        await Server.WriteAsync(DataSource, "one", DataPackets.Row(1, "vCar"), Limit);
        var connection = await Server.ConnectAsync(Details("one"), Limit);
        using (var data = await Server.ReadDataPacketsAsync(new DataPacketRequest { Connection = connection }, Limit))
        {
            await data.NextAsync();
            await Server.CloseAsync(connection, Limit);
            await data.ToEndAsync(); // A read that goes on would pass over what it does not want, for its group too.
        }

        await WriteAsync("one", 0, 1);
        using var packets = await Server.ReadAsync(Details("one"), Limit);
        Assert.That(await packets.TextsAsync(1), Is.EqualTo(Texts("one", 0, 1)), "the data packet is had");
    }

    [Test]
    public async Task ReadEssentials_OfAGroup_HasEverythingEveryTime()
    {
        await Server.WriteAsync(DataSource, "", TextPacket("essential", essential: true), Limit);
        for (var i = 0; i < 2; i++)
            Assert.That(await Server.EssentialsNowAsync(Details(), Limit), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task ReadPackets_TwoServersOnOneBroker_ShareAGroup()
    {
        var other = await StartAsync(Configure(), Server.Broker);
        await WriteAsync("one", 0, 10);
        await WriteAsync("two", 0, 10);
        var details = Details("one", "two");
        details.ExcludeMainStream = true;
        using var first = await Server.ReadAsync(details, Limit);
        using var second = await other.ReadAsync(details, Limit);
        var had = new List<string>();
        var reading = Task.WhenAll(CollectAsync(first, had), CollectAsync(second, had));
        await Until.TrueAsync(() => Count(had) >= 20, Limit);
        await Server.CloseAsync(first.Connection, Limit);
        await WriteAsync("one", 10, 10);
        await WriteAsync("two", 10, 10);
        await Until.TrueAsync(() => Count(had) >= 40, Limit);
        await other.CloseAsync(second.Connection, Limit);
        await reading.WaitAsync(Limit);

        Assert.That(had, Is.EquivalentTo(Texts("one", 0, 20).Concat(Texts("two", 0, 20))));
    }

    [Test]
    public async Task NewConnection_GroupNameThatCannotBe_IsRefused()
    {
        var tooLong = await FailureOfAsync(() => Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, ConsumerGroup = new string('g', 250) }, Limit));
        var control = await FailureOfAsync(() => Server.ConnectAsync(new ConnectionDetails { DataSource = DataSource, ConsumerGroup = "a\nb" }, Limit));

        AssertFailure(tooLong, StatusCode.InvalidArgument, "consumer_group", "250", "249");
        AssertFailure(control, StatusCode.InvalidArgument, "consumer_group", "U+000A");
    }

    private static IEnumerable<string> Texts(string stream, int first, int count) => Enumerable.Range(first, count).Select(i => $"{stream} {i}");

    private static int Count(List<string> had)
    {
        lock (had) return had.Count;
    }

    private static async Task CollectAsync(OpenRead read, List<string> had)
    {
        try
        {
            while (true)
            {
                var text = (await read.NextAsync()).Packet.Content.ToStringUtf8();
                lock (had) had.Add(text);
            }
        }
        catch (EndOfStreamException)
        {
            // Its connection was closed.
        }
    }

    private async Task WriteAsync(string stream, int first, int count)
    {
        foreach (var text in Texts(stream, first, count)) await Server.WriteTextAsync(DataSource, stream, text, Limit);
    }
}
