using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Sessions;

[TestFixture]
internal sealed class SessionTests
{
    [Test]
    public async Task Fold_RecordsOfOthers_FollowTheRules()
    {
        await using var api = await TestApi.StartAsync();
        await api.Memory.EnsureTopicAsync(new TopicSpec("SessionInfo"), default);
        await AppendAsync(api, "SessionInfo", "s", new SessionInfoPacket { Identifier = "too early" });
        await AppendAsync(api, "NewSession", "s", new NewSessionPacket { DataSource = "Car" });
        await AppendAsync(api, "NewSession", "s", new NewSessionPacket { DataSource = "Other" });
        await AppendAsync(api, "Note", "s", new NewSessionPacket { DataSource = "Other" });
        await AppendAsync(api, "NewSession", "keyless", new NewSessionPacket { DataSource = "Car" }, withKey: false);
        await api.Memory.AppendAsync(new("SessionInfo", 0), new RecordData(new byte[] { 1 }, new byte[] { 0xFF, 0xFF }), default);
        await AppendAsync(api, "SessionInfo", "s", new SessionInfoPacket { Identifier = "i", AssociateSessionKeys = { "a", "b" }, Details = { ["k"] = "1" } });
        await AppendAsync(api, "SessionInfo", "s", new SessionInfoPacket { Version = 4, AssociateSessionKeys = { "b", "c" }, Details = { ["l"] = "2" } });
        await AppendAsync(api, "EndOfSession", "s", new EndOfSessionPacket { DataSource = "Car" });
        await AppendAsync(api, "EndOfSession", "s", new EndOfSessionPacket { DataSource = "Second" });
        var ended = await api.Sessions.EndSessionAsync(new EndSessionRequest { SessionKey = "unknown" }).ResponseAsync.WithDeadline();
        Assert.That(ended.Success, Is.False, "an unknown key is caught up with first");
        var info = await api.Sessions.GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = "s" }).ResponseAsync.WithDeadline();

        Assert.That((info.Success, info.DataSource, info.Identifier, info.Type, info.Version), Is.EqualTo((true, "Car", "i", "Session", 4u)));
        Assert.That(info.AssociateSessionKeys, Is.EqualTo(new[] { "a", "b", "c" }));
        Assert.That(info.Details, Has.Count.EqualTo(2));
        Assert.That(info.IsComplete, Is.True);
        Assert.That(info.CreationTime, Is.Not.Null);
        Assert.That(info.TerminationTime, Is.Not.Null);
        Assert.That((await KeysAsync(api)).Single(), Is.EqualTo("s"));
    }

    [Test]
    public async Task GetCurrentSessions_SeveralPartitions_OldestFirst()
    {
        var clock = new ManualClock();
        var broker = new GatedBroker(new Streaming.Broker.Embedded.MemoryBroker(clock: clock));
        await broker.EnsureTopicAsync(new TopicSpec("SessionInfo", 4), default);
        for (var i = 0; i < 12; i++)
        {
            var packet = new Packet { Type = "NewSession", SessionKey = $"s{i}", Content = new NewSessionPacket { DataSource = "Car" }.ToByteString() };
            await broker.AppendAsync(new("SessionInfo", (11 - i) % 4), new RecordData("k"u8.ToArray(), packet.ToByteArray()), default);
            clock.Advance(TimeSpan.FromSeconds(1));
        }

        await using var api = await TestApi.StartAsync(broker: broker);
        Assert.That(await KeysAsync(api), Is.EqualTo(Enumerable.Range(0, 12).Select(i => $"s{i}")));
    }

    [Test]
    public async Task CreateSession_NotDurableInTime_EndsWithAStatus()
    {
        var clock = new ManualClock();
        await using var api = await TestApi.StartAsync(clock: clock);
        api.Broker.Holds = _ => true;
        api.Broker.Health = () => new BrokerHealth(false, "stuck");
        var create = api.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = "Car" }).ResponseAsync;
        await api.Broker.HeldAsync(1).WithDeadline();
        await clock.TimersAsync(2).WithDeadline(); // The expiry of connections, and this wait.
        clock.Advance(TimeSpan.FromSeconds(31));

        Assert.That(
            (await Assert.ThrowsAsync<RpcException>(async () => await create.WithDeadline()))!.StatusCode, Is.EqualTo(StatusCode.Unavailable));
    }

    [Test]
    public async Task CreateSession_SameKeyOnTwoServersAtOnce_OneWinsAndBothAgree()
    {
        var broker = new GatedBroker(new Streaming.Broker.Embedded.MemoryBroker());
        await using var one = await TestApi.StartAsync(broker: broker);
        await using var two = await TestApi.StartAsync(broker: broker);
        for (var i = 0; i < 20; i++)
        {
            var outcomes = await Task.WhenAll(CreateAsync(one, $"k{i}", "first"), CreateAsync(two, $"k{i}", "second")).WithDeadline();
            Assert.That(outcomes.Count(o => o), Is.EqualTo(1));
            Assert.That(await CreateAsync(one, $"k{i}", outcomes[0] ? "first" : "second"), Is.True, "the same again is a success");
        }
    }

    [Test]
    public async Task Expiry_NothingWritten_EndsTheSessionAndSaysWhy()
    {
        var clock = new ManualClock();
        await using var api = await TestApi.StartAsync(new StreamingApiConfiguration { SessionIdleTimeout = TimeSpan.FromMinutes(4) }, clock);
        using var stops = api.Sessions.GetSessionStopNotification(new GetSessionStopNotificationRequest { DataSource = "Car" });
        await stops.ResponseHeadersAsync.WithDeadline();
        var idle = (await api.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = "Car" }).ResponseAsync.WithDeadline()).SessionKey;
        var busy = (await api.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = "Car" }).ResponseAsync.WithDeadline()).SessionKey;
        var stopped = stops.ResponseStream.MoveNext(CancellationToken.None);
        for (var minute = 0; minute < 100 && !stopped.IsCompleted; minute++)
        {
            Assert.That(minute < 4 || !stopped.IsFaulted, Is.True);
            await api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", "a", session: busy)).ResponseAsync.WithDeadline();
            clock.Advance(TimeSpan.FromMinutes(1));
        }

        Assert.That(await stopped.WithDeadline(), Is.True);
        Assert.That(stops.ResponseStream.Current.SessionKey, Is.EqualTo(idle));
        var info = await api.Sessions.GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = idle }).ResponseAsync.WithDeadline();
        Assert.That(info.IsComplete, Is.True);
        Assert.That(info.Details["ended_by"], Does.Contain("idle"));
        Assert.That((await api.Sessions.GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = busy }).ResponseAsync.WithDeadline()).IsComplete, Is.False);
    }

    [Test]
    public async Task Dispose_SubscriberTakesNothing_IsNotWaitedFor()
    {
        var clock = new ManualClock(); // It stands still: a drain that waits for its timeout never ends.
        var api = await TestApi.StartAsync(clock: clock);
        using var starts = api.Sessions.GetSessionStartNotification(new GetSessionStartNotificationRequest { DataSource = "Car" });
        await starts.ResponseHeadersAsync.WithDeadline();
        for (var i = 0; i < 400; i++) await api.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = "Car" }).ResponseAsync.WithDeadline();

        await api.Api.DisposeAsync().WithDeadline();
    }

    private static async Task<bool> CreateAsync(TestApi api, string key, string identifier)
    {
        try
        {
            await api.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = "Car", SessionKey = key, Identifier = identifier }).ResponseAsync.WithDeadline();
            return true;
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.AlreadyExists)
        {
            return false;
        }
    }

    private static Task AppendAsync(TestApi api, string type, string key, IMessage content, bool withKey = true)
    {
        var packet = new Packet { Type = type, SessionKey = key, Content = content.ToByteString() };
        return api.Memory.AppendAsync(
            new("SessionInfo", 0), new RecordData(withKey ? System.Text.Encoding.UTF8.GetBytes(key) : null, packet.ToByteArray()), default).WithDeadline();
    }

    private static async Task<IReadOnlyList<string>> KeysAsync(TestApi api) =>
        (await api.Sessions.GetCurrentSessionsAsync(new GetCurrentSessionsRequest { DataSource = "Car" }).ResponseAsync.WithDeadline()).SessionKeys;
}
