using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <summary>What a directory holds, as far as it can be told without changing anything.</summary>
/// <param name="LogId">Identity of the log.</param>
/// <param name="FormatVersion">Version of its format.</param>
/// <param name="Epoch">How often it was opened.</param>
/// <param name="Topics">Its topics, by name.</param>
/// <param name="UndrainedBytes">Bytes of records that are in the journal only.</param>
/// <param name="Damages">What is damaged, in words; empty when all is well. The torn tail of a crash is not damage.</param>
public sealed record LogInspection(
    Guid LogId, int FormatVersion, long Epoch, IReadOnlyList<TopicInspection> Topics, long UndrainedBytes, IReadOnlyList<string> Damages)
{
    /// <summary>Nothing in it is damaged.</summary>
    public bool IsSound => Damages.Count == 0 && Topics.All(topic => topic.Partitions.All(partition => partition.Damaged.Count == 0));
}

/// <summary>A topic of an inspected log.</summary>
/// <param name="Name">Its name.</param>
/// <param name="KeepForever">Retention never takes its records.</param>
/// <param name="Partitions">Its partitions, in order.</param>
public sealed record TopicInspection(string Name, bool KeepForever, IReadOnlyList<PartitionInspection> Partitions);

/// <summary>A partition of an inspected log.</summary>
/// <param name="Marks">Its watermarks.</param>
/// <param name="Segments">How many segments it has.</param>
/// <param name="SegmentBytes">How many bytes they have.</param>
/// <param name="Damaged">Offsets that cannot be read.</param>
public sealed record PartitionInspection(Watermarks Marks, int Segments, long SegmentBytes, IReadOnlyList<MissingRange> Damaged);

/// <content>Looking without touching.</content>
internal sealed partial class Log
{
    private const int LooksMax = 5;

    /// <summary>Reads every segment to its end and the journal, and changes nothing. Of a log that is in use it says what was so at some moment.</summary>
    /// <exception cref="BrokerException">Corrupt: it is no log, or of a newer format.</exception>
    public static LogInspection Inspect(ILogFiles files, EmbeddedBrokerOptions options)
    {
        try
        {
            for (var look = 1; ; look++)
            {
                // What looks like damage may be the owner's work, seen halfway.
                var (inspection, hasMoved) = Look(files, options);
                if (!hasMoved || inspection.IsSound || look == LooksMax) return inspection;
            }
        }
        finally
        {
            files.Dispose();
        }
    }

    private static (LogInspection Inspection, bool HasMoved) Look(ILogFiles files, EmbeddedBrokerOptions options)
    {
        var damages = new List<Damage>();
        var log = new Log(files, options, TimeProvider.System, damages.Add);
        try
        {
            if (log.ReadMeta(files.List("")) is not { } meta) throw new BrokerException(BrokerError.Corrupt, $"there is no log in {options.Directory}");
            var before = log.ReadWhole(CheckpointName) ?? [];
            var watch = new RecoveryWatch(TimeProvider.System, _ => { });
            var known = Checkpoint.Read(before, out var isWhole);
            if (!isWhole) damages.Add(new Damage(CheckpointName, 0, known is null ? "damaged or gone" : "one of its two copies is damaged"));
            var checkpoint = known ?? log.Rebuild(watch);
            foreach (var topic in checkpoint.Topics) log.Restore(topic);
            var (images, strays) = log._journal.Load(checkpoint.FirstJournal, meta, watch);
            var scan = JournalScan.Run(images, checkpoint.CleanEpoch == meta.Epoch ? [] : strays, isFirstKnown: known is not null, options.JournalFileBytes);
            damages.AddRange(scan.Damages);
            var undrained = log.CountUndrained(scan);
            var topics = log._topics.Values.OrderBy(topic => topic.Name, StringComparer.Ordinal).Select(log.Inspect).ToList();
            var words = damages.Where(damage => !damage.IsTornTail).Select(damage => $"{damage.File} at {damage.Position}: {damage.What}").ToList();
            var inspection = new LogInspection(meta.LogId, meta.Version, meta.Epoch, topics, undrained, words);
            var hasMoved = !inspection.IsSound && (!before.AsSpan().SequenceEqual(log.ReadWhole(CheckpointName) ?? []) || images.Any(log.HasMoved));
            return (inspection, hasMoved);
        }
        finally
        {
            log._journal.Dispose();
        }
    }

    /// <summary>The file is in another use by now, or the use has grown.</summary>
    private bool HasMoved(JournalImage image)
    {
        var now = ReadWhole(image.Name) ?? [];
        return !image.Bytes.Span.SequenceEqual(now);
    }

    private long CountUndrained(JournalScan scan)
    {
        var bytes = 0L;
        var byId = _topics.Values.ToDictionary(topic => topic.Id);
        foreach (var (header, record, _) in scan.Records)
        {
            if (header.Flags.HasFlag(RecordFlags.IsTopic))
            {
                var format = TopicFormat.Read(header.ToRecord(record).Value!.Value.Span);
                byId[format.Id] = ReplayTopic(format);
            }
            else if (byId.TryGetValue(header.Topic, out var topic) && header.Partition < topic.Partitions.Length
                && topic.Partitions[header.Partition] is var partition && header.Offset >= partition.High)
            {
                partition.High = header.Offset + 1;
                bytes += header.Length;
            }
        }

        return bytes;
    }

    private TopicInspection Inspect(Topic topic)
    {
        var found = topic.Partitions.Select(_ => new SortedSet<long>()).ToArray();
        foreach (var name in _files.List(topic.Directory))
        {
            if (Segment.TryParse(name, out var index, out var first, out var isIndex) && !isIndex
                && index < found.Length && !IsVoid(topic.Partitions[index], first)) found[index].Add(first);
        }

        return new TopicInspection(topic.Name, topic.KeepForever, [.. topic.Partitions.Select(partition => Inspect(partition, [.. found[partition.Source.Partition]]))]);
    }

    private PartitionInspection Inspect(PartitionLog partition, long[] segments)
    {
        var damaged = new List<MissingRange>();
        var bytes = 0L;
        var buffer = Array.Empty<byte>();
        for (var at = 0; at < segments.Length; at++)
        {
            var stop = at + 1 < segments.Length ? segments[at + 1] : partition.Drained;
            var from = Math.Max(segments[at], partition.Low);
            var path = Segment.Path(partition.Topic, partition.Source.Partition, segments[at]);
            using var file = _files.Open(path, create: false);
            bytes += file?.Length ?? 0;
            if (from >= stop) continue;
            if (file is null || IsForeign(file, partition, segments[at]) || Segment.ReadHead(file) is not { } head)
            {
                damaged.Add(new MissingRange(from, stop, MissingReason.Damage));
                continue;
            }

            if (!Segment.IsHeadWhole(file)) _report(new Damage(path, 0, "one of the two copies of its head is damaged"));

            var limit = partition.ActiveLength > 0 && segments[at] == partition.ActiveBase ? Math.Min(file.Length, partition.ActiveLength) : file.Length;
            for (var position = (long)FileHead.Bytes; from < stop;)
            {
                (var batch, position) = Segment.Read(file, head.FileId, partition, position, limit, from, stop, 1 << 20, ref buffer);
                if (batch.Missing is { } missing) damaged.Add(missing);
                from = batch.NextOffset;
            }
        }

        if (segments.Length == 0 && partition.Low < partition.Drained) damaged.Add(new MissingRange(partition.Low, partition.Drained, MissingReason.Damage));
        return new PartitionInspection(partition.GetWatermarks(), segments.Length, bytes, damaged);
    }
}
