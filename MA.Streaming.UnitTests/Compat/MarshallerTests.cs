using System.Buffers;
using System.Text;
using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class MarshallerTests
{
    [Test]
    public void SimpleMarshaller_ContextualSerializer_CompletesWithTheBytes()
    {
        var marshaller = Marshallers.Create<string>(Encoding.UTF8.GetBytes, Encoding.UTF8.GetString);
        var context = new RecordingSerializationContext();

        marshaller.ContextualSerializer("text", context);

        Assert.That(context.Completed, Is.EqualTo(new[] { "text"u8.ToArray() }));
    }

    [Test]
    public void SimpleMarshaller_ContextualDeserializer_ReadsTheWholePayload()
    {
        var marshaller = Marshallers.Create<string>(Encoding.UTF8.GetBytes, Encoding.UTF8.GetString);

        Assert.That(marshaller.ContextualDeserializer(new PayloadContext("text"u8.ToArray())), Is.EqualTo("text"));
    }

    [Test]
    public void SimpleMarshaller_Delegates_AreThoseGiven()
    {
        Func<string, byte[]> serializer = Encoding.UTF8.GetBytes;
        Func<byte[], string> deserializer = Encoding.UTF8.GetString;

        var marshaller = new Marshaller<string>(serializer, deserializer);

        Assert.That(marshaller.Serializer, Is.SameAs(serializer));
        Assert.That(marshaller.Deserializer, Is.SameAs(deserializer));
    }

    [Test]
    public void ContextualMarshaller_Delegates_AreThoseGiven()
    {
        Action<string, SerializationContext> serializer = (_, _) => { };
        Func<DeserializationContext, string> deserializer = _ => "text";

        var marshaller = Marshallers.Create(serializer, deserializer);

        Assert.That(marshaller.ContextualSerializer, Is.SameAs(serializer));
        Assert.That(marshaller.ContextualDeserializer, Is.SameAs(deserializer));
    }

    [Test]
    public void ContextualMarshaller_SimpleDelegates_ThrowWhenCalled()
    {
        var marshaller = new Marshaller<string>((_, _) => { }, _ => "text");

        Assert.That(() => marshaller.Serializer("text"), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => marshaller.Deserializer([1]), Throws.TypeOf<NotImplementedException>());
    }

    [Test]
    public void StringMarshaller_NonAsciiText_TravelsAsUtf8()
    {
        var marshaller = Marshallers.StringMarshaller;
        var context = new RecordingSerializationContext();

        marshaller.ContextualSerializer("caf\u00e9 \u20ac", context);

        Assert.That(context.Completed, Is.EqualTo(new[] { Encoding.UTF8.GetBytes("caf\u00e9 \u20ac") }));
        Assert.That(marshaller.ContextualDeserializer(new PayloadContext(context.Completed[0])), Is.EqualTo("caf\u00e9 \u20ac"));
    }

    [Test]
    public void SerializationContext_NothingOverridden_OnlyTakesTheLength()
    {
        var context = new BareSerializationContext();

        Assert.That(() => context.SetPayloadLength(5), Throws.Nothing);
        Assert.That(() => context.GetBufferWriter(), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => context.Complete(), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => context.Complete([1]), Throws.TypeOf<NotImplementedException>());
    }

    [Test]
    public void DeserializationContext_NothingOverridden_ThrowsOnPayload()
    {
        var context = new BareDeserializationContext();

        Assert.That(() => context.PayloadAsNewBuffer(), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => context.PayloadAsReadOnlySequence(), Throws.TypeOf<NotImplementedException>());
    }

    [Test]
    public void Method_Members_AreThoseGivenAndTheFullNameIsThePath()
    {
        var request = new Marshaller<string>(Encoding.UTF8.GetBytes, Encoding.UTF8.GetString);
        var response = new Marshaller<byte[]>(bytes => bytes, bytes => bytes);

        var method = new Method<string, byte[]>(MethodType.ServerStreaming, "package.Service", "Name", request, response);

        Assert.That(method.FullName, Is.EqualTo("/package.Service/Name"));
        Assert.That(method.Type, Is.EqualTo(MethodType.ServerStreaming));
        Assert.That(method.ServiceName, Is.EqualTo("package.Service"));
        Assert.That(method.Name, Is.EqualTo("Name"));
        Assert.That(method.RequestMarshaller, Is.SameAs(request));
        Assert.That(method.ResponseMarshaller, Is.SameAs(response));
        Assert.That(((IMethod)method).FullName, Is.EqualTo("/package.Service/Name"));
    }

    [Test]
    public void Method_NullArgument_Throws()
    {
        var text = Marshallers.StringMarshaller;

        Assert.That(() => new Method<string, string>(MethodType.Unary, null!, "Name", text, text), Throws.ArgumentNullException);
        Assert.That(() => new Method<string, string>(MethodType.Unary, "Service", null!, text, text), Throws.ArgumentNullException);
        Assert.That(() => new Method<string, string>(MethodType.Unary, "Service", "Name", null!, text), Throws.ArgumentNullException);
        Assert.That(() => new Method<string, string>(MethodType.Unary, "Service", "Name", text, null!), Throws.ArgumentNullException);
    }

    private sealed class RecordingSerializationContext : SerializationContext
    {
        public List<byte[]> Completed { get; } = [];

        public override void Complete(byte[] payload) => Completed.Add(payload);
    }

    private sealed class PayloadContext(byte[] payload) : DeserializationContext
    {
        public override int PayloadLength => payload.Length;

        public override byte[] PayloadAsNewBuffer() => payload;

        public override ReadOnlySequence<byte> PayloadAsReadOnlySequence() => throw new InvalidOperationException("Not for simple marshallers.");
    }

    private sealed class BareSerializationContext : SerializationContext;

    private sealed class BareDeserializationContext : DeserializationContext
    {
        public override int PayloadLength => 0;
    }
}
