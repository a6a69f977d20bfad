using System.Buffers;
using Grpc.Core;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>What a marshaller writes, for messages that can be copied in no other way.</summary>
internal sealed class InProcessBytes : SerializationContext
{
    private readonly ArrayBufferWriter<byte> _buffer = new();

    public byte[] Written => _buffer.WrittenSpan.ToArray();

    public override void Complete(byte[] payload) => _buffer.Write(payload);

    public override IBufferWriter<byte> GetBufferWriter() => _buffer;

    public override void SetPayloadLength(int payloadLength)
    {
    }

    public override void Complete()
    {
    }

    internal sealed class Reader(byte[] bytes) : DeserializationContext
    {
        public override int PayloadLength => bytes.Length;

        public override byte[] PayloadAsNewBuffer() => bytes;

        public override ReadOnlySequence<byte> PayloadAsReadOnlySequence() => new(bytes);
    }
}
