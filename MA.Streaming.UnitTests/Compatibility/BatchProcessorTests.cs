using MA.Streaming.Core;
using MA.Streaming.Core.Routing;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compatibility;

[TestFixture]
internal sealed class BatchProcessorTests
{
    [Test]
    public async Task Add_ManyItems_AreProcessedInOrderInBatchesOfTheSize()
    {
        using var source = new CancellationTokenSource();
        var all = new List<int>();
        var largest = 0;
        var processor = new TimeAndSizeWindowBatchProcessor<int>(
            batch =>
            {
                all.AddRange(batch);
                largest = Math.Max(largest, batch.Count);
                return Task.CompletedTask;
            },
            source,
            batchSize: 10,
            timeWindowSize: 0);
        for (var i = 0; i < 1_000; i++) processor.Add(i);
        await source.CancelAsync();
        await processor.Completion.WithDeadline();

        Assert.That(all, Is.EqualTo(Enumerable.Range(0, 1_000)));
        Assert.That(largest, Is.InRange(1, 10));
        Assert.That(() => processor.Add(1), Throws.InvalidOperationException);
    }

    [Test]
    public void Add_ProcessActionFailed_ThrowsItsFailure()
    {
        using var source = new CancellationTokenSource();
        var processor = new TimeAndSizeWindowBatchProcessor<int>(_ => throw new InvalidDataException("broken"), source, 1, 0);
        processor.Add(1);
        Assert.That(async () => await processor.Completion.WithDeadline(), Throws.InstanceOf<InvalidDataException>());

        Assert.That(() => processor.Add(2), Throws.InvalidOperationException.With.InnerException.InstanceOf<InvalidDataException>());
    }

    [Test]
    public void Providers_GiveWhatTheyWereGiven()
    {
        using var provider = new CancellationTokenSourceProvider();
        var first = provider.Provide();

        Assert.That(provider.Provide(), Is.SameAs(first));
        Assert.That(new LoggingDirectoryProvider("logs").Provide(), Is.EqualTo("logs"));
    }
}
