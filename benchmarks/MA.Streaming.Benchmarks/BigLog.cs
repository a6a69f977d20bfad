using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Benchmarks;

/// <summary>
/// A log with more than 2 GB in one partition, 1,000 sessions, and 1,000 partitions more with a record each; closed, made once a run.
/// One at a time may open it.
/// </summary>
internal sealed class BigLog
{
    private const int PayloadBytes = 164;

    private BigLog(string directory, Scale scale) =>
        (Directory, Records, Sessions, Others) = (directory, scale.Packets(10_000_000), scale.Partitions(1_000), OtherPartitions(scale.Partitions(1_000)));

    public static TopicPartition Source { get; } = new("big", 0);

    /// <summary>What a record takes in a segment.</summary>
    public static int RecordBytes { get; } = RecordFormat.SizeOf(PayloadBytes);

    public string Directory { get; }

    public int Records { get; }

    public int Sessions { get; }

    /// <summary>Partitions that are not the large one.</summary>
    public TopicPartition[] Others { get; }

    /// <summary>When the first of the records was written.</summary>
    public DateTimeOffset From { get; private set; }

    /// <summary>When the last of them was.</summary>
    public DateTimeOffset To { get; private set; }

    /// <summary>The segments of the large partition, in order.</summary>
    public IReadOnlyList<string> Segments => FilesOf(Source.Topic);

    /// <summary>So many partitions beside the large one.</summary>
    public static TopicPartition[] OtherPartitions(int count) => [.. Enumerable.Range(0, count).Select(i => new TopicPartition($"other{i}", 0))];

    public static async Task<BigLog> MakeAsync(string directory, Scale scale)
    {
        var log = new BigLog(directory, scale);
        var broker = await log.OpenAsync();
        await using var engine = await Engine.StartAsync(broker);
        for (var i = 0; i < log.Sessions; i++)
            await engine.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = Workload.DataSource, Identifier = $"Session {i}" });
        await Task.WhenAll(log.Others.Prepend(Source).Select(source => broker.EnsureTopicAsync(new TopicSpec(source.Topic), default).AsTask()));
        await Task.WhenAll(log.Others.Select(source => broker.AppendAsync(source, new RecordData(null, Payload.Of(PayloadBytes)), default).AsTask()));
        log.From = DateTimeOffset.UtcNow;
        await DurableLog.WriteManyAsync(broker, [Source], writers: 4, log.Records, burst: 5_000, Payload.Of(PayloadBytes));
        log.To = DateTimeOffset.UtcNow;
        return log;
    }

    /// <summary>Every segment of a topic, in order.</summary>
    public IReadOnlyList<string> FilesOf(string topic) =>
    [
        .. System.IO.Directory.EnumerateDirectories(Path.Combine(Directory, Topic.TopicsDirectory), $"*-{topic}")
            .SelectMany(path => System.IO.Directory.EnumerateFiles(path, "*.segment")).Order(StringComparer.Ordinal),
    ];

    /// <summary>What a start has to read.</summary>
    public IReadOnlyList<string> StartFiles(bool withJournal) =>
    [
        Path.Combine(Directory, "meta"),
        Path.Combine(Directory, "checkpoint"),
        .. withJournal ? System.IO.Directory.EnumerateFiles(Directory, "journal-*") : [],
        .. System.IO.Directory.EnumerateFiles(Path.Combine(Directory, Topic.TopicsDirectory), "*.segment", SearchOption.AllDirectories)
            .Where(path => Path.GetFileName(Path.GetDirectoryName(path))!.Split('-')[1] is var topic && topic != Source.Topic && !topic.StartsWith("other", StringComparison.Ordinal)),
    ];

    /// <summary>Asks the system to drop what it has of the large partition in memory, the indexes too.</summary>
    public void Forget() => PlainFile.Forget([.. Segments, .. Segments.Select(path => Path.ChangeExtension(path, ".index"))]);

    public Task<EmbeddedBroker> OpenAsync() => EmbeddedBroker.OpenAsync(new EmbeddedBrokerOptions { Directory = Directory });
}
