using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.UnitTests.Support;

/// <summary>
/// A broker over another one whose appends, topic creations and reads a test withholds, fails and counts. A withheld append reaches the
/// inner broker, and completes, on the thread that releases it.
/// </summary>
internal sealed class GatedBroker(IBroker inner) : IBroker
{
    private readonly Lock _gate = new();
    private readonly List<Held> _held = [];
    private readonly List<(Func<int> Value, int Count, TaskCompletionSource Reached)> _waiters = [];
    private readonly ConcurrentQueue<Exception> _readFailures = new();
    private CancellationTokenSource _readCut = new();
    private int _appendCalls;
    private int _watermarkCalls;
    private int _readCalls;
    private int _ensureCalls;

    public IBroker Inner => inner;

    public BrokerInfo Info => InfoGiven ?? inner.Info;

    public BrokerInfo? InfoGiven { get; set; }

    /// <summary>Appends this accepts are withheld until released.</summary>
    public Func<TopicPartition, bool>? Holds { get; set; }

    /// <summary>The failure of an append, asked when it would reach the inner broker.</summary>
    public Func<TopicPartition, RecordData, Exception?>? AppendFails { get; set; }

    /// <summary>Awaited before a topic is created; may throw.</summary>
    public Func<TopicSpec, Task>? BeforeEnsure { get; set; }

    public Func<BrokerHealth>? Health { get; set; }

    /// <summary>Awaited before every read, watermark call and watch; may throw.</summary>
    public Func<CancellationToken, Task>? BeforeAnswer { get; set; }

    public int AppendCalls => Volatile.Read(ref _appendCalls);

    public int WatermarkCalls => Volatile.Read(ref _watermarkCalls);

    public int ReadCalls => Volatile.Read(ref _readCalls);

    public int EnsureCalls => Volatile.Read(ref _ensureCalls);

    public int HeldCount
    {
        get
        {
            lock (_gate) return _held.Count;
        }
    }

    /// <summary>The values of the withheld appends, in the order of the calls.</summary>
    public IReadOnlyList<RecordData> HeldRecords
    {
        get
        {
            lock (_gate) return [.. _held.Select(h => h.Record)];
        }
    }

    public Task HeldAsync(int count) => ReachedAsync(() => _held.Count, count);

    public Task ReadCallsAsync(int count) => ReachedAsync(() => _readCalls, count);

    public Task EnsureCallsAsync(int count) => ReachedAsync(() => _ensureCalls, count);

    /// <summary>Releases the first withheld append that matches, or fails it.</summary>
    public void Release(Func<TopicPartition, bool>? which = null, Exception? failure = null)
    {
        Held held;
        lock (_gate)
        {
            var at = _held.FindIndex(h => which is null || which(h.Target));
            if (at < 0) throw new InvalidOperationException("no such append is withheld");
            held = _held[at];
            _held.RemoveAt(at);
        }

        Complete(held, failure);
    }

    /// <summary>Releases everything withheld, and withholds nothing more.</summary>
    public void ReleaseAll()
    {
        Holds = null;
        while (true)
        {
            Held held;
            lock (_gate)
            {
                if (_held.Count == 0) return;
                held = _held[0];
                _held.RemoveAt(0);
            }

            Complete(held, null);
        }
    }

    /// <summary>Every open read fails with this, once, and reads opened afterwards do not.</summary>
    public void CutReads(Exception failure)
    {
        CancellationTokenSource cut;
        lock (_gate) (cut, _readCut) = (_readCut, new CancellationTokenSource());
        _cutWith = failure;
        cut.Cancel();
    }

    /// <summary>The next read fails with this before it yields anything.</summary>
    public void FailNextRead(Exception failure) => _readFailures.Enqueue(failure);

    public async ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken)
    {
        Count(ref _ensureCalls);
        if (BeforeEnsure is { } before) await before(topic).ConfigureAwait(false);
        return await inner.EnsureTopicAsync(topic, cancellationToken).ConfigureAwait(false);
    }

    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken)
    {
        Count(ref _appendCalls);
        if (Holds?.Invoke(target) != true)
        {
            return AppendFails?.Invoke(target, record) is { } failure
                ? ValueTask.FromException<Appended>(failure)
                : inner.AppendAsync(target, record, cancellationToken);
        }

        var held = new Held(target, record, new TaskCompletionSource<Appended>());
        lock (_gate) _held.Add(held);
        Signal();
        return new(held.Done.Task);
    }

    public async IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        Count(ref _readCalls);
        if (BeforeAnswer is { } before) await before(cancellationToken).ConfigureAwait(false);
        if (_readFailures.TryDequeue(out var failure)) throw failure;
        CancellationTokenSource cut;
        lock (_gate) cut = _readCut;
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, cut.Token);
        var batches = inner.ReadAsync(request, linked.Token).GetAsyncEnumerator(linked.Token);
        await using var disposing = batches.ConfigureAwait(false);
        while (true)
        {
            bool more;
            try
            {
                more = await batches.MoveNextAsync().ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (cut.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
            {
                throw _cutWith!;
            }

            if (!more) yield break;
            yield return batches.Current;
        }
    }

    public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken) => inner.JoinGroupAsync(group, cancellationToken);

    public async ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(
        IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken)
    {
        Count(ref _watermarkCalls);
        if (BeforeAnswer is { } before) await before(cancellationToken).ConfigureAwait(false);
        return await inner.GetWatermarksAsync(partitions, cancellationToken).ConfigureAwait(false);
    }

    public ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken) =>
        inner.FindOffsetsAsync(partitions, notBefore, cancellationToken);

    public async IAsyncEnumerable<TopicInfo?> WatchTopicsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (BeforeAnswer is { } before) await before(cancellationToken).ConfigureAwait(false);
        await foreach (var topic in inner.WatchTopicsAsync(cancellationToken).ConfigureAwait(false)) yield return topic;
    }

    public ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken) =>
        Health is { } health ? new(health()) : inner.CheckAsync(cancellationToken);

    public ValueTask DisposeAsync() => inner.DisposeAsync();

    private Exception? _cutWith;

    // The inner broker of these tests is one in memory: its appends complete before they return.
    private void Complete(Held held, Exception? failure)
    {
        failure ??= AppendFails?.Invoke(held.Target, held.Record);
        if (failure is not null)
        {
            held.Done.SetException(failure);
            return;
        }

        try
        {
            held.Done.SetResult(inner.AppendAsync(held.Target, held.Record, CancellationToken.None).AsTask().GetAwaiter().GetResult());
        }
        catch (Exception exception) when (!held.Done.Task.IsCompleted)
        {
            held.Done.SetException(exception);
        }
    }

    private void Count(ref int counter)
    {
        Interlocked.Increment(ref counter);
        Signal();
    }

    private Task ReachedAsync(Func<int> value, int count)
    {
        lock (_gate)
        {
            if (value() >= count) return Task.CompletedTask;
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiters.Add((value, count, reached));
            return reached.Task;
        }
    }

    private void Signal()
    {
        lock (_gate)
        {
            foreach (var (value, count, reached) in _waiters)
            {
                if (value() >= count) reached.TrySetResult();
            }

            _waiters.RemoveAll(waiter => waiter.Reached.Task.IsCompleted);
        }
    }

    private sealed record Held(TopicPartition Target, RecordData Record, TaskCompletionSource<Appended> Done);
}
