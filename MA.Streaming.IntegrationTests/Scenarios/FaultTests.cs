using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>A broker that fails, recovers, or runs out of room.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class FaultTests(Transport transport, StreamCreationStrategy strategy, Storage storage)
    : ScenarioFixture(transport, strategy, storage)
{
    [Test]
    public async Task WriteDataPacket_TopicCannotBeCreated_IsUnavailableAndWorksOnceItCan()
    {
        var broker = new GatedBroker(await NewBrokerAsync()) { BeforeEnsure = _ => throw GatedBroker.Injected() };
        var server = await StartAsync(Configure(limits: new StreamingApiLimits { WriteTimeout = TimeSpan.FromMilliseconds(150) }), broker);

        var failure = await FailureOfAsync(() => server.WriteTextAsync(DataSource, "one", "lost", Limit));
        Assert.That(failure.StatusCode, Is.AnyOf(StatusCode.Unavailable, StatusCode.ResourceExhausted), failure.Status.Detail);
        Assert.That(failure.Status.Detail, Does.Contain(PlaceOf(DataSource, "one").ToString()));
        broker.BeforeEnsure = null;
        await WriteUntilTakenAsync(server, "taken");
        Assert.That((await broker.StoredAsync(PlaceOf(DataSource, "one"), Limit))[^1].Text, Is.EqualTo("taken"));
    }

    [Test]
    public async Task SessionRpcs_BrokerFails_AreUnavailableAndLeaveNothingBehind()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        var existing = await server.CreateSessionAsync(DataSource, Limit);
        broker.AppendFails = (_, _) => GatedBroker.Injected();
        var calls = new Func<Task>[]
        {
            () => server.CreateSessionAsync(DataSource, Limit, "chosen"),
            async () => await server.Sessions.EndSessionAsync(new() { SessionKey = existing }, cancellationToken: Limit),
            async () => await server.Sessions.UpdateSessionIdentifierAsync(new() { SessionKey = existing, Identifier = "x" }, cancellationToken: Limit),
        };
        foreach (var call in calls) AssertFailure(await FailureOfAsync(call), StatusCode.Unavailable, "SessionInfo", "injected");
        AssertFailure(await FailureOfAsync(() => server.ParametersIdAsync(DataSource, Limit, "p")), StatusCode.Unavailable, "essential", "injected");

        broker.AppendFails = null;
        Assert.That((await server.InfoAsync("chosen", Limit)).Success, Is.False);
        Assert.That((await server.InfoAsync(existing, Limit)).IsComplete, Is.False);
        foreach (var call in calls) await call();
        Assert.That((await server.InfoAsync("chosen", Limit)).Success, Is.True);
        Assert.That((await server.InfoAsync(existing, Limit)).IsComplete, Is.True);
        Assert.That(await server.ParametersIdAsync(DataSource, Limit, "p"), Is.Positive);
    }

    [Test]
    public async Task Followers_BrokerBreaksTheirReads_GoOnAndMissNothing()
    {
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(), broker);
        using var starts = server.Sessions.GetSessionStartNotification(new() { DataSource = DataSource }, cancellationToken: Limit);
        await starts.ResponseHeadersAsync.WaitAsync(Limit);
        for (var i = 0; i < 4; i++)
        {
            broker.CutReads(GatedBroker.Injected());
            var key = await server.CreateSessionAsync(DataSource, Limit);
            Assert.That((await server.InfoAsync(key, Limit)).Success, Is.True);
            Assert.That(await starts.ResponseStream.MoveNext(Limit), Is.True);
            Assert.That(starts.ResponseStream.Current.SessionKey, Is.EqualTo(key));
            var id = await server.ParametersIdAsync(DataSource, Limit, $"p{i}");
            Assert.That(await server.ParametersAsync(DataSource, id, Limit), Is.EqualTo(new[] { $"p{i}" }));
        }
    }

    [Test]
    public async Task Retention_OldRecordsGone_SessionsAndFormatsStay()
    {
        var broker = NewMemoryBroker(new MemoryBrokerOptions { BytesMax = 1 << 20 });
        var server = await StartAsync(Configure(), broker);
        var key = await server.CreateSessionAsync(DataSource, Limit);
        var id = await server.ParametersIdAsync(DataSource, Limit, "a", "b");
        for (var i = 0; i < 100; i++) await server.WriteTextAsync(DataSource, "one", $"{i}".PadRight(30_000), Limit);

        var late = await StartAsync(Configure(), broker);
        Assert.That((await late.InfoAsync(key, Limit)).Success, Is.True);
        Assert.That(await late.ParametersAsync(DataSource, id, Limit), Is.EqualTo(new[] { "a", "b" }));
    }

    [TestCase(0L)]
    [TestCase(3L)]
    public async Task ReadPackets_OffsetThatRetentionRemoved_StartsAtTheEarliestRetained(long offset)
    {
        var broker = NewMemoryBroker(new MemoryBrokerOptions { BytesMax = 1 << 20 });
        var server = await StartAsync(Configure(), broker);
        for (var i = 0; i < 100; i++) await server.WriteTextAsync(DataSource, "one", $"{i}".PadRight(30_000), Limit);
        var low = (await broker.GetWatermarksAsync([PlaceOf(DataSource, "one")], Limit))[0].Low;
        Assert.That(low, Is.GreaterThan(3));

        using var read = await server.ReadAsync(
            new ConnectionDetails { DataSource = DataSource, Streams = { "one" }, StreamOffsets = { offset }, ExcludeMainStream = true }, Limit);
        var texts = await read.TextsAsync(100 - (int)low);
        Assert.That(texts.Select(t => t.Trim()), Is.EqualTo(Enumerable.Range((int)low, 100 - (int)low).Select(i => $"{i}")));
    }

    [Test]
    public async Task ReadPackets_OvertakenByRetention_EndsWithOutOfRangeAfterWhatItRead()
    {
        var broker = NewMemoryBroker(new MemoryBrokerOptions { BytesMax = 4 << 20 });
        var server = await StartAsync(Configure(), broker);
        await server.WriteTextAsync(DataSource, "one", "first", Limit);
        using var read = await server.ReadAsync(new ConnectionDetails { DataSource = DataSource, Streams = { "one" }, ExcludeMainStream = true }, Limit);
        Assert.That(await read.TextsAsync(1), Is.EqualTo(new[] { "first" }));
        for (var i = 0; i < 2_000; i++) await server.WriteTextAsync(DataSource, "one", $"{i}".PadRight(30_000), Limit);

        var texts = new List<string>();
        var failure = await FailureOfAsync(async () =>
        {
            while (true) texts.AddRange((await read.TextsAsync(1)).Select(t => t.Trim()));
        });
        AssertFailure(failure, StatusCode.OutOfRange, "'one'", PlaceOf(DataSource, "one").ToString(), $"offsets {texts.Count + 1} to", "left starts at");
        Assert.That(texts, Is.EqualTo(Enumerable.Range(0, texts.Count).Select(i => $"{i}")), "in a row up to the loss");
    }

    [Test]
    public async Task WriteDataPacket_OnlyKeptRecordsAreLeftAndNoRoom_IsResourceExhausted()
    {
        var broker = NewMemoryBroker(new MemoryBrokerOptions { BytesMax = 200_000 });
        var server = await StartAsync(Configure(), broker);
        RpcException? failure = null;
        for (var i = 0; failure is null && i < 100; i++)
        {
            try
            {
                await server.WriteAsync(DataSource, "one", TextPacket(new string('x', 10_000), essential: true), Limit);
            }
            catch (RpcException exception)
            {
                failure = exception;
            }
        }

        Assert.That(failure?.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted), failure?.Status.Detail);
        Assert.That(failure!.Status.Detail, Does.Contain($"{DataSource}_essential"));
    }

    [Test]
    public async Task EverythingAtOnce_WritersReadersAndFaults_LosesAndRepeatsNothing()
    {
        const int Writers = 6;
        const int Packets = 150;
        var broker = new GatedBroker(await NewBrokerAsync());
        var server = await StartAsync(Configure(batching: true), broker);
        string[] streams = ["", "one", "two", "other", "late", "twin"];
        var details = new ConnectionDetails { DataSource = DataSource };
        using var early = await server.ReadAsync(details, Limit);
        var writing = Enumerable.Range(0, Writers).Select(async w =>
        {
            for (var i = 0; i < Packets; i++)
            {
                await server.WriteTextAsync(DataSource, streams[w], $"{w}.{i}", Limit);
                if (i % 70 == 69) broker.CutReads(GatedBroker.Injected());
            }
        }).ToList();
        var reading = Enumerable.Range(0, 8).Select(async _ =>
        {
            using var read = await server.ReadAsync(details, Limit);
            return await read.TextsAsync(Writers * Packets);
        }).ToList();
        await Task.WhenAll(writing).WaitAsync(Limit);

        foreach (var texts in (await Task.WhenAll(reading)).Append(await early.TextsAsync(Writers * Packets)))
        {
            foreach (var writer in texts.GroupBy(t => t.Split('.')[0]))
            {
                Assert.That(writer, Is.EqualTo(Enumerable.Range(0, Packets).Select(i => $"{writer.Key}.{i}")));
            }
        }
    }

    private async Task WriteUntilTakenAsync(StreamServer server, string text)
    {
        while (true)
        {
            try
            {
                await server.WriteTextAsync(DataSource, "one", text, Limit);
                return;
            }
            catch (RpcException) when (!Limit.IsCancellationRequested)
            {
                // Still pausing before its next try.
            }
        }
    }
}
