using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <content>
/// Opening: checkpoint, journal, segments. What the journal holds beyond the checkpoint is moved into segments before anything
/// else, so a log that is open has an empty journal; until the checkpoint that says so is durable, nothing it was made from has
/// changed, and a crash on the way begins anew with the same bytes.
/// </content>
internal sealed partial class Log
{
    private const string MetaName = "meta";
    private const string CheckpointName = "checkpoint";

    /// <summary>Opens the log, or makes it. Owns the files from here on, also when it throws.</summary>
    /// <exception cref="BrokerException">Corrupt: it is no log, or of a newer format.</exception>
    public static Log Open(
        ILogFiles files,
        EmbeddedBrokerOptions options,
        TimeProvider clock,
        Action<Damage> report,
        Action<RecoveryProgress>? progress = null,
        Action<ClockNews, DateTimeOffset, DateTimeOffset>? clockNews = null)
    {
        var log = new Log(files, options, clock, report);
        try
        {
            log.Open(new RecoveryWatch(clock, progress ?? (_ => { })));
            var newest = log._topics.Values.SelectMany(topic => topic.Partitions).Select(partition => partition.NextTimestamp).DefaultIfEmpty(0).Max();
            log._clock = new LogClock(clock, options.TrustClock, newest, clockNews ?? ((_, _, _) => { }));
            return log;
        }
        catch
        {
            log.Dispose();
            throw;
        }
    }

    private void Open(RecoveryWatch watch)
    {
        var names = _files.List("");
        var meta = ReadMeta(names);
        if (meta is null) WriteWhole(CheckpointName, Checkpoint.Empty.ToBytes());
        var opened = meta is { } before ? before with { Epoch = before.Epoch + 1 } : new Meta(Meta.CurrentVersion, Guid.NewGuid(), 1, NewestUse: Meta.NoUse);
        WriteWhole(MetaName, opened.ToBytes());
        (_meta, _journal.Epoch) = (opened, opened.Epoch);

        var isWhole = false;
        var known = ReadWhole(CheckpointName) is { } bytes ? Checkpoint.Read(bytes, out isWhole) : null;
        if (!isWhole) _report(new Damage(CheckpointName, 0, known is null ? "damaged or gone: rebuilt from segments and journal" : "one of its two copies is damaged"));
        var checkpoint = known ?? Rebuild(watch);
        foreach (var topic in checkpoint.Topics) Restore(topic);
        _nextTopic = Math.Max(checkpoint.NextTopic, checkpoint.Topics.Select(topic => topic.Id + 1).DefaultIfEmpty(1).Max());
        var (images, strays) = _journal.Load(checkpoint.FirstJournal, opened, watch);
        var isClean = meta is null || checkpoint.CleanEpoch == meta.Value.Epoch;
        var scan = JournalScan.Run(images, isClean ? [] : strays, isFirstKnown: known is not null, _options.JournalFileBytes);
        foreach (var damage in scan.Damages) _report(damage);
        _journal.NextGroup = Math.Max(checkpoint.NextGroup, scan.LastGroup + scan.LostAtEnd + 2);
        _journal.NextSequence = Math.Max(checkpoint.NextSequence, scan.LastSequence + scan.LostAtEnd + 1);
        _appliedGroup = _drainedGroup = _journal.NextGroup - 1;
        if (isWhole && images.Count == 0 && strays.Count == 0) return;
        Replay(scan, watch);
        WriteCheckpoint();
        _journal.Remove(strays);
    }

    private void Declare(int journalFiles, long newestUse)
    {
        _meta = _meta with { JournalFiles = journalFiles, NewestUse = newestUse };
        WriteWhole(MetaName, _meta.ToBytes());
    }

    private Meta? ReadMeta(IReadOnlyList<string> names)
    {
        if (!names.Contains(MetaName))
        {
            if (names.Any(name => name == Topic.TopicsDirectory || name.StartsWith("journal-", StringComparison.Ordinal)))
                throw new BrokerException(BrokerError.Corrupt, $"{_options.Directory} holds a log without its file '{MetaName}'; nothing was changed");
            return null;
        }

        var bytes = ReadWhole(MetaName)!;
        if (Meta.Read(bytes) is not { } meta)
            throw new BrokerException(BrokerError.Corrupt, $"the file '{MetaName}' in {_options.Directory} is damaged; nothing was changed");
        if (meta.Version > Meta.CurrentVersion)
        {
            throw new BrokerException(
                BrokerError.Corrupt,
                $"the log in {_options.Directory} has format {meta.Version}; this version knows formats up to {Meta.CurrentVersion}. Nothing was changed");
        }

        if (!Meta.IsWhole(bytes)) _report(new Damage(MetaName, 0, "one of its two copies is damaged"));
        return meta;
    }

    private byte[]? ReadWhole(string name)
    {
        using var file = _files.Open(name, create: false);
        if (file is null) return null;
        var bytes = new byte[file.Length];
        var read = file.Read(0, bytes);
        return bytes[..read];
    }

    private void Restore(Checkpoint.Topic saved)
    {
        var topic = new Topic(saved.Id, saved.Name) { KeepForever = saved.KeepForever, Version = ++_topicsVersion };
        topic.GrowTo(saved.Partitions.Length);
        for (var i = 0; i < saved.Partitions.Length; i++)
        {
            var from = saved.Partitions[i];
            topic.Partitions[i].HasSealedSegments = from.ActiveLength < 0;
            topic.Partitions[i].Start(from.Low, from.Next, from.ActiveBase, Math.Max(0, from.ActiveLength), from.Timestamp);
        }

        _topics[saved.Name] = topic;
    }

    /// <summary>
    /// Puts what the journal has beyond the segments into segments. Where rot took records and nothing after them says whose they
    /// were, every partition they may have been of skips as many offsets: none is given twice.
    /// </summary>
    private void Replay(JournalScan scan, RecoveryWatch watch)
    {
        watch.Begin("moving records from the journal into segments", scan.Records.Sum(found => (long)found.Header.Length));
        var lost = 0L;
        var lostBefore = new Dictionary<PartitionLog, long>();
        var byId = _topics.Values.ToDictionary(topic => topic.Id);
        foreach (var (header, bytes, lostHere) in scan.Records)
        {
            lost += lostHere;
            watch.Add(header.Length);
            var record = header.ToRecord(bytes);
            if (header.Flags.HasFlag(RecordFlags.IsTopic))
            {
                var format = TopicFormat.Read(record.Value!.Value.Span);
                _nextTopic = Math.Max(_nextTopic, format.Id + 1);
                byId[format.Id] = ReplayTopic(format);
                continue;
            }

            if (!byId.TryGetValue(header.Topic, out var topic) || header.Partition >= topic.Partitions.Length)
            {
                _nextTopic = Math.Max(_nextTopic, header.Topic + 1);
                _report(new Damage(CheckpointName, header.Sequence, $"a record at offset {header.Offset} of topic id {header.Topic}, partition {header.Partition}: that topic is lost"));
                continue;
            }

            var partition = topic.Partitions[header.Partition];
            lostBefore[partition] = lost;

            // Also that of a record that was trimmed: no later record is older. The next checkpoint keeps it.
            partition.NextTimestamp = Math.Max(partition.NextTimestamp, header.Timestamp);
            if (header.Offset < partition.High)
            {
                partition.DrainedTimestamp = Math.Max(partition.DrainedTimestamp, header.Timestamp);
                continue;
            }

            LogPosition? none = null;
            if (header.Offset > partition.High) Skip(partition, header.Offset);
            Apply(partition, record, header.Sequence, ref none);
            partition.NextOffset = partition.High;
        }

        lost += scan.LostAtEnd;
        Drain();
        if (lost > 0)
        {
            // One of them may have made a topic.
            _nextTopic += (int)Math.Min(lost, int.MaxValue / 2);
            foreach (var partition in _topics.Values.SelectMany(topic => topic.Partitions))
            {
                var here = lost - lostBefore.GetValueOrDefault(partition);
                if (here > 0) Skip(partition, partition.High + here);
            }
        }

        // The journal's bytes would stay in memory with them.
        ForgetTail();
    }

    private Topic ReplayTopic(in TopicFormat format)
    {
        if (!_topics.TryGetValue(format.Name, out var topic)) _topics[format.Name] = topic = new Topic(format.Id, format.Name);
        topic.KeepForever |= format.KeepForever;
        topic.GrowTo(format.Partitions);
        topic.Version = ++_topicsVersion;
        return topic;
    }

    /// <summary>Offsets that will never come. What is in memory must be in a row, so it goes into segments first.</summary>
    private void Skip(PartitionLog partition, long to)
    {
        Attach(partition.Topic);
        Drain();
        ForgetTail();
        lock (partition.Gate)
        {
            _report(new Damage(partition.Topic.Directory, partition.High, $"{partition.Source}: offsets {partition.High} to {to - 1} are lost"));
            partition.High = partition.Drained = partition.NextOffset = to;
        }
    }

    private void ForgetTail()
    {
        while (_ages.TryDequeue(out var chunk)) Interlocked.Add(ref _tailBytes, -chunk.Partition.Evict(chunk));
    }

    /// <summary>A checkpoint from nothing but the segments: slower, because the last one of each partition is read to its end.</summary>
    private Checkpoint Rebuild(RecoveryWatch watch)
    {
        var topics = new Dictionary<int, (string Directory, string Name, bool KeepForever, SortedDictionary<int, SortedDictionary<long, long>> Partitions)>();
        var foreign = new List<(string Directory, string Name, int Partition, long First, SegmentHead Head)>();
        foreach (var directory in _files.List(Topic.TopicsDirectory))
        {
            var path = $"{Topic.TopicsDirectory}/{directory}";
            foreach (var name in _files.List(path))
            {
                if (!Segment.TryParse(name, out var partition, out var first, out var isIndex) || isIndex) continue;
                using var file = _files.Open($"{path}/{name}", create: false);
                if (file is null || Segment.ReadHead(file) is not { } head) continue;
                if (new Topic(head.Topic, head.Name).Directory != path || head.Partition != partition || head.Base != first)
                {
                    foreign.Add((path, name, partition, first, head));
                    continue;
                }

                if (!topics.TryGetValue(head.Topic, out var topic)) topics[head.Topic] = topic = (path, head.Name, head.KeepForever, []);
                if (!topic.Partitions.TryGetValue(partition, out var segments)) topic.Partitions[partition] = segments = [];
                segments[first] = file.Length;
                if (head.KeepForever && !topic.KeepForever) topics[head.Topic] = topic with { KeepForever = true };
            }
        }

        foreach (var (directory, name, partition, first, head) in foreign)
        {
            var what = $"this file is a segment of {head.Name}[{head.Partition}] from offset {head.Base}: it does not belong here";
            var own = topics.Values.FirstOrDefault(topic => topic.Directory == directory).Partitions?.GetValueOrDefault(partition);
            if (own is null || own.Last().Key < first)
            {
                throw new BrokerException(
                    BrokerError.Corrupt,
                    $"{_options.Directory}/{directory}/{name}: {what}, and without the file '{CheckpointName}' nobody knows the next offset of the partition whose last segment stood here. Put the right file there");
            }

            // Readers of what stood here are told that it is damaged.
            own[first] = 0;
            _report(new Damage($"{directory}/{name}", 0, $"{what} and is not read"));
        }

        watch.Begin("reading the last segment of each partition", topics.Values.SelectMany(topic => topic.Partitions.Values).Sum(segments => segments.Last().Value));
        var rebuilt = new List<Checkpoint.Topic>();
        foreach (var (id, (_, name, keepForever, found)) in topics)
        {
            var topic = new Topic(id, name);
            topic.GrowTo(found.Keys.Max() + 1);
            var partitions = new Checkpoint.Partition[topic.Partitions.Length];
            foreach (var (index, segments) in found) partitions[index] = Rebuild(topic.Partitions[index], segments.First().Key, segments.Last().Key, watch);
            rebuilt.Add(new Checkpoint.Topic(id, name, keepForever, partitions));
        }

        return new Checkpoint(0, 1, 1, 1, topics.Keys.DefaultIfEmpty(0).Max() + 1, rebuilt);
    }

    private Checkpoint.Partition Rebuild(PartitionLog partition, long first, long last, RecoveryWatch watch)
    {
        using var file = _files.Open(Segment.Path(partition.Topic, partition.Source.Partition, last), create: false)!;
        var head = Segment.ReadHead(file)!;
        var (next, position, timestamp, length) = (last, (long)FileHead.Bytes, head.FirstTimestamp, file.Length);
        byte[] buffer = [];
        while (position < length)
        {
            var (batch, after) = Segment.Read(file, head.FileId, partition, position, length, next, long.MaxValue, 1 << 20, ref buffer);
            if (batch.Records.Count == 0) break;
            watch.Add(after - position);
            (next, position, timestamp) = (batch.NextOffset, after, batch.Records[^1].Timestamp.UtcTicks);
        }

        return new Checkpoint.Partition(first, next, last, position, timestamp);
    }
}
