using Grpc.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// The messages of a client on their way to a handler, without a queue. The handler gets a message when it asks for one, on the writer's
/// thread; the write completes when the handler asks for the next. So the writer is as fast as the handler, and a message may be used again
/// after its write.
/// </summary>
internal sealed class InProcessRequestStream<TRequest> : IAsyncStreamReader<TRequest>, IClientStreamWriter<TRequest>
    where TRequest : class
{
    private static readonly Task<bool> True = Task.FromResult(true);
    private static readonly Task<bool> False = Task.FromResult(false);

    private readonly Lock _gate = new();
    private readonly InProcessCall _call;
    private readonly Marshaller<TRequest> _marshaller;
    private TRequest? _current;
    private TRequest? _offered;
    private bool _isHanded;
    private bool _isHanding;
    private bool _isCompleted;
    private bool _hasEnded;
    private TaskCompletionSource<bool>? _reading;
    private TaskCompletionSource? _writing;
    private CancellationToken _listeningTo;
    private CancellationTokenRegistration _listening;

    public InProcessRequestStream(InProcessCall call, Marshaller<TRequest> marshaller)
    {
        _call = call;
        _marshaller = marshaller;
        call.WhenEnded(OnEnded);
    }

    public WriteOptions? WriteOptions { get; set; }

    public TRequest Current => _current ?? throw new InvalidOperationException("There is no current message: ask for one with MoveNext.");

    // The handler asks for the next message: it is done with the one it has.
    public Task<bool> MoveNext(CancellationToken cancellationToken)
    {
        TaskCompletionSource? written = null;
        Task<bool> result;
        Listen(cancellationToken);
        lock (_gate)
        {
            if (_reading is not null) throw new InvalidOperationException("Can't read the next message because the previous read is still in progress.");
            if (_isHanded)
            {
                _isHanded = false;
                if (_offered is null) (written, _writing) = (_writing, null);
            }

            _current = null;
            if (_offered is not null)
            {
                (_current, _offered) = (_offered, null);
                _isHanded = true;
                result = True;
            }
            else if (_isCompleted)
            {
                result = False;
            }
            else if (_hasEnded || cancellationToken.IsCancellationRequested)
            {
                result = Task.FromCanceled<bool>(_hasEnded ? new CancellationToken(canceled: true) : cancellationToken);
            }
            else
            {
                // Completed inline by the writer: the handler goes on on its thread until it waits for something else.
                _reading = new TaskCompletionSource<bool>();
                result = _reading.Task;
            }
        }

        written?.TrySetResult();
        return result;
    }

    public Task WriteAsync(TRequest message) => WriteAsync(message, CancellationToken.None);

    public Task WriteAsync(TRequest message, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (cancellationToken.IsCancellationRequested) return Task.FromCanceled(cancellationToken);
        TRequest own;
        try
        {
            own = _call.CopyIfNeeded(message, _marshaller);
        }
        catch (RpcException exception)
        {
            _call.End(exception.Status);
            return Task.FromException(exception);
        }

        TaskCompletionSource<bool> reading;
        lock (_gate)
        {
            if (_hasEnded) return Task.FromException(_call.ToException(_call.GetStatus()));
            if (_isCompleted) throw new InvalidOperationException("Can't write the message because the request stream was completed.");
            if (_writing is not null || _isHanding) throw new InvalidOperationException("Can't write the message because the previous write is in progress.");
            if (_reading is null)
            {
                _offered = own;
                _writing = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                return Waiting(_writing, cancellationToken);
            }

            (reading, _reading) = (_reading, null);
            _current = own;
            _isHanded = true;
            _isHanding = true;
        }

        reading.TrySetResult(true);
        lock (_gate)
        {
            _isHanding = false;

            // Asked for the next one already, on this very thread: this one is taken.
            if (!_isHanded || !ReferenceEquals(_current, own) || _hasEnded) return Task.CompletedTask;
            _writing = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return Waiting(_writing, cancellationToken);
        }
    }

    public Task CompleteAsync()
    {
        TaskCompletionSource<bool>? reading;
        lock (_gate)
        {
            if (_writing is not null || _isHanding) throw new InvalidOperationException("Can't complete the request stream because the previous write is in progress.");
            _isCompleted = true;
            (reading, _reading) = (_reading, null);
        }

        reading?.TrySetResult(false);
        return Task.CompletedTask;
    }

    // The handler may stop waiting before the stream ends. It asks with the same token each time, so that one registration does.
    private void Listen(CancellationToken cancellationToken)
    {
        if (cancellationToken == _listeningTo) return;
        _listeningTo = cancellationToken;
        var listening = cancellationToken.UnsafeRegister(
            static (state, token) =>
            {
                var stream = (InProcessRequestStream<TRequest>)state!;
                TaskCompletionSource<bool>? reading;
                lock (stream._gate) (reading, stream._reading) = (stream._reading, null);
                reading?.TrySetCanceled(token);
            },
            this);
        lock (_gate) (listening, _listening) = (_listening, listening);
        listening.Unregister();
    }

    private Task Waiting(TaskCompletionSource writing, CancellationToken cancellationToken)
    {
        if (!cancellationToken.CanBeCanceled) return writing.Task;
        return AwaitAsync();

        async Task AwaitAsync()
        {
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
            _offered = null;
        }

        writing.TrySetCanceled(cancellationToken);
    }

    private void OnEnded()
    {
        TaskCompletionSource<bool>? reading;
        TaskCompletionSource? writing;
        bool wasTaken;
        CancellationTokenRegistration listening;
        lock (_gate)
        {
            _hasEnded = true;
            (reading, _reading) = (_reading, null);
            (writing, _writing) = (_writing, null);
            wasTaken = _offered is null;
            _offered = null;
            listening = _listening;
        }

        listening.Unregister();
        reading?.TrySetCanceled(CancellationToken.None);
        if (wasTaken) writing?.TrySetResult();
        else writing?.TrySetException(_call.ToException(_call.GetStatus()));
    }
}
