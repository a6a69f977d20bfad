using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class CallOptionsTests
{
    private static readonly DateTime Deadline = new(2030, 1, 2, 3, 4, 5, DateTimeKind.Utc);
    private static readonly CallCredentials Credentials = CallCredentials.FromInterceptor((_, _) => Task.CompletedTask);

    [Test]
    public void Default_NothingGiven_HasNothing()
    {
        var options = new CallOptions();

        Assert.That(options.Headers, Is.Null);
        Assert.That(options.Deadline, Is.Null);
        Assert.That(options.CancellationToken, Is.EqualTo(CancellationToken.None));
        Assert.That(options.WriteOptions, Is.Null);
        Assert.That(options.PropagationToken, Is.Null);
        Assert.That(options.Credentials, Is.Null);
        Assert.That(options.IsWaitForReady, Is.False);
    }

    [Test]
    public void Constructor_NamedArguments_AreKept()
    {
        using var cancellation = new CancellationTokenSource();
        var headers = new Metadata();
        var writeOptions = new WriteOptions(WriteFlags.NoCompress);

        var options = new CallOptions(
            headers: headers,
            deadline: Deadline,
            cancellationToken: cancellation.Token,
            writeOptions: writeOptions,
            propagationToken: null,
            credentials: Credentials);

        Assert.That(options.Headers, Is.SameAs(headers));
        Assert.That(options.Deadline, Is.EqualTo(Deadline));
        Assert.That(options.CancellationToken, Is.EqualTo(cancellation.Token));
        Assert.That(options.WriteOptions, Is.SameAs(writeOptions));
        Assert.That(options.Credentials, Is.SameAs(Credentials));
        Assert.That(options.IsWaitForReady, Is.False);
    }

    [Test]
    public void With_EachOption_ChangesACopyAndKeepsTheRest()
    {
        using var cancellation = new CancellationTokenSource();
        var headers = new Metadata();
        var writeOptions = new WriteOptions(WriteFlags.BufferHint);
        var original = new CallOptions();

        var changed = original
            .WithHeaders(headers)
            .WithDeadline(Deadline)
            .WithCancellationToken(cancellation.Token)
            .WithWriteOptions(writeOptions)
            .WithCredentials(Credentials)
            .WithPropagationToken(null!)
            .WithWaitForReady();

        Assert.That(changed.Headers, Is.SameAs(headers));
        Assert.That(changed.Deadline, Is.EqualTo(Deadline));
        Assert.That(changed.CancellationToken, Is.EqualTo(cancellation.Token));
        Assert.That(changed.WriteOptions, Is.SameAs(writeOptions));
        Assert.That(changed.Credentials, Is.SameAs(Credentials));
        Assert.That(changed.IsWaitForReady, Is.True);
        Assert.That(original, Is.EqualTo(default(CallOptions)));
    }

    [Test]
    public void WithWaitForReady_FalseAfterTrue_ClearsTheFlag()
    {
        var options = new CallOptions(deadline: Deadline).WithWaitForReady(true);

        Assert.That(options.IsWaitForReady, Is.True);
        Assert.That(options.WithWaitForReady(false).IsWaitForReady, Is.False);
        Assert.That(options.WithWaitForReady(false).Deadline, Is.EqualTo(Deadline));
    }

    [Test]
    public void WriteOptions_Flags_AreThoseGiven()
    {
        Assert.That(WriteOptions.Default.Flags, Is.EqualTo(default(WriteFlags)));
        Assert.That(new WriteOptions().Flags, Is.EqualTo(default(WriteFlags)));
        Assert.That(new WriteOptions(WriteFlags.BufferHint | WriteFlags.NoCompress).Flags, Is.EqualTo((WriteFlags)3));
    }

    [Test]
    public void ContextPropagationOptions_Default_PropagatesBoth()
    {
        Assert.That(ContextPropagationOptions.Default.IsPropagateDeadline, Is.True);
        Assert.That(ContextPropagationOptions.Default.IsPropagateCancellation, Is.True);
        Assert.That(new ContextPropagationOptions(propagateDeadline: false).IsPropagateDeadline, Is.False);
        Assert.That(new ContextPropagationOptions(propagateDeadline: false).IsPropagateCancellation, Is.True);
        Assert.That(new ContextPropagationOptions(propagateCancellation: false).IsPropagateCancellation, Is.False);
    }
}
