using Grpc.Core;
using Grpc.Core.Interceptors;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class InterceptorTests
{
    [Test]
    public void Intercept_NothingOverridden_LetsEveryCallThrough()
    {
        var invoker = new RecordingInvoker();
        var headers = new Metadata();

        var answers = EveryKind.Call(invoker.Intercept(new PassingInterceptor()), "host", new CallOptions(headers));

        Assert.That(invoker.Seen.Select(call => call.Kind), Is.EqualTo(EveryKind.InOrder));
        Assert.That(invoker.Seen.Select(call => call.Method), Is.EqualTo(EveryKind.MethodsInOrder));
        Assert.That(invoker.Seen.Select(call => call.Request), Is.EqualTo(EveryKind.RequestsInOrder));
        Assert.That(invoker.Seen.Select(call => call.Host), Is.All.EqualTo("host"));
        Assert.That(invoker.Seen.Select(call => call.Options.Headers), Is.All.SameAs(headers));
        Assert.That(answers[0], Is.EqualTo("response"));
        Assert.That(answers, Is.All.Not.Null);
    }

    [Test]
    public void Intercept_SeveralAtOnce_TheFirstIsOutermost()
    {
        var log = new List<string>();
        var invoker = new RecordingInvoker();

        EveryKind.Call(
            invoker.Intercept(new NamedInterceptor("a", log), new NamedInterceptor("b", log), new NamedInterceptor("c", log)));

        Assert.That(invoker.Seen, Has.Count.EqualTo(5));
        Assert.That(log, Has.Count.EqualTo(15));
        Assert.That(log.Chunk(3).Select(names => string.Concat(names)), Is.All.EqualTo("abc"));
    }

    [Test]
    public void Intercept_OneAfterTheOther_TheLastIsOutermost()
    {
        var log = new List<string>();

        EveryKind.Call(new RecordingInvoker().Intercept(new NamedInterceptor("a", log)).Intercept(new NamedInterceptor("b", log)));

        Assert.That(log, Has.Count.EqualTo(10));
        Assert.That(log.Chunk(2).Select(names => string.Concat(names)), Is.All.EqualTo("ba"));
    }

    [Test]
    public void Intercept_ContextChanged_TheInvokerSeesTheChange()
    {
        var invoker = new RecordingInvoker();

        var answer = invoker.Intercept(new RewritingInterceptor())
            .BlockingUnaryCall(EveryKind.Method(MethodType.Unary), "host", default, "request");

        var seen = invoker.Seen.Single();
        Assert.That(seen.Method, Is.EqualTo("/test.Service/DuplexStreaming"));
        Assert.That(seen.Host, Is.EqualTo("host, rewritten"));
        Assert.That(seen.Options.Deadline, Is.EqualTo(DateTime.MaxValue));
        Assert.That(seen.Request, Is.EqualTo("request, rewritten"));
        Assert.That(answer, Is.EqualTo("response, rewritten"));
    }

    [Test]
    public void Intercept_HeadersFunction_ReplacesTheHeadersOfEveryKind()
    {
        var invoker = new RecordingInvoker();
        var given = new Metadata { { "given", "1" } };
        var replaced = new Metadata { { "replaced", "1" } };
        var asked = new List<Metadata>();

        EveryKind.Call(
            invoker.Intercept(headers =>
            {
                asked.Add(headers);
                return replaced;
            }),
            "host",
            new CallOptions(given));

        Assert.That(asked, Has.Count.EqualTo(5).And.All.SameAs(given));
        Assert.That(invoker.Seen.Select(call => call.Options.Headers), Is.All.SameAs(replaced));
        Assert.That(invoker.Seen.Select(call => call.Host), Is.All.EqualTo("host"));
        Assert.That(invoker.Seen.Select(call => call.Kind), Is.EqualTo(EveryKind.InOrder));
    }

    [Test]
    public void Intercept_HeadersFunctionAndCallWithoutHeaders_GetsNewOnes()
    {
        var invoker = new RecordingInvoker();

        EveryKind.Call(
            invoker.Intercept(headers =>
            {
                headers.Add("added", "1");
                return headers;
            }));

        Assert.That(invoker.Seen, Has.Count.EqualTo(5));
        Assert.That(invoker.Seen.Select(call => call.Options.Headers!.Single().Key), Is.All.EqualTo("added"));
    }

    [Test]
    public void Intercept_Channel_WorksOnItsInvoker()
    {
        var log = new List<string>();
        var channel = new RecordingChannel();

        EveryKind.Call(channel.Intercept(new NamedInterceptor("a", log)));
        EveryKind.Call(channel.Intercept(new NamedInterceptor("b", log), new NamedInterceptor("c", log)));
        EveryKind.Call(channel.Intercept(_ => new Metadata { { "function", "1" } }));

        Assert.That(channel.Invoker.Seen, Has.Count.EqualTo(15));
        Assert.That(string.Concat(log), Is.EqualTo("aaaaabcbcbcbcbc"));
        Assert.That(channel.Invoker.Seen.Skip(10).Select(call => call.Options.Headers!.Single().Key), Is.All.EqualTo("function"));
    }

    [Test]
    public void Intercept_Null_Throws()
    {
        var invoker = new RecordingInvoker();
        var channel = new RecordingChannel();
        var interceptor = new PassingInterceptor();

        Assert.That(() => ((CallInvoker)null!).Intercept(interceptor), Throws.ArgumentNullException);
        Assert.That(() => ((CallInvoker)null!).Intercept(interceptor, interceptor), Throws.ArgumentNullException);
        Assert.That(() => ((CallInvoker)null!).Intercept(headers => headers), Throws.ArgumentNullException);
        Assert.That(() => invoker.Intercept((Interceptor)null!), Throws.ArgumentNullException);
        Assert.That(() => invoker.Intercept(interceptor, null!), Throws.ArgumentNullException);
        Assert.That(() => invoker.Intercept((Func<Metadata, Metadata>)null!), Throws.ArgumentNullException);
        Assert.That(() => channel.Intercept((Interceptor)null!), Throws.ArgumentNullException);
    }

    [Test]
    public async Task ServerHandlers_NothingOverridden_CallTheContinuation()
    {
        var interceptor = new PassingInterceptor();
        var context = new TestServerCallContext();
        var reader = new ListReader<string>([]);
        var writer = new SilentWriter();
        var seen = new List<object>();

        Task<string> Answer(params object[] arguments)
        {
            seen.AddRange(arguments);
            return Task.FromResult("response");
        }

        var unary = await interceptor.UnaryServerHandler<string, string>("request", context, (request, call) => Answer(request, call));
        var joined = await interceptor.ClientStreamingServerHandler<string, string>(reader, context, (requests, call) => Answer(requests, call));
        await interceptor.ServerStreamingServerHandler<string, string>(
            "request",
            writer,
            context,
            (request, responses, call) => Answer(request, responses, call));
        await interceptor.DuplexStreamingServerHandler<string, string>(
            reader,
            writer,
            context,
            (requests, responses, call) => Answer(requests, responses, call));

        Assert.That(unary, Is.EqualTo("response"));
        Assert.That(joined, Is.EqualTo("response"));
        Assert.That(
            seen,
            Is.EqualTo(new object[] { "request", context, reader, context, "request", writer, context, reader, writer, context }));
    }

    [Test]
    public void ClientInterceptorContext_Members_AreThoseGiven()
    {
        var method = EveryKind.Method(MethodType.Unary);

        var context = new ClientInterceptorContext<string, string>(method, "host", new CallOptions().WithWaitForReady());

        Assert.That(context.Method, Is.SameAs(method));
        Assert.That(context.Host, Is.EqualTo("host"));
        Assert.That(context.Options.IsWaitForReady, Is.True);
    }

    private sealed class PassingInterceptor : Interceptor;

    private sealed class NamedInterceptor(string name, List<string> log) : Interceptor
    {
        public override TResponse BlockingUnaryCall<TRequest, TResponse>(
            TRequest request,
            ClientInterceptorContext<TRequest, TResponse> context,
            BlockingUnaryCallContinuation<TRequest, TResponse> continuation)
        {
            log.Add(name);
            return continuation(request, context);
        }

        public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
            TRequest request,
            ClientInterceptorContext<TRequest, TResponse> context,
            AsyncUnaryCallContinuation<TRequest, TResponse> continuation)
        {
            log.Add(name);
            return continuation(request, context);
        }

        public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
            TRequest request,
            ClientInterceptorContext<TRequest, TResponse> context,
            AsyncServerStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            log.Add(name);
            return continuation(request, context);
        }

        public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(
            ClientInterceptorContext<TRequest, TResponse> context,
            AsyncClientStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            log.Add(name);
            return continuation(context);
        }

        public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
            ClientInterceptorContext<TRequest, TResponse> context,
            AsyncDuplexStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            log.Add(name);
            return continuation(context);
        }
    }

    private sealed class RewritingInterceptor : Interceptor
    {
        public override TResponse BlockingUnaryCall<TRequest, TResponse>(
            TRequest request,
            ClientInterceptorContext<TRequest, TResponse> context,
            BlockingUnaryCallContinuation<TRequest, TResponse> continuation)
        {
            var method = (Method<TRequest, TResponse>)(object)EveryKind.Method(MethodType.DuplexStreaming);
            var rewritten = new ClientInterceptorContext<TRequest, TResponse>(
                method,
                context.Host + ", rewritten",
                context.Options.WithDeadline(DateTime.MaxValue));
            return (TResponse)(object)$"{continuation((TRequest)(object)$"{request}, rewritten", rewritten)}, rewritten";
        }
    }
}
