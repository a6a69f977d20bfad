using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Two servers over one broker: they never disagree.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class TwoServerTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    private StreamServer[] _servers = [];

    [SetUp]
    public async Task StartTwo()
    {
        var broker = await NewBrokerAsync();
        _servers = [await StartAsync(Configure(), broker), await StartAsync(Configure(), broker)];
    }

    [Test]
    public async Task Updates_OnBothAtOnce_EndEqualAndComplete()
    {
        var key = await _servers[0].CreateSessionAsync(DataSource, Limit);
        var updates = Enumerable.Range(0, 50).SelectMany(i => _servers.Select((server, s) => Task.WhenAll(
            server.Sessions.UpdateSessionDetailsAsync(
                new() { SessionKey = key, Details = { [$"own{s}.{i}"] = "x", [$"shared{i}"] = $"{s}" } }, cancellationToken: Limit).ResponseAsync,
            server.Sessions.AddAssociateSessionAsync(new() { SessionKey = key, AssociateSessionKey = $"{s}.{i}" }, cancellationToken: Limit).ResponseAsync,
            server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = $"{s}.{i}" }, cancellationToken: Limit).ResponseAsync)));
        await Task.WhenAll(updates).WaitAsync(Limit);
        foreach (var server in _servers) await CatchUpAsync(server);

        var infos = new[] { await _servers[0].InfoAsync(key, Limit), await _servers[1].InfoAsync(key, Limit) };
        Assert.That(infos[0], Is.EqualTo(infos[1]));
        Assert.That(infos[0].Details, Has.Count.EqualTo(150));
        Assert.That(infos[0].AssociateSessionKeys, Has.Count.EqualTo(100));
        Assert.That(infos[0].AssociateSessionKeys, Is.Unique);
    }

    [Test]
    public async Task Updates_SomethingElseOnEach_DoNotUndoEachOther()
    {
        var key = await _servers[0].CreateSessionAsync(DataSource, Limit);
        await _servers[1].Sessions.UpdateSessionDetailsAsync(new() { SessionKey = key, Details = { ["a"] = "1" } }, cancellationToken: Limit);
        await _servers[0].Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "Run" }, cancellationToken: Limit);
        await _servers[1].Sessions.UpdateSessionInfoAsync(new() { SessionKey = key, SessionInfo = new() { Version = 5 } }, cancellationToken: Limit);
        foreach (var server in _servers) await CatchUpAsync(server);

        foreach (var server in _servers)
        {
            var info = await server.InfoAsync(key, Limit);
            Assert.That((info.Identifier, info.Version, info.Details["a"]), Is.EqualTo(("Run", 5u, "1")));
        }
    }

    [Test]
    public async Task CreateSession_OneChosenKeyOnBoth_FirstInTheLogWins()
    {
        for (var round = 0; round < 20; round++)
        {
            var key = $"{DataSource}-{round}";
            var attempts = await Task.WhenAll(TryCreateAsync(_servers[0], key, "zero"), TryCreateAsync(_servers[1], key, "one")).WaitAsync(Limit);
            foreach (var server in _servers) await CatchUpAsync(server);

            Assert.That(attempts.Count(a => a is StatusCode.OK), Is.EqualTo(1));
            Assert.That(attempts.Count(a => a is StatusCode.AlreadyExists), Is.EqualTo(1));
            var winner = attempts[0] == StatusCode.OK ? "zero" : "one";
            foreach (var server in _servers) Assert.That((await server.InfoAsync(key, Limit)).Identifier, Is.EqualTo(winner));
        }
    }

    [Test]
    public async Task CreateSession_OneChosenKeyWithTheSameContentOnBoth_SucceedsTwice()
    {
        for (var round = 0; round < 20; round++)
        {
            var key = $"{DataSource}-{round}";
            var attempts = await Task.WhenAll(TryCreateAsync(_servers[0], key, "same"), TryCreateAsync(_servers[1], key, "same")).WaitAsync(Limit);
            Assert.That(attempts, Is.All.EqualTo(StatusCode.OK));
        }

        foreach (var server in _servers)
        {
            await CatchUpAsync(server);
            var listed = await server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
            Assert.That(listed.SessionKeys, Has.Count.EqualTo(20).And.Unique);
        }
    }

    [Test]
    public async Task EndSession_OnBothAtOnce_AnswersWithTheFirstEnd()
    {
        for (var round = 0; round < 20; round++)
        {
            var key = await _servers[round % 2].CreateSessionAsync(DataSource, Limit);
            var ends = await Task.WhenAll(_servers.Select((server, s) => server.Sessions.EndSessionAsync(
                new() { SessionKey = key, TerminationTime = new() { Seconds = s + 1 } }, cancellationToken: Limit).ResponseAsync)).WaitAsync(Limit);

            Assert.That(ends.Select(e => e.Success), Is.All.True);
            Assert.That(ends[0].EndSession, Is.EqualTo(ends[1].EndSession));
        }
    }

    [Test]
    public async Task Notifications_OfTheOtherServersSessions_Come()
    {
        using var starts = _servers[1].Sessions.GetSessionStartNotification(new() { DataSource = DataSource }, cancellationToken: Limit);
        using var stops = _servers[1].Sessions.GetSessionStopNotification(new() { DataSource = DataSource }, cancellationToken: Limit);
        await starts.ResponseHeadersAsync.WaitAsync(Limit);
        await stops.ResponseHeadersAsync.WaitAsync(Limit);
        var key = await _servers[0].CreateSessionAsync(DataSource, Limit);
        await _servers[0].Sessions.EndSessionAsync(new() { SessionKey = key }, cancellationToken: Limit);

        Assert.That(await starts.ResponseStream.MoveNext(Limit), Is.True);
        Assert.That(starts.ResponseStream.Current.SessionKey, Is.EqualTo(key));
        Assert.That(await stops.ResponseStream.MoveNext(Limit), Is.True);
        Assert.That(stops.ResponseStream.Current.SessionKey, Is.EqualTo(key));
    }

    [Test]
    public async Task Streams_ThatTheOtherServerMakes_AreReadAndListed()
    {
        using var read = await _servers[1].ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        foreach (var stream in new[] { "one", "two", "" }) await _servers[0].WriteTextAsync(DataSource, stream, $"in {stream}", Limit);

        Assert.That(await read.TextsAsync(3), Is.EquivalentTo(new[] { "in one", "in two", "in " }));
        var key = await _servers[1].CreateSessionAsync(DataSource, Limit);
        Assert.That((await _servers[1].InfoAsync(key, Limit)).Streams, Is.SupersetOf(new[] { "one", "two" }));
    }

    [Test]
    public async Task Writers_OnBothToOneStream_KeepTheirOwnOrder()
    {
        await Task.WhenAll(_servers.Select(async (server, s) =>
        {
            for (var i = 0; i < 200; i++) await server.WriteTextAsync(DataSource, "one", $"{s}.{i}", Limit);
        }));
        using var read = await _servers[0].ReadAsync(new ConnectionDetails { DataSource = DataSource }, Limit);
        var texts = await read.TextsAsync(400);

        for (var s = 0; s < 2; s++)
        {
            Assert.That(texts.Where(t => t.StartsWith($"{s}.", StringComparison.Ordinal)), Is.EqualTo(Enumerable.Range(0, 200).Select(i => $"{s}.{i}")));
        }
    }

    private async Task CatchUpAsync(StreamServer server) =>
        await server.Sessions.EndSessionAsync(new() { SessionKey = "catch-up" }, cancellationToken: Limit);

    private async Task<StatusCode> TryCreateAsync(StreamServer server, string key, string identifier)
    {
        try
        {
            var request = new CreateSessionRequest { DataSource = DataSource, SessionKey = key, Identifier = identifier };
            return (await server.Sessions.CreateSessionAsync(request, cancellationToken: Limit)).Success ? StatusCode.OK : StatusCode.Unknown;
        }
        catch (RpcException exception)
        {
            return exception.StatusCode;
        }
    }
}
