using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class ServerCallContextTests
{
    [Test]
    public void Properties_Read_ForwardToTheCore()
    {
        using var cancellation = new CancellationTokenSource();
        var context = new TestServerCallContext { Token = cancellation.Token };

        Assert.That(context.Method, Is.EqualTo("/test.Service/Method"));
        Assert.That(context.Host, Is.EqualTo("host"));
        Assert.That(context.Peer, Is.EqualTo("peer"));
        Assert.That(context.Deadline, Is.EqualTo(TestServerCallContext.TestDeadline));
        Assert.That(context.RequestHeaders, Is.SameAs(context.Headers));
        Assert.That(context.CancellationToken, Is.EqualTo(cancellation.Token));
        Assert.That(context.ResponseTrailers, Is.SameAs(context.Trailers));
        Assert.That(context.AuthContext, Is.SameAs(context.Auth));
    }

    [Test]
    public void StatusAndWriteOptions_Set_ReachTheCore()
    {
        var options = new WriteOptions(WriteFlags.NoCompress);
        var context = new WatchedContext();

        context.Status = new Status(StatusCode.NotFound, "text");
        context.WriteOptions = options;

        Assert.That(context.CoreStatus, Is.EqualTo(new Status(StatusCode.NotFound, "text")));
        Assert.That(context.CoreWriteOptions, Is.SameAs(options));
        Assert.That(context.Status, Is.EqualTo(new Status(StatusCode.NotFound, "text")));
        Assert.That(context.WriteOptions, Is.SameAs(options));
    }

    [Test]
    public async Task Methods_Called_ForwardToTheCore()
    {
        var context = new TestServerCallContext();
        var headers = new Metadata();
        var options = new ContextPropagationOptions(propagateDeadline: false);

        await context.WriteResponseHeadersAsync(headers);
        context.CreatePropagationToken(options);
        context.CreatePropagationToken();

        Assert.That(context.HeadersWritten.Single(), Is.SameAs(headers));
        Assert.That(context.PropagationsAsked, Is.EqualTo(new[] { options, null }));
    }

    [Test]
    public void UserState_NotOverridden_IsOneDictionaryPerCall()
    {
        var context = new TestServerCallContext();

        var state = context.UserState;
        state["key"] = "value";

        Assert.That(context.UserState, Is.SameAs(state));
        Assert.That(context.UserState["key"], Is.EqualTo("value"));
        Assert.That(new TestServerCallContext().UserState, Is.Empty);
    }

    [Test]
    public void UserState_Overridden_IsThatOfTheCore()
    {
        var context = new WatchedContext();

        Assert.That(context.UserState, Is.SameAs(context.CoreUserState));
    }

    [Test]
    public void ContextPropagationToken_OutsideItsAssembly_CannotBeDerived()
    {
        var constructors = typeof(ContextPropagationToken).GetConstructors(
            System.Reflection.BindingFlags.Instance | System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.NonPublic);

        Assert.That(constructors, Is.Not.Empty);
        Assert.That(constructors.Any(constructor => constructor.IsPublic || constructor.IsFamily || constructor.IsFamilyOrAssembly), Is.False);
    }

    private sealed class WatchedContext : TestServerCallContext
    {
        public Status CoreStatus => StatusCore;

        public WriteOptions? CoreWriteOptions => WriteOptionsCore;

        public Dictionary<object, object> CoreUserState { get; } = [];

        protected override IDictionary<object, object> UserStateCore => CoreUserState;
    }
}
