using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class StreamTests
{
    [Test]
    public async Task WriteAsync_DefaultMethodAndNoCancellation_Writes()
    {
        var writer = new SilentWriter();

        await ((IAsyncStreamWriter<string>)writer).WriteAsync("text", CancellationToken.None);

        Assert.That(writer.Written, Is.EqualTo(new[] { "text" }));
    }

    [Test]
    public void WriteAsync_DefaultMethodAndCancellableToken_IsNotSupported()
    {
        using var cancellation = new CancellationTokenSource();
        var writer = new SilentWriter();

        Assert.That(
            async () => await ((IAsyncStreamWriter<string>)writer).WriteAsync("text", cancellation.Token),
            Throws.TypeOf<NotSupportedException>());
        Assert.That(writer.Written, Is.Empty);
    }

    [Test]
    public async Task MoveNext_WithoutToken_AsksWithNone()
    {
        var reader = new ListReader<string>(["text"]);

        Assert.That(await reader.MoveNext(), Is.True);
        Assert.That(reader.Current, Is.EqualTo("text"));
        Assert.That(await reader.MoveNext(), Is.False);
        Assert.That(reader.Tokens, Is.EqualTo(new[] { CancellationToken.None, CancellationToken.None }));
    }

    [Test]
    public void Streams_DerivedMessage_AreVariant()
    {
        Assert.That(new ListReader<string>([]), Is.InstanceOf<IAsyncStreamReader<object>>());
        Assert.That(typeof(IAsyncStreamWriter<string>).IsAssignableFrom(typeof(IAsyncStreamWriter<object>)), Is.True);
        Assert.That(typeof(IClientStreamWriter<string>).IsAssignableFrom(typeof(IClientStreamWriter<object>)), Is.True);
        Assert.That(typeof(IServerStreamWriter<string>).IsAssignableFrom(typeof(IServerStreamWriter<object>)), Is.True);
    }

    [Test]
    public async Task ReadAllAsync_Stream_YieldsEveryItemInOrder()
    {
        var read = new List<int>();

        await foreach (var item in new ListReader<int>([1, 2, 3]).ReadAllAsync())
            read.Add(item);

        Assert.That(read, Is.EqualTo(new[] { 1, 2, 3 }));
    }

    [Test]
    public void ReadAllAsync_NullReader_ThrowsBeforeItIsEnumerated()
    {
        Assert.That(() => ((IAsyncStreamReader<string>)null!).ReadAllAsync(), Throws.ArgumentNullException);
    }

    [Test]
    public async Task ReadAllAsync_TokenAsArgument_ReachesTheReader()
    {
        using var cancellation = new CancellationTokenSource();
        var reader = new ListReader<int>([1]);

        await foreach (var _ in reader.ReadAllAsync(cancellation.Token))
        {
        }

        Assert.That(reader.Tokens, Is.EqualTo(new[] { cancellation.Token, cancellation.Token }));
    }

    [Test]
    public async Task ReadAllAsync_TokenByWithCancellation_ReachesTheReader()
    {
        using var cancellation = new CancellationTokenSource();
        var reader = new ListReader<int>([1]);

        await foreach (var _ in reader.ReadAllAsync().WithCancellation(cancellation.Token))
        {
        }

        Assert.That(reader.Tokens, Is.EqualTo(new[] { cancellation.Token, cancellation.Token }));
    }

    [Test]
    public async Task ReadAllAsync_CancelledInBetween_EndsAfterTheItemsRead()
    {
        using var cancellation = new CancellationTokenSource();
        var read = new List<int>();

        async Task Read()
        {
            await foreach (var item in new ListReader<int>([1, 2, 3]).ReadAllAsync(cancellation.Token))
            {
                read.Add(item);
                await cancellation.CancelAsync();
            }
        }

        await Assert.ThatAsync(Read, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(read, Is.EqualTo(new[] { 1 }));
    }
}
