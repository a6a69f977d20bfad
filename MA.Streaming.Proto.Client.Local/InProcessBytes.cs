using System.Buffers;
using Grpc.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>The bytes that a marshaller writes, for messages that have no <c>Clone</c>.</summary>
internal sealed class InProcessBytes : SerializationContext
{
    private readonly ArrayBufferWriter<byte> _buffer = new();

    /// <summary>Copies a message through its marshaller.</summary>
    public static T Copy<T>(T message, Marshaller<T> marshaller)
    {
        var bytes = new InProcessBytes();
        marshaller.ContextualSerializer(message, bytes);
        return marshaller.ContextualDeserializer(new Reader(bytes._buffer.WrittenSpan.ToArray()));
    }

    public override void Complete(byte[] payload) => _buffer.Write(payload);

    public override IBufferWriter<byte> GetBufferWriter() => _buffer;

    public override void SetPayloadLength(int payloadLength)
    {
    }

    public override void Complete()
    {
    }

    private sealed class Reader(byte[] bytes) : DeserializationContext
    {
        public override int PayloadLength => bytes.Length;

        public override byte[] PayloadAsNewBuffer() => bytes;

        public override ReadOnlySequence<byte> PayloadAsReadOnlySequence() => new(bytes);
    }
}
