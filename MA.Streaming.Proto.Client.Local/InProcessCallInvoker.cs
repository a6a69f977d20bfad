using System.Diagnostics;
using Grpc.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>Delivers the calls of generated clients to the handlers of a channel.</summary>
internal sealed class InProcessCallInvoker(Action<string, StatusCode, TimeSpan>? ended, TimeProvider clock) : CallInvoker
{
    private static readonly Func<object, Task<Metadata>> Headers = static call => ((InProcessCall)call).GetHeadersAsync();
    private static readonly Func<object, Status> Status = static call => ((InProcessCall)call).GetStatus();
    private static readonly Func<object, Metadata> Trailers = static call => ((InProcessCall)call).GetTrailers();
    private static readonly Action<object> Dispose = static call => ((InProcessCall)call).Cancel();

    private readonly Dictionary<string, object> _handlers = new(StringComparer.Ordinal);
    private volatile bool _closed;

    /// <summary>The clock of deadlines.</summary>
    public TimeProvider Clock => clock;

    /// <summary>False where nothing is called at the end of a call, so that no call needs to be timed.</summary>
    public bool ObservesCalls => ended is not null;

    /// <summary>Adds the handler of a method, before the first call.</summary>
    public void Add<TRequest, TResponse>(Method<TRequest, TResponse> method, InProcessHandler<TRequest, TResponse> handler)
        where TRequest : class
        where TResponse : class => _handlers.Add(method.FullName, handler);

    /// <summary>Refuses calls from now on.</summary>
    public void Close() => _closed = true;

    /// <summary>A call has ended.</summary>
    public void CallEnded(string method, StatusCode status, long started) => ended?.Invoke(method, status, Stopwatch.GetElapsedTime(started));

    public override TResponse BlockingUnaryCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request)
    {
        var response = Unary(method, host, options, request, out _);
#pragma warning disable RS0030 // The blocking call of the channel: what completes it needs no thread of the pool.
        return response.GetAwaiter().GetResult();
#pragma warning restore RS0030
    }

    public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request)
    {
        var response = Unary(method, host, options, request, out var call);
        return new AsyncUnaryCall<TResponse>(response, Headers, Status, Trailers, Dispose, call);
    }

    public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string? host, CallOptions options)
    {
        var call = Open(method, host, options, out var handler);
        var requests = new InProcessRequestStream<TRequest>(call, method.RequestMarshaller);
        var response = Respond(call, () => handler!.ClientStream!(requests, call));
        return new AsyncClientStreamingCall<TRequest, TResponse>(requests, response, Headers, Status, Trailers, Dispose, call);
    }

    public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request)
    {
        var call = Open(method, host, options, out var handler);
        var responses = new InProcessResponseStream<TResponse>(call);
        if (handler is not null) Stream(call, () => handler.ServerStream!(call.CopyIfNeeded(request, method.RequestMarshaller), responses, call));
        return new AsyncServerStreamingCall<TResponse>(responses, Headers, Status, Trailers, Dispose, call);
    }

    public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string? host, CallOptions options)
    {
        var call = Open(method, host, options, out var handler);
        var requests = new InProcessRequestStream<TRequest>(call, method.RequestMarshaller);
        var responses = new InProcessResponseStream<TResponse>(call);
        if (handler is not null) Stream(call, () => handler.Duplex!(requests, responses, call));
        return new AsyncDuplexStreamingCall<TRequest, TResponse>(requests, responses, Headers, Status, Trailers, Dispose, call);
    }

    // A call that ends before it begins has its status and no handler.
    private InProcessCall Open<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string? host, CallOptions options, out InProcessHandler<TRequest, TResponse>? handler)
        where TRequest : class
        where TResponse : class
    {
        handler = Find(method, out var refused);
        var call = new InProcessCall(this, method, host, options) { CopiesRequests = handler?.CopiesRequests ?? true };
        if (handler is null) call.Complete(refused);
        else if (!call.Begin()) handler = null;
        return call;
    }

    private InProcessHandler<TRequest, TResponse>? Find<TRequest, TResponse>(Method<TRequest, TResponse> method, out Status refused)
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

    private Task<TResponse> Unary<TRequest, TResponse>(
        Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request, out InProcessCall call)
        where TRequest : class
        where TResponse : class
    {
        call = Open(method, host, options, out var handler);
        if (handler is null) return Failed<TResponse>(call);
        Task<TResponse> handling;
        var context = LeaveContext();
        try
        {
            handling = handler.Unary!(call.CopyIfNeeded(request, method.RequestMarshaller), call) ?? throw NoTask();
        }
        catch (Exception exception)
        {
            call.Complete(call.StatusOf(exception));
            return Failed<TResponse>(call);
        }
        finally
        {
            ReturnTo(context);
        }

        return Respond(call, handling);
    }

    private static Task<TResponse> Respond<TResponse>(InProcessCall call, Func<Task<TResponse>> handle)
        where TResponse : class
    {
        if (call.Final is not null) return Failed<TResponse>(call);
        Task<TResponse> handling;
        var context = LeaveContext();
        try
        {
            handling = handle() ?? throw NoTask();
        }
        catch (Exception exception)
        {
            call.Complete(call.StatusOf(exception));
            return Failed<TResponse>(call);
        }
        finally
        {
            ReturnTo(context);
        }

        return Respond(call, handling);
    }

    private static Task<TResponse> Respond<TResponse>(InProcessCall call, Task<TResponse> handling)
        where TResponse : class
    {
        if (handling.IsCompletedSuccessfully)
        {
#pragma warning disable RS0030 // Completed.
            var response = handling.Result;
#pragma warning restore RS0030
            return Complete(call, response) ? handling : Failed<TResponse>(call);
        }

        // The client learns of a cancel or the deadline at once, whether or not the handler has ended.
        var promise = new TaskCompletionSource<TResponse>(TaskCreationOptions.RunContinuationsAsynchronously);
        call.WhenEnded(() =>
        {
            if (call.GetStatus().StatusCode != StatusCode.OK) Fail(promise, call);
        });
        _ = AwaitAsync(call, handling, promise);
        return promise.Task;
    }

    private static async Task AwaitAsync<TResponse>(InProcessCall call, Task<TResponse> handling, TaskCompletionSource<TResponse> promise)
        where TResponse : class
    {
        try
        {
            var response = await handling.ConfigureAwait(false);
            if (Complete(call, response)) promise.TrySetResult(response);
        }
        catch (Exception exception)
        {
            call.Complete(call.StatusOf(exception));
        }
    }

    // True when the call ends with this response.
    private static bool Complete<TResponse>(InProcessCall call, TResponse? response)
        where TResponse : class
    {
        if (response is null) return call.Complete(new Status(StatusCode.Cancelled, "No message returned from method.")) && false;
        if (call.Status.StatusCode != StatusCode.OK) return call.Complete(call.Status) && false;
        call.SendHeaders();
        return call.Complete(call.Status);
    }

    private static Task<TResponse> Failed<TResponse>(InProcessCall call)
    {
        var promise = new TaskCompletionSource<TResponse>();
        Fail(promise, call);
        return promise.Task;
    }

    private static void Fail<TResponse>(TaskCompletionSource<TResponse> promise, InProcessCall call)
    {
        if (!promise.TrySetException(call.ToException(call.GetStatus()))) return;
        _ = promise.Task.Exception; // A caller that does not await its response has chosen not to know.
    }

    // A handler's awaits never go back to its caller's context, which a blocking call blocks.
    private static SynchronizationContext? LeaveContext()
    {
        var context = SynchronizationContext.Current;
        if (context is not null) SynchronizationContext.SetSynchronizationContext(null);
        return context;
    }

    private static void ReturnTo(SynchronizationContext? context)
    {
        if (context is not null) SynchronizationContext.SetSynchronizationContext(context);
    }

    private static InvalidOperationException NoTask() => new("The handler returned no task.");

    private static void Stream(InProcessCall call, Func<Task> handle)
    {
        Task handling;
        var context = LeaveContext();
        try
        {
            handling = handle() ?? throw NoTask();
        }
        catch (Exception exception)
        {
            call.Complete(call.StatusOf(exception));
            return;
        }
        finally
        {
            ReturnTo(context);
        }

        _ = AwaitAsync();

        async Task AwaitAsync()
        {
            try
            {
                await handling.ConfigureAwait(false);
                call.SendHeaders();
                call.Complete(call.Status);
            }
            catch (Exception exception)
            {
                call.Complete(call.StatusOf(exception));
            }
        }
    }
}
