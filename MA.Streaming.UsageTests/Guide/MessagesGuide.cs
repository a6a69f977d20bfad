using Google.Protobuf;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class MessagesGuide
{
    [Test]
    public void Run() => Assert.That(MarkerOf(Bytes()), Is.EqualTo("Pit exit"));

    // <guide>
    private static byte[] Bytes()
    {
        var marker = new MarkerPacket { Label = "Pit exit", Timestamp = 1_700_000_000_000_000_000 };
        return new Packet { Type = "Marker", Content = marker.ToByteString() }.ToByteArray();
    }

    private static string MarkerOf(byte[] bytes) => MarkerPacket.Parser.ParseFrom(Packet.Parser.ParseFrom(bytes).Content).Label;
    // </guide>
}
