using System.Text;
using Google.Protobuf;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

[TestFixture]
internal sealed class PacketViewTests
{
    [Test]
    public void TryRead_RandomBytes_NeverThrows()
    {
        var random = new Random(1);
        var buffer = new byte[64];
        for (var seed = 0; seed < 100_000; seed++)
        {
            var bytes = buffer.AsSpan(0, random.Next(buffer.Length));
            random.NextBytes(bytes);

            // Mostly nearly right: a tag of the message in front.
            if (bytes.Length > 1 && seed % 4 != 0) bytes[0] = (byte)((random.Next(1, 6) << 3) | random.Next(0, 6));
            if (PacketView.TryRead(bytes, out var view)) _ = FormatView.Of(view.Content).Kind;
            _ = FormatView.Of(bytes).Kind;
        }
    }

    [Test]
    public void TryRead_MutatedPackets_TakesWhatTheParserTakes()
    {
        var random = new Random(2);
        var disagreements = new List<string>();
        for (var i = 0; i < 20_000; i++)
        {
            var bytes = RandomPacket(random).ToByteArray();
            if (bytes.Length > 0 && i % 2 == 0) bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            Packet? parsed = null;
            try
            {
                parsed = Packet.Parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException)
            {
                // No packet; the view may be more generous, and whoever delivers parses.
            }

            if (parsed is null) continue;
            var taken = PacketView.TryRead(bytes, out var view);
            if (!taken && HasGroup(bytes)) continue;
            if (!taken || Encoding.UTF8.GetString(view.Type) != parsed.Type || !view.Content.SequenceEqual(parsed.Content.Span))
            {
                disagreements.Add(Convert.ToHexString(bytes));
            }
        }

        Assert.That(disagreements, Is.Empty);
    }

    [TestCase(0UL)]
    [TestCase(1UL)]
    [TestCase(ulong.MaxValue)]
    public void FormatView_Id_IsRead(ulong id)
    {
        var content = new PeriodicDataPacket { DataFormat = new SampleDataFormat { DataFormatIdentifier = id }, Interval = 5 }.ToByteArray();
        var view = FormatView.Of(content);

        Assert.That(view.Kind, Is.EqualTo(FormatKind.Id));
        Assert.That(view.Id, Is.EqualTo(id));
    }

    [Test]
    public void FormatView_Inline_IsRead()
    {
        var list = new ParameterList { ParameterIdentifiers = { "a", "b" } };
        var view = FormatView.Of(new RowDataPacket { DataFormat = new SampleDataFormat { ParameterIdentifiers = list }, Timestamps = { 1, 2 } }.ToByteArray());
        Assert.That(view.Kind, Is.EqualTo(FormatKind.Inline));
        Assert.That(view.Inline.ToArray(), Is.EqualTo(list.ToByteArray()));

        var ofEvent = FormatView.Of(new EventPacket { DataFormat = new EventDataFormat { EventIdentifier = "e" }, Timestamp = 1 }.ToByteArray());
        Assert.That(Encoding.UTF8.GetString(ofEvent.Inline), Is.EqualTo("e"));
    }

    [TestCase("{}", true)]
    [TestCase("{\"a\":1}", true)]
    [TestCase(" {\"a\":1}", true)]
    [TestCase("\r\n\t{\"a\":1}", true)]
    [TestCase("\n{\"Speed\":[1,2,3],\"Gear\":4,\"a long name that makes the whole longer than one hundred and twenty three bytes\":true,\"x\":\"yyyyyyyyyyyyyyyyy\"}", true)]
    [TestCase("[1]", false)]
    [TestCase("", false)]
    [TestCase("   ", false)]
    public void FormatView_Text_IsJsonOnlyWithABrace(string content, bool isJson) =>
        Assert.That(FormatView.Of(Encoding.UTF8.GetBytes(content)).Kind, Is.EqualTo(isJson ? FormatKind.Json : FormatKind.None));

    [TestCase("80808080808080808080", false)]
    [TestCase("FFFFFFFFFFFFFFFFFF01", true)]
    [TestCase("80", false)]
    [TestCase("", false)]
    public void TryReadVarint_Edges(string hex, bool expected) =>
        Assert.That(new WireReader(Convert.FromHexString(hex)).TryReadVarint(out _), Is.EqualTo(expected));

    [TestCase("0AFFFFFFFF0F")]
    [TestCase("0AFFFFFFFFFFFFFFFFFF01")]
    [TestCase("2203AABB")]
    [TestCase("00")]
    public void TryRead_LengthsThatLie_AreRefused(string hex) => Assert.That(PacketView.TryRead(Convert.FromHexString(hex), out _), Is.False);

    private static Packet RandomPacket(Random random)
    {
        var content = new byte[random.Next(20)];
        random.NextBytes(content);
        return new Packet
        {
            Type = random.Next(3) == 0 ? "" : "PeriodicData",
            SessionKey = random.Next(3) == 0 ? "" : "key",
            IsEssential = random.Next(2) == 0,
            Content = ByteString.CopyFrom(content),
            Id = (ulong)random.NextInt64(),
        };
    }

    // Groups are of no message of this protocol; the parser skips unknown ones.
    private static bool HasGroup(byte[] bytes) => bytes.Any(b => (b & 7) is 3 or 4);
}
