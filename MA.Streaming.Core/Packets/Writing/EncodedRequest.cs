using System.Buffers;
using System.Text.Unicode;
using MA.Streaming.API;

namespace MA.Streaming.Core.Packets;

/// <summary>A WriteDataPacketsRequest as bytes, for transports that receive bytes: its packets go from the wire to the log without being
/// parsed into messages.</summary>
internal sealed class EncodedRequest
{
    private readonly int _length;
    private byte[] _buffer;

    /// <summary>Copies the payload.</summary>
    public EncodedRequest(in ReadOnlySequence<byte> payload)
    {
        _length = checked((int)payload.Length);
        _buffer = ArrayPool<byte>.Shared.Rent(_length);
        payload.CopyTo(_buffer);
    }

    /// <summary>The request, until <see cref="Return"/>.</summary>
    public ReadOnlyMemory<byte> Bytes => _buffer.AsMemory(0, _length);

    /// <summary>Gives the memory back; <see cref="Bytes"/> is empty afterwards.</summary>
    public void Return()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }
}

/// <summary>One packet of an encoded WriteDataPacketsRequest, and where it goes, read in place.</summary>
internal readonly ref struct DetailView
{
    private const uint DetailsTag = (WriteDataPacketsRequest.DetailsFieldNumber << 3) | WireReader.Bytes;
    private const uint MessageTag = (DataPacketDetails.MessageFieldNumber << 3) | WireReader.Bytes;
    private const uint DataSourceTag = (DataPacketDetails.DataSourceFieldNumber << 3) | WireReader.Bytes;
    private const uint StreamTag = (DataPacketDetails.StreamFieldNumber << 3) | WireReader.Bytes;
    private const uint SessionKeyTag = (DataPacketDetails.SessionKeyFieldNumber << 3) | WireReader.Bytes;
    private const uint PacketTypeTag = (OpenData.Packet.TypeFieldNumber << 3) | WireReader.Bytes;
    private const uint PacketSessionKeyTag = (OpenData.Packet.SessionKeyFieldNumber << 3) | WireReader.Bytes;
    private const uint PacketIsEssentialTag = (OpenData.Packet.IsEssentialFieldNumber << 3) | WireReader.Varint;
    private const uint PacketContentTag = (OpenData.Packet.ContentFieldNumber << 3) | WireReader.Bytes;
    private const uint PacketIdTag = (OpenData.Packet.IdFieldNumber << 3) | WireReader.Varint;
    private const uint PacketProducerIdTag = (OpenData.Packet.ProducerIdFieldNumber << 3) | WireReader.Varint;
    private const uint PacketSequenceTag = (OpenData.Packet.SequenceFieldNumber << 3) | WireReader.Varint;

    private DetailView(ReadOnlySpan<byte> packet, ReadOnlySpan<byte> dataSource, ReadOnlySpan<byte> stream, ReadOnlySpan<byte> sessionKey, bool isEssential)
    {
        Packet = packet;
        DataSource = dataSource;
        Stream = stream;
        SessionKey = sessionKey;
        IsEssential = isEssential;
    }

    /// <summary>The packet: exactly the bytes that protobuf would write of the message it would read.</summary>
    public ReadOnlySpan<byte> Packet { get; }

    /// <summary>Its data source, UTF-8.</summary>
    public ReadOnlySpan<byte> DataSource { get; }

    /// <summary>Its stream, UTF-8.</summary>
    public ReadOnlySpan<byte> Stream { get; }

    /// <summary>The key it is recorded under, UTF-8: the detail's, or else the packet's own.</summary>
    public ReadOnlySpan<byte> SessionKey { get; }

    /// <summary>Whether it goes to the essentials too.</summary>
    public bool IsEssential { get; }

    /// <summary>Reads the next packet of a request. False for anything but the known fields, each at most once, written as protobuf writes
    /// them: everything else needs protobuf's parser.</summary>
    public static bool TryRead(scoped ref WireReader request, out DetailView detail)
    {
        detail = default;
        if (!request.TryReadShortestVarint(out var tag) || tag != DetailsTag || !request.TryReadShortestBytes(out var bytes)) return false;
        ReadOnlySpan<byte> packet = default, dataSource = default, stream = default, sessionKey = default;
        var seen = 0;
        var reader = new WireReader(bytes);
        while (!reader.IsAtEnd)
        {
            if (!reader.TryReadShortestVarint(out tag) || tag > SessionKeyTag || !reader.TryReadShortestBytes(out var value)) return false;
            switch ((uint)tag)
            {
                case MessageTag:
                    packet = value;
                    break;
                case DataSourceTag when Utf8.IsValid(value):
                    dataSource = value;
                    break;
                case StreamTag when Utf8.IsValid(value):
                    stream = value;
                    break;
                case SessionKeyTag when Utf8.IsValid(value):
                    sessionKey = value;
                    break;
                default:
                    return false;
            }

            var field = 1 << (int)(tag >> 3);
            if ((seen & field) != 0) return false;
            seen |= field;
        }

        if ((seen & (1 << DataPacketDetails.MessageFieldNumber)) == 0) return false;
        if (!TryReadPacket(packet, out var packetSessionKey, out var isEssential)) return false;
        detail = new DetailView(packet, dataSource, stream, sessionKey.IsEmpty ? packetSessionKey : sessionKey, isEssential);
        return true;
    }

    // Protobuf writes fields in the order of their numbers, and only those that are set: without presence, those that are not zero or empty.
    private static bool TryReadPacket(ReadOnlySpan<byte> packet, out ReadOnlySpan<byte> sessionKey, out bool isEssential)
    {
        sessionKey = default;
        isEssential = false;
        var reader = new WireReader(packet);
        for (var last = 0UL; !reader.IsAtEnd;)
        {
            if (!reader.TryReadShortestVarint(out var tag) || tag <= last || tag > PacketSequenceTag) return false;
            last = tag;
            ulong number;
            switch ((uint)tag)
            {
                case PacketTypeTag:
                    if (!reader.TryReadShortestBytes(out var type) || type.IsEmpty || !Utf8.IsValid(type)) return false;
                    break;
                case PacketSessionKeyTag:
                    if (!reader.TryReadShortestBytes(out sessionKey) || sessionKey.IsEmpty || !Utf8.IsValid(sessionKey)) return false;
                    break;
                case PacketIsEssentialTag:
                    if (!reader.TryReadShortestVarint(out number) || number != 1) return false;
                    isEssential = true;
                    break;
                case PacketContentTag:
                    if (!reader.TryReadShortestBytes(out var content) || content.IsEmpty) return false;
                    break;
                case PacketIdTag:
                    if (!reader.TryReadShortestVarint(out number) || number == 0) return false;
                    break;
                case PacketProducerIdTag or PacketSequenceTag:
                    if (!reader.TryReadShortestVarint(out _)) return false;
                    break;
                default:
                    return false;
            }
        }

        return true;
    }
}
