using System.Collections.Concurrent;
using MA.Streaming.Core;
using NUnit.Framework;

namespace MA.Streaming.UsageTests;

/// <summary>The batching helper as the documentation uses it: packets added one by one, written in lists.</summary>
public sealed class BatchProcessorTests
{
    [Test]
    public async Task Add_ManyItems_AreProcessedInOrderInBoundedBatches()
    {
        const int Items = 10_000;
        using var stop = new CancellationTokenSource();
        var processed = new ConcurrentQueue<int>();
        var largest = 0;
        var all = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var processor = new TimeAndSizeWindowBatchProcessor<int>(
            batch =>
            {
                largest = Math.Max(largest, batch.Count);
                foreach (var item in batch) processed.Enqueue(item);
                if (processed.Count == Items) all.TrySetResult();
                return Task.CompletedTask;
            },
            stop,
            batchSize: 100,
            timeWindowSize: 1);

        for (var i = 0; i < Items; i++) processor.Add(i);
        await all.Task.WithDeadline(30);

        Assert.That(processed, Is.EqualTo(Enumerable.Range(0, Items)));
        Assert.That(largest, Is.InRange(1, 100));
        await stop.CancelAsync();
        await processor.Completion.WithDeadline(30);
    }

    [Test]
    public async Task Add_WithTheDefaults_ProcessesASingleItem()
    {
        using var stop = new CancellationTokenSource();
        var seen = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        var processor = new TimeAndSizeWindowBatchProcessor<string>(
            items =>
            {
                seen.TrySetResult(items[0]);
                return Task.CompletedTask;
            },
            stop);

        processor.Add("packet");

        Assert.That(await seen.Task.WithDeadline(30), Is.EqualTo("packet"));
        await stop.CancelAsync();
        await processor.Completion.WithDeadline(30);
    }
}
