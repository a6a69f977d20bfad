using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.TestSupport;

/// <summary>
/// A broker over another one whose appends, topic creations and reads a test withholds, fails and counts. The thread that releases an
/// append passes it to the inner broker. If the inner broker completes it at once, the append completes on that thread.
/// </summary>
public sealed class GatedBroker(IBroker inner) : IBroker
{
    private readonly Lock _gate = new();
    private readonly List<Held> _held = [];
    private readonly List<(Func<bool> IsReached, TaskCompletionSource Reached)> _waiters = [];
    private readonly ConcurrentQueue<Exception> _readFailures = new();
    private CancellationTokenSource _readCut = new();
    private Exception? _cutWith;
    private int _appendCalls;
    private int _watermarkCalls;
    private int _readCalls;
    private int _ensureCalls;
    private int _openReads;
    private bool _isReleasing;

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

    /// <summary>The failure of a watermark call.</summary>
    public Func<Exception?>? WatermarksFail { get; set; }

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

    /// <summary>A failure as tests inject it.</summary>
    public static BrokerException Injected(BrokerError error = BrokerError.Unavailable) => new(error, "injected failure");

    public Task HeldAsync(int count, CancellationToken cancellationToken = default) => ReachedAsync(() => _held.Count >= count, cancellationToken);

    public Task ReadCallsAsync(int count) => ReachedAsync(() => _readCalls >= count);

    public Task EnsureCallsAsync(int count) => ReachedAsync(() => _ensureCalls >= count);

    /// <summary>Completes when exactly so many reads are open.</summary>
    public Task OpenReadsAsync(int count, CancellationToken cancellationToken = default) => ReachedAsync(() => _openReads == count, cancellationToken);

    /// <summary>Withholds every append until released.</summary>
    public void HoldAll() => Holds = _ => true;

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

        Complete(held, Pass(held, failure));
    }

    /// <summary>Releases everything withheld in the order of the calls, and withholds nothing more.</summary>
    public void ReleaseAll()
    {
        lock (_gate)
        {
            Holds = null;
            if (_isReleasing) return;
            _isReleasing = true;
        }

        while (true)
        {
            Held held;
            lock (_gate)
            {
                _isReleasing = _held.Count > 0;
                if (!_isReleasing) return;
                held = _held[0];
            }

            // It leaves the queue once the inner broker has it: until then an append to the same partition stands in line behind it.
            var append = Pass(held, null);
            lock (_gate) _held.Remove(held);
            Complete(held, append);
        }
    }

    /// <summary>Every open read fails with this, once, and reads opened afterwards do not.</summary>
    public void CutReads(Exception failure)
    {
        CancellationTokenSource cut;
        lock (_gate) (cut, _readCut, _cutWith) = (_readCut, new CancellationTokenSource(), failure);
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
        Held? held = new(target, record, new TaskCompletionSource<Appended>());
        lock (_gate)
        {
            if (Holds?.Invoke(target) == true || (_isReleasing && _held.Exists(other => other.Target == target))) _held.Add(held);
            else held = null;
        }

        if (held is null)
        {
            return AppendFails?.Invoke(target, record) is { } failure
                ? ValueTask.FromException<Appended>(failure)
                : inner.AppendAsync(target, record, cancellationToken);
        }

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
        CountOpenReads(1);
        try
        {
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
        finally
        {
            CountOpenReads(-1);
        }
    }

    public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken) => inner.JoinGroupAsync(group, cancellationToken);

    public async ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(
        IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken)
    {
        Count(ref _watermarkCalls);
        if (BeforeAnswer is { } before) await before(cancellationToken).ConfigureAwait(false);
        if (WatermarksFail?.Invoke() is { } failure) throw failure;
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

    private ValueTask<Appended> Pass(Held held, Exception? failure)
    {
        failure ??= AppendFails?.Invoke(held.Target, held.Record);
        try
        {
            return failure is null ? inner.AppendAsync(held.Target, held.Record, CancellationToken.None) : ValueTask.FromException<Appended>(failure);
        }
        catch (Exception exception)
        {
            return ValueTask.FromException<Appended>(exception);
        }
    }

    // Runs to its end before it returns if the inner broker has completed the append.
    private static async void Complete(Held held, ValueTask<Appended> append)
    {
        Appended appended;
        try
        {
            appended = await append.ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            held.Done.SetException(exception);
            return;
        }

        held.Done.SetResult(appended);
    }

    private void Count(ref int counter)
    {
        Interlocked.Increment(ref counter);
        Signal();
    }

    private void CountOpenReads(int change)
    {
        lock (_gate) _openReads += change;
        Signal();
    }

    private Task ReachedAsync(Func<bool> isReached, CancellationToken cancellationToken = default)
    {
        lock (_gate)
        {
            if (isReached()) return Task.CompletedTask;
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiters.Add((isReached, reached));
            return reached.Task.WaitAsync(cancellationToken);
        }
    }

    private void Signal()
    {
        lock (_gate)
        {
            foreach (var (isReached, reached) in _waiters)
            {
                if (isReached()) reached.TrySetResult();
            }

            _waiters.RemoveAll(waiter => waiter.Reached.Task.IsCompleted);
        }
    }

    private sealed record Held(TopicPartition Target, RecordData Record, TaskCompletionSource<Appended> Done);
}
