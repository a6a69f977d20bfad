using Google.Protobuf;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

public sealed class PacketDecoderTests
{
    public static IEnumerable<Packet> Packets()
    {
        yield return new Packet();
        yield return new Packet { Type = "PeriodicData", SessionKey = "3f6b", IsEssential = true, Content = ByteString.CopyFromUtf8("content"), Id = ulong.MaxValue };
        yield return new Packet { Type = "日本語", SessionKey = new string('s', 1_000), Id = 1 };
        yield return new Packet { Type = "Event", ProducerId = 4, Sequence = 9 };
        yield return Packet.Parser.ParseFrom([0x0A, 1, (byte)'A', 0x98, 0x06, 5]); // Field 99, which nobody knows.
    }

    [TestCaseSource(nameof(Packets))]
    public void Decode_APacket_IsWhatProtobufDecodes(Packet packet)
    {
        var bytes = packet.ToByteArray();
        var decoder = new PacketDecoder();
        Assert.That(decoder.Decode(bytes), Is.EqualTo(packet));
        Assert.That(decoder.Decode(bytes)!.ToByteArray(), Is.EqualTo(bytes), "the second time too, unknown fields included");
    }

    [Test]
    public void Decode_PacketsOfOneTypeAndSession_ShareTheirStrings()
    {
        var bytes = new Packet { Type = "PeriodicData", SessionKey = "session", Id = 1 }.ToByteArray();
        var decoder = new PacketDecoder();
        var (first, second) = (decoder.Decode(bytes)!, decoder.Decode(bytes)!);
        Assert.That(second, Is.Not.SameAs(first));
        Assert.That(second.Type, Is.SameAs(first.Type));
        Assert.That(second.SessionKey, Is.SameAs(first.SessionKey));
    }

    [Test]
    public void Decode_TheBytesChangeAfterwards_ThePacketDoesNot()
    {
        var bytes = new Packet { Type = "T", Content = ByteString.CopyFromUtf8("content") }.ToByteArray();
        var decoder = new PacketDecoder();
        var packet = decoder.Decode(bytes)!;
        var copy = packet.Clone();
        Array.Fill(bytes, (byte)'x');
        Assert.That(packet, Is.EqualTo(copy));
        Assert.That(decoder.Decode(new Packet { Type = "T" }.ToByteArray())!.Type, Is.EqualTo("T"));
    }

    [Test]
    public void Decode_DamagedAndRandomBytes_IsWhatProtobufDecodes()
    {
        const int Seed = 20_240_611;
        var random = new Random(Seed);
        var decoder = new PacketDecoder();
        var seeds = Packets().Select(p => p.ToByteArray()).Where(b => b.Length > 0).ToArray();
        for (var i = 0; i < 200_000; i++)
        {
            byte[] bytes = [.. seeds[random.Next(seeds.Length)]];
            if (i % 10 == 0) random.NextBytes(bytes = new byte[random.Next(24)]);
            else if (i % 10 == 1) bytes = bytes[..random.Next(bytes.Length)];
            else if (i % 10 == 2) bytes = [.. bytes, .. seeds[random.Next(seeds.Length)]];
            for (var damaged = random.Next(4); damaged > 0 && bytes.Length > 0; damaged--) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);

            var expected = Parse(bytes);
            var actual = decoder.Decode(bytes);
            if (!Equals(actual, expected)) Assert.Fail($"round {i}: {Convert.ToHexString(bytes)} is {actual?.ToString() ?? "no packet"}, not {expected?.ToString() ?? "none"}");
            if (PacketDecoder.IsPacket(bytes) != expected is not null) Assert.Fail($"round {i}: {Convert.ToHexString(bytes)} is {(expected is null ? "no" : "a")} packet");
        }

        static Packet? Parse(byte[] bytes)
        {
            try
            {
                return Packet.Parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException)
            {
                return null;
            }
        }
    }
}
