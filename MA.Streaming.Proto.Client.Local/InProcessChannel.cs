using Grpc.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// A gRPC channel without a network: calls of any generated client go to the handlers of services in the same process. It hands messages
/// over and does not serialise them. Deadlines, cancellation, metadata, trailers, statuses and back pressure are those of a real channel. A
/// handler runs on its caller's thread until its first await. A stream has no thread, and every queue has a limit.
/// </summary>
public sealed class InProcessChannel : ChannelBase
{
    /// <summary>The bytes of the largest request. A larger one is refused with RESOURCE_EXHAUSTED, as the network server does.</summary>
    public const int RequestBytesMax = 16 << 20;

    private readonly InProcessCallInvoker _invoker;

    /// <summary>Makes a channel without services.</summary>
    /// <param name="ended">Is called after every call, with method, status and duration.</param>
    /// <param name="clock">The clock of deadlines.</param>
    public InProcessChannel(Action<string, StatusCode, TimeSpan>? ended = null, TimeProvider? clock = null)
        : base("in-process") => _invoker = new InProcessCallInvoker(ended, clock ?? TimeProvider.System);

    /// <summary>Adds a service. Add all services before the first call. The handlers get copies of the requests, so the caller may change a
    /// request as soon as its call has returned.</summary>
    /// <param name="bind">The generated <c>XxxService.BindService(binder, implementation)</c>.</param>
    public void Bind(Action<ServiceBinderBase> bind)
    {
        ArgumentNullException.ThrowIfNull(bind);
        bind(new Binder(_invoker) { CopiesRequests = true });
    }

    /// <summary>Serves a service whose handlers are done with a request before they first wait (a client stream: before they ask for the next
    /// message). They get the caller's own requests, not copies.</summary>
    /// <param name="bind">The generated <c>XxxService.BindService(binder, implementation)</c>.</param>
    public void BindWithoutCopies(Action<ServiceBinderBase> bind)
    {
        ArgumentNullException.ThrowIfNull(bind);
        bind(new Binder(_invoker) { CopiesRequests = false });
    }

    /// <inheritdoc/>
    public override CallInvoker CreateCallInvoker() => _invoker;

    /// <summary>Refuses new calls with UNAVAILABLE. Open calls go on.</summary>
    public void Close() => _invoker.Close();

    /// <inheritdoc/>
    protected override Task ShutdownAsyncCore()
    {
        Close();
        return Task.CompletedTask;
    }

    private sealed class Binder(InProcessCallInvoker invoker) : ServiceBinderBase
    {
        public required bool CopiesRequests { get; init; }

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, UnaryServerMethod<TRequest, TResponse>? handler) =>
            invoker.Add(method, new() { CopiesRequests = CopiesRequests, Unary = handler });

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, ClientStreamingServerMethod<TRequest, TResponse>? handler) =>
            invoker.Add(method, new() { CopiesRequests = CopiesRequests, ClientStream = handler });

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, ServerStreamingServerMethod<TRequest, TResponse>? handler) =>
            invoker.Add(method, new() { CopiesRequests = CopiesRequests, ServerStream = handler });

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, DuplexStreamingServerMethod<TRequest, TResponse>? handler) =>
            invoker.Add(method, new() { CopiesRequests = CopiesRequests, Duplex = handler });
    }
}

/// <summary>The handler of one method.</summary>
internal sealed class InProcessHandler<TRequest, TResponse>
    where TRequest : class
    where TResponse : class
{
    public UnaryServerMethod<TRequest, TResponse>? Unary { get; init; }

    public ClientStreamingServerMethod<TRequest, TResponse>? ClientStream { get; init; }

    public ServerStreamingServerMethod<TRequest, TResponse>? ServerStream { get; init; }

    public DuplexStreamingServerMethod<TRequest, TResponse>? Duplex { get; init; }

    public required bool CopiesRequests { get; init; }
}
