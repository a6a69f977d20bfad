using System.IO.Hashing;
using System.Text;
using System.Text.Unicode;
using Google.Protobuf;
using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Packets;

/// <summary>
/// Decodes the packets of one read. Types and session keys repeat from packet to packet: each is decoded once and its string shared,
/// which spares a third of what a packet allocates. What is not plain is left to protobuf's own parser, so the result is always its.
/// </summary>
internal sealed class PacketDecoder
{
    private const int Slots = 64;
    private const int CachedLengthMax = 256;

    private readonly (byte[] Bytes, string Text)[] _texts = new (byte[], string)[Slots];
    private (byte[] Bytes, string Text) _lastType = ([], "");
    private (byte[] Bytes, string Text) _lastKey = ([], "");

    /// <summary>The packet, or null when the bytes are none.</summary>
    public Packet? Decode(ReadOnlySpan<byte> bytes)
    {
        if (TryDecode(bytes) is { } packet) return packet;
        try
        {
            return Packet.Parser.ParseFrom(bytes);
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }

    /// <summary>Whether <see cref="Decode"/> would have a packet for these bytes.</summary>
    public static bool IsPacket(ReadOnlySpan<byte> bytes)
    {
        var reader = new WireReader(bytes);
        while (!reader.IsAtEnd)
        {
            if (!reader.TryReadTag(out var field, out var wireType)) return IsForParser(bytes);
            var isPlain = (field, wireType) switch
            {
                (Packet.TypeFieldNumber or Packet.SessionKeyFieldNumber, WireReader.Bytes) => reader.TryReadBytes(out var text) && Utf8.IsValid(text),
                (Packet.ContentFieldNumber, WireReader.Bytes) => reader.TryReadBytes(out _),
                (Packet.IsEssentialFieldNumber or Packet.IdFieldNumber, WireReader.Varint) => reader.TryReadVarint(out _),
                _ => false,
            };
            if (!isPlain) return IsForParser(bytes);
        }

        return true;
    }

    private static bool IsForParser(ReadOnlySpan<byte> bytes)
    {
        try
        {
            Packet.Parser.ParseFrom(bytes);
            return true;
        }
        catch (InvalidProtocolBufferException)
        {
            return false;
        }
    }

    // Null for anything but the five fields that packets always had, well formed.
    private Packet? TryDecode(ReadOnlySpan<byte> bytes)
    {
        var packet = new Packet();
        var reader = new WireReader(bytes);
        while (!reader.IsAtEnd)
        {
            if (!reader.TryReadTag(out var field, out var wireType)) return null;
            switch (field, wireType)
            {
                case (Packet.TypeFieldNumber, WireReader.Bytes):
                    if (!reader.TryReadBytes(out var type) || TextOf(type, ref _lastType) is not { } typeText) return null;
                    packet.Type = typeText;
                    break;
                case (Packet.SessionKeyFieldNumber, WireReader.Bytes):
                    if (!reader.TryReadBytes(out var key) || TextOf(key, ref _lastKey) is not { } keyText) return null;
                    packet.SessionKey = keyText;
                    break;
                case (Packet.IsEssentialFieldNumber, WireReader.Varint):
                    if (!reader.TryReadVarint(out var isEssential)) return null;
                    packet.IsEssential = isEssential != 0;
                    break;
                case (Packet.ContentFieldNumber, WireReader.Bytes):
                    if (!reader.TryReadBytes(out var content)) return null;
                    packet.Content = ByteString.CopyFrom(content);
                    break;
                case (Packet.IdFieldNumber, WireReader.Varint):
                    if (!reader.TryReadVarint(out var id)) return null;
                    packet.Id = id;
                    break;
                default:
                    return null;
            }
        }

        return packet;
    }

    private string? TextOf(ReadOnlySpan<byte> utf8, ref (byte[] Bytes, string Text) last)
    {
        if (utf8.SequenceEqual(last.Bytes)) return last.Text; // Most packets are of the type and the session of the one before.
        if (utf8.Length > CachedLengthMax) return Utf8.IsValid(utf8) ? Encoding.UTF8.GetString(utf8) : null;
        ref var slot = ref _texts[XxHash3.HashToUInt64(utf8) % Slots];
        if (slot.Bytes is null || !utf8.SequenceEqual(slot.Bytes))
        {
            if (!Utf8.IsValid(utf8)) return null;
            slot = (utf8.ToArray(), Encoding.UTF8.GetString(utf8));
        }

        last = slot;
        return slot.Text;
    }
}
