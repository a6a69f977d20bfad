using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using Google.Protobuf;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Packets;

/// <summary>A packet that is valid, encoded and placed: only the append is left to do.</summary>
internal readonly record struct PreparedPacket(StreamTarget Stream, StreamTarget? Essentials, string SessionKey, RecordData Record)
{
    /// <summary>The encoded packet.</summary>
    public ReadOnlyMemory<byte> Value => Record.Value.GetValueOrDefault();
}

/// <summary>Checks packets, finds their targets and encodes them, once.</summary>
internal sealed class PacketEncoder(StreamTargets targets, int packetBytesMax)
{
    private const int KeysMax = 4_096;

    /// <summary>Packets of one stream that come in one message share an array up to this size. Fewer and larger objects cost the garbage
    /// collector much less, and the last packet in use keeps little unused memory alive.</summary>
    private const int SharedBytesMax = 4 << 10;

    private readonly ConcurrentDictionary<string, byte[]> _keys = new(StringComparer.Ordinal);

    /// <summary>Checks and encodes a packet for its stream. The message is not used afterwards.</summary>
    public PreparedPacket Prepare(DataPacketDetails? detail)
    {
        if (detail is null) throw Errors.InvalidArgument("detail is missing: it needs a data_source and a message");
        if (detail.Message is not { } packet) throw Errors.InvalidArgument($"detail.message is missing (data_source '{detail.DataSource}')");
        var stream = targets.Of(detail.DataSource, detail.Stream);
        var essentials = packet.IsEssential ? targets.EssentialsOf(detail.DataSource) : null;
        var sessionKey = detail.SessionKey.Length > 0 ? detail.SessionKey : packet.SessionKey;
        return new(stream, essentials, sessionKey, Encode(packet, sessionKey));
    }

    /// <summary>
    /// Prepares the packets of an encoded WriteDataPacketsRequest without parsing them; its memory is not used afterwards. False, with some
    /// of them prepared, where a request needs protobuf's parser: a mistake, an unusual encoding, the first packet of a stream. The caller
    /// then parses the request and calls <see cref="Prepare"/> for each packet.
    /// </summary>
    public bool TryPrepare(ReadOnlyMemory<byte> request, List<PreparedPacket> packets)
    {
        // Most requests hold packets of one stream and one session.
        StreamTarget? target = null;
        ReadOnlySpan<byte> dataSource = default, stream = default;
        var (sessionKey, key) = ("", Array.Empty<byte>());
        var reader = new WireReader(request.Span);
        while (!reader.IsAtEnd)
        {
            if (!DetailView.TryRead(ref reader, out var detail) || detail.Packet.Length > packetBytesMax) return false;
            if (target is null || !detail.Stream.SequenceEqual(stream) || !detail.DataSource.SequenceEqual(dataSource))
            {
                dataSource = detail.DataSource;
                stream = detail.Stream;
                if (!targets.TryFind(Encoding.UTF8.GetString(dataSource), Encoding.UTF8.GetString(stream), out target)) return false;
            }

            StreamTarget? essentials = null;
            if (detail.IsEssential && !targets.TryFindEssentials(target.DataSource, out essentials)) return false;
            if (!detail.SessionKey.SequenceEqual(key))
            {
                sessionKey = Encoding.UTF8.GetString(detail.SessionKey);
                key = KeyOf(sessionKey);
            }

            request.Span.Overlaps(detail.Packet, out var at);
            packets.Add(new(target, essentials, sessionKey, new RecordData(key, request.Slice(at, detail.Packet.Length))));
        }

        CopyBytes(CollectionsMarshal.AsSpan(packets));
        return true;
    }

    /// <summary>Encodes a packet under a record key; INVALID_ARGUMENT where it is too large.</summary>
    public RecordData Encode(Packet packet, string key)
    {
        var size = packet.CalculateSize();
        if (size > packetBytesMax)
        {
            throw Errors.InvalidArgument(
                $"the packet (type '{packet.Type}') has {size} bytes; allowed are {packetBytesMax}");
        }

        var bytes = GC.AllocateUninitializedArray<byte>(size);
        packet.WriteTo(bytes.AsSpan());
        return new RecordData(KeyOf(key), bytes);
    }

    // Moves the packets out of the memory of their request.
    private static void CopyBytes(Span<PreparedPacket> packets)
    {
        while (!packets.IsEmpty)
        {
            var (count, bytes) = (1, packets[0].Value.Length);
            while (count < packets.Length && packets[count].Stream == packets[0].Stream && bytes + packets[count].Value.Length <= SharedBytesMax)
                bytes += packets[count++].Value.Length;
            Memory<byte> rest = GC.AllocateUninitializedArray<byte>(bytes);
            foreach (ref var packet in packets[..count])
            {
                var value = rest[..packet.Value.Length];
                packet.Value.CopyTo(value);
                packet = packet with { Record = packet.Record with { Value = value } };
                rest = rest[value.Length..];
            }

            packets = packets[count..];
        }
    }

    // All records of a key share its bytes. A full cache is emptied: each key then costs one more array.
    private byte[] KeyOf(string key)
    {
        if (key.Length == 0) return [];
        if (_keys.TryGetValue(key, out var bytes)) return bytes;
        bytes = Encoding.UTF8.GetBytes(key);
        if (_keys.Count < KeysMax) _keys.TryAdd(key, bytes);
        else _keys.Clear();
        return bytes;
    }
}
