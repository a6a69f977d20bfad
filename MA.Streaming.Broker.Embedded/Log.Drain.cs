using System.Buffers.Binary;
using System.Security.Cryptography;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <content>
/// The drainer: moves what the journal made durable into segments, flushes them, then forgets it in memory and frees journal files.
/// Records leave memory only after that flush, so a segment that fails is written again from memory, into a new file.
/// </content>
internal sealed partial class Log
{
    private const int DrainBufferBytes = 128 << 10;
    private const int DrainBufferBytesMin = 16 << 10;
    private const int PartitionsAtOnce = 256;
    private const long DrainBytesMin = 1 << 20;
    private const long DrainBytesAFile = 40 << 10;

    // The journal's flush waits while a segment's keeps the disk busy: so that does not get to flush much at once.
    private const int PacedFlushBytes = 2 << 20;

    // One thread at a time drains, retains, checkpoints.
    private readonly Lock _drainGate = new();
    private byte[] _drainBuffer = [];
    private long _drainedGroup;
    private bool _isClosed;

    /// <summary>Moves everything that is durable now into segments and makes it durable there; frees what it may. False when there was nothing.</summary>
    /// <exception cref="IOException">The disk refused; nothing is lost, and the next call tries again.</exception>
    public bool Drain()
    {
        lock (_drainGate)
        {
            List<PartitionLog> dirty;
            long mark;
            lock (_applyGate)
            {
                (dirty, _dirty, mark) = (_dirty, [], _appliedGroup);
                _dirtyBytes = 0;
                foreach (var partition in dirty) partition.IsDirty = false;
            }

            // Where one call flushes all files, none of them need stay open until then.
            var atOnce = _files.CanFlushAll ? Math.Max(1, dirty.Count) : PartitionsAtOnce;
            for (var at = 0; at < dirty.Count; at += atOnce)
            {
                var round = dirty.GetRange(at, Math.Min(atOnce, dirty.Count - at));
                try
                {
                    DrainTogether(round);
                }
                catch
                {
                    // Whatever it was: what is forgotten here would be lost when its journal file is used again.
                    lock (_applyGate)
                    {
                        foreach (var partition in dirty.Skip(at).Where(partition => !partition.IsDirty))
                        {
                            partition.IsDirty = true;
                            _dirty.Add(partition);
                        }

                        _dirtyBytes = UndrainedBytes;
                    }

                    throw;
                }
            }

            _drainedGroup = mark;
            EvictTail();
            if (_journal.CanFreeAfter(mark)) WriteCheckpoint();
            return dirty.Count > 0;
        }
    }

    /// <summary>Age or size may let records go.</summary>
    public bool HasRetention => _options.RetentionAge is not null || _options.RetentionBytes is not null;

    /// <summary>Removes the segments that age and size let go.</summary>
    public void Retain()
    {
        if (!HasRetention) return;
        lock (_drainGate)
        {
            var lows = new List<(PartitionLog, long)>();
            foreach (var topic in _topics.Values.Where(topic => !topic.KeepForever))
            {
                Attach(topic);
                lows.AddRange(Overdue(topic));
            }

            if (lows.Count > 0) RaiseLows(lows);
        }
    }

    /// <summary>Removes the records before an offset, as retention would, also from a topic that is kept for ever.</summary>
    public void TrimTo(PartitionLog partition, long low)
    {
        lock (_drainGate)
        {
            if (_isClosed) return; // Its files may be another process's by now.
            Attach(partition.Topic);
            RaiseLows([(partition, low)]);
        }
    }

    /// <summary>
    /// Goes on after a failed flush of the journal: moves all that is durable from memory into segments, makes every use of the journal
    /// void by a checkpoint, and deletes the file. The commit loop waits meanwhile. A crash on the way loses nothing: until the checkpoint
    /// is durable the journal's files are as they were.
    /// </summary>
    /// <exception cref="IOException">The disk refused; the next call begins again.</exception>
    public void Heal()
    {
        lock (_drainGate)
        {
            if (_isClosed || !CanHeal) return;
            while (Drain())
            {
                // Until nothing is left.
            }

            _journal.GiveUpUses();
            WriteCheckpoint();
            _journal.Heal();
        }
    }

    /// <summary>Leaves nothing for the next start to replay.</summary>
    public void CloseCleanly()
    {
        while (Drain())
        {
            // Until nothing is left.
        }

        lock (_drainGate)
        {
            _journal.EndUse();
            WriteCheckpoint(isClean: true);
        }
    }

    /// <summary>Learns which segments a topic has, and removes the files that recovery declared void or retention had begun to remove.</summary>
    private void Attach(Topic topic)
    {
        lock (topic.AttachGate)
        {
            if (topic.IsAttached) return;
            var partitions = topic.Partitions;
            var found = partitions.Select(_ => new SortedSet<long>()).ToArray();
            var names = _files.List(topic.Directory);
            var isChanged = false;
            foreach (var name in names)
            {
                if (!Segment.TryParse(name, out var index, out var first, out var isIndex) || isIndex) continue;
                if (index < partitions.Length)
                {
                    found[index].Add(first);
                    continue;
                }

                DeleteSegment(topic, index, first);
                isChanged = true;
            }

            topic.HasDirectory = names.Count > 0;
            foreach (var partition in partitions)
            {
                var own = found[partition.Source.Partition].ToList();
                isChanged |= Attach(partition, own);
                lock (partition.Gate) partition.Segments = own;
            }

            // A void segment that came back could not always be told from a good one by the next checkpoint.
            if (isChanged) _files.FlushDirectory(topic.Directory);

            topic.IsAttached = true;
        }
    }

    private bool Attach(PartitionLog partition, List<long> segments)
    {
        var before = segments.Count;
        var (topic, index) = (partition.Topic, partition.Source.Partition);
        for (var at = segments.Count - 1; at >= 0; at--)
        {
            var isRetained = at + 1 < segments.Count && segments[at + 1] <= partition.Low;
            if (!isRetained && !IsVoid(partition, segments[at])) continue;
            RemoveSegment(partition, segments[at]);
            segments.RemoveAt(at);
        }

        var isChanged = segments.Count < before;
        if (partition.ActiveLength == 0) return isChanged;
        var path = Segment.Path(topic, index, partition.ActiveBase);
        using var file = _files.Open(path, create: false);
        var isForeign = file is not null && IsForeign(file, partition, partition.ActiveBase);
        if (file is not null && !isForeign && file.Length >= partition.ActiveLength)
        {
            if (file.Length > partition.ActiveLength) file.SetLength(partition.ActiveLength);
            return isChanged;
        }

        // It lost bytes that were durable. What is left of it is read; what comes goes into a new segment.
        if (!isForeign) _report(new Damage(path, file?.Length ?? 0, $"{partition.Source}: the segment has {file?.Length ?? 0} of {partition.ActiveLength} bytes"));
        lock (partition.Gate) (partition.ActiveLength, partition.HasSealedSegments) = (0, true);
        return isChanged;
    }

    /// <summary>The checkpoint does not know it: what it holds is in the journal, and goes into segments again.</summary>
    private static bool IsVoid(PartitionLog partition, long first) =>
        partition.ActiveLength > 0 ? first > partition.ActiveBase : !partition.HasSealedSegments || first >= partition.Drained;

    /// <summary>
    /// The file stands in the place of a segment of this partition and was written for another place: somebody copied or exchanged it.
    /// It is reported and stays where it is, for it may be the last copy of what another partition misses.
    /// </summary>
    private bool IsForeign(LogFile file, PartitionLog partition, long first)
    {
        if (Segment.ReadHead(file) is not { } head || head.Fits(partition, first)) return false;
        var path = Segment.Path(partition.Topic, partition.Source.Partition, first);
        _report(new Damage(path, 0, $"this file is a segment of {head.Name}[{head.Partition}] from offset {head.Base}: it does not belong here and is not read"));
        return true;
    }

    /// <summary>Deletes a segment that is not needed any more. A foreign file gets another name instead, so that no new segment is written over it.</summary>
    private void RemoveSegment(PartitionLog partition, long first)
    {
        var path = Segment.Path(partition.Topic, partition.Source.Partition, first);
        bool isForeign;
        using (var file = _files.Open(path, create: false)) isForeign = file is not null && IsForeign(file, partition, first);
        if (isForeign) _files.Replace(path, $"{path}.foreign");
        else DeleteSegment(partition.Topic, partition.Source.Partition, first);
    }

    private void DeleteSegment(Topic topic, int partition, long first)
    {
        _files.Delete(Segment.IndexPath(topic, partition, first));
        _files.Delete(Segment.Path(topic, partition, first));
    }

    private void DrainTogether(List<PartitionLog> partitions)
    {
        var writes = new List<SegmentWrite>(partitions.Count);
        var directories = new HashSet<string>(StringComparer.Ordinal);
        var isFlushedAtOnce = partitions.Count > _options.FlushEachMax && _files.CanFlushAll;
        try
        {
            foreach (var partition in partitions)
            {
                Attach(partition.Topic);
                var write = new SegmentWrite(partition);
                writes.Add(write);
                foreach (var (chunk, from, to) in partition.Undrained())
                {
                    for (var i = from; i < to; i++) Write(write, chunk.Records[i], chunk.Sequences[i], directories);
                }

                Flush(write);
                if (isFlushedAtOnce) write.Dispose();
            }

            if (isFlushedAtOnce) _files.FlushAll();
            else MakeDurable(writes, directories);
        }
        catch
        {
            foreach (var write in writes) Abandon(write);
            throw;
        }
        finally
        {
            foreach (var write in writes) write.Dispose();
        }

        foreach (var write in writes) Settle(write);
    }

    private void MakeDurable(List<SegmentWrite> writes, HashSet<string> directories)
    {
        foreach (var file in writes.SelectMany(write => write.Files)) file.Flush();
        foreach (var directory in directories) _files.FlushDirectory(directory);
    }

    /// <summary>Encodes a record for the segment that is due, and begins a new one when that is full.</summary>
    private void Write(SegmentWrite write, in Record record, long sequence, HashSet<string> directories)
    {
        var partition = write.Partition;
        var size = RecordFormat.SizeOf(record.Bytes);
        if (write.File is null || write.Length + size > _options.SegmentBytesMax) OpenFor(write, record, size, directories);
        if (write.Filled + size > _drainBuffer.Length && write.Filled + size <= DrainBufferBytes) Array.Resize(ref _drainBuffer, Math.Min(DrainBufferBytes, 2 * (write.Filled + size)));
        if (write.Filled + size > _drainBuffer.Length)
        {
            Flush(write);
            if (_drainBuffer.Length < size) _drainBuffer = GC.AllocateUninitializedArray<byte>(size);
        }

        if (write.Length >= Segment.IndexFromBytes && write.Length - write.IndexedTo >= Segment.IndexEveryBytes) AddIndexEntry(write, new IndexEntry(record.Offset, record.Timestamp.UtcTicks, write.Length));
        write.Filled += RecordFormat.Write(_drainBuffer.AsSpan(write.Filled), write.FileId, record, sequence, partition.Topic.Id, partition.Source.Partition);
        write.Length += size;
        write.Drained = record.Offset + 1;
        write.Timestamp = record.Timestamp.UtcTicks;
        write.Bytes += size;
    }

    private void OpenFor(SegmentWrite write, in Record record, int size, HashSet<string> directories)
    {
        var (topic, index) = (write.Partition.Topic, write.Partition.Source.Partition);
        if (write.File is null && write.Length > 0 && write.Length + size <= _options.SegmentBytesMax && TryContinue(write)) return;
        Flush(write);
        if (!topic.HasDirectory)
        {
            _files.CreateDirectory(topic.Directory);
            topic.HasDirectory = true;
        }

        foreach (var leftover in write.Partition.Leftovers ?? []) _files.Delete(leftover);
        write.Partition.Leftovers = null;
        var path = Segment.Path(topic, index, record.Offset);
        write.Created.Add(path);
        write.Created.Add(Segment.IndexPath(topic, index, record.Offset));
        write.Begin(_files.Open(path, create: true)!, record.Offset, BinaryPrimitives.ReadUInt64LittleEndian(RandomNumberGenerator.GetBytes(8)));
        if (write.File!.Length > 0) write.File.SetLength(0);
        var head = new SegmentHead(write.FileId, topic.Id, index, record.Offset, record.Timestamp.UtcTicks, topic.Name, topic.KeepForever);
        if (_drainBuffer.Length < FileHead.Bytes) _drainBuffer = GC.AllocateUninitializedArray<byte>(DrainBufferBytesMin);
        head.Write(_drainBuffer);
        (write.Filled, write.Length, write.IndexedTo) = (FileHead.Bytes, FileHead.Bytes, FileHead.Bytes);

        // With those above it, which may be new as well.
        directories.UnionWith([topic.Directory, Topic.TopicsDirectory, ""]);
    }

    /// <summary>Goes on with the active segment; false when it cannot be.</summary>
    private bool TryContinue(SegmentWrite write)
    {
        var partition = write.Partition;
        var file = _files.Open(Segment.Path(partition.Topic, partition.Source.Partition, write.Base), create: false);
        if (file is null) return false;
        write.Continue(file);
        if (partition.IndexCount < 0)
        {
            if (Segment.ReadHead(file, partition, write.Base) is not { } head) return false;
            partition.ActiveFileId = head.FileId;
            using var index = _files.Open(Segment.IndexPath(partition.Topic, partition.Source.Partition, write.Base), create: false);
            var entries = Segment.ReadIndex(index, head.FileId, partition.ActiveLength);
            var bytes = new byte[entries.Count * IndexEntry.Bytes];
            if (index is not null && index.Length != bytes.Length)
            {
                // Rewritten, because what stands between and behind the good entries would hide those that come.
                for (var i = 0; i < entries.Count; i++) entries[i].Write(bytes.AsSpan(i * IndexEntry.Bytes), head.FileId);
                index.Write(0, bytes);
                index.SetLength(bytes.Length);
            }

            partition.IndexCount = entries.Count;
            partition.IndexedTo = entries.Count > 0 ? entries[^1].Position : FileHead.Bytes;
        }

        (write.FileId, write.IndexCount, write.IndexedTo) = (partition.ActiveFileId, partition.IndexCount, partition.IndexedTo);
        write.Begun = true;
        return true;
    }

    private void AddIndexEntry(SegmentWrite write, IndexEntry entry)
    {
        Span<byte> bytes = stackalloc byte[IndexEntry.Bytes];
        entry.Write(bytes, write.FileId);
        write.Index ??= _files.Open(Segment.IndexPath(write.Partition.Topic, write.Partition.Source.Partition, write.Base), create: true)!;
        if (write.IndexCount == 0 && write.Index.Length > 0) write.Index.SetLength(0);
        write.Index.Write((long)write.IndexCount++ * IndexEntry.Bytes, bytes);
        write.IndexedTo = entry.Position;
    }

    private void Flush(SegmentWrite write)
    {
        if (write.Filled == 0) return;
        write.File!.Write(write.Length - write.Filled, _drainBuffer.AsSpan(0, write.Filled));
        write.Unflushed += write.Filled;
        write.Filled = 0;
        if (write.Unflushed < PacedFlushBytes) return;
        write.File.Flush();
        write.Unflushed = 0;
    }

    /// <summary>What was written is durable: it no longer needs the journal.</summary>
    private void Settle(SegmentWrite write)
    {
        // An earlier drain may have taken what made the partition dirty.
        if (write.File is null) return;
        var partition = write.Partition;
        lock (partition.Gate)
        {
            partition.Segments.AddRange(write.Bases);
            partition.Drained = Math.Max(partition.Drained, write.Drained);
            (partition.ActiveBase, partition.ActiveLength, partition.DrainedTimestamp) = (write.Base, write.Length, write.Timestamp);
        }

        (partition.ActiveFileId, partition.IndexCount, partition.IndexedTo) = (write.FileId, write.IndexCount, write.IndexedTo);
        Interlocked.Add(ref _undrained, -write.Bytes);
    }

    /// <summary>Nobody knows what of it is on disk. The segment it went on with ends where it was durable; the next attempt begins another.</summary>
    private static void Abandon(SegmentWrite write)
    {
        var partition = write.Partition;
        if (write.Created.Count > 0) partition.Leftovers = [.. partition.Leftovers ?? [], .. write.Created];
        if (!write.Begun) return;
        lock (partition.Gate) (partition.ActiveLength, partition.HasSealedSegments) = (0, true);
        partition.IndexCount = -1;
    }

    /// <summary>Forgets the oldest records that are in segments, beyond what is kept for readers.</summary>
    private void EvictTail()
    {
        for (var left = _ages.Count; left > 0 && TailBytes - UndrainedBytes > _options.TailBytesMax && _ages.TryDequeue(out var oldest); left--)
        {
            // One that took a record meanwhile must stay, and must not keep the others.
            var freed = oldest.Partition.Evict(oldest);
            if (freed < 0) _ages.Enqueue(oldest);
            else Interlocked.Add(ref _tailBytes, -freed);
        }
    }

    private IEnumerable<(PartitionLog Partition, long Low)> Overdue(Topic topic)
    {
        var segments = new List<(PartitionLog Partition, long End, long Last, long Bytes)>();
        foreach (var partition in topic.Partitions)
        {
            List<long> bases;
            lock (partition.Gate) bases = [.. partition.Segments];
            for (var at = 0; at < bases.Count; at++)
            {
                var isLast = at + 1 == bases.Count;
                var facts = isLast ? new SegmentFacts(LengthOf(partition, bases[at]), partition.DrainedTimestamp) : FactsOf(partition, bases[at], bases[at + 1]);
                segments.Add((partition, isLast ? partition.Drained : bases[at + 1], facts.LastTimestamp, facts.Bytes));
            }
        }

        var total = segments.Sum(segment => segment.Bytes);
        var oldest = _options.RetentionAge is { } age && _clock.MayRemoveByAge ? _clock.Now() - age.Ticks : long.MinValue;
        var done = new HashSet<PartitionLog>();
        foreach (var segment in segments.OrderBy(segment => segment.Last))
        {
            // Only as far as each partition goes in a row.
            if (done.Contains(segment.Partition)) continue;
            if (segment.Last >= oldest && (_options.RetentionBytes is not { } most || total <= most))
            {
                done.Add(segment.Partition);
                continue;
            }

            total -= segment.Bytes;
            yield return (segment.Partition, segment.End);
        }
    }

    /// <summary>Of a segment that is not the last of its partition: looked up once, for it never changes.</summary>
    private SegmentFacts FactsOf(PartitionLog partition, long first, long next)
    {
        if (partition.Facts.TryGetValue(first, out var known)) return known;
        return partition.Facts[first] = new SegmentFacts(LengthOf(partition, first), HeadOf(partition, next)?.FirstTimestamp ?? long.MaxValue);
    }

    private long LengthOf(PartitionLog partition, long first)
    {
        if (partition.ActiveLength > 0 && first == partition.ActiveBase) return partition.ActiveLength;
        using var file = _files.Open(Segment.Path(partition.Topic, partition.Source.Partition, first), create: false);
        return file?.Length ?? 0;
    }

    /// <summary>The new low watermarks are durable before anyone sees them, and before a file goes.</summary>
    private void RaiseLows(List<(PartitionLog Partition, long Low)> lows)
    {
        var raised = new Dictionary<PartitionLog, long>();
        foreach (var (partition, low) in lows)
        {
            lock (partition.Gate) raised[partition] = Math.Max(raised.GetValueOrDefault(partition, partition.Low), Math.Min(low, partition.High));
        }

        WriteCheckpoint(raised);
        var gone = new List<(PartitionLog Partition, long First)>();
        foreach (var (partition, low) in raised)
        {
            lock (partition.Gate)
            {
                partition.Low = low;
                var segments = partition.Segments;
                while (segments.Count > 0 && (segments.Count > 1 ? segments[1] : partition.Drained) <= low)
                {
                    gone.Add((partition, segments[0]));
                    segments.RemoveAt(0);
                }

                if (segments.Count == 0) (partition.ActiveLength, partition.HasSealedSegments) = (0, false);
            }
        }

        foreach (var (partition, first) in gone)
        {
            partition.Facts.Remove(first);
            RemoveSegment(partition, first);
        }
    }

    private void WriteCheckpoint(Dictionary<PartitionLog, long>? raised = null, bool isClean = false)
    {
        var first = _journal.FirstNeededAfter(_drainedGroup);
        var topics = new List<Checkpoint.Topic>(_topics.Count);
        foreach (var topic in _topics.Values)
            topics.Add(new Checkpoint.Topic(topic.Id, topic.Name, topic.KeepForever, [.. topic.Partitions.Select(partition => Saved(partition, raised))]));
        WriteWhole(CheckpointName, new Checkpoint(isClean ? Epoch : 0, first, _journal.NextGroup, _journal.NextSequence, _nextTopic, topics).ToBytes());
        _journal.FreeBelow(first);
    }

    private static Checkpoint.Partition Saved(PartitionLog partition, Dictionary<PartitionLog, long>? raised)
    {
        lock (partition.Gate)
        {
            var low = raised?.GetValueOrDefault(partition, partition.Low) ?? partition.Low;
            var active = low >= partition.Drained ? 0 : partition.ActiveLength > 0 ? partition.ActiveLength : partition.HasSealedSegments ? -1 : 0;
            return new Checkpoint.Partition(low, partition.Drained, partition.ActiveBase, active, partition.DrainedTimestamp);
        }
    }

    /// <summary>Replaces a file in one step: after a crash it is the old one or the new one.</summary>
    private void WriteWhole(string name, byte[] bytes)
    {
        // A new file each time: after a crash in the middle of a replacement both names may stand for one file.
        var path = $"{name}.new";
        _files.Delete(path);
        using (var file = _files.Open(path, create: true)!)
        {
            file.Write(0, bytes);
            file.Flush();
        }

        _files.Replace(path, name);
        _files.FlushDirectory("");
    }

    /// <summary>What one drain writes for one partition; it counts when all of it is durable.</summary>
    private sealed class SegmentWrite(PartitionLog partition) : IDisposable
    {
        public PartitionLog Partition { get; } = partition;

        public List<LogFile> Files { get; } = [];

        public List<long> Bases { get; } = [];

        public List<string> Created { get; } = [];

        public LogFile? File { get; private set; }

        public LogFile? Index { get; set; }

        public ulong FileId { get; set; }

        public long Base { get; private set; } = partition.ActiveBase;

        /// <summary>Of the file, with what the buffer holds for it.</summary>
        public long Length { get; set; } = partition.ActiveLength;

        public int Filled { get; set; }

        /// <summary>Bytes written to the file since it was flushed last.</summary>
        public int Unflushed { get; set; }

        public int IndexCount { get; set; }

        public long IndexedTo { get; set; }

        public long Drained { get; set; } = partition.Drained;

        public long Timestamp { get; set; } = partition.DrainedTimestamp;

        public long Bytes { get; set; }

        /// <summary>The active segment may have been written to.</summary>
        public bool Begun { get; set; }

        public void Begin(LogFile file, long first, ulong fileId)
        {
            Index?.Dispose();
            (Index, IndexCount, Unflushed) = (null, 0, 0);
            (File, Base, FileId) = (file, first, fileId);
            Files.Add(file);
            Bases.Add(first);
        }

        public void Continue(LogFile file)
        {
            File = file;
            Files.Add(file);
        }

        public void Dispose()
        {
            Index?.Dispose();
            foreach (var file in Files) file.Dispose();
        }
    }
}
