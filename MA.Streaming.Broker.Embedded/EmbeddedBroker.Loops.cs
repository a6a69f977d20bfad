using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <content>The queue of appends, and the two threads: one commits, one drains.</content>
public sealed partial class EmbeddedBroker
{
    private static readonly TimeSpan RetainEvery = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan RetryFirstAfter = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan RetryEveryMax = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan SayEvery = TimeSpan.FromMinutes(1);

    /// <summary>A fault of the journal that could not be mended yet.</summary>
    private sealed record Fault(long Since, DateTimeOffset SinceTime, long TriedAt, long SaidAt, TimeSpan WaitsFor);

    private void Enqueue(Append append)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isStopping, this);
            if (_waiting.Count > 0 || (_queuedBytes > 0 && _queuedBytes + append.Bytes > _options.QueuedBytesMax))
            {
                Wait(append);
                return;
            }

            _queue.Enqueue(append);
            _queuedBytes += append.Bytes;
            if (_queue.Count == 1) Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Lets an append wait behind the queue. One that is cancelled leaves at once, with its bytes.</summary>
    private void Wait(Append append)
    {
        var place = _waiting.AddLast(append);
        _waitingBytes += append.Bytes;
        SetPatience();
        _ = append.Task.ContinueWith(
            _ =>
            {
                lock (_gate) Leave(place);
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
    }

    private void Leave(LinkedListNode<Append> place)
    {
        if (place.List is null) return;
        _waiting.Remove(place);
        _waitingBytes -= place.Value.Bytes;
    }

    /// <summary>Appends that wait move up while there is room.</summary>
    private void MoveUp()
    {
        while (_waiting.First is { } next && (_queuedBytes == 0 || _queuedBytes + next.Value.Bytes <= _options.QueuedBytesMax))
        {
            Leave(next);
            _queue.Enqueue(next.Value);
            _queuedBytes += next.Value.Bytes;
        }
    }

    private void SetPatience()
    {
        if (_isPatienceSet || _isStopping) return;
        _isPatienceSet = true;
        _groupsTakenThen = _groupsTaken;
        _patience.Change(_options.FullWaitMax, Timeout.InfiniteTimeSpan);
    }

    private void LosePatience()
    {
        List<Append> refused = [];
        BrokerException? reason = null;
        lock (_gate)
        {
            _isPatienceSet = false;
            if (_isStopping || _queue.Count == 0) return;
            if (_groupsTaken != _groupsTakenThen)
            {
                SetPatience();
                return;
            }

            reason = _log.Broken is { } broken ? new BrokerException(BrokerError.Unavailable, $"the disk of {_options.Directory} has failed for {_options.FullWaitMax.TotalSeconds:F0} s: {broken.Message}", broken)
                : HasRoom
                ? new BrokerException(BrokerError.Unavailable, $"the disk of {_options.Directory} has not answered for {_options.FullWaitMax.TotalSeconds:F0} s; {_queuedBytes + _waitingBytes} bytes wait to be written")
                : new BrokerException(BrokerError.Full, $"{_log.UndrainedBytes} bytes wait in the journal of {_options.Directory}, and for {_options.FullWaitMax.TotalSeconds:F0} s none was moved into segments");
            refused = TakeAll();
        }

        foreach (var append in refused) append.TrySetException(reason);
    }

    /// <summary>Everything that waits, in order.</summary>
    private List<Append> TakeAll()
    {
        List<Append> all = [.. _queue, .. _waiting];
        _queue.Clear();
        _waiting.Clear();
        (_queuedBytes, _waitingBytes) = (0, 0);
        return all;
    }

    private void CommitLoop()
    {
        _isCommitLoop = true;
        var group = new List<Append>();
        while (TakeGroup(group))
        {
            Commit(group);
            if (_log.CanHeal || _log.IsDrainDue || _log.JournalBytes > _options.JournalBytesMax / 2) RequestDrain();
        }
    }

    private void Commit(List<Append> group)
    {
        try
        {
            var records = _log.Commit(group);
            if (records > 0) _meter.Committed(records);
        }
        catch (Exception exception)
        {
            // Not the disk, for that is answered already. What of the group is durable the next start tells.
            Stop(exception);
            foreach (var append in group)
                append.TrySetException(new BrokerException(BrokerError.Unavailable, $"an unexpected error stopped the log in {_options.Directory}: {exception.Message}", exception));
        }
    }

    private void Stop(Exception exception)
    {
        _hasStopped = true;
        _log.Break(exception);
        _logger.Stopped(exception, _options.Directory);
        lock (_gate) Monitor.PulseAll(_gate);
    }

    /// <summary>Waits for appends, and for room between journal and segments; false when the broker stops.</summary>
    private bool TakeGroup(List<Append> group)
    {
        group.Clear();
        while (true)
        {
            List<Append> refused;
            lock (_gate)
            {
                while (_queue.Count == 0 || _log.CanHeal || (!HasRoom && !_hasDrainFailed && _log.Broken is null))
                {
                    if (_isStopping) return false;
                    if (_queue.Count > 0)
                    {
                        RequestDrain();
                        SetPatience();
                    }

                    Monitor.Wait(_gate);
                }

                if (_isStopping) return false;
                if (HasRoom || _log.Broken is not null)
                {
                    TakeGroupFromQueue(group);
                    return true;
                }

                // Nothing drains, so nothing would end the wait. The next append tries again.
                refused = TakeAll();
                RequestDrain();
            }

            foreach (var append in refused)
            {
                append.TrySetException(new BrokerException(
                    BrokerError.Full, $"{_log.UndrainedBytes} bytes wait in the journal of {_options.Directory} because segments cannot be written"));
            }
        }
    }

    private void TakeGroupFromQueue(List<Append> group)
    {
        var bytes = 0L;
        while (_queue.TryPeek(out var next) && (group.Count == 0 || bytes + next.Bytes <= _options.GroupBytesMax))
        {
            bytes += next.Bytes;
            group.Add(_queue.Dequeue());
        }

        _queuedBytes -= bytes;
        _groupsTaken++;
        MoveUp();
    }

    private void RequestDrain()
    {
        lock (_drainGate)
        {
            _isDrainWanted = true;
            Monitor.PulseAll(_drainGate);
        }
    }

    private void DrainLoop()
    {
        while (true)
        {
            lock (_drainGate)
            {
                while (!_isDrainWanted && !_isStopping) Monitor.Wait(_drainGate);
                if (_isStopping) break;
                _isDrainWanted = false;
            }

            var hasFailed = !TryDrain();
            lock (_gate)
            {
                _hasDrainFailed = hasFailed;
                Monitor.PulseAll(_gate);
            }
        }

        End();
    }

    private bool TryDrain()
    {
        if (_hasStopped) return false;
        if (_log.CanHeal) return TryHeal();
        try
        {
            _log.Drain();
            Retain();
            if (_hasDrainFailed) _logger.DrainResumed(_options.Directory);
            _retryAfter = RetryFirstAfter;
            return true;
        }
        catch (IOException exception)
        {
            if (!_hasDrainFailed) _logger.DrainFailed(exception, _options.Directory);
            RetryLater();
        }
        catch (Exception exception)
        {
            // Not the disk. What could not be moved is in the journal, and the next start moves it.
            Stop(exception);
        }

        return false;
    }

    /// <summary>After a failed flush of the journal: at once, then after 0.1 s, doubling to 10 s.</summary>
    private bool TryHeal()
    {
        var now = _clock.GetTimestamp();
        if (_broken is { } broken && _clock.GetElapsedTime(broken.TriedAt, now) < broken.WaitsFor) return false;
        try
        {
            if (_broken is null) _logger.FlushFailed(_log.Broken!, _options.Directory);
            _log.Heal();
            _logger.Healed(_options.Directory, _broken is { } before ? _clock.GetElapsedTime(before.Since, now) : TimeSpan.Zero);
            _broken = null;
            _retryAfter = RetryFirstAfter;
            return true;
        }
        catch (IOException exception)
        {
            var next = (_broken ?? new Fault(now, _clock.GetUtcNow(), now, now, RetryFirstAfter)) with { TriedAt = now, WaitsFor = RetryLater() };
            if (_clock.GetElapsedTime(next.SaidAt, now) >= SayEvery)
            {
                _logger.StillBroken(exception, _options.Directory, next.SinceTime);
                next = next with { SaidAt = now };
            }

            _broken = next;
        }
        catch (Exception exception)
        {
            Stop(exception);
        }

        return false;
    }

    /// <summary>The drain loop tries again after a while that doubles; returns the while.</summary>
    private TimeSpan RetryLater()
    {
        var after = _retryAfter;
        _retryAfter = after * 2 < RetryEveryMax ? after * 2 : RetryEveryMax;
        _retry.Change(after, Timeout.InfiniteTimeSpan);
        return after;
    }

    /// <summary>Once a second at most; what came since is looked at when the second is over.</summary>
    private void Retain()
    {
        if (_retention is null) return;
        var now = _clock.GetTimestamp();
        if (_retained is { } before && _clock.GetElapsedTime(before, now) < RetainEvery)
        {
            _retention.Change(RetainEvery, _retentionPeriod);
            return;
        }

        _retained = now;
        _log.Retain();
    }

    private void End()
    {
        _commitLoop.Join();
        _patience.Dispose();
        _retry.Dispose();
        _retention?.Dispose();
        try
        {
            // After an error that nobody expected only the journal is trusted.
            if (!_hasStopped) _log.CloseCleanly();
        }
        catch (Exception exception)
        {
            // What could not be moved is in the journal; the next start moves it.
            _logger.DrainFailed(exception, _options.Directory);
        }
        finally
        {
            _log.Dispose();
            _meter.Dispose();
            _ended.TrySetResult();
        }
    }
}
