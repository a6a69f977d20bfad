using Grpc.Core;
using Grpc.Core.Interceptors;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.InProcessChannel;

/// <summary>What streams do at their edges: misuse, back pressure, withdrawal, refusal.</summary>
[TestFixture]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class StreamTests
{
    private readonly ChannelService _service = new();

    [Test]
    public async Task AllKinds_Defaults_Answer()
    {
        var client = _service.Client();
        Assert.That(client.Echo(new Text { Value = "a" }).Value, Is.EqualTo("a"));
        Assert.That((await client.EchoAsync(new Text { Value = "b" }).ResponseAsync.WithDeadline()).Value, Is.EqualTo("b"));

        using var join = client.Join();
        await join.RequestStream.WriteAsync(new Text { Value = "c" }).WithDeadline();
        await join.RequestStream.WriteAsync(new Text { Value = "d" }).WithDeadline();
        await join.RequestStream.CompleteAsync().WithDeadline();
        Assert.That((await join.ResponseAsync.WithDeadline()).Value, Is.EqualTo("c d"));

        using var split = client.Split(new Text { Value = "e f g" });
        Assert.That(await AllAsync(split.ResponseStream), Is.EqualTo(new[] { "e", "f", "g" }));

        using var chat = client.Chat();
        for (var i = 0; i < 10; i++)
        {
            await chat.RequestStream.WriteAsync(new Text { Value = $"{i}" }).WithDeadline();
            Assert.That(await chat.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.True);
            Assert.That(chat.ResponseStream.Current.Value, Is.EqualTo($"{i}"));
        }

        await chat.RequestStream.CompleteAsync().WithDeadline();
        Assert.That(await chat.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.False);
        Assert.That(chat.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
    }

    [Test]
    public async Task Interceptor_OfTheClient_SeesEveryKind()
    {
        _service.Client(out var channel);
        var interceptor = new Counting();
        var client = new Trial.TrialClient(channel.Intercept(interceptor));
        client.Echo(new Text());
        await client.EchoAsync(new Text()).ResponseAsync.WithDeadline();
        using var join = client.Join();
        using var split = client.Split(new Text());
        using var chat = client.Chat();

        Assert.That(interceptor.Kinds, Is.EqualTo(new[] { "blocking", "unary", "join", "split", "chat" }));
    }

    [Test]
    public async Task Interceptor_OfTheClient_ChangesRequestMetadataAndResponse()
    {
        string? seen = null;
        _service.OnEcho = (request, context) =>
        {
            seen = context.RequestHeaders.GetValue("added");
            return Task.FromResult(request);
        };
        _service.Client(out var channel);
        var client = new Trial.TrialClient(channel.Intercept(new Changing()));

        Assert.That((await client.EchoAsync(new Text { Value = "asked" }).ResponseAsync.WithDeadline()).Value, Is.EqualTo("changed, answered"));
        Assert.That(seen, Is.EqualTo("by the interceptor"));
    }

    [Test]
    public async Task Method_NotServed_IsUnimplemented()
    {
        var channel = new Proto.Client.Local.InProcessChannel();
        var client = new Trial.TrialClient(channel);

        Assert.That((await StatusAsync(client.EchoAsync(new Text()).ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Unimplemented));
        Assert.That((await StatusAsync(client.Join().ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Unimplemented));
        Assert.That((await StatusAsync(client.Split(new Text()).ResponseStream.MoveNext(CancellationToken.None))).StatusCode, Is.EqualTo(StatusCode.Unimplemented));
        using var chat = client.Chat();
        Assert.That((await StatusAsync(chat.RequestStream.WriteAsync(new Text()))).StatusCode, Is.EqualTo(StatusCode.Unimplemented));
        Assert.That(() => client.Echo(new Text()), Throws.InstanceOf<RpcException>());
    }

    [Test]
    public async Task Method_HandlerNotImplemented_IsUnimplemented()
    {
        var client = _service.Client();

        Assert.That((await StatusAsync(client.HangAsync(new Text()).ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Unimplemented));
    }

    [Test]
    public async Task Channel_Closed_RefusesNewCallsAndKeepsOpenOnes()
    {
        var client = _service.Client(out var channel);
        using var chat = client.Chat();
        channel.Close();

        Assert.That((await StatusAsync(client.EchoAsync(new Text()).ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Unavailable));
        await chat.RequestStream.WriteAsync(new Text { Value = "still" }).WithDeadline();
        Assert.That(await chat.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.True);
    }

    [Test]
    public async Task Request_Over16MiB_IsResourceExhausted()
    {
        var ran = false;
        _service.OnEcho = (request, _) =>
        {
            ran = true;
            return Task.FromResult(request);
        };
        var client = _service.Client();
        var large = new Text { Value = new string('x', Proto.Client.Local.InProcessChannel.RequestBytesMax) };
        Assert.That((await StatusAsync(client.EchoAsync(large).ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
        Assert.That(ran, Is.False);

        using var join = client.Join();
        Assert.That((await StatusAsync(join.RequestStream.WriteAsync(large))).StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
        Assert.That((await StatusAsync(join.ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));

        using var split = client.Split(large);
        var status = await StatusAsync(split.ResponseStream.MoveNext(CancellationToken.None));
        Assert.That(status.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
        Assert.That(status.Detail, Does.Contain(large.CalculateSize().ToString(System.Globalization.CultureInfo.InvariantCulture)).And.Contain("16777216"));
    }

    [Test]
    public async Task Request_Of16MiBExactly_Passes()
    {
        var text = new Text { Value = new string('x', Proto.Client.Local.InProcessChannel.RequestBytesMax - 5) };
        Assert.That(text.CalculateSize(), Is.EqualTo(Proto.Client.Local.InProcessChannel.RequestBytesMax));

        Assert.That((await _service.Client().EchoAsync(text).ResponseAsync.WithDeadline()).Value, Has.Length.EqualTo(text.Value.Length));
    }

    // Responses: back pressure.

    [Test]
    public async Task WriteAsync_ClientTakesNothing_WaitsAtTheCount()
    {
        var written = 0;
        var (waits, done) = (Signal(), Signal());
        _service.OnSplit = async (_, responses, _) =>
        {
            for (var i = 0; i < 1_000; i++)
            {
                var writing = responses.WriteAsync(new Text { Value = $"{i}" });
                if (!writing.IsCompleted) waits.TrySetResult();
                await writing;
                Interlocked.Increment(ref written);
            }

            done.SetResult();
        };
        using var call = _service.Client().Split(new Text());
        await waits.Task.WithDeadline();
        Assert.That(written, Is.InRange(2, 256));

        Assert.That(await AllAsync(call.ResponseStream), Is.EqualTo(Enumerable.Range(0, 1_000).Select(i => $"{i}")));
        await done.Task.WithDeadline();
    }

    [TestCase(100_000)]
    [TestCase(300_000)]
    [TestCase(4_000_000)]
    public async Task WriteAsync_ClientTakesNothing_WaitsAtTheBytes(int bytes)
    {
        var written = 0;
        var waits = Signal();
        _service.OnSplit = async (_, responses, _) =>
        {
            for (var i = 0; i < 20; i++)
            {
                var writing = responses.WriteAsync(new Text { Value = new string((char)('a' + i), bytes) });
                if (!writing.IsCompleted) waits.TrySetResult();
                await writing;
                Interlocked.Increment(ref written);
            }
        };
        using var call = _service.Client().Split(new Text());
        await waits.Task.WithDeadline();
        Assert.That(written, Is.InRange(2, 2 + ((256 << 10) / bytes)), "two whatever their size, more only while they are small");

        var all = await AllAsync(call.ResponseStream);
        Assert.That(all.Select(t => t[0]), Is.EqualTo(Enumerable.Range(0, 20).Select(i => (char)('a' + i))));
    }

    [TestCase(10, 257)]
    [TestCase(20_000, 14)]
    [TestCase(4_000_000, 3)]
    public async Task WriteAsync_ClientTakesOne_WaitsAgainWithinTheBounds(int bytes, int writtenMax)
    {
        var written = 0;
        using var waits = new SemaphoreSlim(0);
        _service.OnSplit = async (_, responses, context) =>
        {
            while (true)
            {
                var writing = responses.WriteAsync(new Text { Value = new string('x', bytes) }, context.CancellationToken);
                if (!writing.IsCompleted) waits.Release();
                await writing;
                Interlocked.Increment(ref written);
            }
        };
        using var call = _service.Client().Split(new Text());
        await waits.WaitAsync().WithDeadline();
        Assert.That(await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline());
        await waits.WaitAsync().WithDeadline();

        Assert.That(written, Is.InRange(3, writtenMax), "what the client has taken ahead counts too");
    }

    [Test]
    public async Task WriteAsync_MessagesOfAnySize_ArriveOnceAndInOrder()
    {
        var random = new Random(11);
        var sent = Enumerable.Range(0, 3_000).Select(i => $"{i} {new string('x', random.Next(20) switch { 0 => 140_000, < 5 => 3_000, _ => 20 })}").ToArray();
        _service.OnSplit = async (_, responses, _) =>
        {
            foreach (var text in sent)
            {
                if (text.Length % 7 == 0) await Task.Yield();
                await responses.WriteAsync(new Text { Value = text });
            }
        };
        using var call = _service.Client().Split(new Text());

        Assert.That(await AllAsync(call.ResponseStream), Is.EqualTo(sent));
    }

    [Test]
    public async Task WriteAsync_CancelledWhileItWaits_WithdrawsTheMessage()
    {
        var withdrawn = Signal();
        _service.OnSplit = async (_, responses, _) =>
        {
            using var source = new CancellationTokenSource();
            for (var i = 0; ; i++)
            {
                var writing = responses.WriteAsync(new Text { Value = $"{i}" }, source.Token);
                if (writing.IsCompleted) continue;
                source.Cancel();
                Assert.That(async () => await writing, Throws.InstanceOf<OperationCanceledException>());
                withdrawn.SetResult();
                break;
            }

            await responses.WriteAsync(new Text { Value = "last" }, CancellationToken.None);
        };
        using var call = _service.Client().Split(new Text());
        await withdrawn.Task.WithDeadline();
        var all = await AllAsync(call.ResponseStream);

        Assert.That(all[^1], Is.EqualTo("last"));
        Assert.That(all[..^1], Is.EqualTo(Enumerable.Range(0, all.Count - 1).Select(i => $"{i}")));
        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
    }

    [Test]
    public async Task WriteAsync_WhileOneWaits_Throws()
    {
        var outcome = new TaskCompletionSource<Exception?>();
        _service.OnSplit = async (_, responses, _) =>
        {
            Task writing;
            do writing = responses.WriteAsync(new Text());
            while (writing.IsCompleted);
            try
            {
                await responses.WriteAsync(new Text());
                outcome.SetResult(null);
            }
            catch (Exception exception)
            {
                outcome.SetResult(exception);
            }
        };
        using var call = _service.Client().Split(new Text());

        Assert.That(await outcome.Task.WithDeadline(), Is.InstanceOf<InvalidOperationException>());
    }

    [Test]
    public async Task WriteAsync_ClientGone_FailsAndHandlerEnds()
    {
        var outcome = new TaskCompletionSource<Exception?>();
        _service.OnSplit = async (_, responses, _) =>
        {
            try
            {
                while (true) await responses.WriteAsync(new Text());
            }
            catch (Exception exception)
            {
                outcome.SetResult(exception);
            }
        };
        var call = _service.Client().Split(new Text());
        call.Dispose();

        Assert.That(await outcome.Task.WithDeadline(), Is.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void MoveNext_WhileOneWaits_Throws()
    {
        _service.OnSplit = (_, _, _) => new TaskCompletionSource().Task;
        using var call = _service.Client().Split(new Text());
        var first = call.ResponseStream.MoveNext(CancellationToken.None);

        Assert.That(() => call.ResponseStream.MoveNext(CancellationToken.None), Throws.InvalidOperationException);
        Assert.That(first.IsCompleted, Is.False);
    }

    [Test]
    public void Current_BeforeMoveNext_Throws()
    {
        using var call = _service.Client().Split(new Text { Value = "a" });

        Assert.That(() => call.ResponseStream.Current, Throws.InvalidOperationException);
    }

    [Test]
    public async Task MoveNext_HandlerFailsAfterMessages_DeliversThemFirst()
    {
        _service.OnSplit = async (_, responses, _) =>
        {
            await responses.WriteAsync(new Text { Value = "a" });
            await responses.WriteAsync(new Text { Value = "b" });
            throw new RpcException(new Status(StatusCode.OutOfRange, "end"));
        };
        using var call = _service.Client().Split(new Text());

        Assert.That(await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.True);
        Assert.That(await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.True);
        Assert.That((await StatusAsync(call.ResponseStream.MoveNext(CancellationToken.None))).StatusCode, Is.EqualTo(StatusCode.OutOfRange));
        Assert.That((await StatusAsync(call.ResponseStream.MoveNext(CancellationToken.None))).StatusCode, Is.EqualTo(StatusCode.OutOfRange));
    }

    [Test]
    public async Task MoveNext_AfterTheEnd_StaysFalse()
    {
        using var call = _service.Client().Split(new Text { Value = "a" });
        await AllAsync(call.ResponseStream);

        Assert.That(await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.False);
    }

    [Test]
    public async Task MoveNext_TokenCancelledWhileItWaits_CancelsTheCall()
    {
        var told = Signal();
        _service.OnSplit = (_, _, context) =>
        {
            context.CancellationToken.Register(() => told.TrySetResult());
            return new TaskCompletionSource().Task;
        };
        using var call = _service.Client().Split(new Text());
        using var source = new CancellationTokenSource();
        var next = call.ResponseStream.MoveNext(source.Token);
        await source.CancelAsync();

        Assert.That((await StatusAsync(next)).StatusCode, Is.EqualTo(StatusCode.Cancelled));
        await told.Task.WithDeadline();
    }

    [Test]
    public async Task MoveNext_TokenCancelledThoughMessagesWait_CancelsTheCall()
    {
        // A writer that is always ahead must not keep a reader that was told to stop.
        _service.OnSplit = async (_, responses, _) =>
        {
            while (true) await responses.WriteAsync(new Text());
        };
        using var call = _service.Client().Split(new Text());
        await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline();

        Assert.That((await StatusAsync(call.ResponseStream.MoveNext(new CancellationToken(true)))).StatusCode, Is.EqualTo(StatusCode.Cancelled));
    }

    [Test]
    public async Task MoveNext_CallDisposedThoughMessagesWait_GivesNoneOfThem()
    {
        _service.OnSplit = async (_, responses, context) =>
        {
            while (true) await responses.WriteAsync(new Text(), context.CancellationToken);
        };
        var call = _service.Client().Split(new Text());
        await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline();
        call.Dispose();

        Assert.That((await StatusAsync(call.ResponseStream.MoveNext(CancellationToken.None))).StatusCode, Is.EqualTo(StatusCode.Cancelled));
    }

    // Requests.

    [Test]
    public async Task WriteAsync_HandlerSlow_WaitsUntilItAsksForTheNext()
    {
        var goOn = Signal();
        _service.OnJoin = async (requests, _) =>
        {
            var words = new List<string>();
            while (await requests.MoveNext(CancellationToken.None))
            {
                words.Add(requests.Current.Value);
                if (words.Count == 1) await goOn.Task;
            }

            return new Text { Value = string.Join(' ', words) };
        };
        using var call = _service.Client().Join();
        var first = call.RequestStream.WriteAsync(new Text { Value = "a" });
        Assert.That(first.IsCompleted, Is.False);
        Assert.That(() => call.RequestStream.WriteAsync(new Text { Value = "b" }), Throws.InvalidOperationException);
        Assert.That(() => call.RequestStream.CompleteAsync(), Throws.InvalidOperationException);
        goOn.SetResult();
        await first.WithDeadline();
        await call.RequestStream.CompleteAsync().WithDeadline();

        Assert.That((await call.ResponseAsync.WithDeadline()).Value, Is.EqualTo("a"));
    }

    [Test]
    public async Task WriteAsync_FromTwoThreadsAtOnce_SecondThrowsAndFirstCompletes()
    {
        using var inside = new ManualResetEventSlim();
        using var goOn = new ManualResetEventSlim();
        var finish = Signal();
        _service.OnJoin = async (requests, _) =>
        {
            await requests.MoveNext(CancellationToken.None);
            inside.Set();
            goOn.WaitWithDeadline();
            await finish.Task;
            await requests.MoveNext(CancellationToken.None);
            return new Text();
        };
        using var call = _service.Client().Join();
        var first = Task.Run(() => call.RequestStream.WriteAsync(new Text { Value = "a" }));
        inside.WaitWithDeadline();
        Exception? second = null;
        try
        {
            _ = call.RequestStream.WriteAsync(new Text { Value = "b" });
        }
        catch (InvalidOperationException exception)
        {
            second = exception;
        }

        goOn.Set();
        finish.SetResult();
        await first.WithDeadline();
        Assert.That(second, Is.Not.Null);
    }

    [Test]
    public async Task WriteAsync_AfterComplete_Throws()
    {
        _service.OnJoin = (_, _) => new TaskCompletionSource<Text>().Task;
        using var call = _service.Client().Join();
        await call.RequestStream.CompleteAsync().WithDeadline();
        await call.RequestStream.CompleteAsync().WithDeadline();

        Assert.That(() => call.RequestStream.WriteAsync(new Text()), Throws.InvalidOperationException);
    }

    [Test]
    public async Task WriteAsync_HandlerHasEnded_FailsWithItsStatus()
    {
        _service.OnJoin = (_, _) => throw new RpcException(new Status(StatusCode.PermissionDenied, "no"));
        using var call = _service.Client().Join();

        Assert.That((await StatusAsync(call.RequestStream.WriteAsync(new Text()))).StatusCode, Is.EqualTo(StatusCode.PermissionDenied));
        await call.RequestStream.CompleteAsync().WithDeadline();
        Assert.That((await StatusAsync(call.ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.PermissionDenied));
    }

    [Test]
    public async Task WriteAsync_HandlerEndsWhileItWaits_FailsWithItsStatus()
    {
        var goOn = Signal();
        _service.OnJoin = async (_, _) =>
        {
            await goOn.Task;
            throw new RpcException(new Status(StatusCode.PermissionDenied, "no"));
        };
        using var call = _service.Client().Join();
        var writing = call.RequestStream.WriteAsync(new Text());
        goOn.SetResult();

        Assert.That((await StatusAsync(writing)).StatusCode, Is.EqualTo(StatusCode.PermissionDenied));
    }

    [Test]
    public async Task WriteAsync_CancelledWhileItWaits_WithdrawsTheRequest()
    {
        var goOn = Signal();
        _service.OnJoin = async (requests, _) =>
        {
            await goOn.Task;
            var words = new List<string>();
            while (await requests.MoveNext(CancellationToken.None)) words.Add(requests.Current.Value);
            return new Text { Value = string.Join(' ', words) };
        };
        using var call = _service.Client().Join();
        using var source = new CancellationTokenSource();
        var writing = call.RequestStream.WriteAsync(new Text { Value = "withdrawn" }, source.Token);
        await source.CancelAsync();
        Assert.That(async () => await writing.WithDeadline(), Throws.InstanceOf<OperationCanceledException>());
        var second = call.RequestStream.WriteAsync(new Text { Value = "kept" });
        goOn.SetResult();
        await second.WithDeadline();
        await call.RequestStream.CompleteAsync().WithDeadline();

        Assert.That((await call.ResponseAsync.WithDeadline()).Value, Is.EqualTo("kept"));
    }

    [Test]
    public async Task MoveNext_HandlersTokenCancelled_EndsTheWaitOnly()
    {
        var outcome = new TaskCompletionSource<Exception?>();
        using var source = new CancellationTokenSource();
        _service.OnJoin = async (requests, _) =>
        {
            try
            {
                await requests.MoveNext(source.Token);
                outcome.SetResult(null);
            }
            catch (Exception exception)
            {
                outcome.SetResult(exception);
            }

            await requests.MoveNext(CancellationToken.None);
            return requests.Current;
        };
        using var call = _service.Client().Join();
        await source.CancelAsync();
        Assert.That(await outcome.Task.WithDeadline(), Is.InstanceOf<OperationCanceledException>());
        await call.RequestStream.WriteAsync(new Text { Value = "after" }).WithDeadline();

        Assert.That((await call.ResponseAsync.WithDeadline()).Value, Is.EqualTo("after"));
    }

    [Test]
    public async Task MoveNext_ClientCancels_HandlersWaitEndsCancelled()
    {
        var outcome = new TaskCompletionSource<Exception?>();
        _service.OnJoin = async (requests, _) =>
        {
            try
            {
                await requests.MoveNext(CancellationToken.None);
                outcome.SetResult(null);
            }
            catch (Exception exception)
            {
                outcome.SetResult(exception);
            }

            return new Text();
        };
        _service.Client().Join().Dispose();

        Assert.That(await outcome.Task.WithDeadline(), Is.InstanceOf<OperationCanceledException>());
    }

    // The caller's context.

    [Test]
    public void Calls_FromAThreadWithASynchronizationContext_NeitherPostNorBlock()
    {
        _service.OnEcho = async (request, _) =>
        {
            await Task.Yield();
            return request;
        };
        var context = new CountingContext();
        string? answer = null;
        var thread = new Thread(() =>
        {
            SynchronizationContext.SetSynchronizationContext(context);
            answer = _service.Client().Echo(new Text { Value = "a" }).Value;
        });
        thread.Start();
        thread.JoinWithDeadline();

        Assert.That(answer, Is.EqualTo("a"));
        Assert.That(context.Posts, Is.Zero);
    }

    private static TaskCompletionSource Signal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private static async Task<List<string>> AllAsync(IAsyncStreamReader<Text> stream)
    {
        var all = new List<string>();
        while (await stream.MoveNext(CancellationToken.None).WithDeadline()) all.Add(stream.Current.Value);
        return all;
    }

    private static async Task<Status> StatusAsync(Task end)
    {
        try
        {
            await end.WithDeadline();
        }
        catch (RpcException exception)
        {
            return exception.Status;
        }

        Assert.Fail("the call did not fail");
        return default;
    }

    private sealed class CountingContext : SynchronizationContext
    {
        private int _posts;

        public int Posts => Volatile.Read(ref _posts);

        public override void Post(SendOrPostCallback d, object? state) => Interlocked.Increment(ref _posts);

        public override void Send(SendOrPostCallback d, object? state) => Interlocked.Increment(ref _posts);
    }

    private sealed class Changing : Interceptor
    {
        public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
            TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncUnaryCallContinuation<TRequest, TResponse> continuation)
        {
            var headers = new Metadata { { "added", "by the interceptor" } };
            var call = continuation((TRequest)(object)new Text { Value = "changed" }, new(context.Method, context.Host, context.Options.WithHeaders(headers)));
            return new(AnswerAsync(call.ResponseAsync), call.ResponseHeadersAsync, call.GetStatus, call.GetTrailers, call.Dispose);
        }

        private static async Task<TResponse> AnswerAsync<TResponse>(Task<TResponse> response) =>
            (TResponse)(object)new Text { Value = $"{((Text)(object)(await response)!).Value}, answered" };
    }

    private sealed class Counting : Interceptor
    {
        public List<string> Kinds { get; } = [];

        public override TResponse BlockingUnaryCall<TRequest, TResponse>(
            TRequest request, ClientInterceptorContext<TRequest, TResponse> context, BlockingUnaryCallContinuation<TRequest, TResponse> continuation)
        {
            Kinds.Add("blocking");
            return continuation(request, context);
        }

        public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(
            TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncUnaryCallContinuation<TRequest, TResponse> continuation)
        {
            Kinds.Add("unary");
            return continuation(request, context);
        }

        public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(
            ClientInterceptorContext<TRequest, TResponse> context, AsyncClientStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            Kinds.Add("join");
            return continuation(context);
        }

        public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
            TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncServerStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            Kinds.Add("split");
            return continuation(request, context);
        }

        public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
            ClientInterceptorContext<TRequest, TResponse> context, AsyncDuplexStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            Kinds.Add("chat");
            return continuation(context);
        }
    }
}
