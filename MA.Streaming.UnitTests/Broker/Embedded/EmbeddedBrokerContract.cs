using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>The contract on records in memory, as a reader of recent ones has them.</summary>
[Parallelizable(ParallelScope.Self)]
public sealed class EmbeddedBrokerContract : BrokerContract
{
    private static readonly TimeSpan RetentionAge = TimeSpan.FromDays(1);

    private readonly List<string> _directories = [];
    private readonly AheadClock _clock = new();

    protected override bool SupportsRetention => true;

    protected override bool SupportsKeepForever => true;

    protected override bool WorksWithExhaustedThreadPool => true;

    [OneTimeTearDown]
    public void RemoveDirectories()
    {
        foreach (var directory in _directories) Directory.Delete(directory, recursive: true);
    }

    protected override async Task<IBroker> CreateAsync()
    {
        var directory = Directory.CreateTempSubdirectory("stream-api-").FullName;
        _directories.Add(directory);
        return await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = directory, RetentionAge = RetentionAge, DiskReserveBytes = 0 }, _clock);
    }

    protected override Task RemoveBelowAsync(TopicPartition source, long low)
    {
        ((EmbeddedBroker)Broker).TrimTo(source, low);
        return Task.CompletedTask;
    }

    protected override Task RetainAsync(params string[] topics)
    {
        _clock.Ahead += 2 * RetentionAge;
        return ((EmbeddedBroker)Broker).DrainAsync();
    }

    private sealed class AheadClock : TimeProvider
    {
        public TimeSpan Ahead { get; set; }

        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + Ahead;

        public override long GetTimestamp() => System.GetTimestamp() + (long)(Ahead.TotalSeconds * TimestampFrequency);
    }
}

/// <summary>The contract on records that are in segments only, small ones, and on a journal that is reused all the time.</summary>
[Parallelizable(ParallelScope.Self)]
public sealed class EmbeddedBrokerContractOnSegments : BrokerContract
{
    private readonly List<string> _directories = [];

    [OneTimeTearDown]
    public void RemoveDirectories()
    {
        foreach (var directory in _directories) Directory.Delete(directory, recursive: true);
    }

    protected override async Task<IBroker> CreateAsync()
    {
        var directory = Directory.CreateTempSubdirectory("stream-api-").FullName;
        _directories.Add(directory);
        return await EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions
        {
            Directory = directory,
            CommitPolicy = CommitPolicy.Written,
            DiskReserveBytes = 0,
            TailBytesMax = 0,
            UndrainedBytesMax = 400,
            SegmentBytesMax = 20_000,
            GroupBytesMax = 100_000,
            RecordBytesMax = 100_000,
            JournalFileBytes = 250_000,
        });
    }
}
