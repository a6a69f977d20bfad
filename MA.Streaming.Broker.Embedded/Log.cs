using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <summary>An append on its way, or a change of a topic; completes when it is durable and visible.</summary>
internal sealed class Append : TaskCompletionSource<Appended>
{
    public Append(PartitionLog partition, in RecordData data) => (Partition, Data) = (partition, data);

    public Append(TopicSpec change) => Change = change;

    public PartitionLog? Partition { get; }

    public RecordData Data { get; }

    public TopicSpec? Change { get; }

    public int Bytes => RecordFormat.SizeOf(Change is null ? Data.Bytes : 2 * (RecordFormat.HeaderBytes + 16 + Change.Name.Length));

    /// <summary>Set when it is encoded.</summary>
    public Record Record { get; set; }

    public TopicFormat Topic { get; set; }

    public long Sequence { get; set; }
}

/// <summary>
/// The embedded log as a state machine over its files, without threads and without waiting. One loop calls <see cref="Commit"/>,
/// one calls <see cref="Drain"/> and <see cref="Retain"/>; everything else may be called from any thread. A simulator calls them
/// in any order and cuts the power anywhere.
/// </summary>
internal sealed partial class Log : IDisposable
{
    private readonly ILogFiles _files;
    private readonly EmbeddedBrokerOptions _options;
    private readonly TimeProvider _system;
    private readonly Action<Damage> _report;
    private readonly Journal _journal;
    private readonly ConcurrentDictionary<string, Topic> _topics = new(StringComparer.Ordinal);

    // Guards the creation and growth of topics, and the four fields below.
    private readonly Lock _topicsGate = new();
    private readonly Dictionary<TopicPartition, LogPosition> _awaited = [];
    private TaskCompletionSource _topicsChanged = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _topicsVersion;
    private int _nextTopic;

    // A group becomes visible under this gate, whole; the drainer takes what is dirty under it.
    private readonly Lock _applyGate = new();
    private List<PartitionLog> _dirty = [];
    private long _dirtyBytes;
    private long _appliedGroup;

    private readonly ConcurrentQueue<TailChunk> _ages = new();
    private readonly List<Append> _group = [];
    private byte[] _buffer = new byte[64 << 10];
    private Meta _meta;
    private LogClock _clock = null!;
    private long _undrained;
    private long _tailBytes;
    private long _bytesSinceRoomCheck = long.MaxValue;
    private bool _isFull;

    private Log(ILogFiles files, EmbeddedBrokerOptions options, TimeProvider clock, Action<Damage> report)
    {
        (_files, _options, _system, _report) = (files, options, clock, report);
        _journal = new Journal(files, options.JournalFileBytes, options.JournalZerosBytes, options.CommitPolicy, Declare);
    }

    public Guid Id => _meta.LogId;

    public long Epoch => _journal.Epoch;

    /// <summary>Bytes that are in the journal and in no segment.</summary>
    public long UndrainedBytes => Volatile.Read(ref _undrained);

    /// <summary>
    /// So much waits for the drainer that it is worth its while: each of its files gets a good piece, or most of what may wait does. What a
    /// drain has taken already does not count: another one right behind it would write next to nothing into each of as many files.
    /// </summary>
    public bool IsDrainDue
    {
        get
        {
            lock (_applyGate) return _dirtyBytes >= Math.Min(_options.UndrainedBytesMax * 5 / 8, Math.Max(DrainBytesMin, DrainBytesAFile * _dirty.Count));
        }
    }

    /// <summary>Memory of records, with those that are in no segment yet.</summary>
    public long TailBytes => Volatile.Read(ref _tailBytes);

    /// <summary>Bytes of the journal files that hold something that is in no segment yet.</summary>
    public long JournalBytes => _journal.LiveBytes;

    /// <summary>Why nothing can be appended now; null while it can.</summary>
    public Exception? Broken => _journal.Broken;

    /// <summary><see cref="Heal"/> can mend what is broken, and may.</summary>
    public bool CanHeal => _journal.CanHeal && _options.HealAfterFault;

    /// <summary>The disk has less room than is kept in reserve.</summary>
    public bool IsFull => _isFull;

    public ICollection<Topic> Topics => _topics.Values;

    /// <summary>
    /// Makes appends durable as one group, as far as they are not cancelled, and visible; then completes them, and wakes the readers
    /// that wait. What fails is failed here. Never throws for the disk. Returns how many appends are durable now.
    /// </summary>
    public int Commit(IReadOnlyList<Append> appends)
    {
        if (Broken is { } broken)
        {
            Fail(appends, _ => new BrokerException(BrokerError.Unavailable, $"the log in {_options.Directory} cannot make records durable {(CanHeal ? "now" : "until it is opened again")}: {broken.Message}", broken));
            return 0;
        }

        if (!HasRoom())
        {
            Fail(appends, append => new BrokerException(
                BrokerError.Full, $"the disk of {_options.Directory} is full: less than {_options.DiskReserveBytes} bytes are free ({What(append)})"));
            return 0;
        }

        _group.Clear();
        try
        {
            var bytes = Encode(appends);
            if (_group.Count == 0) return 0;
            _journal.Append(_buffer, bytes.Records, bytes.Count);
            _bytesSinceRoomCheck += bytes.Records;
        }
        catch (IOException exception)
        {
            Withdraw();
            _isFull |= exception is DiskFullException;
            _bytesSinceRoomCheck = long.MaxValue;
            var error = exception is DiskFullException && Broken is null ? BrokerError.Full : BrokerError.Unavailable;
            Fail(appends, append => new BrokerException(error, $"the log in {_options.Directory} could not write {What(append)}: {exception.Message}", exception));
            return 0;
        }

        LogPosition? ready = null;
        var hasNewTopics = false;
        lock (_applyGate)
        {
            foreach (var append in _group)
            {
                if (append.Partition is { } partition) Apply(partition, append.Record, append.Sequence, ref ready);
                else hasNewTopics |= ApplyTopic(append.Topic, ref ready);
            }

            _appliedGroup = _journal.NextGroup - 1;
        }

        foreach (var append in _group)
            append.TrySetResult(append.Partition is { } partition ? new Appended(partition.Source.Partition, append.Record.Offset, append.Record.Timestamp) : default);
        LogPosition.MakeReady(ready);
        if (hasNewTopics) WakeTopicWatchers();
        return _group.Count;
    }

    /// <summary>Nothing is taken any more until the log is opened again; what is readable stays readable.</summary>
    public void Break(Exception exception) => _journal.Break(exception);

    public PartitionLog? Find(TopicPartition source) =>
        _topics.TryGetValue(source.Topic, out var topic) && (uint)source.Partition < (uint)topic.Partitions.Length
            ? topic.Partitions[source.Partition]
            : null;

    public Topic? FindTopic(string name) => _topics.GetValueOrDefault(name);

    /// <summary>Gives the position its partition; or, while there is none, puts it where the partition's creation finds it.</summary>
    public bool TryResolve(LogPosition position)
    {
        lock (_topicsGate)
        {
            position.Partition = Find(position.Source);
            if (position.Partition is not null) return true;
            LogPosition.Push(ref CollectionsMarshal.GetValueRefOrAddDefault(_awaited, position.Source, out _), position);
            return false;
        }
    }

    public void Abandon(LogPosition position)
    {
        lock (_topicsGate)
        {
            ref var chain = ref CollectionsMarshal.GetValueRefOrNullRef(_awaited, position.Source);
            if (Unsafe.IsNullRef(ref chain)) return;
            LogPosition.Remove(ref chain!, position);
            if (chain is null) _awaited.Remove(position.Source);
        }
    }

    /// <summary>The topics that changed since a version, that of now, and a task that ends with the next change.</summary>
    public (List<TopicInfo> News, long Version, Task Changed) TopicsSince(long version)
    {
        lock (_topicsGate)
        {
            var news = _topics.Values.Where(topic => topic.Version > version).OrderBy(topic => topic.Version).Select(topic => new TopicInfo(topic.Name, topic.Partitions.Length));
            return ([.. news], _topicsVersion, _topicsChanged.Task);
        }
    }

    /// <summary>
    /// Records of a partition from segments. Null when there is nothing to say there any more: retention passed by, or the records
    /// are in memory; the caller looks again.
    /// </summary>
    /// <exception cref="BrokerException">Corrupt never; Unavailable when the disk refuses to read.</exception>
    public RecordBatch? ReadSegments(PartitionLog partition, long from, long end, int bytesMax, ref SegmentCursor cursor, SegmentScratch scratch)
    {
        try
        {
            Attach(partition.Topic);
            long first, stop, limit;
            lock (partition.Gate)
            {
                stop = Math.Min(end, partition.TailStart);
                if (from < partition.Low || from >= stop) return null;
                var segments = partition.Segments;
                var at = segments.BinarySearch(from);
                if (at < 0) at = ~at - 1;
                if (at < 0)
                {
                    // No segment begins that early: what was there is gone.
                    return Missing(partition, from, segments.Count > 0 ? Math.Min(stop, segments[0]) : stop);
                }

                first = segments[at];
                if (at + 1 < segments.Count) stop = Math.Min(stop, segments[at + 1]);
                limit = partition.ActiveLength > 0 && first == partition.ActiveBase ? partition.ActiveLength : long.MaxValue;
            }

            if (scratch.Open(_files, Segment.Path(partition.Topic, partition.Source.Partition, first)) is { } file)
            {
                limit = Math.Min(limit, file.Length);
                if (cursor.Base != first || cursor.Offset != from || cursor.FileId == 0)
                {
                    if (IsForeign(file, partition, first) || Segment.ReadHead(file) is not { } head) return Missing(partition, from, stop);
                    var entries = Segment.ReadIndex(_files, Segment.IndexPath(partition.Topic, partition.Source.Partition, first), head.FileId, limit);
                    var entry = entries.FindLast(entry => entry.Offset <= from && IsAt(file, entry));
                    cursor = new SegmentCursor(first, head.FileId, entry.Position == 0 ? FileHead.Bytes : entry.Position, from);
                }

                var (batch, position) = Segment.Read(file, cursor.FileId, partition, cursor.Position, limit, from, stop, bytesMax, ref scratch.Buffer, scratch.Records);
                cursor = cursor with { Position = position, Offset = batch.NextOffset };
                if (batch.Missing is { } missing) Report(partition, missing);
                return batch;
            }

            lock (partition.Gate)
            {
                if (from < partition.Low) return null;
            }

            return Missing(partition, from, stop);
        }
        catch (IOException exception)
        {
            throw new BrokerException(BrokerError.Unavailable, $"{partition.Source} cannot be read at offset {from}: {exception.Message}", exception);
        }
    }

    /// <summary>The first offset of a partition whose record is not older.</summary>
    public long FindOffset(PartitionLog partition, DateTimeOffset notBefore)
    {
        try
        {
            if (partition.FindInTail(notBefore, from: 0) is var found and >= 0) return found;
            Attach(partition.Topic);
            List<long> segments;
            long low, start;
            lock (partition.Gate) (segments, low, start) = ([.. partition.Segments], partition.Low, partition.TailStart);
            var from = low;
            if (LastBefore(partition, segments, notBefore) is var at and >= 0)
            {
                using var file = _files.Open(Segment.Path(partition.Topic, partition.Source.Partition, segments[at]), create: false);
                var entry = default(IndexEntry);
                if (file is not null && Segment.ReadHead(file, partition, segments[at]) is { } head)
                {
                    var entries = Segment.ReadIndex(_files, Segment.IndexPath(partition.Topic, partition.Source.Partition, segments[at]), head.FileId, file.Length);
                    entry = entries.FindLast(entry => entry.Timestamp < notBefore.UtcTicks && IsAt(file, entry));
                }

                from = Math.Max(low, Math.Max(segments[at], entry.Offset));
            }

            var cursor = default(SegmentCursor);
            using var scratch = new SegmentScratch();
            while (true)
            {
                while (from < start)
                {
                    var batch = ReadSegments(partition, from, start, Segment.IndexEveryBytes, ref cursor, scratch);
                    if (batch is null) break;
                    foreach (var record in batch.Records)
                    {
                        if (record.Timestamp >= notBefore) return record.Offset;
                    }

                    from = batch.NextOffset;
                }

                // What was in memory then may be in segments now.
                found = partition.FindInTail(notBefore, from);
                if (found >= 0) return found;
                lock (partition.Gate) (from, start) = (Math.Max(from, partition.Low), partition.TailStart);
            }
        }
        catch (IOException exception)
        {
            throw new BrokerException(BrokerError.Unavailable, $"{partition.Source} cannot be searched: {exception.Message}", exception);
        }
    }

    public void Dispose()
    {
        lock (_drainGate) _isClosed = true;
        _journal.Dispose();
        _files.Dispose();
    }

    private static string What(Append append) =>
        append.Partition is { } partition ? $"a record of {append.Data.Bytes} bytes for {partition.Source}" : $"topic '{append.Change!.Name}'";

    private static void Fail(IReadOnlyList<Append> appends, Func<Append, BrokerException> error)
    {
        foreach (var append in appends) append.TrySetException(error(append));
    }

    /// <summary>
    /// The last segment that begins before a time, or an earlier one where heads cannot be read; -1 when none does. Those after it have
    /// nothing older.
    /// </summary>
    private int LastBefore(PartitionLog partition, List<long> segments, DateTimeOffset time)
    {
        var (before, end) = (-1, segments.Count);
        while (end - before > 1)
        {
            // Where a head cannot be read, that of the segment before it says enough.
            var at = (before + end) / 2;
            SegmentHead? head;
            while ((head = HeadOf(partition, segments[at])) is null && at - 1 > before) at--;
            if (head is not null && head.FirstTimestamp < time.UtcTicks) before = at;
            else end = at;
        }

        return before;
    }

    private SegmentHead? HeadOf(PartitionLog partition, long first)
    {
        using var file = _files.Open(Segment.Path(partition.Topic, partition.Source.Partition, first), create: false);
        return file is null ? null : Segment.ReadHead(file, partition, first);
    }

    /// <summary>A record of that offset really begins there, as far as its head says.</summary>
    private static bool IsAt(LogFile file, in IndexEntry entry)
    {
        Span<byte> head = stackalloc byte[RecordFormat.HeaderBytes];
        return file.Read(entry.Position, head) == head.Length && RecordFormat.TryPeek(head, out var header) && header.Offset == entry.Offset;
    }

    private RecordBatch Missing(PartitionLog partition, long from, long to)
    {
        var missing = new MissingRange(from, to, MissingReason.Damage);
        Report(partition, missing);
        return new RecordBatch(partition.Source, to, [], missing);
    }

    private void Report(PartitionLog partition, MissingRange missing) =>
        _report(new Damage(partition.Topic.Directory, missing.From, $"{partition.Source}: offsets {missing.From} to {missing.To - 1} are damaged or gone"));

    private bool HasRoom()
    {
        if (_bytesSinceRoomCheck >= 1 << 20)
        {
            _bytesSinceRoomCheck = 0;
            _isFull = _files.FreeBytes < _options.DiskReserveBytes;
            if (_isFull) _bytesSinceRoomCheck = long.MaxValue;
        }

        return !_isFull;
    }

    private (int Records, int Count) Encode(IReadOnlyList<Append> appends)
    {
        var most = appends.Sum(append => append.Bytes);
        if (_buffer.Length < Journal.RecordsAt + most) _buffer = GC.AllocateUninitializedArray<byte>(Journal.RecordsAt + most);
        var id = _journal.Prepare(most);
        var now = _clock.Now();
        var (at, count, sequence) = (Journal.RecordsAt, 0, _journal.NextSequence);
        foreach (var append in appends)
        {
            if (append.Task.IsCompleted) continue;
            _group.Add(append);
            append.Sequence = sequence;
            if (append.Partition is { } partition)
            {
                partition.NextTimestamp = Math.Max(partition.NextTimestamp, now);
                append.Record = new Record(partition.NextOffset++, new DateTimeOffset(partition.NextTimestamp, TimeSpan.Zero), append.Data.Key, append.Data.Value);
                at += RecordFormat.Write(_buffer.AsSpan(at), id, append.Record, sequence++, partition.Topic.Id, partition.Source.Partition);
                count++;
                continue;
            }

            // Twice, because without its topic no record has a place: one damaged sector must not take both.
            append.Topic = Changed(append.Change!);
            var value = append.Topic.ToBytes();
            for (var copy = 0; copy < 2; copy++, count++)
            {
                var record = new Record(0, new DateTimeOffset(now, TimeSpan.Zero), null, value);
                at += RecordFormat.Write(_buffer.AsSpan(at), id, record, sequence++, append.Topic.Id, 0, RecordFlags.IsTopic);
            }
        }

        return (at - Journal.RecordsAt, count);
    }

    /// <summary>What a topic will be. A topic made by an earlier change of the same group counts.</summary>
    private TopicFormat Changed(TopicSpec change)
    {
        var pending = _group.FindLast(append => append.Change?.Name == change.Name && append.Topic.Id != 0)?.Topic;
        if (pending is { } before)
            return before with { Partitions = Math.Max(before.Partitions, change.Partitions), KeepForever = before.KeepForever | change.KeepForever };
        if (FindTopic(change.Name) is { } topic)
            return new TopicFormat(topic.Id, Math.Max(topic.Partitions.Length, change.Partitions), topic.KeepForever | change.KeepForever, topic.Name);
        return new TopicFormat(_nextTopic++, change.Partitions, change.KeepForever, change.Name);
    }

    /// <summary>Takes back the offsets of a group that did not become durable: they were never seen.</summary>
    private void Withdraw()
    {
        foreach (var append in _group)
        {
            if (append.Partition is { } partition) partition.NextOffset = partition.High;
        }
    }

    private void Apply(PartitionLog partition, in Record record, long sequence, ref LogPosition? ready)
    {
        if (partition.Append(record, sequence, ref ready) is { } chunk)
        {
            Interlocked.Add(ref _tailBytes, chunk.Overhead);
            _ages.Enqueue(chunk);
        }

        Interlocked.Add(ref _tailBytes, record.Bytes);
        Interlocked.Add(ref _undrained, RecordFormat.SizeOf(record.Bytes));
        _dirtyBytes += RecordFormat.SizeOf(record.Bytes);
        if (partition.IsDirty) return;
        partition.IsDirty = true;
        _dirty.Add(partition);
    }

    /// <summary>True when there are new partitions; whoever watches is to be woken.</summary>
    private bool ApplyTopic(in TopicFormat format, ref LogPosition? ready)
    {
        lock (_topicsGate)
        {
            if (!_topics.TryGetValue(format.Name, out var topic)) topic = new Topic(format.Id, format.Name) { IsAttached = true };
            topic.KeepForever |= format.KeepForever;
            if (format.Partitions <= topic.Partitions.Length) return false;
            var before = topic.Partitions.Length;
            topic.GrowTo(format.Partitions);
            for (var i = before; i < topic.Partitions.Length; i++)
            {
                if (_awaited.Remove(topic.Partitions[i].Source, out var waiting)) ready = LogPosition.Join(waiting, ready);
            }

            topic.Version = ++_topicsVersion;
            _topics[format.Name] = topic;
            return true;
        }
    }

    // Once a group: a watcher that listed the topics in the middle of one waits for this very task.
    private void WakeTopicWatchers()
    {
        TaskCompletionSource changed;
        lock (_topicsGate)
        {
            changed = _topicsChanged;
            _topicsChanged = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.TrySetResult();
    }
}
