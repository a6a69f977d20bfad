using Google.Protobuf;
using Grpc.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// The messages of a handler on their way to a client: handed over directly when the client waits, else queued within bounds; a full
/// queue makes the handler wait. The client takes small messages from the queue many at a time, so that the two rarely meet. The stream
/// ends for the client after the status is final.
/// </summary>
internal sealed class InProcessResponseStream<T> : IAsyncStreamReader<T>, IServerStreamWriter<T>
    where T : class
{
    /// <summary>So many messages are queued whatever their size; one read ahead keeps both sides busy.</summary>
    private const int MessagesMin = 2;

    /// <summary>More are queued up to here, while together they stay under the bytes; and as many the client has taken.</summary>
    private const int MessagesMax = 128;
    private const int BytesMax = 128 << 10;

    private static readonly Task<bool> True = Task.FromResult(true);
    private static readonly Task<bool> False = Task.FromResult(false);

    private readonly Lock _gate = new();
    private readonly InProcessCall _call;
    private readonly Queue<(T Message, int Bytes)> _queue = new();
    private readonly Queue<T> _taken = new(); // The client's own: touched by MoveNext only.
    private int _bytes;
    private T? _current;
    private T? _waiting;
    private TaskCompletionSource<bool>? _reading;
    private TaskCompletionSource? _writing;
    private bool _hasSentHeaders;
    private bool _hasEnded;
    private volatile bool _isCutOff;

    public InProcessResponseStream(InProcessCall call)
    {
        _call = call;
        call.WhenEnded(OnEnded);
    }

    public WriteOptions? WriteOptions { get; set; }

    public T Current => _current ?? throw new InvalidOperationException("There is no current message: ask for one with MoveNext.");

    public Task WriteAsync(T message) => WriteAsync(message, CancellationToken.None);

    public Task WriteAsync(T message, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (cancellationToken.IsCancellationRequested) return Task.FromCanceled(cancellationToken);
        if (!_hasSentHeaders)
        {
            _call.SendHeaders();
            _hasSentHeaders = true;
        }

        TaskCompletionSource<bool> reading;
        lock (_gate)
        {
            if (_hasEnded) return Task.FromException(new OperationCanceledException("Can't write the message because the call has ended."));
            if (_writing is not null) throw new InvalidOperationException("Can't write the message because the previous write is in progress.");
            if (_reading is null)
            {
                if (TryEnqueue(message)) return Task.CompletedTask;
                _waiting = message;
                _writing = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                return Waiting(_writing, cancellationToken);
            }

            (reading, _reading) = (_reading, null);
            _current = message;
        }

        reading.TrySetResult(true);
        return Task.CompletedTask;
    }

    public Task<bool> MoveNext(CancellationToken cancellationToken)
    {
        // Also while messages wait: a handler that is always ahead must not keep a client that was told to stop.
        if (cancellationToken.IsCancellationRequested) _call.Cancel();
        if (_isCutOff) _taken.Clear();
        if (_taken.TryDequeue(out var taken))
        {
            _current = taken;
            return True;
        }

        TaskCompletionSource<bool>? reading = null;
        TaskCompletionSource? written = null;
        lock (_gate)
        {
            if (_reading is not null) throw new InvalidOperationException("Can't read the next message because the previous read is still in progress.");
            if (_queue.TryDequeue(out var next))
            {
                _current = next.Message;
                _bytes -= next.Bytes;
                TakeMore();

                // The handler is woken when half of the queue is free, not for every message.
                if (_waiting is not null && _queue.Count <= MessagesMin / 2 + (MessagesMax / 2 * (_bytes < BytesMax / 2 ? 1 : 0)) && TryEnqueue(_waiting))
                {
                    _waiting = null;
                    (written, _writing) = (_writing, null);
                }
            }
            else
            {
                _current = null;
                if (_hasEnded) return End();
                reading = _reading = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
            }
        }

        written?.TrySetResult();
        if (reading is null) return True;
        return cancellationToken.CanBeCanceled ? WithCancellationAsync(reading, cancellationToken) : reading.Task;
    }

    private async Task<bool> WithCancellationAsync(TaskCompletionSource<bool> reading, CancellationToken cancellationToken)
    {
        var registration = cancellationToken.UnsafeRegister(static call => ((InProcessCall)call!).Cancel(), _call);
        await using var disposing = registration.ConfigureAwait(false);
        return await reading.Task.ConfigureAwait(false);
    }

    private void TakeMore()
    {
        // So few may be large, and to weigh them costs more than to come back for them.
        if (_queue.Count <= MessagesMin) return;
        for (var left = BytesMax; _taken.Count < MessagesMax && _queue.TryPeek(out var next); _taken.Enqueue(next.Message))
        {
            left -= next.Bytes > 0 ? next.Bytes : BytesOf(next.Message);
            if (left <= 0) return;
            _queue.Dequeue();
            _bytes -= next.Bytes;
        }
    }

    private static int BytesOf(T message) => message is IMessage weighed ? weighed.CalculateSize() : BytesMax;

    private bool TryEnqueue(T message)
    {
        // Only a message beyond the first few is weighed: weighing walks the whole message.
        var bytes = 0;
        if (_queue.Count >= MessagesMin)
        {
            if (_queue.Count >= MessagesMax) return false;
            bytes = BytesOf(message);
            if (_bytes + bytes > BytesMax) return false;
        }

        _queue.Enqueue((message, bytes));
        _bytes += bytes;
        return true;
    }

    private Task Waiting(TaskCompletionSource writing, CancellationToken cancellationToken)
    {
        if (!cancellationToken.CanBeCanceled) return writing.Task;
        return AwaitAsync();

        async Task AwaitAsync()
        {
            // Given up, the message is withdrawn: the client never sees it.
            var registration = cancellationToken.UnsafeRegister(_ => Withdraw(writing, cancellationToken), null);
            await using var disposing = registration.ConfigureAwait(false);
            await writing.Task.ConfigureAwait(false);
        }
    }

    private void Withdraw(TaskCompletionSource writing, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_writing != writing) return;
            _writing = null;
            _waiting = null;
        }

        writing.TrySetCanceled(cancellationToken);
    }

    private Task<bool> End()
    {
        var status = _call.GetStatus();
        return status.StatusCode == StatusCode.OK ? False : Task.FromException<bool>(_call.ToException(status));
    }

    private void OnEnded()
    {
        TaskCompletionSource<bool>? reading;
        TaskCompletionSource? writing;
        var status = _call.GetStatus();
        lock (_gate)
        {
            _hasEnded = true;
            (reading, _reading) = (_reading, null);
            (writing, _writing) = (_writing, null);
            _waiting = null;

            // What was sent before an end by the handler is still taken; a client that cancelled takes no more.
            _isCutOff = status.StatusCode is StatusCode.Cancelled or StatusCode.DeadlineExceeded;
            if (_isCutOff) _queue.Clear();
        }

        writing?.TrySetException(new OperationCanceledException("The call has ended."));
        if (reading is null) return;
        if (status.StatusCode == StatusCode.OK) reading.TrySetResult(false);
        else reading.TrySetException(_call.ToException(status));
    }
}
