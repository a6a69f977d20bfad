using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging.Abstractions;

namespace MA.Streaming.Broker.Embedded;

/// <summary>How much a <see cref="MemoryBroker"/> holds.</summary>
public sealed record MemoryBrokerOptions
{
    /// <summary>1 GiB in all, 4 MiB a record.</summary>
    public static MemoryBrokerOptions Default { get; } = new();

    /// <summary>Bytes held over all topics: keys, values, and what a record costs beside them. Beyond it the oldest records go, except
    /// those of topics that are kept for ever.</summary>
    public long BytesMax { get; init; } = 1L << 30;

    /// <summary>Bytes of key and value of the largest record.</summary>
    public int RecordBytesMax { get; init; } = 4 << 20;
}

/// <summary>
/// A broker whose records live as long as its process, bounded in bytes. Appends complete before they return. When the bound is
/// reached the oldest records of all topics go, except those of topics kept for ever; when only those are left, appends fail
/// with <see cref="BrokerError.Full"/> instead of waiting, because nothing would ever end the wait.
/// </summary>
/// <remarks>
/// A partition is a row of chunks. A slot of a chunk is written once, before its offset is below the high watermark, and never
/// again: a batch is a view of a chunk's array, shared by every reader, and removal replaces arrays instead of clearing them.
/// A reader is no thread: it stands in the queue of its own ready positions, or in the chain of a partition it has read to the
/// end, and the next append moves it from there. Locks nest in this order: topics or eviction, partition, reader or ages; none
/// is held while a reader's continuation runs.
/// </remarks>
public sealed partial class MemoryBroker : IBroker
{
    /// <summary>What a record costs beside its key and value: its slot and the headers of two arrays.</summary>
    internal const int RecordOverheadBytes = 128;

    private const int ChunkRecordsMin = 16;
    private const int ChunkRecordsMax = 1024;

    private readonly long _bytesMax;
    private readonly int _chunkBytesMax;
    private readonly TimeProvider _clock;
    private readonly CancellationTokenSource _disposal = new();
    private readonly LocalGroups _groups;
    private readonly ConcurrentDictionary<string, Topic> _topics = new(StringComparer.Ordinal);

    // Guards the creation, growth and removal of topics, and the four fields below.
    private readonly Lock _topicsGate = new();
    private readonly LinkedList<Topic> _topicsByChange = new();
    private readonly Dictionary<TopicPartition, ReaderPosition> _awaited = [];
    private TaskCompletionSource _topicsChanged = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _topicsVersion;

    // Chunks by the time of their first record, then as they were made. One that lost its records otherwise stays, empty, until its turn.
    private readonly Lock _agesGate = new();
    private readonly PriorityQueue<Chunk, (DateTimeOffset First, long Number)> _ages = new();
    private long _chunksMade;

    private readonly Lock _eviction = new();
    private long _bytesHeld;

    /// <summary>Makes an empty broker.</summary>
    /// <param name="options">Bounds; <see cref="MemoryBrokerOptions.Default"/> when null.</param>
    /// <param name="clock">Stamps the records; the system's clock when null.</param>
    public MemoryBroker(MemoryBrokerOptions? options = null, TimeProvider? clock = null)
    {
        options ??= MemoryBrokerOptions.Default;
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(options.BytesMax, RecordOverheadBytes, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.RecordBytesMax, nameof(options));
        _bytesMax = options.BytesMax;
        _clock = clock ?? TimeProvider.System;

        // Small against the bound, because eviction takes a chunk at a time.
        _chunkBytesMax = (int)Math.Min(1 << 20, _bytesMax / 256);
        _groups = new LocalGroups(this, TrimTo, _clock, NullLogger.Instance);
        Info = new BrokerInfo(
            Guid.NewGuid().ToString("D"),
            "memory:",
            (int)Math.Min(options.RecordBytesMax, _bytesMax - RecordOverheadBytes),
            "none: records live as long as this process",
            IsShared: false);
    }

    /// <inheritdoc/>
    public BrokerInfo Info { get; }

    /// <summary>What counts against <see cref="MemoryBrokerOptions.BytesMax"/>; never more than that.</summary>
    internal long BytesHeld => Volatile.Read(ref _bytesHeld);

    /// <inheritdoc/>
    public ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        TopicNames.ThrowIfNotAllowed(topic.Name);
        if (topic.Partitions < 1) throw new ArgumentException($"a topic has 1 partition or more, not {topic.Partitions}", nameof(topic));
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<TopicInfo>(cancellationToken);

        ReaderPosition? ready = null;
        TaskCompletionSource? changed = null;
        TopicInfo info;
        lock (_topicsGate)
        {
            // Again, because disposal completes the watchers' task for good.
            ThrowIfDisposed();
            if (!_topics.TryGetValue(topic.Name, out var known)) known = new Topic(topic.Name);
            if (topic.KeepForever) known.KeepForever();
            if (topic.Partitions > known.Partitions.Length)
            {
                for (var i = known.Partitions.Length; i < topic.Partitions; i++)
                {
                    if (_awaited.Remove(new TopicPartition(topic.Name, i), out var waiting)) ready = ReaderPosition.Join(waiting, ready);
                }

                known.GrowTo(topic.Partitions, this);
                if (known.ByChange.List is not null) _topicsByChange.Remove(known.ByChange);
                known.Version = ++_topicsVersion;
                _topicsByChange.AddLast(known.ByChange);
                _topics[topic.Name] = known;
                changed = _topicsChanged;
                _topicsChanged = new(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            info = known.Info;
        }

        changed?.SetResult();
        ReaderPosition.MakeReady(ready);
        return ValueTask.FromResult(info);
    }

    /// <inheritdoc/>
    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<Appended>(cancellationToken);

        var bytes = (long)(record.Key?.Length ?? 0) + (record.Value?.Length ?? 0);
        if (bytes > Info.RecordBytesMax) return ValueTask.FromException<Appended>(TooLarge(target, bytes));
        if (PartitionOf(target, record.Key) is not { } partition) return ValueTask.FromException<Appended>(NoSuchTopic(target));

        var now = _clock.GetUtcNow();
        while (true)
        {
            switch (partition.TryAppend(in record, bytes, now, out var appended))
            {
                case AppendOutcome.Done:
                    return new ValueTask<Appended>(appended);
                case AppendOutcome.Deleted:
                    return ValueTask.FromException<Appended>(NoSuchTopic(target));
                default:
                    if (!TryMakeRoom(bytes + RecordOverheadBytes, now)) return ValueTask.FromException<Appended>(Full(target, bytes));
                    break;
            }
        }
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        var seen = new HashSet<TopicPartition>(request.From.Count);
        foreach (var (source, offset) in request.From)
        {
            if (source.Partition < 0) throw new ArgumentException($"{source}: a partition to read is 0 or more", nameof(request));
            if (offset < 0) throw new ArgumentException($"{source}: an offset to read from is 0 or more, not {offset}", nameof(request));
            if (!seen.Add(source)) throw new ArgumentException($"{source} stands in the request twice", nameof(request));
        }

        return Read(request, cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return _groups.JoinAsync(group, cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(
        IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<IReadOnlyList<Watermarks>>(cancellationToken);
        var watermarks = new Watermarks[partitions.Count];
        for (var i = 0; i < watermarks.Length; i++) watermarks[i] = Find(partitions[i])?.GetWatermarks() ?? new Watermarks(partitions[i], 0, 0);
        return ValueTask.FromResult<IReadOnlyList<Watermarks>>(watermarks);
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<IReadOnlyList<long>>(cancellationToken);
        var offsets = new long[partitions.Count];
        for (var i = 0; i < offsets.Length; i++) offsets[i] = Find(partitions[i])?.FindOffset(notBefore) ?? 0;
        return ValueTask.FromResult<IReadOnlyList<long>>(offsets);
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<TopicInfo?> WatchTopicsAsync(CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return WatchTopics(cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<BrokerHealth>(cancellationToken);
        var isFull = BytesKeptForever() + RecordOverheadBytes > _bytesMax;
        return ValueTask.FromResult(new BrokerHealth(!isFull, isFull
            ? $"full: topics that are kept for ever hold {BytesHeld} of {_bytesMax} bytes"
            : $"holds {BytesHeld} of {_bytesMax} bytes"));
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        // Wakes every reader; the source stays undisposed because reads may still register with it.
        _disposal.Cancel();
        lock (_topicsGate) _topicsChanged.TrySetResult();
        _groups.End();
        return ValueTask.CompletedTask;
    }

    /// <summary>Removes a topic as an operator of a cluster might. Its readers get the range they will never have, and end.</summary>
    internal void DeleteTopic(string name)
    {
        Topic? topic;
        lock (_topicsGate)
        {
            if (!_topics.TryRemove(name, out topic)) return;
            _topicsByChange.Remove(topic.ByChange);
        }

        foreach (var partition in topic.Partitions) partition.Delete();
    }

    /// <summary>Removes the records before an offset as retention would, also from a topic that is kept for ever.</summary>
    internal void TrimTo(TopicPartition source, long low)
    {
        var partition = Find(source) ?? throw NoSuchTopic(source);
        partition.TrimTo(low);
    }

    private static BrokerException NoSuchTopic(TopicPartition target) =>
        new(BrokerError.NoSuchTopic, target.Partition < 0 ? $"there is no topic '{target.Topic}'" : $"there is no partition {target}");

    private BrokerException TooLarge(TopicPartition target, long bytes) => new(
        BrokerError.TooLarge, $"a record for {target.Topic} has {bytes} bytes of key and value; {Info.Name} takes at most {Info.RecordBytesMax}");

    private BrokerException Full(TopicPartition target, long bytes) => new(
        BrokerError.Full,
        $"{Info.Name} is full: no room for a record of {bytes} bytes for {target.Topic}; "
            + $"topics that are kept for ever hold {BytesHeld} of at most {_bytesMax} bytes");

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposal.IsCancellationRequested, this);

    private Partition? Find(TopicPartition source) =>
        _topics.TryGetValue(source.Topic, out var topic) && (uint)source.Partition < (uint)topic.Partitions.Length
            ? topic.Partitions[source.Partition]
            : null;

    private Partition? PartitionOf(TopicPartition target, ReadOnlyMemory<byte>? key)
    {
        if (!_topics.TryGetValue(target.Topic, out var topic)) return null;
        var partitions = topic.Partitions;
        var index = target.Partition == -1 ? KeyPlacement.PartitionOf(key.GetValueOrDefault().Span, partitions.Length) : target.Partition;
        return (uint)index < (uint)partitions.Length ? partitions[index] : null;
    }

    private async IAsyncEnumerable<RecordBatch> Read(ReadRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var reader = new Reader(this, request);
        using var cancelled = cancellationToken.UnsafeRegister(static reader => ((Reader)reader!).End(), reader);
        using var disposed = _disposal.Token.UnsafeRegister(static reader => ((Reader)reader!).End(), reader);
        try
        {
            while (!reader.IsAtEnd)
            {
                cancellationToken.ThrowIfCancellationRequested();
                ThrowIfDisposed();
                if (reader.TakeBatch() is { } batch) yield return batch;
                else if (!reader.IsAtEnd) await reader.WaitAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            reader.Leave();
        }
    }

    private async IAsyncEnumerable<TopicInfo?> WatchTopics([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // What a watcher has seen is a version number, so a slow one costs nothing.
        var seen = -1L;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            ThrowIfDisposed();
            var isFirst = seen < 0;
            var news = new Stack<TopicInfo>();
            Task changed;
            lock (_topicsGate)
            {
                for (var node = _topicsByChange.Last; node is not null && node.Value.Version > seen; node = node.Previous) news.Push(node.Value.Info);
                seen = _topicsVersion;
                changed = _topicsChanged.Task;
            }

            foreach (var topic in news)
            {
                cancellationToken.ThrowIfCancellationRequested();
                ThrowIfDisposed();
                yield return topic;
            }

            if (isFirst) yield return null;
            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Gives the position its partition; or, while there is none, puts it where the partition's creation finds it.</summary>
    private bool TryResolve(ReaderPosition position)
    {
        lock (_topicsGate)
        {
            position.Partition = Find(position.Source);
            if (position.Partition is not null) return true;
            ReaderPosition.Push(ref CollectionsMarshal.GetValueRefOrAddDefault(_awaited, position.Source, out _), position);
            return false;
        }
    }

    private void Abandon(ReaderPosition position)
    {
        lock (_topicsGate)
        {
            ref var chain = ref CollectionsMarshal.GetValueRefOrNullRef(_awaited, position.Source);
            if (Unsafe.IsNullRef(ref chain)) return;
            ReaderPosition.Remove(ref chain!, position);
            if (chain is null) _awaited.Remove(position.Source);
        }
    }

    private bool TryReserve(long cost)
    {
        var held = Volatile.Read(ref _bytesHeld);
        while (held + cost <= _bytesMax)
        {
            var before = Interlocked.CompareExchange(ref _bytesHeld, held + cost, held);
            if (before == held) return true;
            held = before;
        }

        return false;
    }

    private void Release(long cost) => Interlocked.Add(ref _bytesHeld, -cost);

    private void Enlist(Chunk chunk)
    {
        lock (_agesGate) _ages.Enqueue(chunk, (chunk.Records[0].Timestamp, chunk.Number));
    }

    /// <summary>Removes the oldest records until there is room; false when only records that are kept for ever are left.</summary>
    private bool TryMakeRoom(long cost, DateTimeOffset now)
    {
        lock (_eviction)
        {
            var spin = new SpinWait();
            while (BytesHeld + cost > _bytesMax)
            {
                Chunk? oldest;
                lock (_agesGate) _ages.TryDequeue(out oldest, out _);
                if (oldest is not null)
                {
                    oldest.Partition.Evict(oldest, now);
                    continue;
                }

                // Bytes reserved by an append that has not yet listed its chunk look like a full broker for a moment.
                if (BytesKeptForever() + cost > _bytesMax) return false;
                spin.SpinOnce();
            }

            return true;
        }
    }

    private long BytesKeptForever() => _topics.Sum(topic => topic.Value.Partitions.Sum(partition => partition.BytesKeptForever()));
}
