using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class CallTests
{
    private static readonly Metadata Headers = new() { { "kind", "headers" } };
    private static readonly Metadata Trailers = new() { { "kind", "trailers" } };
    private static readonly Status Ended = new(StatusCode.Aborted, "ended");

    /// <summary>One of the four calls, made in one of its two shapes.</summary>
    public sealed record Shape(
        string Name,
        Func<Transport, IDisposable> Create,
        Func<object, Task<Metadata>> HeadersOf,
        Func<object, Status> StatusOf,
        Func<object, Metadata> TrailersOf)
    {
        public override string ToString() => Name;
    }

    /// <summary>Answers for a call and counts how often it was asked.</summary>
    public sealed class Transport
    {
        public int HeadersAsked { get; private set; }

        public int Disposals { get; private set; }

        public bool IsFinished { get; set; } = true;

        public Task<Metadata> GetHeadersAsync()
        {
            HeadersAsked++;
            return Task.FromResult(Headers);
        }

        public Status GetStatus() => IsFinished ? Ended : throw new InvalidOperationException("The call runs.");

        public Metadata GetTrailers() => IsFinished ? Trailers : throw new InvalidOperationException("The call runs.");

        public void Dispose() => Disposals++;
    }

    public static IEnumerable<Shape> PlainShapes()
    {
        yield return Unary("AsyncUnaryCall", t => new(Task.FromResult("response"), t.GetHeadersAsync(), t.GetStatus, t.GetTrailers, t.Dispose));
        yield return ClientStreaming(
            "AsyncClientStreamingCall",
            t => new(new SilentWriter(), Task.FromResult("response"), t.GetHeadersAsync(), t.GetStatus, t.GetTrailers, t.Dispose));
        yield return ServerStreaming(
            "AsyncServerStreamingCall",
            t => new(new ListReader<string>([]), t.GetHeadersAsync(), t.GetStatus, t.GetTrailers, t.Dispose));
        yield return DuplexStreaming(
            "AsyncDuplexStreamingCall",
            t => new(new SilentWriter(), new ListReader<string>([]), t.GetHeadersAsync(), t.GetStatus, t.GetTrailers, t.Dispose));
    }

    public static IEnumerable<Shape> StateShapes()
    {
        yield return Unary(
            "AsyncUnaryCall with state",
            t => new(Task.FromResult("response"), HeadersFrom, StatusFrom, TrailersFrom, DisposeOn, t));
        yield return ClientStreaming(
            "AsyncClientStreamingCall with state",
            t => new(new SilentWriter(), Task.FromResult("response"), HeadersFrom, StatusFrom, TrailersFrom, DisposeOn, t));
        yield return ServerStreaming(
            "AsyncServerStreamingCall with state",
            t => new(new ListReader<string>([]), HeadersFrom, StatusFrom, TrailersFrom, DisposeOn, t));
        yield return DuplexStreaming(
            "AsyncDuplexStreamingCall with state",
            t => new(new SilentWriter(), new ListReader<string>([]), HeadersFrom, StatusFrom, TrailersFrom, DisposeOn, t));
    }

    public static IEnumerable<Shape> AllShapes() => [.. PlainShapes(), .. StateShapes()];

    [TestCaseSource(nameof(AllShapes))]
    public async Task Call_EitherShape_AnswersFromItsFunctions(Shape shape)
    {
        using var call = shape.Create(new Transport());

        Assert.That(await shape.HeadersOf(call), Is.SameAs(Headers));
        Assert.That(shape.StatusOf(call), Is.EqualTo(Ended));
        Assert.That(shape.TrailersOf(call), Is.SameAs(Trailers));
    }

    [TestCaseSource(nameof(AllShapes))]
    public void Dispose_CalledTwice_ForwardsTwice(Shape shape)
    {
        var transport = new Transport();
        var call = shape.Create(transport);

        call.Dispose();
        call.Dispose();

        Assert.That(transport.Disposals, Is.EqualTo(2));
    }

    [TestCaseSource(nameof(AllShapes))]
    public void GetStatus_CallStillRuns_LetsTheExceptionThrough(Shape shape)
    {
        using var call = shape.Create(new Transport { IsFinished = false });

        Assert.That(() => shape.StatusOf(call), Throws.InvalidOperationException);
        Assert.That(() => shape.TrailersOf(call), Throws.InvalidOperationException);
    }

    [TestCaseSource(nameof(StateShapes))]
    public void ResponseHeadersAsync_StateShape_AsksAtEveryRead(Shape shape)
    {
        var transport = new Transport();
        using var call = shape.Create(transport);
        Assert.That(transport.HeadersAsked, Is.Zero);

        _ = shape.HeadersOf(call);
        _ = shape.HeadersOf(call);

        Assert.That(transport.HeadersAsked, Is.EqualTo(2));
    }

    [TestCaseSource(nameof(PlainShapes))]
    public void ResponseHeadersAsync_PlainShape_IsTheTaskGiven(Shape shape)
    {
        var transport = new Transport();
        using var call = shape.Create(transport);

        var first = shape.HeadersOf(call);

        Assert.That(shape.HeadersOf(call), Is.SameAs(first));
        Assert.That(transport.HeadersAsked, Is.EqualTo(1));
    }

    [Test]
    public void Constructors_NullArguments_AreNotChecked()
    {
        Assert.That(() => { _ = new AsyncUnaryCall<string>(null!, null!, null!, null!, null!); }, Throws.Nothing);
        Assert.That(() => { _ = new AsyncUnaryCall<string>(null!, null!, null!, null!, null!, null!); }, Throws.Nothing);
        Assert.That(() => { _ = new AsyncClientStreamingCall<string, string>(null!, null!, null!, null!, null!, null!); }, Throws.Nothing);
        Assert.That(() => { _ = new AsyncClientStreamingCall<string, string>(null!, null!, null!, null!, null!, null!, null!); }, Throws.Nothing);
        Assert.That(() => { _ = new AsyncServerStreamingCall<string>(null!, null!, null!, null!, null!); }, Throws.Nothing);
        Assert.That(() => { _ = new AsyncServerStreamingCall<string>(null!, null!, null!, null!, null!, null!); }, Throws.Nothing);
        Assert.That(() => { _ = new AsyncDuplexStreamingCall<string, string>(null!, null!, null!, null!, null!, null!); }, Throws.Nothing);
        Assert.That(() => { _ = new AsyncDuplexStreamingCall<string, string>(null!, null!, null!, null!, null!, null!, null!); }, Throws.Nothing);
    }

    [Test]
    public async Task AsyncUnaryCall_Awaited_YieldsTheResponse()
    {
        var response = Task.FromResult("response");
        using var call = new AsyncUnaryCall<string>(response, HeadersFrom, StatusFrom, TrailersFrom, DisposeOn, new Transport());

        Assert.That(await call, Is.EqualTo("response"));
        Assert.That(await call.ConfigureAwait(false), Is.EqualTo("response"));
        Assert.That(call.ResponseAsync, Is.SameAs(response));
    }

    [Test]
    public async Task AsyncClientStreamingCall_Awaited_YieldsTheResponse()
    {
        var response = Task.FromResult("response");
        var writer = new SilentWriter();
        using var call = new AsyncClientStreamingCall<string, string>(
            writer,
            response,
            HeadersFrom,
            StatusFrom,
            TrailersFrom,
            DisposeOn,
            new Transport());

        Assert.That(await call, Is.EqualTo("response"));
        Assert.That(await call.ConfigureAwait(false), Is.EqualTo("response"));
        Assert.That(call.ResponseAsync, Is.SameAs(response));
        Assert.That(call.RequestStream, Is.SameAs(writer));
    }

    [Test]
    public void StreamingCalls_Streams_AreThoseGiven()
    {
        var writer = new SilentWriter();
        var reader = new ListReader<string>([]);
        var transport = new Transport();
        using var server = new AsyncServerStreamingCall<string>(reader, HeadersFrom, StatusFrom, TrailersFrom, DisposeOn, transport);
        using var duplex = new AsyncDuplexStreamingCall<string, string>(
            writer,
            reader,
            HeadersFrom,
            StatusFrom,
            TrailersFrom,
            DisposeOn,
            transport);

        Assert.That(server.ResponseStream, Is.SameAs(reader));
        Assert.That(duplex.ResponseStream, Is.SameAs(reader));
        Assert.That(duplex.RequestStream, Is.SameAs(writer));
    }

    private static Task<Metadata> HeadersFrom(object state) => ((Transport)state).GetHeadersAsync();

    private static Status StatusFrom(object state) => ((Transport)state).GetStatus();

    private static Metadata TrailersFrom(object state) => ((Transport)state).GetTrailers();

    private static void DisposeOn(object state) => ((Transport)state).Dispose();

    private static Shape Unary(string name, Func<Transport, AsyncUnaryCall<string>> create) => new(
        name,
        create,
        call => ((AsyncUnaryCall<string>)call).ResponseHeadersAsync,
        call => ((AsyncUnaryCall<string>)call).GetStatus(),
        call => ((AsyncUnaryCall<string>)call).GetTrailers());

    private static Shape ClientStreaming(string name, Func<Transport, AsyncClientStreamingCall<string, string>> create) => new(
        name,
        create,
        call => ((AsyncClientStreamingCall<string, string>)call).ResponseHeadersAsync,
        call => ((AsyncClientStreamingCall<string, string>)call).GetStatus(),
        call => ((AsyncClientStreamingCall<string, string>)call).GetTrailers());

    private static Shape ServerStreaming(string name, Func<Transport, AsyncServerStreamingCall<string>> create) => new(
        name,
        create,
        call => ((AsyncServerStreamingCall<string>)call).ResponseHeadersAsync,
        call => ((AsyncServerStreamingCall<string>)call).GetStatus(),
        call => ((AsyncServerStreamingCall<string>)call).GetTrailers());

    private static Shape DuplexStreaming(string name, Func<Transport, AsyncDuplexStreamingCall<string, string>> create) => new(
        name,
        create,
        call => ((AsyncDuplexStreamingCall<string, string>)call).ResponseHeadersAsync,
        call => ((AsyncDuplexStreamingCall<string, string>)call).GetStatus(),
        call => ((AsyncDuplexStreamingCall<string, string>)call).GetTrailers());
}
