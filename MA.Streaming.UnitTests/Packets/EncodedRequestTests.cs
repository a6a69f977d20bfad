using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;
using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

/// <summary>A request as bytes is prepared as the message it encodes would be, or left to protobuf's parser.</summary>
[TestFixture]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class EncodedRequestTests : IAsyncDisposable
{
    private const int PacketBytesMax = 20_000;
    private static readonly string[] DataSources = ["Car", "Rig-7"];
    private static readonly string[] Streams = ["", "engine", "tyres"];
    private static readonly string[] Sessions = ["", "3f6b", "Größe 冷却"];

    private readonly MemoryBroker _broker = new();
    private readonly Telemetry _telemetry = new();
    private readonly TopicDirectory _directory;
    private readonly PacketEncoder _encoder;

    public EncodedRequestTests()
    {
        _directory = new TopicDirectory(_broker, new RecordingLogger(), TimeProvider.System);
        _encoder = new PacketWriting(
            _broker, _directory, StreamingApiLimits.Default with { PacketBytesMax = PacketBytesMax }, _telemetry, TimeProvider.System).Encoder;

        // A stream's first packet is always a message.
        foreach (var dataSource in DataSources)
        {
            foreach (var stream in Streams) _encoder.Prepare(new() { DataSource = dataSource, Stream = stream, Message = new() { IsEssential = true } });
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _directory.DisposeAsync();
        await _broker.DisposeAsync();
        _telemetry.Dispose();
    }

    /// <summary>Requests that mean something else than their plain reading, or nothing at all: protobuf decides.</summary>
    public static IEnumerable<TestCaseData> Unusual()
    {
        yield return Case("a message that is no message", [0x0A]);
        yield return Case("a detail that is cut", [0x0A, 5, 0x12, 1]);
        yield return Case("an unknown field beside the details", [.. Request(Detail("Car", "", PlainPacket)), 0x10, 1]);
        yield return Case("an unknown field in a detail", Request([.. Detail("Car", "", PlainPacket), 0x28, 1]));
        yield return Case("an unknown field in the packet", Request(Detail("Car", "", [.. PlainPacket, 0xA0, 0x38, 7])));
        yield return Case("a group", Request(Detail("Car", "", [.. PlainPacket, 0xA3, 0x38, 0x08, 1, 0xA4, 0x38])));
        yield return Case("a group that does not end", Request(Detail("Car", "", [.. PlainPacket, 0xA3, 0x38, 0x08, 1])));
        yield return Case("a field without a number", Request(Detail("Car", "", [0, 1])));
        yield return Case("a type of another wire type", Request(Detail("Car", "", [0x08, 1])));
        yield return Case("a packet in two halves", Request([.. Detail("Car", "", PlainPacket), .. Bytes(1, [0x28, 9])]));
        yield return Case("a data source twice", Request([.. Detail("Nobody", "", PlainPacket), .. Bytes(2, "Car"u8)]));
        yield return Case("a type twice", Request(Detail("Car", "", [.. Bytes(1, "a"u8), .. Bytes(1, "b"u8)])));
        yield return Case("fields in another order", Request(Detail("Car", "", [0x28, 5, .. Bytes(1, "a"u8)])));
        yield return Case("an empty type that is said", Request(Detail("Car", "", [0x0A, 0, 0x28, 5])));
        yield return Case("empty content that is said", Request(Detail("Car", "", [0x22, 0])));
        yield return Case("an id of zero that is said", Request(Detail("Car", "", [0x28, 0])));
        yield return Case("essential as false that is said", Request(Detail("Car", "", [0x18, 0])));
        yield return Case("essential as two", Request(Detail("Car", "", [0x18, 2])));
        yield return Case("an id longer than it has to be", Request(Detail("Car", "", [0x28, 0x85, 0])));
        yield return Case("an id of 65 bits", Request(Detail("Car", "", [0x28, 255, 255, 255, 255, 255, 255, 255, 255, 255, 3])));
        yield return Case("an id of eleven bytes", Request(Detail("Car", "", [0x28, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1])));
        yield return Case("a length longer than it has to be", Request(Detail("Car", "", [0x0A, 0x81, 0, (byte)'a'])));
        yield return Case("a length of 2^31", Request(Detail("Car", "", [0x0A, 0x80, 0x80, 0x80, 0x80, 0x08, (byte)'a'])));
        yield return Case("a length of 2^32 + 1", Request(Detail("Car", "", [0x0A, 0x81, 0x80, 0x80, 0x80, 0x10, (byte)'a'])));
        yield return Case("a tag longer than it has to be", Request(Detail("Car", "", [0x8A, 0, 1, (byte)'a'])));
        yield return Case("a type that is no UTF-8", Request(Detail("Car", "", [0x0A, 1, 0xFF])));
        yield return Case("a packet's session key that is no UTF-8", Request(Detail("Car", "", [0x12, 2, 0xC0, 0x80])));
        yield return Case("a stream that is no UTF-8", Request([.. Bytes(1, PlainPacket), .. Bytes(2, "Car"u8), .. Bytes(3, [0xED, 0xA0, 0x80])]));
        yield return Case("a session key that is no UTF-8", Request([.. Detail("Car", "", PlainPacket), .. Bytes(4, [0xFF])]));
        yield return Case("no packet", Request(Bytes(2, "Car"u8)));
        yield return Case("no data source", Request(Bytes(1, PlainPacket)));
        yield return Case("a data source that is not allowed", Request(Detail("no t", "", PlainPacket)));
        yield return Case("the first packet of a stream", Request(Detail("Car", "new", PlainPacket)));
        yield return Case("a packet that is too large", Request(Detail("Car", "", new Packet { Content = ByteString.CopyFrom(new byte[PacketBytesMax]) }.ToByteArray())));

        static TestCaseData Case(string name, byte[] request) => new TestCaseData(request).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Unusual))]
    public void TryPrepare_AnythingButPlain_IsLeftToTheParser(byte[] request)
    {
        Assert.That(_encoder.TryPrepare(request, []), Is.False);
        byte[] behindAPlainOne = [.. Request(Detail("Car", "", PlainPacket)), .. request];
        Assert.That(_encoder.TryPrepare(behindAPlainOne, []), Is.False);
    }

    [Test]
    public void TryPrepare_PlainRequests_ArePreparedAsTheirMessages()
    {
        var random = new Random(20_261_121);
        for (var round = 0; round < 2_000; round++)
        {
            var request = new WriteDataPacketsRequest();
            for (var i = random.Next(30); i > 0; i--) request.Details.Add(RandomDetail(random));
            var bytes = request.ToByteArray();
            if (!AgreesWithTheParser(bytes)) Assert.Fail($"round {round}: {request} is plain");
        }
    }

    [Test]
    public void TryPrepare_DamagedAndUnusualRequests_ArePreparedAsTheirMessagesOrNotAtAll()
    {
        var random = new Random(20_261_122);
        var unusual = Unusual().Select(c => (byte[])c.Arguments[0]!).Where(request => request.Length < 1_000).ToArray();
        var prepared = 0;
        const int Rounds = 100_000;
        for (var round = 0; round < Rounds; round++)
        {
            byte[] bytes = [];
            for (var i = random.Next(1, 4); i > 0; i--) bytes = [.. bytes, .. Request(Scrambled(RandomDetail(random), random))];
            if (round % 7 == 0) bytes = [.. bytes, .. unusual[random.Next(unusual.Length)]];
            if (round % 7 == 1) bytes = bytes[..random.Next(bytes.Length)];
            if (round % 7 == 2) bytes = [.. bytes[..random.Next(bytes.Length)], .. bytes[random.Next(bytes.Length)..]];
            if (round % 7 >= 3)
            {
                for (var damaged = random.Next(4); damaged > 0; damaged--) bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            }

            if (AgreesWithTheParser(bytes)) prepared++;
        }

        Assert.That(prepared, Is.InRange(Rounds / 10, Rounds * 9 / 10), "some of them are plain all the same, or this test says nothing");
    }

    [Test]
    public void TryPrepare_PacketsOfOneStream_ShareSmallArrays()
    {
        var request = new WriteDataPacketsRequest();
        foreach (var (stream, size) in new[] { ("", 200), ("", 300), ("engine", 200), ("", 200), ("", 4_000), ("", 9_000), ("", 50) })
            request.Details.Add(new DataPacketDetails { DataSource = "Car", Stream = stream, Message = new Packet { Content = ByteString.CopyFrom(new byte[size]) } });
        for (var i = 0; i < 100; i++) request.Details.Add(new DataPacketDetails { DataSource = "Rig-7", Message = new Packet { Content = ByteString.CopyFrom(new byte[200]) } });
        var packets = new List<PreparedPacket>();
        Assert.That(_encoder.TryPrepare(request.ToByteArray(), packets), Is.True);

        var arrays = packets.Select(packet => MemoryMarshal.TryGetArray(packet.Value, out var segment) ? segment.Array! : null).ToArray();
        Assert.That(arrays[0], Is.SameAs(arrays[1]), "two small ones");
        Assert.That(arrays[..7].Distinct().Count(), Is.EqualTo(6), "another stream's, and what would be too much");
        foreach (var shared in packets.Zip(arrays).GroupBy(p => p.Second!))
        {
            Assert.That(shared.Sum(p => p.First.Value.Length), Is.EqualTo(shared.Key.Length), "no byte of an array is nobody's");
            Assert.That(shared.Count() == 1 || shared.Key.Length <= 4_096, Is.True);
        }

        Assert.That(arrays[7..].Distinct().Count(), Is.EqualTo(5), "20 packets of 203 bytes fit into 4 KiB");
    }

    [Test]
    public void TryPrepare_NoPackets_IsPlain()
    {
        var packets = new List<PreparedPacket>();
        Assert.That(_encoder.TryPrepare(ReadOnlyMemory<byte>.Empty, packets), Is.True);
        Assert.That(packets, Is.Empty);
    }

    [Test]
    public void EncodedRequest_APayloadInPieces_IsTheWhole()
    {
        var bytes = new byte[100_000];
        new Random(3).NextBytes(bytes);
        var first = new Piece(bytes.AsMemory(0, 10));
        var last = first.Then(bytes.AsMemory(10, 0)).Then(bytes.AsMemory(10, 4_096)).Then(bytes.AsMemory(4_106));
        foreach (var payload in new[] { new(first, 0, last, last.Memory.Length), new ReadOnlySequence<byte>(bytes), ReadOnlySequence<byte>.Empty })
        {
            var request = new EncodedRequest(payload);
            Assert.That(request.Bytes.ToArray(), Is.EqualTo(payload.ToArray()));
            request.Return();
        }
    }

    // True when the bytes were prepared, and then just as the message would be; false when they are left to the parser.
    private bool AgreesWithTheParser(byte[] request)
    {
        byte[] memory = [.. request];
        var packets = new List<PreparedPacket>();
        if (!_encoder.TryPrepare(memory, packets)) return false;
        Array.Fill(memory, (byte)0xFF); // Somebody else's by now.
        List<PreparedPacket> expected;
        try
        {
            expected = [.. WriteDataPacketsRequest.Parser.ParseFrom(request).Details.Select(_encoder.Prepare)];
        }
        catch (Exception exception) when (exception is InvalidProtocolBufferException or RpcException)
        {
            throw new AssertionException($"{Convert.ToHexString(request)} was prepared, but {exception.Message}");
        }

        if (!packets.Select(Shown).SequenceEqual(expected.Select(Shown)))
            Assert.Fail($"{Convert.ToHexString(request)}: {string.Join("; ", packets.Select(Shown))}, not {string.Join("; ", expected.Select(Shown))}");
        return true;
    }

    private static string Shown(PreparedPacket packet) =>
        $"{packet.Stream.Placement.Target} {packet.Essentials?.Placement.Target} '{packet.SessionKey}' {Hex(packet.Record.Key)} {Hex(packet.Record.Value)}";

    private static string Hex(ReadOnlyMemory<byte>? bytes) => bytes is { } present ? Convert.ToHexString(present.Span) : "null";

    private static DataPacketDetails RandomDetail(Random random)
    {
        var packet = new Packet { Type = Pick("", "RowData", "日本語"), SessionKey = Pick(Sessions), IsEssential = random.Next(5) == 0 };
        if (random.Next(3) > 0) packet.Content = ByteString.CopyFrom(RandomBytes(random.Next(50) == 0 ? 10_000 : 200));
        if (random.Next(3) > 0) packet.Id = Pick(1ul, 127ul, 128ul, ulong.MaxValue >> random.Next(63));
        if (random.Next(10) == 0) packet.ProducerId = Pick(0ul, 5ul, ulong.MaxValue);
        if (random.Next(10) == 0) packet.Sequence = Pick(0ul, 300ul);
        return new DataPacketDetails { DataSource = Pick(DataSources), Stream = Pick(Streams), SessionKey = Pick(Sessions), Message = packet };

        T Pick<T>(params T[] of) => of[random.Next(of.Length)];

        byte[] RandomBytes(int max)
        {
            var bytes = new byte[random.Next(max)];
            random.NextBytes(bytes);
            return bytes;
        }
    }

    // Its fields in any order; now and then one is missing, there twice, or in two halves.
    private static byte[] Scrambled(DataPacketDetails detail, Random random)
    {
        var packet = detail.Message.ToByteArray();
        List<byte[]> fields =
        [
            Bytes(1, packet), Bytes(2, Encoding.UTF8.GetBytes(detail.DataSource)), Bytes(3, Encoding.UTF8.GetBytes(detail.Stream)),
            Bytes(4, Encoding.UTF8.GetBytes(detail.SessionKey)),
        ];
        if (random.Next(3) == 0)
        {
            switch (random.Next(4))
            {
                case 0:
                    fields.Add(fields[random.Next(fields.Count)]);
                    break;
                case 1:
                    fields.RemoveAt(random.Next(fields.Count));
                    break;
                case 2:
                    var cut = random.Next(packet.Length + 1);
                    fields[0] = [.. Bytes(1, packet.AsSpan(0, cut)), .. Bytes(1, packet.AsSpan(cut))];
                    break;
                default:
                    fields[0] = Bytes(1, [.. packet, .. packet]);
                    break;
            }
        }

        var scrambled = fields.ToArray();
        random.Shuffle(scrambled);
        return [.. scrambled.SelectMany(field => field)];
    }

    private static byte[] PlainPacket => new Packet { Type = "RowData", Id = 5 }.ToByteArray();

    private static byte[] Detail(string dataSource, string stream, ReadOnlySpan<byte> packet) =>
        [.. Bytes(1, packet), .. Bytes(2, Encoding.UTF8.GetBytes(dataSource)), .. Bytes(3, Encoding.UTF8.GetBytes(stream))];

    private static byte[] Request(ReadOnlySpan<byte> detail) => Bytes(1, detail);

    private static byte[] Bytes(int field, ReadOnlySpan<byte> value)
    {
        using var stream = new MemoryStream();
        using (var output = new CodedOutputStream(stream, leaveOpen: true))
        {
            output.WriteTag(field, WireFormat.WireType.LengthDelimited);
            output.WriteBytes(ByteString.CopyFrom(value));
        }

        return stream.ToArray();
    }

    private sealed class Piece : ReadOnlySequenceSegment<byte>
    {
        public Piece(ReadOnlyMemory<byte> memory) => Memory = memory;

        public Piece Then(ReadOnlyMemory<byte> memory)
        {
            var next = new Piece(memory) { RunningIndex = RunningIndex + Memory.Length };
            Next = next;
            return next;
        }
    }
}
