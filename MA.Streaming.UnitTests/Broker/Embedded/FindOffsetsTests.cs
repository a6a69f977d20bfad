using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>Finding a time in a partition of many segments.</summary>
public sealed class FindOffsetsTests
{
    private const int Records = 400;
    private static readonly TopicPartition Source = new("car", 0);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private readonly ManualClock _clock = new();
    private SimulatedDisk _disk = new(1);
    private DateTimeOffset _start;

    private static CancellationToken None => CancellationToken.None;

    [SetUp]
    public async Task SetUp()
    {
        _disk = new SimulatedDisk(1) { HasThreads = true };
        await using var broker = await OpenAsync();
        await broker.EnsureTopicAsync(new TopicSpec(Source.Topic), None).WithDeadline();
        _start = _clock.GetUtcNow();
        for (var i = 0; i < Records; i++)
        {
            await broker.AppendAsync(Source, new RecordData(null, new byte[300]), None).WithDeadline();
            _clock.Advance(Pause);
        }
    }

    [Test]
    public async Task FindOffsetsAsync_ManySegments_LooksAtFewAndFindsEach()
    {
        await using var broker = await OpenAsync();
        Assert.That(Segments().Length, Is.GreaterThan(100));
        var opened = 0;
        _disk.Fault = (call, _) =>
        {
            if (call == DiskCall.Open) Interlocked.Increment(ref opened);
            return null;
        };
        for (var i = 0; i <= Records; i++)
        {
            var found = await FindAsync(broker, _start + (i * Pause));
            Assert.That(found, Is.EqualTo(i));
            found = await FindAsync(broker, _start + (i * Pause) - TimeSpan.FromTicks(1));
            Assert.That(found, Is.EqualTo(i));
        }

        Assert.That(opened, Is.LessThan(2 * (Records + 1) * 20));
    }

    /// <summary>Heads that cannot be read make it slower, never wrong: it passes over no record that can be read and is not older.</summary>
    [Test]
    public async Task FindOffsetsAsync_HeadsDamaged_PassesOverNothing([Values(1, 2, 3, 4, 5)] int seed)
    {
        var random = new Random(seed);
        var unreadable = new HashSet<long>();
        var segments = Segments();
        for (var i = 0; i < segments.Length; i++)
        {
            // Several in a row too.
            if (random.Next(2) == 0 && i + 1 < segments.Length)
            {
                _disk.SetContent(segments[i], new byte[_disk.Content(segments[i]).Length]);
                for (var offset = FirstOf(segments[i]); offset < FirstOf(segments[i + 1]); offset++) unreadable.Add(offset);
            }
        }

        await using var broker = await OpenAsync();
        Assert.That(unreadable, Is.Not.Empty);
        for (var i = 0; i < Records; i++)
        {
            var found = await FindAsync(broker, _start + (i * Pause));
            var first = Enumerable.Range(i, Records - i).First(offset => !unreadable.Contains(offset));
            Assert.That(found, Is.EqualTo(first), $"record {i}");
        }
    }

    private static long FirstOf(string path) => Segment.TryParse(path[(path.LastIndexOf('/') + 1)..], out _, out var first, out _) ? first : throw new ArgumentException(path);

    private static async Task<long> FindAsync(EmbeddedBroker broker, DateTimeOffset time) =>
        (await broker.FindOffsetsAsync([Source], time, None).WithDeadline())[0];

    private string[] Segments() => [.. _disk.Paths.Where(path => path.EndsWith(".segment", StringComparison.Ordinal))];

    private Task<EmbeddedBroker> OpenAsync() => EmbeddedBroker.OpenAsync(
        new EmbeddedBrokerOptions
        {
            Directory = "simulated",
            GroupBytesMax = 2_000,
            RecordBytesMax = 2_000,
            JournalFileBytes = 40_000,
            SegmentBytesMax = 2_000,
            DiskReserveBytes = 0,
        },
        _disk.Boot,
        _clock).WithDeadline();
}
