using System.Diagnostics;
using Google.Protobuf;
using Grpc.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>One call: the handler's context, and the end of the call. A call ends once, by whichever comes first: the handler's end, the
/// deadline, the client's cancel or dispose; then the status never changes.</summary>
#pragma warning disable CA1001 // The source has no timer and no link: it holds nothing that a disposal would release.
internal sealed class InProcessCall : ServerCallContext
#pragma warning restore CA1001
{
    private static readonly Status CancelledByClient = new(StatusCode.Cancelled, "Call canceled by the client.");
    private static readonly AuthContext Anonymous = new(null, []);
    private static readonly Status DeadlinePassed = new(StatusCode.DeadlineExceeded, "");

    private readonly Lock _gate = new();
    private readonly InProcessCallInvoker _invoker;
    private readonly IMethod _method;
    private readonly string? _host;
    private readonly CallOptions _options;
    private readonly long _started;
    private readonly Activity? _activity;
    private CancellationTokenSource? _cancellation;
    private TaskCompletionSource<Metadata>? _headers;
    private Metadata? _sentHeaders;
    private Metadata? _responseTrailers;
    private Metadata _finalTrailers = Metadata.Empty;
    private CancellationTokenRegistration _clientToken;
    private ITimer? _deadlineTimer;
    private Status? _final;
    private bool _hasEnded;
    private bool _isCutOff;
    private Action? _whenEnded;

    public InProcessCall(InProcessCallInvoker invoker, IMethod method, string? host, CallOptions options)
    {
        _invoker = invoker;
        _method = method;
        _host = host;
        _options = options;
        if (invoker.ObservesCalls) _started = Stopwatch.GetTimestamp();
        _activity = StartActivity(method, options.Headers);
    }

    /// <summary>False where the handler is done with a request before the caller goes on.</summary>
    public bool CopiesRequests { get; init; } = true;

    /// <summary>The status, once the call has ended.</summary>
    public Status? Final
    {
        get
        {
            lock (_gate) return _final;
        }
    }

    /// <summary>Starts the clock of the deadline and listens to the caller's token. False when the call is over before it began.</summary>
    public bool Begin()
    {
        if (_options.CancellationToken.IsCancellationRequested)
        {
            End(CancelledByClient);
            return false;
        }

        if (_options.Deadline is { } deadline && deadline != DateTime.MaxValue)
        {
            var left = deadline.ToUniversalTime() - _invoker.Clock.GetUtcNow().UtcDateTime;
            if (left <= TimeSpan.Zero)
            {
                End(DeadlinePassed);
                return false;
            }

            // A timer takes some 49 days; a deadline beyond that is none.
            if (left.TotalMilliseconds < uint.MaxValue - 1)
            {
                var timer = _invoker.Clock.CreateTimer(static call => ((InProcessCall)call!).End(DeadlinePassed), this, left, Timeout.InfiniteTimeSpan);
                Keep(ref _deadlineTimer, timer);
            }
        }

        if (_options.CancellationToken.CanBeCanceled)
        {
            var registration = _options.CancellationToken.UnsafeRegister(static call => ((InProcessCall)call!).Cancel(), this);
            bool over;
            lock (_gate)
            {
                over = _hasEnded;
                if (!over) _clientToken = registration;
            }

            if (over) registration.Unregister();
        }

        return true;
    }

    /// <summary>The request that the handler gets: a copy, unless the handler is done with it before the caller goes on.</summary>
    /// <exception cref="RpcException">The request is too large.</exception>
    public TRequest CopyIfNeeded<TRequest>(TRequest request, Marshaller<TRequest> marshaller)
        where TRequest : class
    {
        if (request is IMessage message && message.CalculateSize() is var size && size > InProcessChannel.RequestBytesMax)
        {
            throw new RpcException(new Status(
                StatusCode.ResourceExhausted, $"{_method.FullName}: the request has {size} bytes; allowed are {InProcessChannel.RequestBytesMax}"));
        }

        if (!CopiesRequests) return request;
        return request is IDeepCloneable<TRequest> cloneable ? cloneable.Clone() : InProcessBytes.Copy(request, marshaller);
    }

    public void Cancel() => End(CancelledByClient);

    /// <summary>Runs once when the call has ended; at once when it has. Must be short.</summary>
    public void WhenEnded(Action action)
    {
        lock (_gate)
        {
            if (!_hasEnded)
            {
                _whenEnded += action;
                return;
            }
        }

        action();
    }

    /// <summary>Ends the call from the client's side: the handler is told by its token. False when it had ended before.</summary>
    public bool End(Status status) => End(status, tellHandler: true);

    /// <summary>Ends the call with the status its handler came to. False when it had ended before.</summary>
    public bool Complete(Status status) => End(status, tellHandler: false);

    private bool End(Status status, bool tellHandler)
    {
        Action? whenEnded;
        CancellationTokenSource? cancellation;
        TaskCompletionSource<Metadata>? headers;
        lock (_gate)
        {
            if (_hasEnded) return false;
            _hasEnded = true;
            _final = status;

            // After the client's end it gets no more trailers of the handler.
            _isCutOff = tellHandler;
            if (!tellHandler) _finalTrailers = _responseTrailers ?? Metadata.Empty;
            whenEnded = _whenEnded;
            _whenEnded = null;
            cancellation = _cancellation;
            headers = _sentHeaders is null ? _headers : null;
        }

        _clientToken.Unregister();
        _deadlineTimer?.Dispose();
        if (headers is not null) CompleteHeaders(headers);
        whenEnded?.Invoke();
        if (tellHandler) cancellation?.Cancel();
        Core.Telemetry.EndRpc(_activity, (int)status.StatusCode, status.Detail);
        _invoker.CallEnded(_method.FullName, status.StatusCode, _started);
        return true;
    }

    /// <summary>The status that a handler's failure means, its trailers included.</summary>
    public Status StatusOf(Exception exception)
    {
        if (exception is RpcException rpc)
        {
            foreach (var entry in rpc.Trailers) ResponseTrailers.Add(entry);
            return new Status(rpc.Status.StatusCode, rpc.Status.Detail); // Debugging details stay with the service.
        }

        if (exception is OperationCanceledException && Final is { } final) return final;
        return new Status(StatusCode.Unknown, "Exception was thrown by handler.");
    }

    public RpcException ToException(Status status) => new(status, GetTrailers());

    public Metadata GetTrailers()
    {
        if (Final is null) throw new InvalidOperationException("Can't get the call trailers because the call has not completed successfully.");
        return _finalTrailers;
    }

    public Status GetStatus() => Final ?? throw new InvalidOperationException("Unable to get the status because the call is not complete.");

    public Task<Metadata> GetHeadersAsync()
    {
        lock (_gate)
        {
            if (_sentHeaders is not null) return Task.FromResult(_sentHeaders);
            if (_headers is not null) return _headers.Task;
            _headers = new(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_hasEnded) CompleteHeaders(_headers);
            return _headers.Task;
        }
    }

    /// <summary>The first message sends headers that were not sent before.</summary>
    public void SendHeaders(Metadata? metadata = null)
    {
        TaskCompletionSource<Metadata>? headers;
        Metadata sent;
        lock (_gate)
        {
            if (_sentHeaders is not null)
            {
                if (metadata is null) return;
                throw new InvalidOperationException("Response headers can only be sent once per call.");
            }

            sent = _sentHeaders = metadata ?? Metadata.Empty;
            headers = _headers;
        }

        headers?.TrySetResult(sent);
    }

    /// <inheritdoc/>
    protected override string MethodCore => _method.FullName;

    /// <inheritdoc/>
    protected override string HostCore => _host ?? "localhost";

    /// <inheritdoc/>
    protected override string PeerCore => "in-process";

    /// <inheritdoc/>
    protected override DateTime DeadlineCore => _options.Deadline?.ToUniversalTime() ?? DateTime.MaxValue;

    /// <inheritdoc/>
    protected override Metadata RequestHeadersCore => _options.Headers ?? Metadata.Empty;

    /// <inheritdoc/>
    protected override CancellationToken CancellationTokenCore
    {
        get
        {
            lock (_gate)
            {
                if (_cancellation is not null) return _cancellation.Token;
                if (_hasEnded) return new CancellationToken(canceled: true);
                _cancellation = new CancellationTokenSource();
                return _cancellation.Token;
            }
        }
    }

    /// <inheritdoc/>
    protected override Metadata ResponseTrailersCore => _responseTrailers ??= [];

    /// <inheritdoc/>
    protected override Status StatusCore { get; set; } = new(StatusCode.OK, "");

    /// <inheritdoc/>
    protected override WriteOptions? WriteOptionsCore { get; set; }

    /// <inheritdoc/>
    protected override AuthContext AuthContextCore => Anonymous;

    /// <inheritdoc/>
    protected override Task WriteResponseHeadersAsyncCore(Metadata responseHeaders)
    {
        ArgumentNullException.ThrowIfNull(responseHeaders);
        SendHeaders(responseHeaders);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    protected override ContextPropagationToken CreatePropagationTokenCore(ContextPropagationOptions? options) =>
        throw new NotSupportedException("Pass the deadline and the cancellation token of the context on instead.");

    // The caller's span: the one that its metadata names, as over a network, else the current one.
    private static Activity? StartActivity(IMethod method, Metadata? headers)
    {
        if (!Core.Telemetry.Activities.HasListeners()) return null;
        var current = Activity.Current;
        ActivityContext.TryParse(headers?.GetValue("traceparent"), headers?.GetValue("tracestate"), out var caller);
        var activity = Core.Telemetry.StartRpc(method.ServiceName, method.Name, ActivityKind.Internal, caller);
        Activity.Current = current; // Not left current on the caller's thread: the call may outlive it.
        return activity;
    }

    // A service that answers only with a status answers; a call that was cut off got no answer.
    private void CompleteHeaders(TaskCompletionSource<Metadata> headers)
    {
        if (!_isCutOff)
        {
            headers.TrySetResult(Metadata.Empty);
            return;
        }

        headers.TrySetException(new RpcException(_final!.Value));
        _ = headers.Task.Exception; // A caller that awaits only the response need not observe the headers.
    }

    private void Keep(ref ITimer? field, ITimer timer)
    {
        lock (_gate)
        {
            if (!_hasEnded)
            {
                field = timer;
                return;
            }
        }

        timer.Dispose();
    }
}
