using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class ClientBaseTests
{
    [Test]
    public void Calls_ClientWithoutHost_ReplaceTheHostByNone()
    {
        var invoker = new RecordingInvoker();
        using var cancellation = new CancellationTokenSource();

        EveryKind.Call(new TestClient(invoker).Invoker, "given by the caller", new CallOptions(cancellationToken: cancellation.Token));

        Assert.That(invoker.Seen.Select(call => call.Kind), Is.EqualTo(EveryKind.InOrder));
        Assert.That(invoker.Seen.Select(call => call.Method), Is.EqualTo(EveryKind.MethodsInOrder));
        Assert.That(invoker.Seen.Select(call => call.Request), Is.EqualTo(EveryKind.RequestsInOrder));
        Assert.That(invoker.Seen.Select(call => call.Options.CancellationToken), Is.All.EqualTo(cancellation.Token));
        Assert.That(invoker.Seen.Select(call => call.Host), Is.All.Null);
    }

    [Test]
    public void WithHost_EveryKindOfCall_NamesThatHost()
    {
        var invoker = new RecordingInvoker();

        EveryKind.Call(new TestClient(invoker).WithHost("host").Invoker, "given by the caller");

        Assert.That(invoker.Seen.Select(call => call.Kind), Is.EqualTo(EveryKind.InOrder));
        Assert.That(invoker.Seen.Select(call => call.Host), Is.All.EqualTo("host"));
    }

    [Test]
    public void WithHost_Twice_TheSecondHostCounts()
    {
        var invoker = new RecordingInvoker();
        var client = new TestClient(invoker);

        EveryKind.Call(client.WithHost("first").WithHost("second").Invoker);
        EveryKind.Call(client.Invoker);

        Assert.That(invoker.Seen.Take(5).Select(call => call.Host), Is.All.EqualTo("second"));
        Assert.That(invoker.Seen.Skip(5).Select(call => call.Host), Is.All.Null);
        Assert.That(invoker.Seen, Has.Count.EqualTo(10));
    }

    [Test]
    public void WithHost_Null_Throws()
    {
        var client = new TestClient(new RecordingInvoker());

        Assert.That(() => client.WithHost(null!), Throws.ArgumentNullException);
    }

    [Test]
    public void Constructor_Channel_UsesItsInvoker()
    {
        var channel = new RecordingChannel();

        EveryKind.Call(new TestClient(channel).Invoker);

        Assert.That(channel.Invoker.Seen, Has.Count.EqualTo(5));
    }

    [Test]
    public void Constructor_NoChannel_MakesAClientWhoseCallsThrow()
    {
        var invoker = new TestClient().Invoker;
        var unary = EveryKind.Method(MethodType.Unary);

        Assert.That(() => invoker.BlockingUnaryCall(unary, null, default, "request"), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => invoker.AsyncUnaryCall(unary, null, default, "request"), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => invoker.AsyncServerStreamingCall(unary, null, default, "request"), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => invoker.AsyncClientStreamingCall(unary, null, default), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => invoker.AsyncDuplexStreamingCall(unary, null, default), Throws.TypeOf<NotImplementedException>());
    }

    [Test]
    public async Task Channel_ShutdownAsync_CallsTheCore()
    {
        var channel = new RecordingChannel();

        await channel.ShutdownAsync();

        Assert.That(channel.Target, Is.EqualTo("test-target"));
        Assert.That(channel.Shutdowns, Is.EqualTo(1));
    }

    /// <summary>Has the constructors of a generated client.</summary>
    private sealed class TestClient : ClientBase<TestClient>
    {
        public TestClient()
        {
        }

        public TestClient(ChannelBase channel)
            : base(channel)
        {
        }

        public TestClient(CallInvoker callInvoker)
            : base(callInvoker)
        {
        }

        private TestClient(ClientBaseConfiguration configuration)
            : base(configuration)
        {
        }

        public CallInvoker Invoker => CallInvoker;

        protected override TestClient NewInstance(ClientBaseConfiguration configuration) => new(configuration);
    }
}
