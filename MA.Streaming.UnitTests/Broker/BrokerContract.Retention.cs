using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <content>What is removed: by retention, with its topic.</content>
public abstract partial class BrokerContract
{
    [Test]
    public async Task ReadAsync_FromBelowTheLowWatermark_YieldsWhatIsMissingFirst()
    {
        RequireRetention();
        var source = await NewTopicAsync();
        var offsets = await AppendManyAsync(source, 50);
        await RemoveBelowAsync(source, offsets[20]);

        Assert.That(await WatermarksAsync(source), Is.EqualTo(new Watermarks(source, offsets[20], offsets[^1] + 1)));
        await using var reading = new BrokerReading(Broker, source, offsets[5], toHighWatermark: true);
        var batches = await reading.ToEndAsync();
        Assert.Multiple(() =>
        {
            Assert.That(batches[0].Missing, Is.EqualTo(new MissingRange(offsets[5], offsets[20], MissingReason.Retention)));
            Assert.That(batches.Skip(1).Select(b => b.Missing), Is.All.Null);
            Assert.That(batches.SelectMany(b => b.Records).Select(r => r.Offset), Is.EqualTo(offsets[20..]));
        });
        var found = await Broker.FindOffsetsAsync([source], DateTimeOffset.MinValue, None).WithDeadline();
        Assert.That(found.Single(), Is.EqualTo(offsets[20]));
    }

    [Test]
    public async Task ReadAsync_RetentionOvertakesTheReader_ReadAheadStaysBoundedAndTheRestIsMissing()
    {
        RequireRetention();
        RequireExactReadAhead();
        const int bytesMax = 10_000;
        var source = await NewTopicAsync();
        var appends = Enumerable.Range(0, 1000).Select(i => Broker.AppendAsync(source, new RecordData(null, new byte[1000]), None).AsTask());
        await Task.WhenAll(appends).WithDeadline(60);
        await using var reading = new BrokerReading(Broker, source, bytesMax: bytesMax);
        await reading.NextAsync();
        await RemoveBelowAsync(source, 1000);
        await AppendAsync(source, "after");

        // What still comes of the removed records was read ahead.
        var bytes = 0L;
        MissingRange? missing = null;
        string? text = null;
        while (text != "after" && await reading.NextAsync() is { } batch)
        {
            bytes += batch.Records.Where(r => r.Value!.Length == 1000).Sum(r => r.Value!.Length);
            missing ??= batch.Missing;
            text = batch.Records.Count > 0 ? batch.Records[^1].Text : null;
        }

        Assert.Multiple(() =>
        {
            Assert.That(bytes, Is.LessThanOrEqualTo(bytesMax + 1000));
            Assert.That(missing, Is.Not.Null);
            Assert.That(missing!.To, Is.EqualTo(1000));
            Assert.That(missing.Reason, Is.EqualTo(MissingReason.Retention));
        });
    }

    [Test]
    public async Task ReadAsync_ToHighWatermarkAndAllRemoved_SaysSoAndEnds()
    {
        RequireRetention();
        var source = await NewTopicAsync();
        var offsets = await AppendManyAsync(source, 10);
        await RemoveBelowAsync(source, offsets[^1] + 1);
        await using var reading = new BrokerReading(Broker, source, toHighWatermark: true);
        var batches = await reading.ToEndAsync();
        Assert.Multiple(() =>
        {
            Assert.That(batches.Select(b => b.Missing), Is.EqualTo(new[] { new MissingRange(0, offsets[^1] + 1, MissingReason.Retention) }));
            Assert.That(batches.SelectMany(b => b.Records), Is.Empty);
        });

        var next = await AppendAsync(source, "goes on");
        Assert.That(next.Offset, Is.GreaterThan(offsets[^1]));
        Assert.That((await WatermarksAsync(source)).Low, Is.EqualTo(offsets[^1] + 1));
    }

    [Test]
    public async Task ReadAsync_ToHighWatermarkAndRetentionGoesBeyond_IsToldOnlyWhatItAskedFor()
    {
        RequireRetention();
        RequireExactReadAhead();
        var source = await NewTopicAsync();
        var appends = Enumerable.Range(0, 100).Select(i => Broker.AppendAsync(source, new RecordData(null, new byte[1000]), None).AsTask());
        var end = (await Task.WhenAll(appends).WithDeadline()).Max(a => a.Offset) + 1;
        await using var reading = new BrokerReading(Broker, source, toHighWatermark: true, bytesMax: 1000);
        await reading.NextAsync();
        var later = await AppendManyAsync(source, 50);
        await RemoveBelowAsync(source, later[30]);
        var rest = await reading.ToEndAsync();
        Assert.Multiple(() =>
        {
            Assert.That(rest[^1].NextOffset, Is.EqualTo(end));
            Assert.That(rest[^1].Missing!.To, Is.EqualTo(end));
            Assert.That(rest.SelectMany(b => b.Records).Select(r => r.Offset), Is.All.LessThan(end));
        });
    }

    [Test]
    public async Task KeepForever_OnceAsked_RetentionTakesNothing()
    {
        if (!SupportsKeepForever) Assert.Ignore("this fixture cannot make retention run");
        var kept = new TopicPartition((await Broker.EnsureTopicAsync(new TopicSpec(NewName(), 1, KeepForever: true), None).WithDeadline()).Name, 0);
        var keptLater = await NewTopicAsync();
        var ordinary = await NewTopicAsync();
        foreach (var source in new[] { kept, keptLater, ordinary }) await AppendManyAsync(source, 100);
        await Broker.EnsureTopicAsync(new TopicSpec(kept.Topic), None).WithDeadline();
        await Broker.EnsureTopicAsync(new TopicSpec(keptLater.Topic, 2, KeepForever: true), None).WithDeadline();
        await AppendAsync(keptLater with { Partition = 1 }, "in a partition added with it");

        await RetainAsync(kept.Topic, keptLater.Topic, ordinary.Topic);

        Assert.That((await WatermarksAsync(ordinary)).Low, Is.Positive);
        Assert.That(await TextsAsync(kept), Has.Count.EqualTo(100));
        Assert.That(await TextsAsync(keptLater), Has.Count.EqualTo(100));
        Assert.That(await TextsAsync(keptLater with { Partition = 1 }), Has.Count.EqualTo(1));
    }

    [Test]
    public async Task ReadAsync_TopicDeleted_SaysWhatIsMissingAndEnds()
    {
        if (!SupportsTopicDeletion) Assert.Ignore("this fixture cannot delete topics");
        var source = await NewTopicAsync();
        await AppendManyAsync(source, 30);
        await using var waiting = new BrokerReading(Broker, source);
        await using var behind = new BrokerReading(Broker, source, bytesMax: 10);
        await waiting.TakeAsync(30);
        var pending = waiting.Begin();
        await behind.NextAsync();

        await DeleteTopicAsync(source.Topic);

        await pending.WithDeadline();
        foreach (var reading in new[] { waiting, behind })
        {
            var batches = await reading.ToEndAsync();
            Assert.That(batches[^1].Missing!.Reason, Is.EqualTo(MissingReason.TopicDeleted));
            Assert.That(batches[^1].NextOffset, Is.EqualTo(30));
        }

        var exception = await Assert.ThrowsAsync<BrokerException>(async () => await AppendAsync(source, "lost"));
        Assert.That(exception!.Error, Is.EqualTo(BrokerError.NoSuchTopic));
        Assert.That(await WatermarksAsync(source), Is.EqualTo(new Watermarks(source, 0, 0)));
    }

    [Test]
    public async Task ReadAsync_OneOfItsTopicsDeleted_GoesOnWithTheOthers()
    {
        if (!SupportsTopicDeletion) Assert.Ignore("this fixture cannot delete topics");
        var gone = await NewTopicAsync();
        var stays = await NewTopicAsync();
        await AppendAsync(gone, "gone");
        await using var reading = new BrokerReading(Broker, new ReadRequest([new(gone, 0), new(stays, 0)], BytesMax, false));
        await reading.TakeAsync(1);
        await DeleteTopicAsync(gone.Topic);
        await AppendAsync(stays, "stays");
        Assert.That((await reading.TakeAsync(1)).Single().Text, Is.EqualTo("stays"));
    }
}
