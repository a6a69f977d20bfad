using System.Runtime.CompilerServices;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>A broker whose appends and topic creations can be held back or made to fail, and that counts the reads open on it.</summary>
internal sealed class GatedBroker(IBroker inner) : IBroker
{
    private readonly Lock _gate = new();
    private readonly List<(int Count, TaskCompletionSource Reached)> _awaitingHeld = [];
    private readonly List<(int Count, TaskCompletionSource Reached)> _awaitingReads = [];
    private readonly Dictionary<TopicPartition, Task> _last = [];
    private TaskCompletionSource? _held;
    private TaskCompletionSource? _heldTopics;
    private int _heldNow;
    private int _reads;
    private int _breaks;

    public BrokerInfo Info => inner.Info;

    /// <summary>Appends of these records fail.</summary>
    public Func<RecordData, bool>? FailOn { get; set; }

    /// <summary>Appends to these topics fail.</summary>
    public Func<string, bool>? FailOnTopic { get; set; }

    /// <summary>Creating topics fails.</summary>
    public bool FailTopics { get; set; }

    /// <summary>What they fail with.</summary>
    public BrokerError FailWith { get; set; } = BrokerError.Unavailable;

    /// <summary>How many appends were held at once at most.</summary>
    public int HeldMost { get; private set; }

    /// <summary>What is wrong with it when its health is asked for; null: ask the broker behind.</summary>
    public string? Sick { get; set; }

    /// <summary>Asking for watermarks fails.</summary>
    public bool FailWatermarks { get; set; }

    /// <summary>Every read that is open fails before its next batch.</summary>
    public void BreakReads() => Interlocked.Increment(ref _breaks);

    public void Hold()
    {
        lock (_gate) _held ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    public void Release()
    {
        TaskCompletionSource? held;
        lock (_gate)
        {
            (held, _held) = (_held, null);
            _heldNow = 0;
        }

        held?.SetResult();
    }

    public void HoldTopics() => _heldTopics = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void ReleaseTopics()
    {
        _heldTopics?.SetResult();
        _heldTopics = null;
    }

    /// <summary>Waits until so many appends are held.</summary>
    public Task HeldAsync(int count, CancellationToken token) => ReachedAsync(_awaitingHeld, count, () => _heldNow >= count, token);

    /// <summary>Waits until exactly so many reads are open.</summary>
    public Task ReadsAsync(int count, CancellationToken token) => ReachedAsync(_awaitingReads, count, () => _reads == count, token);

    public async ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken)
    {
        if (_heldTopics is { } held) await held.Task.WaitAsync(cancellationToken);
        if (FailTopics) throw new BrokerException(FailWith, "injected failure");
        return await inner.EnsureTopicAsync(topic, cancellationToken);
    }

    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken)
    {
        if (FailOn?.Invoke(record) == true || FailOnTopic?.Invoke(target.Topic) == true)
        {
            return ValueTask.FromException<Appended>(new BrokerException(FailWith, "injected failure"));
        }

        Task held;
        TaskCompletionSource[] reached;
        lock (_gate)
        {
            var before = _last.GetValueOrDefault(target, Task.CompletedTask);
            if (_held is null && before.IsCompleted) return inner.AppendAsync(target, record, cancellationToken);
            held = _held is null ? before : Task.WhenAll(before, _held.Task);
            if (_held is not null) HeldMost = Math.Max(HeldMost, ++_heldNow);
            reached = [.. _awaitingHeld.Where(w => w.Count <= _heldNow).Select(w => w.Reached)];
            var append = LaterAsync(held, target, record, cancellationToken);
            _last[target] = append;
            foreach (var waiter in reached) waiter.TrySetResult();
            return new ValueTask<Appended>(append);
        }
    }

    public async IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        CountReads(1);
        var breaks = Volatile.Read(ref _breaks);
        try
        {
            await foreach (var batch in inner.ReadAsync(request, cancellationToken))
            {
                if (breaks != Volatile.Read(ref _breaks)) throw new BrokerException(BrokerError.Unavailable, "injected failure");
                yield return batch;
            }
        }
        finally
        {
            CountReads(-1);
        }
    }

    public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken) => inner.JoinGroupAsync(group, cancellationToken);

    public ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken) =>
        FailWatermarks
            ? ValueTask.FromException<IReadOnlyList<Watermarks>>(new BrokerException(BrokerError.Unavailable, "injected failure"))
            : inner.GetWatermarksAsync(partitions, cancellationToken);

    public ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken) =>
        inner.FindOffsetsAsync(partitions, notBefore, cancellationToken);

    public IAsyncEnumerable<TopicInfo?> WatchTopicsAsync(CancellationToken cancellationToken) => inner.WatchTopicsAsync(cancellationToken);

    public ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken) =>
        Sick is { } sick ? ValueTask.FromResult(new BrokerHealth(false, sick)) : inner.CheckAsync(cancellationToken);

    public ValueTask DisposeAsync() => default;

    private async Task<Appended> LaterAsync(Task held, TopicPartition target, RecordData record, CancellationToken cancellationToken)
    {
        await held;
        return await inner.AppendAsync(target, record, cancellationToken);
    }

    private void CountReads(int change)
    {
        TaskCompletionSource[] reached;
        lock (_gate)
        {
            _reads += change;
            reached = [.. _awaitingReads.Where(w => w.Count == _reads).Select(w => w.Reached)];
        }

        foreach (var waiter in reached) waiter.TrySetResult();
    }

    private Task ReachedAsync(
        List<(int Count, TaskCompletionSource Reached)> waiters, int count, Func<bool> isReached, CancellationToken token)
    {
        lock (_gate)
        {
            if (isReached()) return Task.CompletedTask;
            var waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            waiters.Add((count, waiter));
            return waiter.Task.WaitAsync(token);
        }
    }
}
