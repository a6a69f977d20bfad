using Grpc.Core;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.InProcessChannel;

/// <summary>The seven promises of the channel.</summary>
[TestFixture]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class PromiseTests
{
    private readonly ChannelService _service = new();

    // 1: a message may be reused.

    [Test]
    public async Task WriteAsync_MessageChangedAfterwards_HandlerKeepsWhatWasWritten()
    {
        var seen = new List<Text>();
        _service.OnJoin = async (requests, _) =>
        {
            while (await requests.MoveNext(CancellationToken.None)) seen.Add(requests.Current);
            return new Text();
        };
        using var call = _service.Client().Join();
        var message = new Text();
        for (var i = 0; i < 3; i++)
        {
            message.Value = $"{i}";
            await call.RequestStream.WriteAsync(message).WithDeadline();
        }

        message.Value = "changed";
        await call.RequestStream.CompleteAsync().WithDeadline();
        await call.ResponseAsync.WithDeadline();

        Assert.That(seen.Select(t => t.Value), Is.EqualTo(new[] { "0", "1", "2" }));
    }

    [Test]
    public async Task UnaryCall_NotAwaitedAndMessageChanged_HandlerKeepsWhatWasSent()
    {
        var goOn = new TaskCompletionSource();
        _service.OnEcho = async (request, _) =>
        {
            await goOn.Task;
            return request;
        };
        var message = new Text { Value = "sent" };
        using var call = _service.Client().EchoAsync(message);
        message.Value = "changed";
        goOn.SetResult();

        Assert.That((await call.ResponseAsync.WithDeadline()).Value, Is.EqualTo("sent"));
    }

    [Test]
    public async Task ServerStream_RequestChangedAfterwards_HandlerKeepsWhatWasSent()
    {
        var goOn = new TaskCompletionSource();
        _service.OnSplit = async (request, responses, _) =>
        {
            await goOn.Task;
            await responses.WriteAsync(new Text { Value = request.Value });
        };
        var message = new Text { Value = "sent" };
        using var call = _service.Client().Split(message);
        message.Value = "changed";
        goOn.SetResult();

        Assert.That(await call.ResponseStream.MoveNext(CancellationToken.None).WithDeadline(), Is.True);
        Assert.That(call.ResponseStream.Current.Value, Is.EqualTo("sent"));
    }

    [Test]
    public async Task WriteAsync_BoundWithoutCopies_CompletesOnlyWhenItIsDoneWithTheMessage()
    {
        var goOn = new TaskCompletionSource();
        _service.OnJoin = async (requests, _) =>
        {
            await requests.MoveNext(CancellationToken.None);
            await goOn.Task;
            var value = requests.Current.Value;
            await requests.MoveNext(CancellationToken.None);
            return new Text { Value = value };
        };
        using var call = _service.ClientWithoutCopies().Join();
        var message = new Text { Value = "sent" };
        var writing = call.RequestStream.WriteAsync(message);
        Assert.That(writing.IsCompleted, Is.False);
        goOn.SetResult();
        await writing.WithDeadline();
        message.Value = "changed";
        await call.RequestStream.CompleteAsync().WithDeadline();

        Assert.That((await call.ResponseAsync.WithDeadline()).Value, Is.EqualTo("sent"));
    }

    // 2: the status is final before the stream ends.

    [TestCase(StatusCode.OK)]
    [TestCase(StatusCode.DataLoss)]
    public async Task MoveNext_StreamEnds_StatusAndTrailersAreFinal(StatusCode code)
    {
        var goOn = new TaskCompletionSource();
        _service.OnSplit = async (_, _, context) =>
        {
            await goOn.Task;
            context.ResponseTrailers.Add("after", "all");
            if (code != StatusCode.OK) throw new RpcException(new Status(code, "why"));
        };
        using var call = _service.Client().Split(new Text());
        var end = call.ResponseStream.MoveNext(CancellationToken.None);

        // Looked at inside the continuation, the earliest moment there is.
        var looked = end.ContinueWith(_ => (call.GetStatus(), call.GetTrailers().GetValue("after")), TaskContinuationOptions.ExecuteSynchronously);
        goOn.SetResult();
        var (status, trailer) = await looked.WithDeadline();

        Assert.That(status.StatusCode, Is.EqualTo(code));
        Assert.That(trailer, Is.EqualTo("all"));
    }

    [Test]
    public async Task GetStatus_HandlerEndsAfterClientCancelled_StaysCancelled()
    {
        var goOn = new TaskCompletionSource();
        var ended = new TaskCompletionSource();
        _service.OnEcho = async (request, context) =>
        {
            await goOn.Task;
            context.ResponseTrailers.Add("late", "trailer");
            ended.SetResult();
            return request;
        };
        var call = _service.Client().EchoAsync(new Text());
        call.Dispose();
        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.Cancelled));
        goOn.SetResult();
        await ended.Task.WithDeadline();
        await Status(call.ResponseAsync);

        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.Cancelled));
        Assert.That(call.GetTrailers(), Is.Empty, "who cancelled gets no trailers of a handler that goes on");
    }

    [Test]
    public void GetStatus_CallOpen_Throws()
    {
        _service.OnEcho = (_, _) => new TaskCompletionSource<Text>().Task;
        using var call = _service.Client().EchoAsync(new Text());

        Assert.That(() => call.GetStatus(), Throws.InvalidOperationException);
        Assert.That(() => call.GetTrailers(), Throws.InvalidOperationException);
    }

    // 3: a handler runs on its caller's thread until its first await.

    [TestCase("unary")]
    [TestCase("blocking")]
    [TestCase("join")]
    [TestCase("split")]
    [TestCase("chat")]
    public void Handler_BeforeItsFirstAwait_RunsOnTheCallersThread(string kind)
    {
        var thread = 0;
        _service.OnEcho = (request, _) => At(Task.FromResult(request));
        _service.OnJoin = (_, _) => At(Task.FromResult(new Text()));
        _service.OnSplit = (_, _, _) => At(Task.FromResult(new Text()));
        _service.OnChat = (_, _, _) => At(Task.FromResult(new Text()));
        var client = _service.Client();
        switch (kind)
        {
            case "unary": client.EchoAsync(new Text()).Dispose(); break;
            case "blocking": client.Echo(new Text()); break;
            case "join": client.Join().Dispose(); break;
            case "split": client.Split(new Text()).Dispose(); break;
            case "chat": client.Chat().Dispose(); break;
        }

        Assert.That(thread, Is.EqualTo(Environment.CurrentManagedThreadId));

        Task<Text> At(Task<Text> answer)
        {
            thread = Environment.CurrentManagedThreadId;
            return answer;
        }
    }

    // 4: null response, handler exception.

    [Test]
    public async Task Unary_NullResponse_IsCancelled()
    {
        _service.OnEcho = (_, _) => Task.FromResult<Text>(null!);

        Assert.That((await Status(_service.Client().EchoAsync(new Text()).ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Cancelled));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task Handler_Throws_IsUnknownWithoutDetail(bool atOnce)
    {
        var goOn = new TaskCompletionSource();
        if (atOnce) goOn.SetResult();
        _service.OnEcho = async (_, _) =>
        {
            await goOn.Task;
            throw new InvalidDataException("secret");
        };
        _service.OnJoin = async (_, _) =>
        {
            await goOn.Task;
            throw new InvalidDataException("secret");
        };
        _service.OnSplit = async (_, _, _) =>
        {
            await goOn.Task;
            throw new InvalidDataException("secret");
        };
        _service.OnChat = async (_, _, _) =>
        {
            await goOn.Task;
            throw new InvalidDataException("secret");
        };
        var client = _service.Client();
        Task[] ends =
        [
            client.EchoAsync(new Text()).ResponseAsync,
            client.Join().ResponseAsync,
            client.Split(new Text()).ResponseStream.MoveNext(CancellationToken.None),
            client.Chat().ResponseStream.MoveNext(CancellationToken.None),
        ];
        goOn.TrySetResult();

        foreach (var end in ends)
        {
            var status = await Status(end);
            Assert.That(status.StatusCode, Is.EqualTo(StatusCode.Unknown));
            Assert.That(status.Detail, Does.Not.Contain("secret"));
            Assert.That(status.DebugException, Is.Null);
        }
    }

    [Test]
    public async Task Handler_ThrowsWithoutReturningATask_IsUnknown()
    {
        _service.OnEcho = (_, _) => throw new InvalidDataException("secret");
        _service.OnChat = (_, _, _) => throw new InvalidDataException("secret");
        var client = _service.Client();

        Assert.That((await Status(client.EchoAsync(new Text()).ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Unknown));
        Assert.That((await Status(client.Chat().ResponseStream.MoveNext(CancellationToken.None))).StatusCode, Is.EqualTo(StatusCode.Unknown));
    }

    [Test]
    public async Task Handler_ReturnsNoTask_IsUnknown()
    {
        _service.OnEcho = (_, _) => null!;
        _service.OnJoin = (_, _) => null!;
        _service.OnSplit = (_, _, _) => null!;
        var client = _service.Client();

        Assert.That((await Status(client.EchoAsync(new Text()).ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Unknown));
        Assert.That((await Status(client.Join().ResponseAsync)).StatusCode, Is.EqualTo(StatusCode.Unknown));
        Assert.That((await Status(client.Split(new Text()).ResponseStream.MoveNext(CancellationToken.None))).StatusCode, Is.EqualTo(StatusCode.Unknown));
    }

    [Test]
    public async Task Handler_SetsStatus_ClientGetsIt()
    {
        _service.OnEcho = (request, context) =>
        {
            context.Status = new Status(StatusCode.Aborted, "set");
            return Task.FromResult(request);
        };
        var status = await Status(_service.Client().EchoAsync(new Text()).ResponseAsync);

        Assert.That(status.StatusCode, Is.EqualTo(StatusCode.Aborted));
        Assert.That(status.Detail, Is.EqualTo("set"));
    }

    // 5: dispose cancels.

    [TestCase("unary")]
    [TestCase("join")]
    [TestCase("split")]
    [TestCase("chat")]
    public async Task Dispose_CallOpen_CancelsBothSides(string kind)
    {
        var told = Waiting();
        var client = _service.Client();
        var (end, dispose) = Open(client, kind, new CallOptions());
        dispose();

        Assert.That((await Status(end)).StatusCode, Is.EqualTo(StatusCode.Cancelled));
        await told.WithDeadline();
    }

    [TestCase("unary")]
    [TestCase("join")]
    [TestCase("split")]
    [TestCase("chat")]
    public async Task Token_CancelledWhileOpen_CancelsBothSides(string kind)
    {
        var told = Waiting();
        using var source = new CancellationTokenSource();
        var (end, _) = Open(_service.Client(), kind, new CallOptions(cancellationToken: source.Token));
        await source.CancelAsync();

        Assert.That((await Status(end)).StatusCode, Is.EqualTo(StatusCode.Cancelled));
        await told.WithDeadline();
    }

    [TestCase("unary")]
    [TestCase("join")]
    [TestCase("split")]
    [TestCase("chat")]
    public async Task Token_CancelledBefore_HandlerNeverRuns(string kind)
    {
        var ran = false;
        _service.OnEcho = (r, _) =>
        {
            ran = true;
            return Task.FromResult(r);
        };
        _service.OnJoin = (_, _) =>
        {
            ran = true;
            return Task.FromResult(new Text());
        };
        _service.OnSplit = (_, _, _) =>
        {
            ran = true;
            return Task.CompletedTask;
        };
        _service.OnChat = (_, _, _) =>
        {
            ran = true;
            return Task.CompletedTask;
        };
        var (end, _) = Open(_service.Client(), kind, new CallOptions(cancellationToken: new CancellationToken(true)));

        Assert.That((await Status(end)).StatusCode, Is.EqualTo(StatusCode.Cancelled));
        Assert.That(ran, Is.False);
    }

    [Test]
    public async Task Dispose_CallFinished_ChangesNothing()
    {
        var call = _service.Client().EchoAsync(new Text { Value = "a" });
        await call.ResponseAsync.WithDeadline();
        call.Dispose();

        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
    }

    // 6: deadlines.

    [TestCase("unary")]
    [TestCase("join")]
    [TestCase("split")]
    [TestCase("chat")]
    public async Task Deadline_Passes_EndsBothSides(string kind)
    {
        var clock = new ManualClock();
        var told = Waiting();
        var deadline = clock.GetUtcNow().UtcDateTime.AddSeconds(3);
        var (end, _) = Open(_service.Client(clock), kind, new CallOptions(deadline: deadline));
        clock.Advance(TimeSpan.FromSeconds(2.9));
        Assert.That(end.IsCompleted, Is.False);
        clock.Advance(TimeSpan.FromSeconds(0.2));

        Assert.That((await Status(end)).StatusCode, Is.EqualTo(StatusCode.DeadlineExceeded));
        await told.WithDeadline();
        Assert.That(clock.TimerCount, Is.Zero);
    }

    [TestCase("unary")]
    [TestCase("join")]
    [TestCase("split")]
    [TestCase("chat")]
    public async Task Deadline_PassedBefore_HandlerNeverRuns(string kind)
    {
        var ran = false;
        _service.OnEcho = (r, _) =>
        {
            ran = true;
            return Task.FromResult(r);
        };
        _service.OnJoin = (_, _) =>
        {
            ran = true;
            return Task.FromResult(new Text());
        };
        _service.OnSplit = (_, _, _) =>
        {
            ran = true;
            return Task.CompletedTask;
        };
        _service.OnChat = (_, _, _) =>
        {
            ran = true;
            return Task.CompletedTask;
        };
        var clock = new ManualClock();
        var (end, _) = Open(_service.Client(clock), kind, new CallOptions(deadline: clock.GetUtcNow().UtcDateTime));

        Assert.That((await Status(end)).StatusCode, Is.EqualTo(StatusCode.DeadlineExceeded));
        Assert.That(ran, Is.False);
    }

    [Test]
    public async Task Deadline_CallEndsBefore_TimerIsGone()
    {
        var clock = new ManualClock();
        await _service.Client(clock).EchoAsync(new Text(), deadline: clock.GetUtcNow().UtcDateTime.AddHours(1)).ResponseAsync.WithDeadline();

        Assert.That(clock.TimerCount, Is.Zero);
    }

    [TestCase(100)]
    [TestCase(100_000)]
    public async Task Deadline_FarAway_CallWorks(int days)
    {
        var seen = default(DateTime);
        _service.OnEcho = (request, context) =>
        {
            seen = context.Deadline;
            return Task.FromResult(request);
        };
        var clock = new ManualClock();
        var deadline = clock.GetUtcNow().UtcDateTime.AddDays(days);
        await _service.Client(clock).EchoAsync(new Text(), deadline: deadline).ResponseAsync.WithDeadline();

        Assert.That(seen, Is.EqualTo(deadline));
    }

    // 7: metadata and trailers.

    [Test]
    public async Task Metadata_AllDirections_Arrives()
    {
        _service.OnEcho = async (request, context) =>
        {
            await context.WriteResponseHeadersAsync(new Metadata { { "back", context.RequestHeaders.GetValue("there")! } });
            context.ResponseTrailers.Add("trailer-bin", new byte[] { 1, 2, 3 });
            return request;
        };
        using var call = _service.Client().EchoAsync(new Text(), new Metadata { { "there", "value" } });

        Assert.That((await call.ResponseHeadersAsync.WithDeadline()).GetValue("back"), Is.EqualTo("value"));
        await call.ResponseAsync.WithDeadline();
        Assert.That(call.GetTrailers().GetValueBytes("trailer-bin"), Is.EqualTo(new byte[] { 1, 2, 3 }));
    }

    [Test]
    public async Task Trailers_OfTheHandlersException_ArriveInTheClients()
    {
        _service.OnJoin = (_, context) =>
        {
            context.ResponseTrailers.Add("first", "1");
            throw new RpcException(new Status(StatusCode.Aborted, "why"), new Metadata { { "second", "2" } });
        };
        using var call = _service.Client().Join();
        var exception = (await Assert.ThrowsAsync<RpcException>(async () => await call.ResponseAsync.WithDeadline()))!;

        Assert.That(exception.Trailers.GetValue("first"), Is.EqualTo("1"));
        Assert.That(exception.Trailers.GetValue("second"), Is.EqualTo("2"));
        Assert.That(call.GetTrailers().GetValue("second"), Is.EqualTo("2"));
        Assert.That(await call.ResponseHeadersAsync.WithDeadline(), Is.Empty);
    }

    [Test]
    public async Task ResponseHeaders_HandlerSendsNone_ComeWithTheFirstMessage()
    {
        var goOn = new TaskCompletionSource();
        _service.OnSplit = async (_, responses, _) =>
        {
            await goOn.Task;
            await responses.WriteAsync(new Text());
            await new TaskCompletionSource().Task;
        };
        using var call = _service.Client().Split(new Text());
        var headers = call.ResponseHeadersAsync;
        Assert.That(headers.IsCompleted, Is.False);
        goOn.SetResult();

        Assert.That(await headers.WithDeadline(), Is.Empty);
    }

    [Test]
    public async Task ResponseHeaders_SentEarly_ArriveBeforeAnyMessage()
    {
        _service.OnChat = async (_, _, context) =>
        {
            await context.WriteResponseHeadersAsync([]);
            await new TaskCompletionSource().Task;
        };
        using var call = _service.Client().Chat();

        await call.ResponseHeadersAsync.WithDeadline();
    }

    [Test]
    public async Task ResponseHeaders_SentTwice_Throws()
    {
        var second = new TaskCompletionSource<Exception?>();
        _service.OnEcho = async (request, context) =>
        {
            await context.WriteResponseHeadersAsync([]);
            try
            {
                await context.WriteResponseHeadersAsync([]);
                second.SetResult(null);
            }
            catch (Exception exception)
            {
                second.SetResult(exception);
            }

            return request;
        };
        await _service.Client().EchoAsync(new Text()).ResponseAsync.WithDeadline();

        Assert.That(await second.Task.WithDeadline(), Is.InstanceOf<InvalidOperationException>());
    }

    [Test]
    public async Task ResponseHeaders_HandlerFailsBefore_AreEmpty()
    {
        _service.OnSplit = (_, _, _) => throw new RpcException(new Status(StatusCode.NotFound, "no"));
        using var call = _service.Client().Split(new Text());

        Assert.That(await call.ResponseHeadersAsync.WithDeadline(), Is.Empty);
        Assert.That((await Status(call.ResponseStream.MoveNext(CancellationToken.None))).StatusCode, Is.EqualTo(StatusCode.NotFound));
    }

    [Test]
    public async Task ResponseHeaders_CallCancelledBefore_FailWithItsStatus()
    {
        var told = Waiting();
        using var call = _service.Client().Split(new Text());
        var headers = call.ResponseHeadersAsync;

        call.Dispose();
        Assert.That((await Status(headers)).StatusCode, Is.EqualTo(StatusCode.Cancelled));
        await told.WithDeadline();
    }

    private static async Task<Status> Status(Task end)
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

    // All handlers wait for their token; the result completes when one was told.
    private Task Waiting()
    {
        var told = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _service.OnEcho = (_, context) => Wait(context);
        _service.OnJoin = (_, context) => Wait(context);
        _service.OnSplit = (_, _, context) => Wait(context);
        _service.OnChat = (_, _, context) => Wait(context);
        return told.Task;

        Task<Text> Wait(ServerCallContext context)
        {
            context.CancellationToken.Register(() => told.TrySetResult());
            return new TaskCompletionSource<Text>().Task;
        }
    }

    private static (Task End, Action Dispose) Open(Trial.TrialClient client, string kind, CallOptions options)
    {
        switch (kind)
        {
            case "unary":
                var unary = client.EchoAsync(new Text(), options);
                return (unary.ResponseAsync, unary.Dispose);
            case "join":
                var join = client.Join(options);
                return (join.ResponseAsync, join.Dispose);
            case "split":
                var split = client.Split(new Text(), options);
                return (split.ResponseStream.MoveNext(CancellationToken.None), split.Dispose);
            default:
                var chat = client.Chat(options);
                return (chat.ResponseStream.MoveNext(CancellationToken.None), chat.Dispose);
        }
    }
}
