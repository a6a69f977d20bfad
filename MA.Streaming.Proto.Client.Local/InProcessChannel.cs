using System.Diagnostics;
using Google.Protobuf;
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

    private readonly Dictionary<string, object> _handlers = new(StringComparer.Ordinal);
    private readonly Binder _binder;
    private readonly Action<string, StatusCode, TimeSpan>? _ended;
    private volatile bool _closed;

    /// <summary>Makes a channel without services.</summary>
    /// <param name="ended">Is called after every call, with method, status and duration.</param>
    /// <param name="clock">The clock of deadlines.</param>
    public InProcessChannel(Action<string, StatusCode, TimeSpan>? ended = null, TimeProvider? clock = null)
        : base("in-process")
    {
        _ended = ended;
        Clock = clock ?? TimeProvider.System;
        _binder = new Binder(_handlers);
    }

    internal TimeProvider Clock { get; }

    internal bool ObservesCalls => _ended is not null;

    /// <summary>Adds a service. Add all services before the first call.</summary>
    /// <param name="bind">The generated <c>XxxService.BindService(binder, implementation)</c>.</param>
    /// <param name="takesRequestsAtOnce">True if the handlers use a request only before they first wait (in a client stream: before they ask
    /// for the next message). The channel then does not copy requests, although the caller may go on using them.</param>
    public void Bind(Action<ServiceBinderBase> bind, bool takesRequestsAtOnce = false)
    {
        ArgumentNullException.ThrowIfNull(bind);
        _binder.TakesRequestsAtOnce = takesRequestsAtOnce;
        bind(_binder);
    }

    /// <inheritdoc/>
    public override CallInvoker CreateCallInvoker() => new InProcessCallInvoker(this);

    /// <summary>Refuses new calls with UNAVAILABLE. Open calls go on.</summary>
    public void Close() => _closed = true;

    /// <inheritdoc/>
    protected override Task ShutdownAsyncCore()
    {
        Close();
        return Task.CompletedTask;
    }

    /// <summary>The handler of a method, or the status that says why there is none.</summary>
    internal InProcessHandler<TRequest, TResponse>? Find<TRequest, TResponse>(Method<TRequest, TResponse> method, out Status refused)
        where TRequest : class
        where TResponse : class
    {
        refused = default;
        if (_closed)
        {
            refused = new Status(StatusCode.Unavailable, "the Stream API is shutting down");
            return null;
        }

        if (_handlers.TryGetValue(method.FullName, out var handler)) return (InProcessHandler<TRequest, TResponse>)handler;
        refused = new Status(StatusCode.Unimplemented, $"{method.FullName} is not served here");
        return null;
    }

    internal void CallEnded(string method, StatusCode status, long started) => _ended?.Invoke(method, status, Stopwatch.GetElapsedTime(started));

    private sealed class Binder(Dictionary<string, object> handlers) : ServiceBinderBase
    {
        public bool TakesRequestsAtOnce { get; set; }

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, UnaryServerMethod<TRequest, TResponse>? handler) =>
            Add(method, new() { Unary = handler });

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, ClientStreamingServerMethod<TRequest, TResponse>? handler) =>
            Add(method, new() { ClientStream = handler });

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, ServerStreamingServerMethod<TRequest, TResponse>? handler) =>
            Add(method, new() { ServerStream = handler });

        public override void AddMethod<TRequest, TResponse>(Method<TRequest, TResponse> method, DuplexStreamingServerMethod<TRequest, TResponse>? handler) =>
            Add(method, new() { Duplex = handler });

        private void Add<TRequest, TResponse>(Method<TRequest, TResponse> method, InProcessHandler<TRequest, TResponse> handler)
            where TRequest : class
            where TResponse : class
        {
            handler.TakesRequestsAtOnce = TakesRequestsAtOnce;
            handlers.Add(method.FullName, handler);
        }
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

    public bool TakesRequestsAtOnce { get; set; }

    /// <summary>The message the handler gets: its own, unless it is done with it before the caller goes on.</summary>
    public TRequest Own(TRequest request, Method<TRequest, TResponse> method)
    {
        if (request is IMessage message && message.CalculateSize() is var size && size > InProcessChannel.RequestBytesMax)
        {
            throw new RpcException(new Status(
                StatusCode.ResourceExhausted, $"{method.FullName}: the request has {size} bytes; allowed are {InProcessChannel.RequestBytesMax}"));
        }

        if (TakesRequestsAtOnce) return request;
        return request is IDeepCloneable<TRequest> cloneable ? cloneable.Clone() : Copy(request, method.RequestMarshaller);
    }

    private static TRequest Copy(TRequest request, Marshaller<TRequest> marshaller)
    {
        var bytes = new InProcessBytes();
        marshaller.ContextualSerializer(request, bytes);
        return marshaller.ContextualDeserializer(new InProcessBytes.Reader(bytes.Written));
    }
}
