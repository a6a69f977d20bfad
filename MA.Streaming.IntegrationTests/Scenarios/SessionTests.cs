using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Sessions: creating, ending, updating, listing, being told, and records by others.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class SessionTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task CreateSession_DataSourceOnly_FillsInTheDefaults()
    {
        var before = TimeProvider.System.GetUtcNow();
        var created = await Server.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = DataSource }, cancellationToken: Limit);

        Assert.That(created.Success, Is.True);
        Assert.That(created.SessionKey, Does.Match("^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"));
        Assert.That(created.NewSession.DataSource, Is.EqualTo(DataSource));
        Assert.That(created.NewSession.CreationTime.ToDateTimeOffset(), Is.InRange(before, TimeProvider.System.GetUtcNow()));
        Assert.That(created.NewSession.SessionInfo.Type, Is.EqualTo("Session"));
        Assert.That(created.NewSession.SessionInfo.Version, Is.EqualTo(1));
        var info = await Server.InfoAsync(created.SessionKey, Limit);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(info.Success, Is.True);
            Assert.That(info.DataSource, Is.EqualTo(DataSource));
            Assert.That(info.Type, Is.EqualTo("Session"));
            Assert.That(info.Version, Is.EqualTo(1));
            Assert.That(info.Identifier, Is.Empty);
            Assert.That(info.IsComplete, Is.False);
            Assert.That(info.UtcOffset, Is.EqualTo(new Duration()));
            Assert.That(info.CreationTime, Is.EqualTo(created.NewSession.CreationTime));
            Assert.That(info.TerminationTime, Is.Null);
        }
    }

    [Test]
    public async Task CreateSession_EveryField_ComesBackFromGetSessionInfo()
    {
        var creation = Timestamp.FromDateTimeOffset(new DateTimeOffset(2024, 5, 6, 7, 8, 9, TimeSpan.Zero));
        var request = new CreateSessionRequest
        {
            DataSource = DataSource,
            Type = "Practice",
            Version = 7,
            UtcOffset = Duration.FromTimeSpan(TimeSpan.FromHours(-3.5)),
            Identifier = "FP1",
            AssociateSessionKey = { "parent", "other-broker" },
            Details = { ["driver"] = "A", ["empty"] = "" },
            CreationTime = creation,
        };
        var created = await Server.Sessions.CreateSessionAsync(request, cancellationToken: Limit);

        var info = await Server.InfoAsync(created.SessionKey, Limit);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(info.Type, Is.EqualTo("Practice"));
            Assert.That(info.Version, Is.EqualTo(7));
            Assert.That(info.UtcOffset, Is.EqualTo(request.UtcOffset));
            Assert.That(info.Identifier, Is.EqualTo("FP1"));
            Assert.That(info.AssociateSessionKeys, Is.EqualTo(new[] { "parent", "other-broker" }));
            Assert.That(info.Details, Is.EqualTo(request.Details));
            Assert.That(info.CreationTime, Is.EqualTo(creation));
        }
    }

    [Test]
    public async Task CreateSession_SessionInfoGiven_ItsSetFieldsWin()
    {
        var created = await Server.Sessions.CreateSessionAsync(
            new CreateSessionRequest
            {
                DataSource = DataSource,
                Type = "Practice",
                Version = 2,
                Identifier = "old",
                SessionInfo = new SessionInfoPacket { Identifier = "new", Version = 3, Details = { ["a"] = "1" } },
            },
            cancellationToken: Limit);

        var info = await Server.InfoAsync(created.SessionKey, Limit);
        Assert.That((info.Identifier, info.Type, info.Version), Is.EqualTo(("new", "Practice", 3u)));
        Assert.That(info.Details["a"], Is.EqualTo("1"));
    }

    [Test]
    public async Task CreateAndEndSession_Offsets_AreTheHighWatermarksOfThatMoment()
    {
        await Server.WriteTextAsync(DataSource, "", "main", Limit);
        await Server.WriteTextAsync(DataSource, "one", "1", Limit);
        await Server.WriteTextAsync(DataSource, "one", "2", Limit);
        await Server.WriteAsync(DataSource, "two", TextPacket("3", essential: true), Limit);

        var created = await Server.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = DataSource }, cancellationToken: Limit);
        var expected = new Dictionary<string, long>
        {
            [$"{DataSource}:0"] = 1,
            [$"{DataSource}_essential:0"] = 1,
            [PlaceOf(DataSource, "one").ToString()] = 2,
            [PlaceOf(DataSource, "two").ToString()] = 1,
        };
        Assert.That(created.NewSession.TopicPartitionOffsets, Is.EquivalentTo(expected));
        var info = await Server.InfoAsync(created.SessionKey, Limit);
        Assert.That(info.TopicPartitionOffsets, Is.EquivalentTo(expected));
        Assert.That((info.MainOffset, info.EssentialsOffset), Is.EqualTo((1, 1)));
        Assert.That(info.Streams, Is.EquivalentTo(IsPartitionBased ? new[] { "one", "two", "twin" } : ["one", "two"]));

        await Server.WriteTextAsync(DataSource, "one", "4", Limit);
        var ended = await Server.Sessions.EndSessionAsync(new() { SessionKey = created.SessionKey }, cancellationToken: Limit);
        expected[PlaceOf(DataSource, "one").ToString()] = 3;
        Assert.That(ended.EndSession.TopicPartitionOffsets, Is.EquivalentTo(expected));
        Assert.That((await Server.InfoAsync(created.SessionKey, Limit)).MainOffset, Is.EqualTo(1), "the starting offset");
    }

    [Test]
    public async Task CreateSession_NothingWrittenYet_HasOffsetsOfZero()
    {
        var created = await Server.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = DataSource }, cancellationToken: Limit);

        Assert.That(created.NewSession.TopicPartitionOffsets, Contains.Key($"{DataSource}:0"));
        Assert.That(created.NewSession.TopicPartitionOffsets, Contains.Key($"{DataSource}_essential:0"));
        Assert.That(created.NewSession.TopicPartitionOffsets.Values, Is.All.Zero);
    }

    [Test]
    public async Task CreateSession_MappingsThatNamePartitionZeroAndShareOne_Works()
    {
        var server = await StartAsync(Configure(mappings: [new("zero", 0), new("also", 0), new("two", 2)]));
        await server.WriteTextAsync(DataSource, "zero", "hello", Limit);

        var created = await server.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(created.Success, Is.True);
        Assert.That(created.NewSession.TopicPartitionOffsets[IsPartitionBased ? $"{DataSource}:0" : $"{DataSource}.zero:0"], Is.EqualTo(1));
    }

    [Test]
    public async Task CreateSession_Answered_IsKnownAndNotifiedWithoutAWait()
    {
        using var starts = await StartsAsync(Server, DataSource);
        var key = await Server.CreateSessionAsync(DataSource, Limit);

        Assert.That((await Server.InfoAsync(key, Limit)).Success, Is.True);
        var listed = await Server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(listed.SessionKeys, Is.EqualTo(new[] { key }));
        Assert.That(await NextAsync(starts), Is.EqualTo((DataSource, key)));
    }

    [Test]
    public async Task CreateSession_ChosenKeyWithTheSameContentAgain_SucceedsWithTheFirst()
    {
        var request = new CreateSessionRequest { DataSource = DataSource, SessionKey = $"run-{DataSource}", Identifier = "Run", Details = { ["a"] = "1" } };
        var first = await Server.Sessions.CreateSessionAsync(request, cancellationToken: Limit);
        await Server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = request.SessionKey, Identifier = "Renamed" }, cancellationToken: Limit);
        await Server.Sessions.EndSessionAsync(new() { SessionKey = request.SessionKey }, cancellationToken: Limit);

        var again = await Server.Sessions.CreateSessionAsync(request, cancellationToken: Limit);
        Assert.That(again, Is.EqualTo(first));
        var listed = await Server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(listed.SessionKeys, Is.EqualTo(new[] { request.SessionKey }));
    }

    [Test]
    public async Task CreateSession_ChosenKeyWithOtherContent_AlreadyExistsAndSaysWhatDiffers()
    {
        var creation = Timestamp.FromDateTimeOffset(new DateTimeOffset(2024, 5, 6, 7, 8, 9, TimeSpan.Zero));
        var first = new CreateSessionRequest
        {
            DataSource = DataSource,
            SessionKey = $"run-{DataSource}",
            Identifier = "Run",
            Details = { ["a"] = "1" },
            CreationTime = creation,
        };
        await Server.Sessions.CreateSessionAsync(first, cancellationToken: Limit);
        var others = new (Action<CreateSessionRequest> Change, string Word)[]
        {
            (r => r.DataSource = NewDataSource(), "data_source"),
            (r => r.Identifier = "Other", "identifier 'Run', not 'Other'"),
            (r => r.Type = "Race", "type 'Session', not 'Race'"),
            (r => r.Version = 4, "version 1, not 4"),
            (r => r.UtcOffset = new Duration { Seconds = 60 }, "utc_offset"),
            (r => r.AssociateSessionKey.Add("x"), "associate"),
            (r => r.Details["a"] = "2", "details"),
            (r => r.CreationTime = new Timestamp { Seconds = 1 }, "creation_time"),
        };
        foreach (var (change, word) in others)
        {
            var request = first.Clone();
            change(request);
            var failure = await FailureOfAsync(async () => await Server.Sessions.CreateSessionAsync(request, cancellationToken: Limit));
            AssertFailure(failure, StatusCode.AlreadyExists, $"session_key '{first.SessionKey}'", word);
        }

        first.CreationTime = null;
        Assert.That((await Server.Sessions.CreateSessionAsync(first, cancellationToken: Limit)).Success, Is.True, "an unset creation_time does not count");
    }

    [Test]
    public async Task CreateSession_OneChosenKeyByManyAtOnce_MakesOneSession()
    {
        var key = $"run-{DataSource}";
        var attempts = await Task.WhenAll(Enumerable.Range(0, 32).Select(i => TryCreateAsync(Server, key, $"Run {i % 4}")));

        var winners = attempts.Where(a => a.Response is not null).Select(a => a.Response!).ToList();
        Assert.That(winners, Is.Not.Empty);
        Assert.That(winners.Distinct().Count(), Is.EqualTo(1));
        Assert.That(winners, Has.Count.EqualTo(8), "all that asked for the winner's content");
        Assert.That(attempts.Where(a => a.Response is null).Select(a => a.Failure), Is.All.EqualTo(StatusCode.AlreadyExists));
        var listed = await Server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(listed.SessionKeys, Is.EqualTo(new[] { key }));
    }

    [Test]
    public async Task EndSession_KnownKey_CompletesItOnce()
    {
        var key = await Server.CreateSessionAsync(DataSource, Limit);
        var termination = Timestamp.FromDateTimeOffset(new DateTimeOffset(2024, 5, 6, 7, 8, 9, TimeSpan.Zero));
        using var stops = await StopsAsync(Server, DataSource);
        var first = await Server.Sessions.EndSessionAsync(
            new() { DataSource = "another", SessionKey = key, TerminationTime = termination }, cancellationToken: Limit);
        var again = await Server.Sessions.EndSessionAsync(new() { SessionKey = key }, cancellationToken: Limit);

        Assert.That(first.Success, Is.True);
        Assert.That(first.EndSession.TerminationTime, Is.EqualTo(termination));
        Assert.That(first.EndSession.DataSource, Is.EqualTo(DataSource));
        Assert.That(again, Is.EqualTo(first));
        var info = await Server.InfoAsync(key, Limit);
        Assert.That(info.IsComplete, Is.True);
        Assert.That(info.TerminationTime, Is.EqualTo(termination));

        // Nothing published twice: the next stop notification is the other session's.
        var other = await Server.CreateSessionAsync(DataSource, Limit);
        await Server.Sessions.EndSessionAsync(new() { SessionKey = other }, cancellationToken: Limit);
        Assert.That(await NextAsync(stops), Is.EqualTo((DataSource, key)));
        Assert.That(await NextAsync(stops), Is.EqualTo((DataSource, other)));
    }

    [Test]
    public async Task EveryRpcOnAKey_UnknownKey_AnswersFalse()
    {
        const string Unknown = "no-such-session";
        Assert.That((await Server.Sessions.EndSessionAsync(new() { SessionKey = Unknown }, cancellationToken: Limit)).Success, Is.False);
        Assert.That((await Server.Sessions.EndSessionAsync(new(), cancellationToken: Limit)).Success, Is.False);
        Assert.That((await Server.InfoAsync(Unknown, Limit)).Success, Is.False);
        Assert.That(
            (await Server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = Unknown, Identifier = "x" }, cancellationToken: Limit)).Success, Is.False);
        Assert.That(
            (await Server.Sessions.UpdateSessionDetailsAsync(new() { SessionKey = Unknown, Details = { ["a"] = "b" } }, cancellationToken: Limit)).Success, Is.False);
        Assert.That(
            (await Server.Sessions.AddAssociateSessionAsync(new() { SessionKey = Unknown, AssociateSessionKey = "x" }, cancellationToken: Limit)).Success, Is.False);
        Assert.That(
            (await Server.Sessions.UpdateSessionInfoAsync(new() { SessionKey = Unknown, SessionInfo = new() { Identifier = "x" } }, cancellationToken: Limit)).Success,
            Is.False);
    }

    [Test]
    public async Task GetCurrentSessions_SeveralSessions_AreOldestFirstEndedOnesToo()
    {
        var keys = new List<string>();
        for (var i = 0; i < 5; i++) keys.Add(await Server.CreateSessionAsync(DataSource, Limit));
        await Server.Sessions.EndSessionAsync(new() { SessionKey = keys[1] }, cancellationToken: Limit);
        await Server.CreateSessionAsync(DataSource + "x", Limit);

        var listed = await Server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(listed.SessionKeys, Is.EqualTo(keys));
        var unknown = await Server.Sessions.GetCurrentSessionsAsync(new() { DataSource = "NoSuchCar" }, cancellationToken: Limit);
        Assert.That((unknown.Success, unknown.SessionKeys.Count), Is.EqualTo((true, 0)));
    }

    [Test]
    public async Task Updates_KnownKey_AreSeenAtOnceAlsoAfterItsEnd()
    {
        var created = await Server.Sessions.CreateSessionAsync(
            new() { DataSource = DataSource, Identifier = "Run", Details = { ["kept"] = "1", ["changed"] = "2" } }, cancellationToken: Limit);
        var key = created.SessionKey;
        await Server.Sessions.EndSessionAsync(new() { SessionKey = key }, cancellationToken: Limit);

        Assert.That((await Server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "Run 2" }, cancellationToken: Limit)).Success, Is.True);
        Assert.That((await Server.InfoAsync(key, Limit)).Identifier, Is.EqualTo("Run 2"));
        Assert.That((await Server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key }, cancellationToken: Limit)).Success, Is.True);
        Assert.That((await Server.InfoAsync(key, Limit)).Identifier, Is.EqualTo("Run 2"), "an empty identifier changes nothing");

        await Server.Sessions.UpdateSessionDetailsAsync(new() { SessionKey = key, Details = { ["changed"] = "3", ["new"] = "4" } }, cancellationToken: Limit);
        Assert.That(
            (await Server.InfoAsync(key, Limit)).Details,
            Is.EquivalentTo(new Dictionary<string, string> { ["kept"] = "1", ["changed"] = "3", ["new"] = "4" }));

        foreach (var associate in new[] { "a", "b", "a" })
        {
            var added = await Server.Sessions.AddAssociateSessionAsync(new() { SessionKey = key, AssociateSessionKey = associate }, cancellationToken: Limit);
            Assert.That(added.Success, Is.True);
        }

        Assert.That((await Server.InfoAsync(key, Limit)).AssociateSessionKeys, Is.EqualTo(new[] { "a", "b" }));
    }

    [Test]
    public async Task UpdateSessionInfo_EveryField_ReplacesMergesAndAdds()
    {
        var created = await Server.Sessions.CreateSessionAsync(
            new() { DataSource = DataSource, Identifier = "Run", AssociateSessionKey = { "a" }, Details = { ["kept"] = "1" } }, cancellationToken: Limit);
        var updated = await Server.Sessions.UpdateSessionInfoAsync(
            new()
            {
                SessionKey = created.SessionKey,
                SessionInfo = new() { Identifier = "Run 2", Type = "Race", Version = 9, AssociateSessionKeys = { "a", "b" }, Details = { ["new"] = "2" } },
            },
            cancellationToken: Limit);

        Assert.That(updated.Success, Is.True);
        var info = await Server.InfoAsync(created.SessionKey, Limit);
        Assert.That((info.Identifier, info.Type, info.Version), Is.EqualTo(("Run 2", "Race", 9u)));
        Assert.That(info.AssociateSessionKeys, Is.EqualTo(new[] { "a", "b" }));
        Assert.That(info.Details, Is.EquivalentTo(new Dictionary<string, string> { ["kept"] = "1", ["new"] = "2" }));
        AssertFailure(
            await FailureOfAsync(async () => await Server.Sessions.UpdateSessionInfoAsync(new() { SessionKey = created.SessionKey }, cancellationToken: Limit)),
            StatusCode.InvalidArgument,
            "session_info");
    }

    [Test]
    public async Task UpdateSessionDetails_ManyAtOnce_AllEndUpInTheSession()
    {
        var key = await Server.CreateSessionAsync(DataSource, Limit);
        await Task.WhenAll(Enumerable.Range(0, 64).Select(i =>
            Server.Sessions.UpdateSessionDetailsAsync(new() { SessionKey = key, Details = { [$"{i}"] = "x" } }, cancellationToken: Limit).ResponseAsync));
        await Task.WhenAll(Enumerable.Range(0, 64).Select(i =>
            Server.Sessions.AddAssociateSessionAsync(new() { SessionKey = key, AssociateSessionKey = $"{i % 32}" }, cancellationToken: Limit).ResponseAsync));

        var info = await Server.InfoAsync(key, Limit);
        Assert.That(info.Details, Has.Count.EqualTo(64));
        Assert.That(info.AssociateSessionKeys, Is.EquivalentTo(Enumerable.Range(0, 32).Select(i => $"{i}")));
    }

    [Test]
    public async Task Notifications_BeforeSubscribingAndOtherDataSources_AreNotSent()
    {
        var earlier = await Server.CreateSessionAsync(DataSource, Limit);
        using var starts = await StartsAsync(Server, DataSource);
        using var stops = await StopsAsync(Server, DataSource);
        await Server.CreateSessionAsync(DataSource + "x", Limit);
        await Server.CreateSessionAsync(DataSource.ToUpperInvariant(), Limit);
        var later = await Server.CreateSessionAsync(DataSource, Limit);
        await Server.Sessions.EndSessionAsync(new() { SessionKey = earlier }, cancellationToken: Limit);

        Assert.That(await NextAsync(starts), Is.EqualTo((DataSource, later)));
        Assert.That(await NextAsync(stops), Is.EqualTo((DataSource, earlier)));
    }

    [Test]
    public async Task Notifications_SubscriberThatNeverReads_EndsAloneWithResourceExhausted()
    {
        var server = await StartAsync(Configure(limits: new StreamingApiLimits { NotificationsMax = 4 }));
        using var slow = await StartsAsync(server, DataSource);
        using var healthy = await StartsAsync(server, DataSource);

        // Keys of 4 KiB, more than every buffer on the way takes.
        for (var i = 0; i < 400; i++)
        {
            var key = $"{i}".PadRight(4_096, 'k');
            await server.CreateSessionAsync(DataSource, Limit, key);
            Assert.That((await NextAsync(healthy)).Key, Is.EqualTo(key));
        }

        var failure = await FailureOfAsync(async () =>
        {
            while (await slow.ResponseStream.MoveNext(Limit))
            {
                // What was on its way.
            }
        });
        AssertFailure(failure, StatusCode.ResourceExhausted, DataSource);
    }

    [Test]
    public async Task Notifications_ServerStops_EndWithUnavailable()
    {
        var server = await StartAsync(Configure());
        using var starts = await StartsAsync(server, DataSource);
        await server.StopEngineAsync();

        AssertFailure(await FailureOfAsync(() => starts.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable, "shutting down");
    }

    [Test]
    public async Task Notifications_EmptyDataSource_IsRefused()
    {
        using var call = Server.Sessions.GetSessionStartNotification(new(), cancellationToken: Limit);
        AssertFailure(await FailureOfAsync(() => call.ResponseStream.MoveNext(Limit)), StatusCode.InvalidArgument, "data_source", "empty");
    }

    [Test]
    public async Task SessionIdleTimeout_NothingWritten_EndsTheSessionWithADetail()
    {
        var clock = new ManualClock();
        var configuration = new StreamingApiConfiguration(Strategy, "memory:", Configure().PartitionMappings) { SessionIdleTimeout = TimeSpan.FromMinutes(10) };
        var server = await StartAsync(configuration, options: new StreamApiOptions { Clock = clock });
        using var stops = await StopsAsync(server, DataSource);
        var busy = await server.CreateSessionAsync(DataSource, Limit);
        var idle = await server.CreateSessionAsync(DataSource, Limit);

        // Writing to the one until the other has ended.
        var ended = NextAsync(stops);
        while (!ended.IsCompleted)
        {
            clock.Advance(TimeSpan.FromMinutes(1));
            await server.WriteTextAsync(DataSource, "one", "x", Limit, busy);
        }

        Assert.That(await ended, Is.EqualTo((DataSource, idle)));
        var info = await server.InfoAsync(idle, Limit);
        Assert.That(info.IsComplete, Is.True);
        Assert.That(info.Details.Values, Has.One.Contains("idle"));
        Assert.That((await server.InfoAsync(busy, Limit)).IsComplete, Is.False);

        ended = NextAsync(stops);
        while (!ended.IsCompleted)
        {
            clock.Advance(TimeSpan.FromMinutes(1));
            await server.InfoAsync(busy, Limit);
        }

        Assert.That(await ended, Is.EqualTo((DataSource, busy)), "then it is idle too");
    }

    [Test]
    public async Task SessionManagementOff_EveryRpc_AnswersFalseAndNotificationsEnd()
    {
        var server = await StartAsync(Configure(sessions: false));
        var created = await server.Sessions.CreateSessionAsync(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That((created.Success, created.SessionKey), Is.EqualTo((false, "")));
        Assert.That((await server.Sessions.EndSessionAsync(new() { SessionKey = "x" }, cancellationToken: Limit)).Success, Is.False);
        Assert.That((await server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit)).Success, Is.False);
        Assert.That((await server.InfoAsync("x", Limit)).Success, Is.False);
        Assert.That((await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = "x", Identifier = "y" }, cancellationToken: Limit)).Success, Is.False);
        Assert.That((await server.Sessions.UpdateSessionDetailsAsync(new() { SessionKey = "x" }, cancellationToken: Limit)).Success, Is.False);
        Assert.That(
            (await server.Sessions.AddAssociateSessionAsync(new() { SessionKey = "x", AssociateSessionKey = "y" }, cancellationToken: Limit)).Success, Is.False);
        Assert.That(
            (await server.Sessions.UpdateSessionInfoAsync(new() { SessionKey = "x", SessionInfo = new() }, cancellationToken: Limit)).Success, Is.False);
        using var starts = server.Sessions.GetSessionStartNotification(new() { DataSource = DataSource }, cancellationToken: Limit);
        using var stops = server.Sessions.GetSessionStopNotification(new() { DataSource = DataSource }, cancellationToken: Limit);
        Assert.That(await starts.ResponseStream.MoveNext(Limit), Is.False);
        Assert.That(await stops.ResponseStream.MoveNext(Limit), Is.False);
        Assert.That(await server.Broker.TopicsAsync(Limit), Is.Empty);
    }

    [Test]
    public async Task ForeignRecords_OfEveryKind_FoldOrAreSkipped()
    {
        var server = await StartAsync(Configure());
        using var starts = await StartsAsync(server, DataSource);
        using var stops = await StopsAsync(server, DataSource);

        // Skipped: without a key, a tombstone, no packet, an unknown session, an unknown type, damaged content.
        await ForeignAsync(server, null, Record("NewSession", "keyless", NewSession("Keyless")));
        await ForeignAsync(server, "", Record("NewSession", "keyless", NewSession("Keyless")));
        await ForeignAsync(server, "run", null);
        await ForeignAsync(server, "run", [0xFF, 0xFF, 0xFF]);
        await ForeignAsync(server, "unknown", Record("SessionInfo", "unknown", new SessionInfoPacket { Identifier = "x" }));
        await ForeignAsync(server, "unknown", Record("EndOfSession", "unknown", new EndOfSessionPacket()));
        await ForeignAsync(server, "run", Record("Weather", "run", new SessionInfoPacket()));
        await ForeignAsync(server, "run", new Packet { Type = "NewSession", SessionKey = "damaged", Content = ByteString.CopyFrom(0xFF, 0xFF) }.ToByteArray());

        // A session as an older server writes one: no times, no session info; then a second start, which is ignored.
        var place = await ForeignAsync(server, "run", Record("NewSession", "run", new NewSessionPacket { DataSource = DataSource }));
        await ForeignAsync(server, "run", Record("NewSession", "run", NewSession("Second")));
        await ForeignAsync(
            server,
            "run",
            Record("SessionInfo", "run", new SessionInfoPacket { Identifier = "Foreign", Type = "Race", Version = 3, AssociateSessionKeys = { "a" }, Details = { ["d"] = "1" } }));
        await ForeignAsync(server, "run", Record("SessionInfo", "run", new SessionInfoPacket { AssociateSessionKeys = { "b", "a" }, Details = { ["e"] = "2" } }));
        var end = await ForeignAsync(server, "run", Record("EndOfSession", "run", new EndOfSessionPacket { DataSource = DataSource }));
        await ForeignAsync(
            server, "run", Record("EndOfSession", "run", new EndOfSessionPacket { TerminationTime = new Timestamp { Seconds = 1 } }));

        // A record of another session under this key: the session is the packet's.
        await ForeignAsync(server, "other-key", Record("NewSession", "in-packet", NewSession("InPacket")));
        await CatchUpAsync(server);

        var info = await server.InfoAsync("run", Limit);
        using (Assert.EnterMultipleScope())
        {
            Assert.That((info.DataSource, info.Identifier, info.Type, info.Version), Is.EqualTo((DataSource, "Foreign", "Race", 3u)));
            Assert.That(info.AssociateSessionKeys, Is.EqualTo(new[] { "a", "b" }));
            Assert.That(info.Details, Is.EquivalentTo(new Dictionary<string, string> { ["d"] = "1", ["e"] = "2" }));
            Assert.That(info.CreationTime.ToDateTimeOffset(), Is.EqualTo(place.Timestamp));
            Assert.That(info.TerminationTime.ToDateTimeOffset(), Is.EqualTo(end.Timestamp));
            Assert.That(info.UtcOffset, Is.EqualTo(new Duration()));
            Assert.That(info.IsComplete, Is.True);
            Assert.That((info.MainOffset, info.EssentialsOffset), Is.EqualTo((0, 0)));
        }

        Assert.That((await server.InfoAsync("in-packet", Limit)).Identifier, Is.EqualTo("InPacket"));
        foreach (var key in new[] { "keyless", "unknown", "damaged", "other-key" }) Assert.That((await server.InfoAsync(key, Limit)).Success, Is.False, key);
        Assert.That(await NextAsync(starts), Is.EqualTo((DataSource, "run")));
        Assert.That(await NextAsync(starts), Is.EqualTo((DataSource, "in-packet")));
        Assert.That(await NextAsync(stops), Is.EqualTo((DataSource, "run")));
    }

    [Test]
    public async Task WriteInfoPacket_NewSessionOfAClient_IsASession()
    {
        var packet = new Packet { Type = "NewSession", SessionKey = $"own-{DataSource}", Content = NewSession("Own").ToByteString() };
        await Server.Writer.WriteInfoPacketAsync(new() { Message = packet, Type = InfoType.SessionInfo }, cancellationToken: Limit);
        await CatchUpAsync(Server);

        Assert.That((await Server.InfoAsync(packet.SessionKey, Limit)).Identifier, Is.EqualTo("Own"));
    }

    [Test]
    public async Task UpdateAndEnd_ForeignSessionWrittenAMomentAgo_AreNotRefused()
    {
        var server = await StartAsync(Configure());
        for (var i = 0; i < 20; i++)
        {
            var key = $"run{i}";
            await ForeignAsync(server, key, Record("NewSession", key, NewSession("Foreign")));
            Assert.That(
                (await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = key, Identifier = "x" }, cancellationToken: Limit)).Success, Is.True);
            key = $"end{i}";
            await ForeignAsync(server, key, Record("NewSession", key, NewSession("Foreign")));
            Assert.That((await server.Sessions.EndSessionAsync(new() { SessionKey = key }, cancellationToken: Limit)).Success, Is.True);
        }
    }

    [Test]
    public async Task Start_SessionsOnTheBroker_AreKnownWhenItIsReady()
    {
        var broker = await NewBrokerAsync();
        var first = await StartAsync(Configure(), broker);
        var keys = new List<string>();
        for (var i = 0; i < 100; i++) keys.Add(await first.CreateSessionAsync(DataSource, Limit));
        await first.Sessions.EndSessionAsync(new() { SessionKey = keys[7] }, cancellationToken: Limit);
        await first.StopEngineAsync();

        var second = await StartAsync(Configure(), broker);
        Assert.That(
            (await second.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit)).SessionKeys, Is.EqualTo(keys));
        Assert.That((await second.InfoAsync(keys[7], Limit)).IsComplete, Is.True);
    }

    private static byte[] Record(string type, string key, IMessage content) =>
        new Packet { Type = type, SessionKey = key, Content = content.ToByteString() }.ToByteArray();

    private NewSessionPacket NewSession(string identifier) =>
        new() { DataSource = DataSource, SessionInfo = new SessionInfoPacket { Identifier = identifier } };

    private Task<Core.Broker.Appended> ForeignAsync(StreamServer server, string? key, byte[]? value) =>
        server.Broker.AppendForeignAsync("SessionInfo", key, value, Limit);

    // An unknown key makes the server look at everything there is before it says no.
    private async Task CatchUpAsync(StreamServer server) =>
        await server.Sessions.EndSessionAsync(new() { SessionKey = "catch-up" }, cancellationToken: Limit);

    private async Task<(CreateSessionResponse? Response, StatusCode Failure)> TryCreateAsync(StreamServer server, string key, string identifier)
    {
        try
        {
            var request = new CreateSessionRequest { DataSource = DataSource, SessionKey = key, Identifier = identifier };
            return (await server.Sessions.CreateSessionAsync(request, cancellationToken: Limit), StatusCode.OK);
        }
        catch (RpcException exception)
        {
            return (null, exception.StatusCode);
        }
    }

    private async Task<AsyncServerStreamingCall<GetSessionStartNotificationResponse>> StartsAsync(StreamServer server, string dataSource)
    {
        var call = server.Sessions.GetSessionStartNotification(new() { DataSource = dataSource }, cancellationToken: Limit);
        await call.ResponseHeadersAsync.WaitAsync(Limit);
        return call;
    }

    private async Task<AsyncServerStreamingCall<GetSessionStopNotificationResponse>> StopsAsync(StreamServer server, string dataSource)
    {
        var call = server.Sessions.GetSessionStopNotification(new() { DataSource = dataSource }, cancellationToken: Limit);
        await call.ResponseHeadersAsync.WaitAsync(Limit);
        return call;
    }

    private async Task<(string DataSource, string Key)> NextAsync(AsyncServerStreamingCall<GetSessionStartNotificationResponse> call)
    {
        Assert.That(await call.ResponseStream.MoveNext(Limit), Is.True);
        return (call.ResponseStream.Current.DataSource, call.ResponseStream.Current.SessionKey);
    }

    private async Task<(string DataSource, string Key)> NextAsync(AsyncServerStreamingCall<GetSessionStopNotificationResponse> call)
    {
        Assert.That(await call.ResponseStream.MoveNext(Limit), Is.True);
        return (call.ResponseStream.Current.DataSource, call.ResponseStream.Current.SessionKey);
    }
}
