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
    private const int Streams = 1_000;

    private BigLog(string directory, int records, int sessions, DateTimeOffset from, DateTimeOffset to) =>
        (Directory, Records, Sessions, From, To) = (directory, records, sessions, from, to);

    public static TopicPartition Source { get; } = new("big", 0);

    public static IReadOnlyList<TopicPartition> Others { get; } = [.. Enumerable.Range(0, Streams).Select(i => new TopicPartition($"other{i}", 0))];

    /// <summary>What a record takes in a segment.</summary>
    public static int RecordBytes { get; } = RecordFormat.SizeOf(PayloadBytes);

    public string Directory { get; }

    public int Records { get; }

    public int Sessions { get; }

    /// <summary>When the first of the records was written.</summary>
    public DateTimeOffset From { get; }

    /// <summary>When the last of them was.</summary>
    public DateTimeOffset To { get; }

    /// <summary>The segments of the large partition, in order.</summary>
    public IReadOnlyList<string> Segments => FilesOf(Source.Topic);

    public static EmbeddedBrokerOptions Options(string directory) => new() { Directory = directory };

    public static async Task<BigLog> MakeAsync(string directory, bool isDry)
    {
        var (records, sessions) = isDry ? (20_000, 20) : (10_000_000, 1_000);
        var broker = await EmbeddedBroker.OpenAsync(Options(directory));
        await using var engine = await Engine.StartAsync(broker);
        for (var i = 0; i < sessions; i++)
            await engine.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = Workload.DataSource, Identifier = $"Session {i}" });
        await Task.WhenAll(Others.Prepend(Source).Select(source => broker.EnsureTopicAsync(new TopicSpec(source.Topic), default).AsTask()));
        await Task.WhenAll(Others.Select(source => broker.AppendAsync(source, new RecordData(null, Payload.Of(PayloadBytes)), default).AsTask()));
        var from = DateTimeOffset.UtcNow;
        await DurableLog.WriteManyAsync(broker, [Source], writers: 4, records, burst: 5_000, Payload.Of(PayloadBytes));
        return new BigLog(directory, records, sessions, from, DateTimeOffset.UtcNow);
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

    public Task<EmbeddedBroker> OpenAsync() => EmbeddedBroker.OpenAsync(Options(Directory));
}
