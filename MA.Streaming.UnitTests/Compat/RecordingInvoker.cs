using Grpc.Core;

namespace MA.Streaming.UnitTests.Compat;

/// <summary>A call as an invoker saw it.</summary>
internal sealed record SeenCall(MethodType? Kind, string Method, string? Host, CallOptions Options, object? Request);

/// <summary>Answers every call with "response" and keeps what it saw. A blocking call has no kind.</summary>
internal sealed class RecordingInvoker : CallInvoker
{
    public List<SeenCall> Seen { get; } = [];

    public override TResponse BlockingUnaryCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method,
        string? host,
        CallOptions options,
        TRequest request)
    {
        Seen.Add(new SeenCall(null, method.FullName, host, options, request));
        return (TResponse)(object)"response";
    }

    public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method,
        string? host,
        CallOptions options,
        TRequest request)
    {
        Seen.Add(new SeenCall(MethodType.Unary, method.FullName, host, options, request));
        return new AsyncUnaryCall<TResponse>(Response<TResponse>(), Headers, Success, NoTrailers, Nothing);
    }

    public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method,
        string? host,
        CallOptions options,
        TRequest request)
    {
        Seen.Add(new SeenCall(MethodType.ServerStreaming, method.FullName, host, options, request));
        return new AsyncServerStreamingCall<TResponse>(Responses<TResponse>(), Headers, Success, NoTrailers, Nothing);
    }

    public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method,
        string? host,
        CallOptions options)
    {
        Seen.Add(new SeenCall(MethodType.ClientStreaming, method.FullName, host, options, null));
        return new AsyncClientStreamingCall<TRequest, TResponse>(Requests<TRequest>(), Response<TResponse>(), Headers, Success, NoTrailers, Nothing);
    }

    public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
        Method<TRequest, TResponse> method,
        string? host,
        CallOptions options)
    {
        Seen.Add(new SeenCall(MethodType.DuplexStreaming, method.FullName, host, options, null));
        return new AsyncDuplexStreamingCall<TRequest, TResponse>(
            Requests<TRequest>(),
            Responses<TResponse>(),
            Headers,
            Success,
            NoTrailers,
            Nothing);
    }

    private static Task<Metadata> Headers => Task.FromResult(new Metadata());

    private static Task<T> Response<T>() => Task.FromResult((T)(object)"response");

    private static IAsyncStreamReader<T> Responses<T>() => new ListReader<T>([(T)(object)"response"]);

    private static IClientStreamWriter<T> Requests<T>() => (IClientStreamWriter<T>)(object)new SilentWriter();

    private static Status Success() => Status.DefaultSuccess;

    private static Metadata NoTrailers() => Metadata.Empty;

    private static void Nothing()
    {
    }
}

/// <summary>Makes a call of every kind through an invoker.</summary>
internal static class EveryKind
{
    public static readonly MethodType?[] InOrder =
        [null, MethodType.Unary, MethodType.ServerStreaming, MethodType.ClientStreaming, MethodType.DuplexStreaming];

    public static readonly string[] MethodsInOrder =
        ["/test.Service/Unary", "/test.Service/Unary", "/test.Service/ServerStreaming", "/test.Service/ClientStreaming", "/test.Service/DuplexStreaming"];

    public static readonly object?[] RequestsInOrder = ["request", "request", "request", null, null];

    /// <summary>The five answers, in the order of <see cref="InOrder"/>.</summary>
    public static object[] Call(CallInvoker invoker, string? host = null, CallOptions options = default) =>
    [
        invoker.BlockingUnaryCall(Method(MethodType.Unary), host, options, "request"),
        invoker.AsyncUnaryCall(Method(MethodType.Unary), host, options, "request"),
        invoker.AsyncServerStreamingCall(Method(MethodType.ServerStreaming), host, options, "request"),
        invoker.AsyncClientStreamingCall(Method(MethodType.ClientStreaming), host, options),
        invoker.AsyncDuplexStreamingCall(Method(MethodType.DuplexStreaming), host, options),
    ];

    public static Method<string, string> Method(MethodType type) =>
        new(type, "test.Service", type.ToString(), Marshallers.StringMarshaller, Marshallers.StringMarshaller);
}

/// <summary>A channel whose invoker records.</summary>
internal sealed class RecordingChannel() : ChannelBase("test-target")
{
    public RecordingInvoker Invoker { get; } = new();

    public int Shutdowns { get; private set; }

    public override CallInvoker CreateCallInvoker() => Invoker;

    protected override Task ShutdownAsyncCore()
    {
        Shutdowns++;
        return Task.CompletedTask;
    }
}
