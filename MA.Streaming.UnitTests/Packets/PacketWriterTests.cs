using System.Diagnostics.Metrics;
using System.Text;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

[TestFixture]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class PacketWriterTests : IAsyncDisposable
{
    private readonly GatedBroker _broker = new(new MemoryBroker());
    private readonly ManualClock _clock = new();
    private readonly Telemetry _telemetry;
    private readonly TopicDirectory _directory;

    public PacketWriterTests()
    {
        _telemetry = new Telemetry(scope: this);
        _directory = new TopicDirectory(_broker, new RecordingLogger(), _clock);
    }

    public async ValueTask DisposeAsync()
    {
        await _directory.DisposeAsync();
        await _broker.DisposeAsync();
        _telemetry.Dispose();
    }

    [Test]
    public async Task WriteAsync_PendingBytesWouldPassTheBound_IsResourceExhaustedAtOnce()
    {
        var writer = Writer(StreamingApiLimits.Default with { PendingBytesMax = 1_000_000 });
        _broker.Holds = _ => true;
        var first = Write(writer, new string('a', 500_000));
        var second = Write(writer, new string('b', 400_000));
        var refused = Assert.Throws<RpcException>(() => Write(writer, new string('c', 400_000)).GetAwaiter().GetResult())!;

        Assert.That(refused.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
        Assert.That(first.IsCompleted || second.IsCompleted, Is.False);
        _broker.ReleaseAll();
        await Task.WhenAll(first, second).WithDeadline();
        await NothingPendsAsync(writer);
        await Write(writer, new string('c', 900_000)).WithDeadline();
    }

    [Test]
    public async Task WriteAsync_ManyPacketsWithoutBytes_AreBoundedToo()
    {
        var writer = Writer(StreamingApiLimits.Default with { PendingBytesMax = 10_000 });
        _broker.Holds = _ => true;
        var waiting = new List<Task>();
        var refused = Assert.Throws<RpcException>(() =>
        {
            while (waiting.Count < 1_000) waiting.Add(Write(writer, ""));
        })!;

        Assert.That(refused.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
        _broker.ReleaseAll();
        await Task.WhenAll(waiting).WithDeadline();
        await NothingPendsAsync(writer);
    }

    [Test]
    public async Task WriteAsync_OnePacketOverTheBound_StillPassesAlone()
    {
        var writer = Writer(StreamingApiLimits.Default with { PendingBytesMax = 10 });

        await Write(writer, new string('a', 500)).WithDeadline();
    }

    [TestCase(true, StatusCode.ResourceExhausted)]
    [TestCase(false, StatusCode.Unavailable)]
    public async Task WriteAsync_NotDurableInTime_SaysWhoseFaultItIs(bool healthy, StatusCode expected)
    {
        var writer = Writer();
        _broker.Holds = _ => true;
        _broker.Health = () => new BrokerHealth(healthy, "as it is");
        var write = Write(writer, "a");
        await _broker.HeldAsync(1).WithDeadline();
        await _clock.TimersAsync(1).WithDeadline();
        _clock.Advance(TimeSpan.FromSeconds(29));
        Assert.That(write.IsCompleted, Is.False);
        _clock.Advance(TimeSpan.FromSeconds(2));
        var status = await StatusAsync(write);

        Assert.That(status.StatusCode, Is.EqualTo(expected));
        Assert.That(status.Detail, Does.Contain("30 s").And.Contain("as it is"));
        Assert.That(writer.Unary.PendingBytes, Is.Not.Zero, "the broker still has the packet");
        _broker.ReleaseAll();
        await NothingPendsAsync(writer);
    }

    [Test]
    public async Task WriteAsync_NotDurableInTimeAndTheBrokerCannotSayWhy_IsUnavailable()
    {
        var writer = Writer();
        _broker.Holds = _ => true;
        _broker.Health = () => throw new BrokerException(BrokerError.Unavailable, "no answer");
        var write = Write(writer, "a");
        await _clock.TimersAsync(1).WithDeadline();
        _clock.Advance(TimeSpan.FromSeconds(31));

        Assert.That((await StatusAsync(write)).StatusCode, Is.EqualTo(StatusCode.Unavailable));
    }

    [Test]
    public async Task WriteAsync_Cancelled_EndsTheWaitAndKeepsThePlace()
    {
        var writer = Writer();
        _broker.Holds = _ => true;
        using var source = new CancellationTokenSource();
        var write = writer.Appender.WriteAsync(writer.Encoder.Prepare(TestApi.Detail("Car", "", "a")), source.Token).AsTask();
        await source.CancelAsync();

        Assert.That(async () => await write.WithDeadline(), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(writer.Unary.PendingBytes, Is.Not.Zero);
        _broker.ReleaseAll();
        await NothingPendsAsync(writer);
        Assert.That(await TextsAsync("Car"), Is.EqualTo(new[] { "a" }));
    }

    [Test]
    public async Task WriteAsync_DurableAndTimedOutAtOnce_IsOneOrTheOther()
    {
        var writer = Writer();
        for (var i = 0; i < 300; i++)
        {
            _broker.Holds = _ => true;
            var write = Write(writer, "a");
            await _broker.HeldAsync(1).WithDeadline();
            await _clock.TimersAsync(1).WithDeadline();
            var release = Task.Run(() => _broker.ReleaseAll());
            _clock.Advance(TimeSpan.FromSeconds(31));
            await release.WithDeadline();
            try
            {
                await write.WithDeadline();
            }
            catch (RpcException exception)
            {
                Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
            }

            await NothingPendsAsync(writer);
        }
    }

    [Test]
    public void Prepare_PacketTooLarge_SaysSizeAndLimit()
    {
        var writer = Writer();
        var detail = TestApi.Detail("Car", "", new string('x', 3_670_016));
        var exception = Assert.Throws<RpcException>(() => writer.Encoder.Prepare(detail))!;

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.InvalidArgument));
        Assert.That(exception.Status.Detail, Does.Contain($"{detail.Message.CalculateSize()}").And.Contain("3670016"));
    }

    [Test]
    public void Prepare_PacketOfExactlyTheLimit_Passes()
    {
        var writer = Writer(StreamingApiLimits.Default with { PacketBytesMax = 100 });
        var packet = TestApi.Packet("");
        packet.Content = Google.Protobuf.ByteString.CopyFrom(new byte[100 - packet.CalculateSize() - 2]);
        Assert.That(packet.CalculateSize(), Is.EqualTo(100));

        Assert.That(writer.Encoder.Prepare(new DataPacketDetails { DataSource = "Car", Message = packet }).Record.Value!.Value.Length, Is.EqualTo(100));
        packet.Type += "x";
        Assert.That(() => writer.Encoder.Prepare(new DataPacketDetails { DataSource = "Car", Message = packet }), Throws.InstanceOf<RpcException>());
    }

    [TestCase("given", "packet", "given")]
    [TestCase("", "packet", "packet")]
    [TestCase("", "", "")]
    public void Prepare_Keys_DetailWinsOverPacket(string detailKey, string packetKey, string expected)
    {
        var detail = TestApi.Detail("Car", "", "a", session: detailKey);
        detail.Message.SessionKey = packetKey;
        var record = Writer().Encoder.Prepare(detail).Record;

        Assert.That(record.Key, Is.Not.Null);
        Assert.That(Encoding.UTF8.GetString(record.Key!.Value.Span), Is.EqualTo(expected));
    }

    [Test]
    public void Prepare_NothingGiven_SaysWhatIsMissing()
    {
        var writer = Writer();

        Assert.That(Assert.Throws<RpcException>(() => writer.Encoder.Prepare(null))!.Status.Detail, Does.Contain("detail"));
        Assert.That(Assert.Throws<RpcException>(() => writer.Encoder.Prepare(new DataPacketDetails { DataSource = "Car" }))!.Status.Detail, Does.Contain("message"));
        Assert.That(() => writer.Records.PrepareInfo(null, InfoType.SessionInfo, out _), Throws.InstanceOf<RpcException>());
        Assert.That(() => writer.Records.PrepareInfo(new Packet(), (InfoType)9, out _), Throws.InstanceOf<RpcException>());
    }

    [Test]
    public async Task Prepare_UnknownFieldsOfThePacket_AreKept()
    {
        var bytes = new byte[] { 0x0A, 1, (byte)'T', 0xFA, 0x7F, 2, 1, 2 };
        var writer = Writer();
        await writer.Appender.WriteAsync(writer.Encoder.Prepare(new DataPacketDetails { DataSource = "Car", Message = Packet.Parser.ParseFrom(bytes) }), default).WithDeadline();

        Assert.That((await RecordsAsync("Car")).Single().Value!.Value.ToArray(), Is.EqualTo(bytes));
    }

    [Test]
    public async Task AppendAsync_Essential_IsWrittenTwiceEssentialsFirst()
    {
        var writer = Writer();
        await Write(writer, "warm up", essential: true).WithDeadline();
        _broker.Holds = _ => true;
        var write = Write(writer, "a", essential: true);
        Assert.That(_broker.HeldCount, Is.EqualTo(2), "both are issued before anything is waited for");
        Assert.That(_broker.HeldRecords[0].Value!.Value.Span.SequenceEqual(_broker.HeldRecords[1].Value!.Value.Span), Is.True);
        _broker.Release(target => target.Topic == "Car");
        Assert.That(write.IsCompleted, Is.False);
        _broker.Release(target => target.Topic == "Car_essential");
        await write.WithDeadline();

        Assert.That(await TextsAsync("Car"), Is.EqualTo(new[] { "warm up", "a" }));
        Assert.That(await TextsAsync("Car_essential"), Is.EqualTo(new[] { "warm up", "a" }));
    }

    [TestCase("Car_essential", "durable in Car[0]|durable in Car:0", "not in Car_essential")]
    [TestCase("Car", "durable in Car_essential", "not in Car")]
    public async Task AppendAsync_OneOfTheTwinsFails_StatusSaysWhich(string failing, string durable, string missing)
    {
        var writer = Writer();
        _broker.AppendFails = (target, _) => target.Topic == failing ? new BrokerException(BrokerError.Unavailable, "lost") : null;
        var status = await StatusAsync(Write(writer, "a", essential: true));

        Assert.That(status.StatusCode, Is.EqualTo(StatusCode.Unavailable));
        Assert.That(durable.Split('|').Any(status.Detail.Contains), Is.True, status.Detail);
        Assert.That(status.Detail, Does.Contain(missing).And.Contain("lost"));
    }

    [TestCase(BrokerError.Full, StatusCode.ResourceExhausted)]
    [TestCase(BrokerError.TooLarge, StatusCode.InvalidArgument)]
    [TestCase(BrokerError.Denied, StatusCode.PermissionDenied)]
    [TestCase(BrokerError.Unavailable, StatusCode.Unavailable)]
    public async Task WriteAsync_BrokerFails_StatusSaysWhatAndWhere(BrokerError error, StatusCode expected)
    {
        var writer = Writer();
        _broker.AppendFails = (_, _) => new BrokerException(error, "its words");
        var status = await StatusAsync(Write(writer, "a"));

        Assert.That(status.StatusCode, Is.EqualTo(expected));
        Assert.That(status.Detail, Does.Contain("Car").And.Contain("its words"));
        await NothingPendsAsync(writer);
    }

    [Test]
    public async Task WriteAsync_TopicIsBeingCreated_PacketsQueueInOrder()
    {
        var create = new TaskCompletionSource();
        _broker.BeforeEnsure = _ => create.Task;
        var writer = Writer();
        var writes = Enumerable.Range(0, 50).Select(i => Write(writer, $"{i}")).ToList();
        await _broker.EnsureCallsAsync(1).WithDeadline();
        Assert.That(writes.Any(w => w.IsCompleted), Is.False);
        create.SetResult();
        await Task.WhenAll(writes).WithDeadline();

        Assert.That(await TextsAsync("Car"), Is.EqualTo(Enumerable.Range(0, 50).Select(i => $"{i}")));
        Assert.That(_broker.EnsureCalls, Is.EqualTo(1));
    }

    [Test]
    public async Task WriteAsync_WhileTheQueueBehindACreationEmpties_KeepsTheOrder()
    {
        for (var round = 0; round < 50; round++)
        {
            var create = new TaskCompletionSource();
            _broker.BeforeEnsure = _ => create.Task;
            var writer = Writer();
            var dataSource = $"Car{round}";
            var writes = new List<Task>();
            for (var i = 0; i < 20; i++) writes.Add(Write(writer, $"{i}", dataSource: dataSource));
            var created = Task.Run(create.SetResult);
            for (var i = 20; i < 60; i++) writes.Add(Write(writer, $"{i}", dataSource: dataSource));
            await created.WithDeadline();
            await Task.WhenAll(writes).WithDeadline();
            Assert.That(await TextsAsync(dataSource), Is.EqualTo(Enumerable.Range(0, 60).Select(i => $"{i}")));
        }
    }

    [Test]
    public async Task WriteAsync_CreationFails_SurfacesAndIsTriedAgain()
    {
        var fails = true;
        _broker.BeforeEnsure = _ => fails ? throw new BrokerException(BrokerError.Denied, "not for you") : Task.CompletedTask;
        var writer = Writer();
        var status = await StatusAsync(Write(writer, "a"));
        Assert.That(status.StatusCode, Is.EqualTo(StatusCode.PermissionDenied));
        Assert.That(status.Detail, Does.Contain("not for you"));
        fails = false;
        await Write(writer, "b").WithDeadline();

        Assert.That(await TextsAsync("Car"), Is.EqualTo(new[] { "b" }));
    }

    [Test]
    public async Task WriteAsync_CreationFailsForAMoment_IsTriedAgainBehindTheScenes()
    {
        var failures = 2;
        _broker.BeforeEnsure = _ => failures-- > 0 ? throw new BrokerException(BrokerError.Unavailable, "away") : Task.CompletedTask;
        var writer = Writer();
        var write = Write(writer, "a");
        for (var i = 0; i < 2; i++)
        {
            // The wait of the write, and the pause before the next try.
            await _clock.TimersAsync(2).WithDeadline();
            _clock.Advance(TimeSpan.FromSeconds(1));
        }

        await write.WithDeadline();
        Assert.That(_broker.EnsureCalls, Is.EqualTo(3));
    }

    [Test]
    public async Task WriteAsync_NotDurableInTimeWhileTheTopicCannotBeCreated_SaysWhyItCannot()
    {
        var tries = 0;
        var silence = new TaskCompletionSource();
        _broker.BeforeEnsure = _ => tries++ == 0 ? throw new BrokerException(BrokerError.Unavailable, "away") : silence.Task;
        var writer = Writer();
        var write = Write(writer, "a");
        await _clock.TimersAsync(2).WithDeadline();
        _clock.Advance(TimeSpan.FromSeconds(1));
        await _broker.EnsureCallsAsync(2).WithDeadline();
        _clock.Advance(TimeSpan.FromSeconds(30));

        var status = await StatusAsync(write);
        Assert.That(status.StatusCode, Is.EqualTo(StatusCode.Unavailable));
        Assert.That(status.Detail, Is.EqualTo("writing to Car:0: away"));
        silence.SetResult();
    }

    [Test]
    public async Task WriteAsync_BrokerDisposedWhileTheTopicIsCreated_EveryWriteEnds()
    {
        var create = new TaskCompletionSource();
        _broker.BeforeEnsure = _ => create.Task;
        var writer = Writer();
        _broker.AppendFails = (_, _) => throw new ObjectDisposedException("broker");
        var writes = Enumerable.Range(0, 3).Select(i => Write(writer, $"{i}")).ToList();
        create.SetResult();

        foreach (var write in writes) Assert.That((await StatusAsync(write)).StatusCode, Is.EqualTo(StatusCode.Unavailable));
        await NothingPendsAsync(writer);
    }

    [Test]
    public async Task AppendAsync_NotAwaited_KeepsTheOrderOfTheCalls()
    {
        var writer = Writer();
        var writes = new List<Task>();
        for (var i = 0; i < 200; i++) writes.Add(Write(writer, $"{i}", essential: i % 7 == 0));
        await Task.WhenAll(writes).WithDeadline();

        Assert.That(await TextsAsync("Car"), Is.EqualTo(Enumerable.Range(0, 200).Select(i => $"{i}")));
    }

    [Test]
    public async Task Append_PacketsOfSeveralStreams_AreCountedWithTheirLabels()
    {
        var writer = Writer();
        await Write(writer, "", essential: true).WithDeadline();
        await writer.Appender.AppendAsync(writer.Encoder.Prepare(TestApi.Detail("Car", "engine", ""))).AsTask().WithDeadline();
        var counts = new Dictionary<string, long>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, self) =>
            {
                if (ReferenceEquals(instrument.Meter.Scope, this)) self.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            var name = $"{instrument.Name} {string.Join("/", tags.ToArray().Select(tag => tag.Value))}";
            counts[name] = counts.GetValueOrDefault(name) + value;
        });
        listener.Start();
        _broker.Holds = target => target.Topic == "Car.engine";
        var window = new WriteWindow(1 << 20);
        var packets = new List<PreparedPacket>();
        foreach (var (stream, essential) in new[] { ("", false), ("", true), ("", false), ("engine", false), ("engine", false), ("", false) })
            packets.Add(writer.Encoder.Prepare(TestApi.Detail("Car", stream, "text", essential)));
        writer.Appender.Append(packets, window);
        Assert.That(counts["stream_api_data_packets_published_total Car/"], Is.EqualTo(4));
        Assert.That(counts["stream_api_data_packets_published_total Car/engine"], Is.EqualTo(2));
        Assert.That(counts["stream_api_data_packets_routed_total Car/"], Is.EqualTo(4));
        Assert.That(counts["stream_api_data_packets_routed_bytes_total Car/"], Is.EqualTo(packets.Where(p => p.Stream == packets[0].Stream).Sum(p => p.Record.Bytes)));
        Assert.That(counts, Does.Not.ContainKey("stream_api_data_packets_routed_total Car/engine"), "not durable yet");
        _broker.ReleaseAll();
        await window.DrainAsync().AsTask().WithDeadline();
        Assert.That(counts["stream_api_data_packets_routed_total Car/engine"], Is.EqualTo(2));
        Assert.That(counts["stream_api_packets_routed_total "], Is.EqualTo(6));
        Assert.That(window.Durable, Is.EqualTo(6));
    }

    [TestCase(InfoType.Unspecified, "SessionInfo")]
    [TestCase(InfoType.SessionInfo, "SessionInfo")]
    [TestCase(InfoType.SystemStatus, "SystemStatus")]
    public async Task WriteInfoAsync_Type_DecidesTheTopic(InfoType type, string topic)
    {
        var writer = Writer();
        var record = writer.Records.PrepareInfo(new Packet { Type = "T", SessionKey = "s" }, type, out var target);
        await writer.Records.WriteInfoAsync(target, record, CancellationToken.None).WithDeadline();

        Assert.That(Encoding.UTF8.GetString((await RecordsAsync(topic)).Single().Key!.Value.Span), Is.EqualTo("s"));
    }

    private PacketWriting Writer(StreamingApiLimits? limits = null) =>
        new(_broker, _directory, limits ?? StreamingApiLimits.Default, _telemetry, _clock);

    private static Task Write(PacketWriting writer, string text, bool essential = false, string dataSource = "Car") =>
        writer.Appender.WriteAsync(writer.Encoder.Prepare(TestApi.Detail(dataSource, "", text, essential)), CancellationToken.None).AsTask();

    private static Task NothingPendsAsync(PacketWriting writer) => Until.TrueAsync(() => writer.Unary.PendingBytes == 0 && writer.Unary.PendingPackets == 0);

    private async Task<List<Record>> RecordsAsync(string topic)
    {
        var records = new List<Record>();
        var request = new ReadRequest([new Position(new(topic, 0), 0)], 1 << 20, ToHighWatermark: true);
        await foreach (var batch in _broker.Inner.ReadAsync(request, CancellationToken.None)) records.AddRange(batch.Records);
        return records;
    }

    private async Task<List<string>> TextsAsync(string topic) =>
        [.. (await RecordsAsync(topic).WithDeadline()).Select(r => Packet.Parser.ParseFrom(r.Value!.Value.Span).Content.ToStringUtf8())];

    private static async Task<Status> StatusAsync(Task task)
    {
        try
        {
            await task.WithDeadline();
        }
        catch (RpcException exception)
        {
            return exception.Status;
        }

        Assert.Fail("it did not fail");
        return default;
    }
}
