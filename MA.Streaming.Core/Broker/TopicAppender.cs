using MA.Streaming.Core.Internal;

namespace MA.Streaming.Core.Broker;

/// <summary>
/// Appends to the partitions of one topic and creates the topic before the first append. While the topic is being created, appends
/// queue in the order of their calls; the callers bound that queue (pending bytes of unary writes, windows of client streams). Afterwards
/// an append goes straight to the broker. Creation is tried again for three quarters of the time that an append may take.
/// </summary>
internal sealed class TopicAppender(IBroker broker, TopicDirectory directory, TopicSpec topic, TimeSpan timeout, TimeProvider clock)
{
    // A caller that waits for its append learns the reason only if it comes before the caller's own timeout.
    private readonly TimeSpan _createTimeout = timeout * 0.75;
    private readonly Lock _gate = new();
    private Queue<Waiting>? _waiting;
    private volatile bool _ready;
    private volatile BrokerException? _lastCreateError;

    /// <summary>Why the last attempt to create the topic failed, while creation is still being tried; a write that times out reports it.</summary>
    public BrokerException? LastCreateError => _lastCreateError;

    /// <summary>The topic exists and no append queues here: appends may go straight to the broker.</summary>
    public bool IsReady => _ready;

    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record) =>
        _ready ? broker.AppendAsync(target, record, CancellationToken.None) : AppendLaterAsync(target, record);

    /// <summary>Takes note of an append's failure: where the topic does not exist (any more), the next append creates it.</summary>
    public void Failed(Exception exception)
    {
        if (exception is BrokerException { Error: BrokerError.NoSuchTopic }) _ready = false;
    }

    private ValueTask<Appended> AppendLaterAsync(TopicPartition target, RecordData record)
    {
        // Continuations run inline: the waiter is an rpc that is about to answer.
        var waiting = new Waiting(target, record, new TaskCompletionSource<Appended>());
        lock (_gate)
        {
            if (_ready) return broker.AppendAsync(target, record, CancellationToken.None);
            if (_waiting is not null)
            {
                _waiting.Enqueue(waiting);
                return new(waiting.Done.Task);
            }

            _waiting = new Queue<Waiting>();
            _waiting.Enqueue(waiting);
        }

        // Every waiting append ends with this task, so the callers own it. It runs on this thread until the broker has to wait.
        _ = CreateAsync();
        return new(waiting.Done.Task);
    }

    private async Task CreateAsync()
    {
        try
        {
            var started = clock.GetTimestamp();
            var backoff = new Backoff();
            while (true)
            {
                try
                {
                    directory.Add(await broker.EnsureTopicAsync(topic, CancellationToken.None).ConfigureAwait(false));
                    break;
                }
                catch (BrokerException exception) when (exception.IsTransient && clock.GetElapsedTime(started) < _createTimeout)
                {
                    _lastCreateError = exception;
                    var left = _createTimeout - clock.GetElapsedTime(started);
                    await Task.Delay(TimeSpan.FromTicks(Math.Clamp(left.Ticks, 0, backoff.Next().Ticks)), clock, CancellationToken.None).ConfigureAwait(false);
                }
            }

            _lastCreateError = null;
            AppendWaiting();
        }
        catch (Exception exception)
        {
            Queue<Waiting> failed;
            lock (_gate)
            {
                failed = _waiting!;
                _waiting = null; // The next append tries to create it again.
            }

            foreach (var waiting in failed) waiting.Done.TrySetException(exception);
        }
    }

    // Keeps the order of calls: the topic counts as ready only when the queue is seen empty under the lock.
    private void AppendWaiting()
    {
        while (true)
        {
            Waiting waiting;
            lock (_gate)
            {
                if (!_waiting!.TryDequeue(out waiting))
                {
                    _waiting = null;
                    _ready = true;
                    return;
                }
            }

            Forward(waiting);
        }
    }

    private void Forward(in Waiting waiting)
    {
        try
        {
            Complete(broker.AppendAsync(waiting.Target, waiting.Record, CancellationToken.None), waiting.Done);
        }
        catch (Exception exception)
        {
            waiting.Done.TrySetException(exception); // It has left the queue, so only this line can tell its caller.
        }
    }

    private static void Complete(ValueTask<Appended> append, TaskCompletionSource<Appended> done)
    {
        if (append.IsCompletedSuccessfully)
        {
#pragma warning disable RS0030 // Completed.
            done.TrySetResult(append.GetAwaiter().GetResult());
#pragma warning restore RS0030
            return;
        }

        _ = ForwardAsync(append, done);
    }

    private static async Task ForwardAsync(ValueTask<Appended> append, TaskCompletionSource<Appended> done)
    {
        try
        {
            done.TrySetResult(await append.ConfigureAwait(false));
        }
        catch (Exception exception)
        {
            done.TrySetException(exception);
        }
    }

    private readonly record struct Waiting(TopicPartition Target, RecordData Record, TaskCompletionSource<Appended> Done);
}
