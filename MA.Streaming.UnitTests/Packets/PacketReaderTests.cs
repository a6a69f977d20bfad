using System.Globalization;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

[TestFixture]
internal sealed class PacketReaderTests
{
    private static readonly ConnectionDetails Car = new() { DataSource = "Car" };

    [Test]
    public async Task ReadPackets_RetentionBeforeTheFirstRecord_StartsAtWhatIsLeft()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "", "a", "b", "c");
        api.Memory.TrimTo(new("Car", 0), 2);
        using var read = await api.OpenReadAsync(await api.ConnectAsync(Car));

        Assert.That(await TestApi.TakeAsync(read, 1), Is.EqualTo(new[] { "c" }));
    }

    [Test]
    public async Task ReadPackets_RetentionOvertakesIt_IsOutOfRangeNamingWhatIsLost()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "Chassis", "first");
        using var read = await api.OpenReadAsync(await api.ConnectAsync(new ConnectionDetails { DataSource = "Car", Streams = { "Chassis" } }));
        Assert.That(await TestApi.TakeAsync(read, 1), Is.EqualTo(new[] { "first" }));

        // Far more than the read holds ahead of a client that takes nothing.
        var large = new string('x', 400_000);
        for (var i = 0; i < 30; i++) await api.WriteAsync("Car", "Chassis", large);
        api.Memory.TrimTo(new("Car.Chassis", 0), 29);
        var exception = await FailureAsync(read);

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.OutOfRange));
        Assert.That(exception.Status.Detail, Does.Contain("Chassis").And.Contain("to 28").And.Contain("29"));
    }

    [Test]
    public async Task ReadPackets_FromLatestAndRetentionTakesWhatCame_IsOutOfRange()
    {
        var start = new TaskCompletionSource();
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "", "before");
        var connection = await api.ConnectAsync(new ConnectionDetails { DataSource = "Car", MainOffset = -1 });

        // The read is positioned (its headers are out), but its broker has not begun to deliver.
        var reads = api.Broker.ReadCalls;
        api.Broker.BeforeAnswer = async token =>
        {
            if (api.Broker.ReadCalls > reads) await start.Task.WaitAsync(token);
        };
        using var read = await api.OpenReadAsync(connection);
        await api.Broker.ReadCallsAsync(reads + 1).WithDeadline();
        await api.WriteAsync("Car", "", "lost", "kept");
        api.Memory.TrimTo(new("Car", 0), 2);
        start.SetResult();

        Assert.That((await FailureAsync(read)).StatusCode, Is.EqualTo(StatusCode.OutOfRange));
    }

    [Test]
    public async Task ReadPackets_TopicDeleted_IsOutOfRangeNamingIt()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "Chassis", "a");
        using var read = await api.OpenReadAsync(await api.ConnectAsync(Car));
        await TestApi.TakeAsync(read, 1);
        api.Memory.DeleteTopic("Car.Chassis");
        var exception = await FailureAsync(read);

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.OutOfRange));
        Assert.That(exception.Status.Detail, Does.Contain("Car.Chassis"));
    }

    [Test]
    public async Task ReadPackets_BrokerFaultInTheMiddle_LosesAndRepeatsNothing()
    {
        await using var api = await TestApi.StartAsync();

        // The topic is there: no read starts anew because it comes to exist, at a moment when it would miss a fault.
        await api.WriteAsync("Car", "", "first");
        using var read = await api.OpenReadAsync(await api.ConnectAsync(Car));
        Assert.That(await TestApi.TakeAsync(read, 1), Is.EqualTo(["first"]));
        for (var round = 0; round < 4; round++)
        {
            var texts = Enumerable.Range(round * 10, 10).Select(i => $"{i}").ToArray();
            await api.WriteAsync("Car", "", texts);
            Assert.That(await TestApi.TakeAsync(read, 10), Is.EqualTo(texts));
            if (round % 2 == 0) api.Broker.FailNextRead(new BrokerException(BrokerError.Unavailable, "still away"));
            api.Broker.CutReads(new BrokerException(BrokerError.Unavailable, "away"));
        }

        await api.WriteAsync("Car", "", "last");
        Assert.That(await TestApi.TakeAsync(read, 1), Is.EqualTo(["last"]));
        Assert.That(api.Logger.CountOf("ReadInterrupted"), Is.GreaterThanOrEqualTo(4));
    }

    [Test]
    public async Task ReadPackets_BrokerFaultThatLasts_EndsWithItsStatus()
    {
        await using var api = await TestApi.StartAsync();
        using var read = await api.OpenReadAsync(await api.ConnectAsync(Car));
        api.Broker.CutReads(new BrokerException(BrokerError.Corrupt, "rotten"));
        var exception = await FailureAsync(read);

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.DataLoss));
        Assert.That(exception.Status.Detail, Does.Contain("rotten"));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task Reads_RecordsThatAreNoPackets_AreSkippedAndCounted(bool dataOnly)
    {
        await using var api = await TestApi.StartAsync();
        using var skipped = new Skipped();
        await api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", "{\"p\":1}", type: "PeriodicData")).ResponseAsync.WithDeadline();
        await api.Memory.AppendAsync(new("Car", 0), new RecordData(null, new byte[] { 0xFF, 0xFF, 0xFF }), default);
        await api.Memory.AppendAsync(new("Car", 0), new RecordData(null, null), default);
        await api.Memory.AppendAsync(new("Car", 0), new RecordData(null, new byte[3_700_000]), default);
        await api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", "{\"p\":2}", type: "PeriodicData")).ResponseAsync.WithDeadline();
        var connection = await api.ConnectAsync(Car);
        var texts = new List<string>();
        if (dataOnly)
        {
            using var read = api.Reader.ReadDataPackets(
                new ReadDataPacketsRequest { Request = new DataPacketRequest { Connection = connection, IncludeParameters = { "p" } } });
            for (var i = 0; i < 2; i++)
            {
                await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline();
                texts.AddRange(read.ResponseStream.Current.Response.Select(r => r.Packet.Content.ToStringUtf8()));
            }
        }
        else
        {
            using var read = await api.OpenReadAsync(connection);
            texts = await TestApi.TakeAsync(read, 2);
        }

        Assert.That(texts, Is.EqualTo(new[] { "{\"p\":1}", "{\"p\":2}" }));
        Assert.That(skipped.Reasons, Is.EquivalentTo(new[] { "not a packet", "not a packet", "too large" }));
    }

    [Test]
    public async Task ReadPackets_StreamsAppearUnderLoad_NothingIsLostOrRepeated()
    {
        await using var api = await TestApi.StartAsync(new StreamingApiConfiguration(batchingResponses: true));
        using var read = await api.OpenReadAsync(await api.ConnectAsync(Car));
        const int Streams = 12, Packets = 150;
        var writing = Task.WhenAll(Enumerable.Range(0, Streams).Select(s => Task.Run(async () =>
        {
            for (var i = 0; i < Packets; i++) await api.WriteAsync("Car", s == 0 ? "" : $"S{s}", i.ToString(CultureInfo.InvariantCulture));
        })));
        var seen = new Dictionary<string, List<string>>();
        for (var left = Streams * Packets; left > 0;)
        {
            Assert.That(await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.True);
            foreach (var packet in read.ResponseStream.Current.Response)
            {
                if (!seen.TryGetValue(packet.Stream, out var texts)) seen[packet.Stream] = texts = [];
                texts.Add(packet.Packet.Content.ToStringUtf8());
                left--;
            }
        }

        await writing.WithDeadline();
        var all = Enumerable.Range(0, Packets).Select(i => $"{i}").ToArray();
        Assert.That(seen, Has.Count.EqualTo(Streams));
        foreach (var (stream, texts) in seen) Assert.That(texts, Is.EqualTo(all), stream);
    }

    [Test]
    public async Task ReadPackets_ManySmallPacketsOfALongStream_ResponsesStayUnderTheirBytes()
    {
        const int bytesMax = 120_000;
        var limits = StreamingApiLimits.Default with { ResponseBytesMax = bytesMax };
        await using var api = await TestApi.StartAsync(new StreamingApiConfiguration(batchingResponses: true) { Limits = limits });
        var stream = new string('s', 200);
        using (var call = api.Writer.WriteDataPackets())
        {
            var request = new WriteDataPacketsRequest();
            for (var i = 0; i < 1_000; i++) request.Details.Add(TestApi.Detail("Car", stream, new string('x', 150)));
            for (var i = 0; i < 30; i++) await call.RequestStream.WriteAsync(request).WithDeadline();
            await call.RequestStream.CompleteAsync().WithDeadline();
            await call.ResponseAsync.WithDeadline();
        }

        using var read = await api.OpenReadAsync(await api.ConnectAsync(Car));
        var largest = 0;
        for (var left = 30_000; left > 0; left -= read.ResponseStream.Current.Response.Count)
        {
            Assert.That(await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.True);
            largest = Math.Max(largest, read.ResponseStream.Current.CalculateSize());
        }

        Assert.That(largest, Is.InRange(bytesMax * 9 / 10, bytesMax), "a client takes no larger message than it was promised");
    }

    [Test]
    public async Task ReadEssentials_AbsentTopic_EndsAtOnce()
    {
        await using var api = await TestApi.StartAsync();
        using var read = api.Reader.ReadEssentials(new ReadEssentialsRequest { Connection = await api.ConnectAsync(Car) });

        Assert.That(await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.False);
        Assert.That(read.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
    }

    [Test]
    public async Task ReadEssentials_BrokerFaultInBetween_EndsWhereItWouldHaveEnded()
    {
        var clock = new ManualClock();
        await using var api = await TestApi.StartAsync(clock: clock);
        for (var i = 0; i < 3; i++) await api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", $"{i}", essential: true)).ResponseAsync.WithDeadline();
        var connection = await api.ConnectAsync(Car);

        // Positioned, failed before it has read anything, and about to try again: then more comes.
        var timers = clock.TimerCount;
        api.Broker.FailNextRead(new BrokerException(BrokerError.Unavailable, "down"));
        using var call = api.Reader.ReadEssentials(new ReadEssentialsRequest { Connection = connection });
        await clock.TimersAsync(timers + 1).WithDeadline();
        await api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", "late", essential: true)).ResponseAsync.WithDeadline();
        clock.Advance(TimeSpan.FromSeconds(1));

        var texts = new List<string>();
        while (await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline())
        {
            texts.AddRange(call.ResponseStream.Current.Response.Select(r => r.Packet.Content.ToStringUtf8()));
        }

        Assert.That(texts, Is.EqualTo(["0", "1", "2"]));
    }

    [Test]
    public async Task WriteDataPacket_TopicWasDeleted_IsMadeAnew()
    {
        await using var api = await TestApi.StartAsync();
        await api.WriteAsync("Car", "a", "before");
        api.Memory.DeleteTopic("Car.a");

        var failure = await Assert.ThrowsAsync<RpcException>(() => api.WriteAsync("Car", "a", "lost"));
        Assert.That(failure!.StatusCode, Is.EqualTo(StatusCode.Unavailable), failure.Status.Detail);
        await api.WriteAsync("Car", "a", "after");
    }

    [Test]
    public async Task Dispose_ReadOpen_EndsItUnavailable()
    {
        var api = await TestApi.StartAsync();
        using var read = await api.OpenReadAsync(await api.ConnectAsync(Car));
        await api.DisposeAsync();

        Assert.That((await FailureAsync(read)).StatusCode, Is.EqualTo(StatusCode.Unavailable));
    }

    private static async Task<RpcException> FailureAsync(AsyncServerStreamingCall<ReadPacketsResponse> read)
    {
        try
        {
            while (await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline())
            {
                // What was handed over before the end.
            }
        }
        catch (RpcException exception)
        {
            return exception;
        }

        throw new AssertionException("the read ended without an error");
    }

    /// <summary>Why records were skipped while it lives.</summary>
    private sealed class Skipped : IDisposable
    {
        private readonly System.Diagnostics.Metrics.MeterListener _listener = new();
        private readonly List<string> _reasons = [];

        public Skipped()
        {
            _listener.InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Name == "stream_api_records_skipped_total") self.EnableMeasurementEvents(instrument);
            };
            _listener.SetMeasurementEventCallback<long>((_, _, tags, _) =>
            {
                lock (_reasons) _reasons.Add((string)tags[0].Value!);
            });
            _listener.Start();
        }

        public IReadOnlyList<string> Reasons
        {
            get
            {
                lock (_reasons) return [.. _reasons];
            }
        }

        public void Dispose() => _listener.Dispose();
    }
}
