using System.Diagnostics.Metrics;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using Microsoft.Extensions.Logging;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>A full broker makes appends wait; a stuck one, a broken one and one that is disposed end them. Nothing hangs.</summary>
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
public sealed class EmbeddedBrokerFailureTests : IDisposable
{
    private readonly ManualClock _clock = new();
    private readonly RecordingLogger _logger = new();
    private readonly SimulatedDisk _disk = new(1) { HasThreads = true };
    private readonly Blockade _blockade;

    public EmbeddedBrokerFailureTests() => _blockade = new Blockade(_disk);

    public void Dispose()
    {
        _blockade.Dispose();
        _logger.Dispose();
    }

    private static CancellationToken None => CancellationToken.None;

    [TestCase(typeof(UnauthorizedAccessException))]
    [TestCase(typeof(OutOfMemoryException))]
    [TestCase(typeof(InvalidOperationException))]
    public async Task AppendAsync_CommitLoopFailsUnexpectedly_EndsEveryAppendAndReadsGoOn(Type error)
    {
        var broker = await OpenAsync();
        await AppendAsync(broker, "before");
        _blockade.Block(DiskCall.Write, "journal");
        var appends = Enumerable.Range(0, 20).Select(i => AppendAsync(broker, $"{i}")).ToArray();
        await _blockade.Reached.WithDeadline();
        _disk.Fault = (call, path) => call == DiskCall.Write && IsJournal(path) ? (Exception)Activator.CreateInstance(error)! : null;
        _blockade.Release();
        foreach (var append in appends) await AssertFailsAsync(append, BrokerError.Unavailable);

        _disk.Fault = null;
        await AssertFailsAsync(AppendAsync(broker, "after"), BrokerError.Unavailable);
        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.False);
        Assert.That(await TextsAsync(broker), Is.EqualTo(new[] { "before" }));
        Assert.That(_logger.CountOf("Stopped"), Is.EqualTo(1));
        await broker.DisposeAsync().WithDeadline();

        await using var again = await OpenAsync();
        await AppendAsync(again, "again");
        Assert.That((await TextsAsync(again)).Take(1), Is.EqualTo(new[] { "before" }));
        Assert.That((await TextsAsync(again))[^1], Is.EqualTo("again"));
    }

    [TestCase(typeof(UnauthorizedAccessException))]
    [TestCase(typeof(OutOfMemoryException))]
    public async Task AppendAsync_DrainLoopFailsUnexpectedly_IsRefusedAndNothingAcknowledgedIsLost(Type error)
    {
        var broker = await OpenAsync();
        _disk.Fault = (_, path) => IsSegment(path) ? (Exception)Activator.CreateInstance(error)! : null;
        var accepted = new List<string>();
        BrokerException? refusal = null;
        for (var i = 0; i < 1000 && refusal is null; i++)
        {
            try
            {
                await AppendAsync(broker, $"{i}");
                accepted.Add($"{i}");
            }
            catch (BrokerException exception)
            {
                refusal = exception;
            }
        }

        Assert.That(refusal?.Error, Is.EqualTo(BrokerError.Unavailable));
        _disk.Fault = null;
        Assert.That((await broker.CheckAsync(None)).Detail, Does.Contain("opened again"));
        Assert.That(await TextsAsync(broker), Is.EqualTo(accepted));
        await broker.DisposeAsync().WithDeadline();

        await using var again = await OpenAsync();
        Assert.That((await TextsAsync(again)).Take(accepted.Count), Is.EqualTo(accepted));
    }

    /// <summary>The disk fails once, or until it is well again. Appends go on within ten seconds of the end, one read goes through all of it.</summary>
    [TestCase(nameof(DiskCall.Flush), true)]
    [TestCase(nameof(DiskCall.Flush), false)]
    [TestCase(nameof(DiskCall.Write), true)]
    [TestCase(nameof(DiskCall.Write), false)]
    [TestCase(nameof(DiskCall.Replace), true)]
    [TestCase(nameof(DiskCall.Replace), false)]
    [TestCase(nameof(DiskCall.FlushDirectory), true)]
    [TestCase(nameof(DiskCall.FlushDirectory), false)]
    public async Task AppendAsync_DiskFailsForAWhile_GoesOnAndLosesNothing(string kind, bool once)
    {
        var broker = await OpenAsync();
        var appends = new List<(string Text, Task<Appended> Append)> { ("first", AppendAsync(broker, "first")) };
        await appends[0].Append.WithDeadline();
        await using var reading = new BrokerReading(broker, new TopicPartition("car", 0), toHighWatermark: false);

        var failures = 0;
        _disk.Fault = (call, _) => call.ToString() == kind && (Interlocked.Increment(ref failures) == 1 || !once) ? new IOException("the disk fails") : null;
        for (var wave = 0; wave < 20; wave++)
        {
            for (var i = 0; i < 10; i++) appends.Add(($"{wave}.{i}", AppendAsync(broker, $"{wave}.{i}")));
            await Until.TrueAsync(async () => broker.QueuedBytes == 0 || !(await broker.CheckAsync(None)).IsHealthy);
        }

        Assert.That(failures, Is.Positive);
        _disk.Fault = null;
        await Until.TrueAsync(async () =>
        {
            // The log tries again when this time is due.
            _clock.Advance(TimeSpan.FromMilliseconds(100));
            if (appends[^1].Append.IsCompletedSuccessfully && (await broker.CheckAsync(None)).IsHealthy) return true;
            if (appends[^1].Append.IsCompleted) appends.Add(($"after {appends.Count}", AppendAsync(broker, $"after {appends.Count}")));
            return false;
        });
        Assert.That((await broker.CheckAsync(None)).IsHealthy, Is.True);
        var acknowledged = appends.Where(append => append.Append.IsCompletedSuccessfully).Select(append => append.Text).ToArray();
        foreach (var refused in appends.Where(append => !append.Append.IsCompletedSuccessfully))
            Assert.That((await Assert.ThrowsAsync<BrokerException>(() => refused.Append.WithDeadline()))!.Error, Is.EqualTo(BrokerError.Unavailable).Or.EqualTo(BrokerError.Full));
        Assert.That((await reading.TakeAsync(acknowledged.Length)).Select(record => record.Text), Is.EqualTo(acknowledged));

        // The power goes: what was acknowledged is on the disk.
        _disk.LosePower();
        await broker.DisposeAsync().WithDeadline();
        await using var again = await OpenAsync();
        var texts = await TextsAsync(again);
        Assert.That(texts.Take(acknowledged.Length), Is.EqualTo(acknowledged));
    }

    [Test]
    public async Task AppendAsync_QueueFull_WaitsForRoomAndKeepsTheOrder()
    {
        await using var broker = await OpenAsync();
        _blockade.Block(DiskCall.Flush, "journal");
        var appends = Enumerable.Range(0, 200).Select(i => AppendAsync(broker, $"{i}")).ToArray();
        await _blockade.Reached.WithDeadline();
        Assert.That(broker.QueuedBytes, Is.GreaterThan(Options.QueuedBytesMax * 2));
        Assert.That(Gauges.Read("stream_api_log_queued_bytes"), Is.EqualTo(broker.QueuedBytes));
        Assert.That(appends.Count(append => append.IsCompleted), Is.Zero);
        _blockade.Release();
        Assert.That((await Task.WhenAll(appends).WithDeadline()).Select(appended => appended.Offset), Is.EqualTo(Enumerable.Range(0, 200)));
        Assert.That(await TextsAsync(broker), Is.EqualTo(Enumerable.Range(0, 200).Select(i => $"{i}")));
        Assert.That(broker.QueuedBytes, Is.Zero);
    }

    [Test]
    public async Task AppendAsync_CancelledWhileItWaits_LeavesAtOnceWithItsBytes()
    {
        await using var broker = await OpenAsync();
        _blockade.Block(DiskCall.Flush, "journal");
        var taken = AppendAsync(broker, "taken");
        await _blockade.Reached.WithDeadline();
        var queued = Enumerable.Range(0, 40).Select(i => AppendAsync(broker, $"{i}")).ToArray();
        var before = broker.QueuedBytes;
        using var cancel = new CancellationTokenSource();
        var cancelled = Enumerable.Range(0, 50).Select(_ => AppendAsync(broker, "cancelled", cancel.Token)).ToArray();
        var last = AppendAsync(broker, "last");
        Assert.That(broker.QueuedBytes, Is.GreaterThan(before));
        await cancel.CancelAsync();
        foreach (var append in cancelled) Assert.That(async () => await append.WithDeadline(), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(broker.QueuedBytes, Is.EqualTo(before + RecordFormat.SizeOf(4)));
        _blockade.Release();
        await Task.WhenAll([taken, .. queued, last]).WithDeadline();
        Assert.That(await TextsAsync(broker), Is.EqualTo(Enumerable.Range(0, 40).Select(i => $"{i}").Prepend("taken").Append("last")));
    }

    [Test]
    public async Task AppendAsync_DrainStuck_EndsInFullAfterAWhileAndResumes()
    {
        await using var broker = await OpenAsync();
        _blockade.Block(DiskCall.Write, "topics");
        var appends = Enumerable.Range(0, 200).Select(i => AppendAsync(broker, $"{i}")).ToArray();
        await Until.TrueAsync(() => Gauges.Read("stream_api_log_undrained_bytes") >= Options.UndrainedBytesMax);
        await LosePatienceAsync(appends);
        var accepted = appends.TakeWhile(append => append.IsCompletedSuccessfully).Count();
        Assert.That(accepted, Is.InRange(10, 190));
        foreach (var append in appends.Skip(accepted)) await AssertFailsAsync(append, BrokerError.Full);
        _blockade.Release();
        await AppendAsync(broker, "resumed").WithDeadline();
        Assert.That(await TextsAsync(broker), Is.EqualTo(Enumerable.Range(0, accepted).Select(i => $"{i}").Append("resumed")));
    }

    [Test]
    public async Task AppendAsync_DiskDoesNotAnswer_EndsWhatWaitsAfterAWhile()
    {
        await using var broker = await OpenAsync();
        _blockade.Block(DiskCall.Flush, "journal");
        var taken = AppendAsync(broker, "taken");
        await _blockade.Reached.WithDeadline();
        var waiting = Enumerable.Range(0, 100).Select(i => AppendAsync(broker, $"{i}")).ToArray();
        await _clock.TimersAsync(1).WithDeadline();
        _clock.Advance(Options.FullWaitMax);
        foreach (var append in waiting) await AssertFailsAsync(append, BrokerError.Unavailable);
        Assert.That(taken.IsCompleted, Is.False, "nobody knows what becomes of it");
        _blockade.Release();
        await taken.WithDeadline();
        await AppendAsync(broker, "resumed");
        Assert.That(await TextsAsync(broker), Is.EqualTo(new[] { "taken", "resumed" }));
    }

    [Test]
    public async Task AppendAsync_JournalFull_WaitsUntilSegmentsTookIt()
    {
        var options = Options with { UndrainedBytesMax = 1 << 20 };
        await using var broker = await OpenAsync(options);
        _blockade.Block(DiskCall.Write, "topics");
        var appends = Enumerable.Range(0, 1000).Select(i => AppendAsync(broker, $"{i}")).ToArray();
        await _blockade.Reached.WithDeadline();
        await _clock.TimersAsync(1).WithDeadline();
        Assert.That(appends[^1].IsCompleted, Is.False);
        Assert.That(Gauges.Read("stream_api_log_journal_bytes"), Is.InRange(options.JournalFileBytes, options.JournalBytesMax));
        Assert.That(Gauges.Read("stream_api_log_undrained_bytes"), Is.InRange(1000, options.JournalBytesMax));
        Assert.That(_disk.Paths.Where(IsJournal).Sum(path => _disk.Content(path).Length), Is.LessThanOrEqualTo(options.JournalBytesMax));
        _blockade.Release();
        await Task.WhenAll(appends).WithDeadline(30);
        Assert.That(await TextsAsync(broker), Is.EqualTo(Enumerable.Range(0, 1000).Select(i => $"{i}")));
        Assert.That(_disk.Paths.Where(IsJournal).Sum(path => _disk.Content(path).Length), Is.LessThanOrEqualTo(options.JournalBytesMax));
    }

    [Test]
    public async Task DisposeAsync_AppendsWait_EndsThemAtOnce()
    {
        var broker = await OpenAsync();
        _blockade.Block(DiskCall.Flush, "journal");
        var taken = AppendAsync(broker, "taken");
        await _blockade.Reached.WithDeadline();
        var waiting = Enumerable.Range(0, 100).Select(i => AppendAsync(broker, $"{i}")).ToArray();
        var disposing = broker.DisposeAsync().AsTask();
        foreach (var append in waiting) Assert.That(async () => await append.WithDeadline(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(disposing.IsCompleted, Is.False, "a group is on its way");
        _blockade.Release();
        await disposing.WithDeadline();
        await taken.WithDeadline();
    }

    [Test]
    public async Task Damage_FoundAtStartOrByAReader_IsCountedLoggedAndMissing()
    {
        var counted = new List<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Name == "stream_api_log_damages_total" && instrument.Meter.Name == "MA.Streaming.Broker.Embedded") self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((_, value, tags, _) => counted.AddRange(Enumerable.Repeat($"{tags[0].Value}", (int)value)));
        listener.Start();
        var broker = await OpenAsync(Options with { UndrainedBytesMax = 1 << 20 });
        for (var i = 0; i < 10; i++) await AppendAsync(broker, $"{i}");
        _disk.Kill();
        await broker.DisposeAsync().WithDeadline();
        var path = _disk.Paths.First(IsJournal);
        var content = _disk.Content(path);
        content[content.AsSpan().IndexOf(RecordFormat.MagicBytes) + 200] ^= 1;
        _disk.SetContent(path, content);

        await using (var again = await OpenAsync())
        {
            // The place in the journal, and the offset that is lost for it.
            Assert.That(counted, Is.EqualTo(new[] { "rot", "rot" }));
            Assert.That(_logger.CountOf("DamageFound"), Is.EqualTo(2));
            Assert.That(again.Damages, Is.EqualTo(2));
        }

        counted.Clear();

        path = _disk.Paths.First(IsSegment);
        content = _disk.Content(path);
        content[FileHead.Bytes + (3 * (RecordFormat.HeaderBytes + 1)) + 20] ^= 1;
        _disk.SetContent(path, content);
        await using var last = await OpenAsync();
        await using var reading = new BrokerReading(last, new TopicPartition("car", 0), toHighWatermark: true);
        var missing = (await reading.ToEndAsync()).Select(batch => batch.Missing).OfType<MissingRange>().ToList();
        Assert.That(missing, Has.Count.EqualTo(2).And.All.Property(nameof(MissingRange.Reason)).EqualTo(MissingReason.Damage));
        Assert.That(missing.Sum(range => range.To - range.From), Is.EqualTo(2));
        Assert.That(counted, Is.EqualTo(new[] { "rot", "rot" }));
        Assert.That(last.Damages, Is.EqualTo(2));
    }

    [Test]
    public async Task AppendAsync_Groups_AreCountedWithTheirRecords()
    {
        var (groups, records) = (0L, 0L);
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Name is "stream_api_log_groups_total" or "stream_api_log_group_records") self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((_, value, _, _) => groups += value);
        listener.SetMeasurementEventCallback<int>((_, value, _, _) => records += value);
        listener.Start();
        await using var broker = await OpenAsync();
        await Task.WhenAll(Enumerable.Range(0, 50).Select(i => AppendAsync(broker, $"{i}"))).WithDeadline();
        await broker.DisposeAsync().WithDeadline();
        Assert.That(records, Is.EqualTo(51), "a topic and its records");
        Assert.That(groups, Is.InRange(2, 51));
    }

    [Test]
    public async Task AppendAsync_DrainFailsAgainAndAgain_IsLoggedOnceUntilItWorks()
    {
        await using var broker = await OpenAsync();
        _disk.Fault = (_, path) => IsSegment(path) ? new IOException("input/output error") : null;
        var refusals = 0;
        for (var i = 0; i < 1000 && refusals < 20; i++)
        {
            try
            {
                await AppendAsync(broker, $"{i}");
            }
            catch (BrokerException)
            {
                refusals++;
            }
        }

        Assert.That(refusals, Is.EqualTo(20));
        Assert.That(_logger.CountOf("DrainFailed"), Is.EqualTo(1));
        _disk.Fault = null;
        await broker.DrainAsync().WithDeadline();
        await Until.TrueAsync(async () =>
        {
            await Until.SucceedsAsync<BrokerException>(() => AppendAsync(broker, "again"), _ => true);
            return _logger.CountOf("DrainResumed") > 0;
        });
        Assert.That(_logger.CountOf("DrainResumed"), Is.EqualTo(1));
    }

    private static EmbeddedBrokerOptions Options { get; } = new()
    {
        Directory = "simulated",
        GroupBytesMax = 1000,
        RecordBytesMax = 900,
        JournalFileBytes = 8000,
        JournalBytesMax = 16_000,
        QueuedBytesMax = 2000,
        UndrainedBytesMax = 3000,
        TailBytesMax = 0,
        DiskReserveBytes = 0,
    };

    private static bool IsJournal(string path) => path.StartsWith("journal", StringComparison.Ordinal);

    private static bool IsSegment(string path) => path.EndsWith(".segment", StringComparison.Ordinal);

    private static async Task AssertFailsAsync(Task<Appended> append, BrokerError error)
    {
        try
        {
            await append.WithDeadline();
            Assert.Fail("the append was acknowledged");
        }
        catch (BrokerException exception)
        {
            Assert.That(exception.Error, Is.EqualTo(error), exception.Message);
        }
    }

    /// <summary>The broker looks twice: at first groups were still taken.</summary>
    private async Task LosePatienceAsync(Task<Appended>[] appends)
    {
        for (var look = 0; look < 2 && !appends[^1].IsCompleted; look++)
        {
            await Task.WhenAny(appends[^1], _clock.TimersAsync(1)).WithDeadline();
            _clock.Advance(Options.FullWaitMax);
        }
    }

    private static Task<Appended> AppendAsync(EmbeddedBroker broker, string text, CancellationToken cancellationToken = default) =>
        broker.AppendAsync(new("car", 0), new RecordData(null, System.Text.Encoding.UTF8.GetBytes(text)), cancellationToken).AsTask();

    private static async Task<List<string?>> TextsAsync(EmbeddedBroker broker)
    {
        await using var reading = new BrokerReading(broker, new TopicPartition("car", 0), toHighWatermark: true);
        return [.. (await reading.ToEndAsync()).SelectMany(batch => batch.Records).Select(record => record.Text)];
    }

    private async Task<EmbeddedBroker> OpenAsync(EmbeddedBrokerOptions? options = null)
    {
        var broker = await EmbeddedBroker.OpenAsync(options ?? Options, _disk.Boot, _clock, new Logger<EmbeddedBroker>(_logger)).WithDeadline();
        await broker.EnsureTopicAsync(new TopicSpec("car"), None).WithDeadline();
        return broker;
    }

    /// <summary>Keeps calls of a kind waiting.</summary>
    private sealed class Blockade : IDisposable
    {
        private readonly SimulatedDisk _disk;
        private readonly ManualResetEventSlim _open = new();
        private TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Blockade(SimulatedDisk disk) => _disk = disk;

        public Task Reached => _reached.Task;

        public void Block(DiskCall call, string prefix)
        {
            _open.Reset();
            _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
            _disk.Before = (done, path) =>
            {
                if (done != call || !path.StartsWith(prefix, StringComparison.Ordinal)) return;
                _reached.TrySetResult();
                _open.WaitWithDeadline(20);
            };
        }

        public void Dispose() => _open.Dispose();

        public void Release()
        {
            _disk.Before = null;
            _open.Set();
        }
    }
}
