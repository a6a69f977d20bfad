using System.Buffers;
using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

/// <summary>A response as bytes is the response as a message, encoded.</summary>
public sealed class ResponseTests
{
    public static IEnumerable<(string Stream, DateTimeOffset Time, long Offset, int Partition)> Places()
    {
        yield return ("", DateTimeOffset.UnixEpoch, 0, 0);
        yield return ("engine", DateTimeOffset.UnixEpoch.AddTicks(1), 1, 127);
        yield return ("Kühlung 冷却", new DateTimeOffset(2026, 3, 8, 13, 0, 0, TimeSpan.FromHours(2)).AddTicks(1_234_567), long.MaxValue, int.MaxValue);
        yield return (new string('s', 249), DateTimeOffset.UnixEpoch.AddTicks(-1), 128, 128);
        yield return ("x", DateTimeOffset.UnixEpoch.AddSeconds(-2), 1 << 21, 1 << 14);
    }

    [TestCaseSource(nameof(Places))]
    public void EncodedResponse_OnePacket_IsWhatProtobufEncodes((string Stream, DateTimeOffset Time, long Offset, int Partition) place)
    {
        foreach (var packet in PacketDecoderTests.Packets())
        {
            var (encoded, message) = (new EncodedResponse(), new ResponseMessage<ReadPacketsResponse>(static r => r.Response, 1));
            var bytes = packet.ToByteArray();
            var record = new Record(place.Offset, place.Time, null, bytes);
            Assert.That(encoded.TryAdd(bytes, place.Stream, record, place.Partition), Is.True);
            Assert.That(message.TryAdd(bytes, place.Stream, record, place.Partition), Is.True);
            Assert.That(BytesOf(encoded.Take()), Is.EqualTo(message.Take().ToByteArray()));
        }
    }

    [Test]
    public void EncodedResponse_UsedAgain_HoldsOnlyWhatIsNew()
    {
        var random = new Random(7);
        var (encoded, message) = (new EncodedResponse(), new ResponseMessage<ReadDataPacketsResponse>(static r => r.Response, 1_000));
        for (var response = 0; response < 50; response++)
        {
            var count = random.Next(1, 300);
            for (var i = 0; i < count; i++)
            {
                var content = new byte[random.Next(2_000)];
                random.NextBytes(content);
                var bytes = new Packet { Type = "RowData", SessionKey = $"{response}", Id = (ulong)i, Content = ByteString.CopyFrom(content) }.ToByteArray();
                var record = new Record(i, DateTimeOffset.UnixEpoch.AddMilliseconds(i), null, bytes);
                var stream = random.Next(3) == 0 ? "a" : "bb";
                Assert.That(encoded.TryAdd(bytes, stream, record, i % 5) && message.TryAdd(bytes, stream, record, i % 5), Is.True);
                Array.Fill(bytes, (byte)0xFF); // The record's memory is the broker's again.
            }

            Assert.That(encoded.Count, Is.EqualTo(count));
            Assert.That(BytesOf(encoded.Take()), Is.EqualTo(message.Take().ToByteArray()));
            encoded.Written();
            Assert.That(encoded.Count, Is.Zero);
        }
    }

    [Test]
    public void TryAdd_NoPacket_IsLeftOut()
    {
        var (encoded, message) = (new EncodedResponse(), new ResponseMessage<ReadEssentialsResponse>(static r => r.Response, 1));
        byte[] bytes = [0x0A, 9, 1];
        var record = new Record(1, DateTimeOffset.UnixEpoch, null, bytes);
        Assert.That(encoded.TryAdd(bytes, "", record, 0), Is.False);
        Assert.That(message.TryAdd(bytes, "", record, 0), Is.False);
        Assert.That((encoded.Count, message.Count), Is.EqualTo((0, 0)));
    }

    [Test]
    public void Responses_OfTheThreeReads_AreAlikeOnTheWire()
    {
        foreach (var type in new[] { ReadPacketsResponse.Descriptor, ReadEssentialsResponse.Descriptor, ReadDataPacketsResponse.Descriptor })
            Assert.That(type.Fields.InDeclarationOrder().Select(field => (field.FieldNumber, field.IsRepeated, field.MessageType)), Is.EqualTo(new[] { (1, true, PacketResponse.Descriptor) }), type.Name);
    }

    private static byte[] BytesOf(EncodedResponse response)
    {
        var context = new Collecting();
        EncodedResponse.Marshaller.ContextualSerializer(response, context);
        Assert.That(context.IsComplete, Is.True);
        Assert.That(context.PayloadLength, Is.EqualTo(context.Bytes.WrittenCount));
        return context.Bytes.WrittenSpan.ToArray();
    }

    private sealed class Collecting : SerializationContext
    {
        public ArrayBufferWriter<byte> Bytes { get; } = new();

        public int? PayloadLength { get; private set; }

        public bool IsComplete { get; private set; }

        public override void SetPayloadLength(int payloadLength) => PayloadLength = payloadLength;

        public override IBufferWriter<byte> GetBufferWriter() => Bytes;

        public override void Complete() => IsComplete = true;
    }
}
