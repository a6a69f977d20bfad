using System.Net;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Wire;

/// <summary>The genuine client and server packages on top of Grpc.Core.Api and Grpc.Net.Common, over HTTP/2 on loopback.</summary>
[CancelAfter(30_000)]
public sealed class WireSmokeTests
{
    private static readonly byte[] Bytes = [0, 1, 127, 128, 255];

    private WireSmokeService _service = null!;
    private WebApplication _server = null!;
    private GrpcChannel _channel = null!;
    private WireSmoke.WireSmokeClient _client = null!;

    [SetUp]
    public async Task StartServer()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        _service = new WireSmokeService();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(
            kestrel => kestrel.Listen(IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2));
        builder.Services.AddSingleton(_service);
        builder.Services.AddGrpc();
        _server = builder.Build();
        _server.MapGrpcService<WireSmokeService>();
        await _server.StartAsync(limit.Token);
        _channel = GrpcChannel.ForAddress(_server.Urls.Single());
        _client = new WireSmoke.WireSmokeClient(_channel);
    }

    [TearDown]
    public async Task StopServer()
    {
        _channel.Dispose();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await _server.StopAsync(limit.Token);
        await _server.DisposeAsync();
    }

    [Test]
    public async Task Unary_Request_IsAnswered(CancellationToken token)
    {
        var response = await _client.EchoAsync(new Text { Value = "hello" }, cancellationToken: token);

        Assert.That(response.Value, Is.EqualTo("hello"));
        Assert.That(_client.Echo(new Text { Value = "blocking" }, cancellationToken: token).Value, Is.EqualTo("blocking"));
    }

    [Test]
    public async Task Unary_Finished_HasStatusOk(CancellationToken token)
    {
        using var call = _client.EchoAsync(new Text { Value = "hello" }, cancellationToken: token);
        await call;

        Assert.That(call.GetStatus(), Is.EqualTo(Status.DefaultSuccess));
    }

    [Test]
    public async Task ClientStream_ManyRequests_AreAnsweredOnce(CancellationToken token)
    {
        using var call = _client.Join(cancellationToken: token);
        foreach (var word in new[] { "a", "b", "c" })
            await call.RequestStream.WriteAsync(new Text { Value = word }, token);
        await call.RequestStream.CompleteAsync().WaitAsync(token);

        Assert.That((await call).Value, Is.EqualTo("a b c"));
    }

    [Test]
    public async Task ServerStream_OneRequest_IsAnsweredByMany(CancellationToken token)
    {
        using var call = _client.Split(new Text { Value = "a b c" }, cancellationToken: token);
        var read = new List<string>();
        await foreach (var response in call.ResponseStream.ReadAllAsync(token))
            read.Add(response.Value);

        Assert.That(read, Is.EqualTo(new[] { "a", "b", "c" }));
        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
    }

    [Test]
    public async Task Duplex_RequestsAndResponses_Alternate(CancellationToken token)
    {
        using var call = _client.Chat(cancellationToken: token);
        foreach (var word in new[] { "a", "b", "c" })
        {
            await call.RequestStream.WriteAsync(new Text { Value = word }, token);
            Assert.That(await call.ResponseStream.MoveNext(token), Is.True);
            Assert.That(call.ResponseStream.Current.Value, Is.EqualTo("re: " + word));
        }

        await call.RequestStream.CompleteAsync().WaitAsync(token);
        Assert.That(await call.ResponseStream.MoveNext(token), Is.False);
    }

    [Test]
    public void Deadline_Passed_EndsTheCall(CancellationToken token)
    {
        var options = new CallOptions(deadline: TimeProvider.System.GetUtcNow().UtcDateTime.AddMilliseconds(200), cancellationToken: token);

        Assert.That(
            async () => await _client.HangAsync(new Text(), options),
            Throws.TypeOf<RpcException>().With.Property(nameof(RpcException.StatusCode)).EqualTo(StatusCode.DeadlineExceeded));
    }

    [Test]
    public async Task Deadline_SetByTheClient_ReachesTheServer(CancellationToken token)
    {
        var deadline = TimeProvider.System.GetUtcNow().UtcDateTime.AddHours(1);

        await _client.EchoAsync(new Text(), new CallOptions(deadline: deadline, cancellationToken: token));
        await _client.EchoAsync(new Text(), cancellationToken: token);

        Assert.That(_service.DeadlinesSeen[0], Is.EqualTo(deadline).Within(TimeSpan.FromMinutes(1)));
        Assert.That(_service.DeadlinesSeen[1], Is.EqualTo(DateTime.MaxValue));
    }

    [Test]
    public async Task Cancel_ByTheClient_IsSeenOnTheServer(CancellationToken token)
    {
        using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(token);
        using var call = _client.HangAsync(new Text(), cancellationToken: cancellation.Token);
        await _service.HangStarted.WaitAsync(token);
        Assert.That(_service.HangCancelled.IsCompleted, Is.False);

        await cancellation.CancelAsync();

        await _service.HangCancelled.WaitAsync(token);
        Assert.That(
            async () => await call,
            Throws.TypeOf<RpcException>().With.Property(nameof(RpcException.StatusCode)).EqualTo(StatusCode.Cancelled));
    }

    [Test]
    public async Task Dispose_ByTheClient_IsSeenOnTheServer(CancellationToken token)
    {
        var call = _client.HangAsync(new Text(), cancellationToken: token);
        await _service.HangStarted.WaitAsync(token);

        call.Dispose();

        await _service.HangCancelled.WaitAsync(token);
        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.Cancelled));
    }

    [Test]
    public async Task Metadata_TextAndBinary_TravelsBothWays(CancellationToken token)
    {
        var headers = new Metadata { { "X-Text", "text" }, { "x-bytes-bin", Bytes } };
        using var call = _client.EchoAsync(new Text(), new CallOptions(headers, cancellationToken: token));

        var responseHeaders = await call.ResponseHeadersAsync.WaitAsync(token);
        await call;

        Assert.That(_service.HeadersSeen[0].GetValue("x-text"), Is.EqualTo("text"));
        Assert.That(_service.HeadersSeen[0].GetValueBytes("x-bytes-bin"), Is.EqualTo(Bytes));
        Assert.That(responseHeaders.GetAll("header-text").Select(entry => entry.Value), Is.EqualTo(new[] { "text", "again" }));
        Assert.That(responseHeaders.GetValueBytes("header-bytes-bin"), Is.EqualTo(Bytes));
        Assert.That(call.GetTrailers().GetAll("trailer-text").Select(entry => entry.Value), Is.EqualTo(new[] { "text", "again" }));
        Assert.That(call.GetTrailers().GetValueBytes("trailer-bytes-bin"), Is.EqualTo(Bytes));
    }

    [Test]
    public async Task Error_OfTheServer_CarriesDetailAndTrailers(CancellationToken token)
    {
        using var call = _client.EchoAsync(new Text { Value = WireSmokeService.Failure }, cancellationToken: token);

        var exception = Assert.ThrowsAsync<RpcException>(async () => await call);

        Assert.That(exception.Status.StatusCode, Is.EqualTo(StatusCode.FailedPrecondition));
        Assert.That(exception.Status.Detail, Is.EqualTo("not yet: caf\u00e9, 100 %\n\u20ac"));
        Assert.That(exception.Trailers.GetValue("reason"), Is.EqualTo("too early"));
        Assert.That(exception.Trailers.GetValueBytes("reason-bin"), Is.EqualTo(Bytes));
        Assert.That(call.GetStatus().StatusCode, Is.EqualTo(StatusCode.FailedPrecondition));
        Assert.That(call.GetTrailers().GetValue("reason"), Is.EqualTo("too early"));
        await Assert.ThatAsync(() => call.ResponseAsync.WaitAsync(token), Throws.TypeOf<RpcException>());
    }

    [Test]
    public async Task Error_InTheMiddleOfAStream_ComesAfterWhatWasWritten(CancellationToken token)
    {
        using var call = _client.Split(new Text { Value = "a " + WireSmokeService.Failure }, cancellationToken: token);

        Assert.That(await call.ResponseStream.MoveNext(token), Is.True);
        Assert.That(call.ResponseStream.Current.Value, Is.EqualTo("a"));
        var exception = Assert.ThrowsAsync<RpcException>(async () => await call.ResponseStream.MoveNext(token));
        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.FailedPrecondition));
        Assert.That(exception.Trailers.GetValue("reason"), Is.EqualTo("too early"));
    }

    /// <summary>Echoes words and metadata, and fails when the word is <see cref="Failure"/>.</summary>
    private sealed class WireSmokeService : WireSmoke.WireSmokeBase
    {
        public const string Failure = "fail";

        private readonly TaskCompletionSource _hangStarted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _hangCancelled = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public List<Metadata> HeadersSeen { get; } = [];

        public List<DateTime> DeadlinesSeen { get; } = [];

        public Task HangStarted => _hangStarted.Task;

        public Task HangCancelled => _hangCancelled.Task;

        public override async Task<Text> Echo(Text request, ServerCallContext context)
        {
            HeadersSeen.Add(context.RequestHeaders);
            DeadlinesSeen.Add(context.Deadline);
            var headers = new Metadata();
            if (context.RequestHeaders.GetValue("x-text") is { } text)
            {
                foreach (var value in new[] { text, "again" })
                {
                    headers.Add("header-text", value);
                    context.ResponseTrailers.Add("trailer-text", value);
                }
            }

            if (context.RequestHeaders.GetValueBytes("x-bytes-bin") is { } bytes)
            {
                headers.Add("header-bytes-bin", bytes);
                context.ResponseTrailers.Add("trailer-bytes-bin", bytes);
            }

            await context.WriteResponseHeadersAsync(headers);
            return Answer(request);
        }

        public override async Task<Text> Join(IAsyncStreamReader<Text> requestStream, ServerCallContext context)
        {
            var words = new List<string>();
            await foreach (var request in requestStream.ReadAllAsync(context.CancellationToken))
                words.Add(request.Value);
            return new Text { Value = string.Join(' ', words) };
        }

        public override async Task Split(Text request, IServerStreamWriter<Text> responseStream, ServerCallContext context)
        {
            foreach (var word in request.Value.Split(' '))
                await responseStream.WriteAsync(Answer(new Text { Value = word }), context.CancellationToken);
        }

        public override async Task Chat(IAsyncStreamReader<Text> requestStream, IServerStreamWriter<Text> responseStream, ServerCallContext context)
        {
            while (await requestStream.MoveNext(context.CancellationToken))
                await responseStream.WriteAsync(new Text { Value = "re: " + requestStream.Current.Value }, context.CancellationToken);
        }

        public override async Task<Text> Hang(Text request, ServerCallContext context)
        {
            await using var registration = context.CancellationToken.Register(() => _hangCancelled.TrySetResult());
            _hangStarted.TrySetResult();
            await HangCancelled;
            throw new OperationCanceledException(context.CancellationToken);
        }

        private static Text Answer(Text request) => request.Value == Failure
            ? throw new RpcException(
                new Status(StatusCode.FailedPrecondition, "not yet: caf\u00e9, 100 %\n\u20ac"),
                new Metadata { { "reason", "too early" }, { "reason-bin", Bytes } })
            : request;
    }
}
