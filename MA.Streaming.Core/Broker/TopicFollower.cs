using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Broker;

/// <summary>
/// Follows every partition of a topic from its first record on and hands each record to a fold, one at a time, in log order within a
/// partition. Who appended a record waits here until it is folded. A broker fault is ridden out.
/// </summary>
internal sealed class TopicFollower : IAsyncDisposable
{
    private const int ReadAheadBytes = 1 << 20;

    private readonly IBroker _broker;
    private readonly TopicDirectory _directory;
    private readonly string _topic;
    private readonly Action<int, Record> _fold;
    private readonly ILogger _logger;
    private readonly TimeProvider _clock;
    private readonly Lock _gate = new();
    private readonly List<Waiter> _waiters = [];
    private readonly TaskCompletionSource _caughtUp = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly IDisposable _growth;
    private readonly OwnedLoop _loop;
    private long[] _next = [0];
    private CancellationTokenSource? _reading;
    private long _progress;
    private bool _isDisposed;

    public TopicFollower(IBroker broker, TopicDirectory directory, string topic, Action<int, Record> fold, ILogger logger, TimeProvider clock)
    {
        _broker = broker;
        _directory = directory;
        _topic = topic;
        _fold = fold;
        _logger = logger;
        _clock = clock;
        _growth = directory.Subscribe(name => name == topic, ReadNewPartitions);
        _loop = new OwnedLoop(FollowAsync);
    }

    /// <summary>The high watermarks read at the start are reached.</summary>
    public Task CaughtUp => _caughtUp.Task;

    /// <summary>Grows with every step, so that a slow start can be told from a stuck one.</summary>
    public long Progress => Volatile.Read(ref _progress);

    /// <summary>The last failure, while it lasts.</summary>
    public Exception? LastError { get; private set; }

    /// <summary>Waits until the record at this offset is folded.</summary>
    public Task WaitForAsync(int partition, long offset, CancellationToken cancellationToken)
    {
        Waiter waiter;
        lock (_gate)
        {
            if (NextOf(partition) > offset) return Task.CompletedTask;
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            waiter = new Waiter(partition, offset);
            _waiters.Add(waiter);
        }

        return cancellationToken.CanBeCanceled ? WaitAsync(waiter, cancellationToken) : waiter.Folded.Task;
    }

    /// <summary>Waits until everything that is durable now is folded. Returns the sum of the high watermarks, which grows with the topic;
    /// where it is still what an earlier call returned, there is nothing to wait for.</summary>
    public async Task<long> CatchUpAsync(long caughtUpAt, CancellationToken cancellationToken)
    {
        var marks = await WatermarksAsync(cancellationToken).ConfigureAwait(false);
        var sum = marks.Sum(mark => mark.High);
        if (sum == caughtUpAt) return sum;
        foreach (var mark in marks)
        {
            if (mark.High > mark.Low) await WaitForAsync(mark.Source.Partition, mark.High - 1, cancellationToken).ConfigureAwait(false);
        }

        return sum;
    }

    public async ValueTask DisposeAsync()
    {
        _growth.Dispose();
        await _loop.DisposeAsync().ConfigureAwait(false);
        Waiter[] left;
        lock (_gate)
        {
            _isDisposed = true;
            left = [.. _waiters];
            _waiters.Clear();
        }

        foreach (var waiter in left) waiter.Folded.TrySetException(new ObjectDisposedException(nameof(TopicFollower)));
        _caughtUp.TrySetCanceled(CancellationToken.None);
    }

    private ValueTask<IReadOnlyList<Watermarks>> WatermarksAsync(CancellationToken cancellationToken)
    {
        var partitions = Math.Max(1, _directory.PartitionsOf(_topic));
        return _broker.GetWatermarksAsync([.. Enumerable.Range(0, partitions).Select(p => new TopicPartition(_topic, p))], cancellationToken);
    }

    private async Task FollowAsync(CancellationToken stop)
    {
        var backoff = new Backoff();
        IReadOnlyList<Watermarks>? goal = null;
        while (true)
        {
            try
            {
                await _directory.Listed.WaitAsync(stop).ConfigureAwait(false);
                if (goal is null)
                {
                    goal = await WatermarksAsync(stop).ConfigureAwait(false);

                    // Much to fold is folded elsewhere; with nothing to fold the follower is caught up before its constructor returns.
                    if (goal.Any(mark => mark.High > mark.Low)) await Task.Yield();
                }

                await ReadAsync(goal, backoff, stop).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!stop.IsCancellationRequested)
            {
                // The topic has grown: read on with its new partitions.
            }
            catch (ObjectDisposedException)
            {
                return; // The broker is gone, and with it everything to follow.
            }
            catch (Exception exception) when (exception is not (OperationCanceledException or OutOfMemoryException))
            {
                // Also what no broker should throw: a follower that ended would leave everybody waiting who needs what it folds.
                LastError = exception;
                var delay = backoff.Next();
                _logger.FollowFailed(_topic, delay, exception);
                await Task.Delay(delay, _clock, stop).ConfigureAwait(false);
            }
        }
    }

    private async Task ReadAsync(IReadOnlyList<Watermarks> goal, Backoff backoff, CancellationToken stop)
    {
        using var reading = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Position[] from;
        lock (_gate)
        {
            _reading = reading;
            var partitions = Math.Max(_next.Length, _directory.PartitionsOf(_topic));
            if (partitions > _next.Length) Array.Resize(ref _next, partitions);
            from = [.. _next.Select((next, partition) => new Position(new(_topic, partition), next))];
        }

        try
        {
            CheckCaughtUp(goal);
            var request = new ReadRequest(from, ReadAheadBytes, ToHighWatermark: false) { ResumeInline = true };
            await foreach (var batch in _broker.ReadAsync(request, reading.Token).ConfigureAwait(false))
            {
                LastError = null;
                backoff.Reset();
                if (batch.Missing is { } missing)
                {
                    _logger.RecordsMissing(_topic, batch.Source.Partition, missing.From, missing.To, missing.Reason.ToString());
                }

                for (var i = 0; i < batch.Records.Count; i++) Fold(batch.Source.Partition, batch.Records[i]);
                Advance(batch.Source.Partition, batch.NextOffset);
                CheckCaughtUp(goal);
            }

            // Only a deleted topic ends a read for ever. What was folded stays; a topic made anew under the name starts over.
            lock (_gate) Array.Clear(_next);
            throw new BrokerException(BrokerError.Unavailable, $"topic '{_topic}' was deleted");
        }
        finally
        {
            lock (_gate) _reading = null;
        }
    }

    // A record that a fold cannot take must not stop every record behind it; folds skip what they do not understand, so this is a defect.
    private void Fold(int partition, Record record)
    {
        try
        {
            _fold(partition, record);
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            _logger.FoldFailed(_topic, partition, record.Offset, exception);
        }
    }

    private void Advance(int partition, long next)
    {
        List<Waiter>? done = null;
        lock (_gate)
        {
            _next[partition] = next;
            Volatile.Write(ref _progress, _progress + 1);
            for (var i = _waiters.Count - 1; i >= 0; i--)
            {
                if (_waiters[i].Partition != partition || _waiters[i].Offset >= next) continue;
                (done ??= []).Add(_waiters[i]);
                _waiters.RemoveAt(i);
            }
        }

        if (done is null) return;
        for (var i = done.Count - 1; i >= 0; i--) done[i].Folded.TrySetResult();
    }

    private void CheckCaughtUp(IReadOnlyList<Watermarks> goal)
    {
        if (_caughtUp.Task.IsCompleted) return;
        lock (_gate)
        {
            foreach (var mark in goal)
            {
                if (mark.High > mark.Low && NextOf(mark.Source.Partition) < mark.High) return;
            }
        }

        _caughtUp.TrySetResult();
    }

    private long NextOf(int partition) => partition < _next.Length ? _next[partition] : 0;

    private void ReadNewPartitions()
    {
        CancellationTokenSource? reading;
        lock (_gate)
        {
            // The first partition is read, or waited for, from the start: its creation must not cost a read that starts anew.
            reading = _directory.PartitionsOf(_topic) > _next.Length ? _reading : null;
        }

        try
        {
            // Not under the lock: the read may end, and start anew, inline.
            reading?.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // That read ended by itself meanwhile, and the next one asks the directory.
        }
    }

    private async Task WaitAsync(Waiter waiter, CancellationToken cancellationToken)
    {
        using var registration = cancellationToken.UnsafeRegister(
            static (state, token) => ((Waiter)state!).Folded.TrySetCanceled(token), waiter);
        try
        {
            await waiter.Folded.Task.ConfigureAwait(false);
        }
        finally
        {
            if (waiter.Folded.Task.IsCanceled)
            {
                lock (_gate) _waiters.Remove(waiter);
            }
        }
    }

    // Completes inline: what waits here is an rpc on its way up, and its caller is resumed elsewhere.
    private sealed class Waiter(int partition, long offset)
    {
        public int Partition { get; } = partition;

        public long Offset { get; } = offset;

        public TaskCompletionSource Folded { get; } = new();
    }
}
