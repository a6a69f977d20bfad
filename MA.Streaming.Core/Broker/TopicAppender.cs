using MA.Streaming.Core.Internal;

namespace MA.Streaming.Core.Broker;

/// <summary>
/// Appends to the partitions of one topic and creates the topic before the first append. While it is being created, appends queue in
/// the order of their calls (bounded by who calls: the pending bytes of unary writes, the windows of client streams); once it is
/// there, an append goes straight to the broker. Creation is tried again for three quarters of the time that an append may take.
/// </summary>
internal sealed class TopicAppender(IBroker broker, TopicDirectory directory, TopicSpec topic, TimeSpan timeout, TimeProvider clock)
{
    // Who waits for an append is to hear why, which must come before they give up themselves.
    private readonly TimeSpan _patience = timeout * 0.75;
    private readonly Lock _gate = new();
    private Queue<Waiting>? _waiting;
    private volatile bool _ready;
    private volatile BrokerException? _trouble;

    /// <summary>Why the topic could not be created when that was tried last, while it is still being tried; who gives up waiting is told.</summary>
    public BrokerException? Trouble => _trouble;

    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record) =>
        _ready ? broker.AppendAsync(target, record, CancellationToken.None) : AppendLaterAsync(target, record);

    /// <summary>The broker says that the topic is not there (any more): the next append creates it.</summary>
    public void TopicIsGone() => _ready = false;

    private ValueTask<Appended> AppendLaterAsync(TopicPartition target, RecordData record)
    {
        // Inline completion: what waits is an rpc on its way up.
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

        // Its end is the end of every append that waits, so the callers own it. It runs here until the broker really has to wait.
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
                catch (BrokerException exception) when (exception.IsTransient && clock.GetElapsedTime(started) < _patience)
                {
                    _trouble = exception;
                    var left = _patience - clock.GetElapsedTime(started);
                    await Task.Delay(TimeSpan.FromTicks(Math.Clamp(left.Ticks, 0, backoff.Next().Ticks)), clock, CancellationToken.None).ConfigureAwait(false);
                }
            }

            _trouble = null;
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

    // The order of calls is the order of the queue: the topic counts as ready only when the queue is seen empty under the lock.
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
            waiting.Done.TrySetException(exception); // It left the queue: nobody else would tell its caller.
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
