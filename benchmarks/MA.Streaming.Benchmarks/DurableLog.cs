using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Benchmarks;

/// <summary>An embedded log of a benchmark's own, with its partitions: topics of one partition each, as streams are. Its files are empty afterwards.</summary>
internal sealed class DurableLog : IAsyncDisposable
{
    private readonly string _directory;

    private DurableLog(string directory, EmbeddedBroker broker, TopicPartition[] partitions) => (_directory, Broker, Partitions) = (directory, broker, partitions);

    public EmbeddedBroker Broker { get; }

    public TopicPartition[] Partitions { get; }

    /// <summary>A new log. Each partition has a record already, in a segment, so that what is measured is the log at work, not its first steps.</summary>
    public static async Task<DurableLog> OpenAsync(EmbeddedBrokerOptions options, int partitions)
    {
        var broker = await EmbeddedBroker.OpenAsync(options);
        var sources = new TopicPartition[partitions];
        for (var i = 0; i < partitions; i++) sources[i] = new TopicPartition($"topic{i}", 0);
        await Task.WhenAll(sources.Select(source => broker.EnsureTopicAsync(new TopicSpec(source.Topic), default).AsTask()));
        await Task.WhenAll(sources.Select(source => broker.AppendAsync(source, new RecordData(null, Payload.Of(100)), default).AsTask()));
        await broker.DrainAsync();
        return new DurableLog(options.Directory, broker, sources);
    }

    /// <summary>Writers with one append in flight each.</summary>
    public Task AppendAsync(int writers, int records, byte[] payload)
    {
        return Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(() => WriteAsync(writer))));

        async Task WriteAsync(int writer)
        {
            for (var i = writer; i < records; i += writers)
                await Broker.AppendAsync(Partitions[i % Partitions.Length], new RecordData(null, payload), default).ConfigureAwait(false);
        }
    }

    /// <summary>Writers with up to twice <paramref name="burst"/> appends in flight each.</summary>
    public static Task WriteManyAsync(IBroker broker, TopicPartition[] partitions, int writers, int records, int burst, byte[] payload)
    {
        return Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(() => WriteAsync(writer))));

        async Task WriteAsync(int writer)
        {
            var (issued, other) = (new List<ValueTask<Appended>>(burst), new List<ValueTask<Appended>>(burst));
            for (var i = writer; i < records;)
            {
                for (; i < records && issued.Count < burst; i += writers)
#pragma warning disable CA2012 // Each is awaited once, in order.
                    issued.Add(broker.AppendAsync(partitions[i % partitions.Length], new RecordData(null, payload), default));
#pragma warning restore CA2012
                (issued, other) = (other, issued);
                await EndAsync(issued);
            }

            await EndAsync(other);
        }

        static async Task EndAsync(List<ValueTask<Appended>> appends)
        {
            foreach (var append in appends) await append.ConfigureAwait(false);
            appends.Clear();

            // What comes next is not short, and this may be the commit loop.
            await Task.Yield();
        }
    }

    /// <summary>How many records there are in all.</summary>
    public async Task<long> CountAsync() => (await Broker.GetWatermarksAsync(Partitions, default)).Sum(marks => marks.High - marks.Low);

    /// <summary>How often a journal file was begun, and how many files there are.</summary>
    public (long Uses, int Files) Journal()
    {
        var (uses, files) = (0L, 0);
        var bytes = new byte[FileHead.Bytes];
        foreach (var path in Directory.EnumerateFiles(_directory, "journal-*"))
        {
            using var file = File.OpenHandle(path, share: FileShare.ReadWrite);
            if (JournalHead.TryRead(bytes.AsSpan(0, RandomAccess.Read(file, bytes, 0)), out var head)) (uses, files) = (Math.Max(uses, head.Number), files + 1);
        }

        return (uses, files);
    }

    public async ValueTask DisposeAsync()
    {
        await Broker.DisposeAsync();

        // Not removed before the run ends: ext4 without a journal searches past every file removed in the last minutes when it makes one.
        foreach (var path in Directory.EnumerateFiles(_directory, "*", SearchOption.AllDirectories))
        {
            using var file = File.OpenHandle(path, access: FileAccess.Write);
            RandomAccess.SetLength(file, 0);
        }
    }
}
