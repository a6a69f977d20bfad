using System.Buffers;
using System.Text;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Core.Packets;

/// <summary>The response that a read is filling.</summary>
/// <typeparam name="T">The form that its transport takes.</typeparam>
internal interface IResponse<out T>
{
    /// <summary>The packets in it.</summary>
    int Count { get; }

    /// <summary>Adds a packet as it stands in the log; keeps nothing of the record's memory. False: these bytes are no packet.</summary>
    bool TryAdd(ReadOnlySpan<byte> packet, string stream, in Record record, int partition);

    /// <summary>The response to write; the next packet begins a new one.</summary>
    T Take();

    /// <summary>The taken response has been written: its memory may be used again.</summary>
    void Written();
}

/// <summary>A response as a message, for transports that hand over objects.</summary>
internal sealed class ResponseMessage<T>(Func<T, RepeatedField<PacketResponse>> packetsOf, int packetsMax) : IResponse<T>
    where T : class, new()
{
    private readonly PacketDecoder _decoder = new();
    private T? _response;

    public int Count => _response is null ? 0 : packetsOf(_response).Count;

    public bool TryAdd(ReadOnlySpan<byte> packet, string stream, in Record record, int partition)
    {
        if (_decoder.Decode(packet) is not { } decoded) return false;
        if (_response is null)
        {
            _response = new T();

            // A list that will never hold more than one packet needs no room for more.
            if (packetsMax == 1) packetsOf(_response).Capacity = 1;
        }

        packetsOf(_response).Add(new PacketResponse
        {
            Packet = decoded,
            Stream = stream,
            SubmitTime = Timestamp.FromDateTimeOffset(record.Timestamp),
            Offset = record.Offset,
            Partition = partition,
        });
        return true;
    }

    public T Take()
    {
        var response = _response!;
        _response = null;
        return response;
    }

    public void Written()
    {
        // The client has it.
    }
}

/// <summary>
/// A response of any of the three reads as bytes, for transports that send bytes: packets go from the log to the wire as they were
/// written, without being parsed. The bytes are those that protobuf would write.
/// </summary>
internal sealed class EncodedResponse : IResponse<EncodedResponse>
{
    private const int BufferBytesMin = 4 << 10;

    // Tag and length of the response's packet, of its packet, stream and time; the time; offset and partition.
    private const int HeadBytesMax = 64;
    private const uint ResponseTag = (1 << 3) | WireReader.Bytes;
    private const uint PacketTag = (PacketResponse.PacketFieldNumber << 3) | WireReader.Bytes;
    private const uint StreamTag = (PacketResponse.StreamFieldNumber << 3) | WireReader.Bytes;
    private const uint TimeTag = (PacketResponse.SubmitTimeFieldNumber << 3) | WireReader.Bytes;
    private const uint SecondsTag = (Timestamp.SecondsFieldNumber << 3) | WireReader.Varint;
    private const uint NanosTag = (Timestamp.NanosFieldNumber << 3) | WireReader.Varint;
    private const uint OffsetTag = (PacketResponse.OffsetFieldNumber << 3) | WireReader.Varint;
    private const uint PartitionTag = (PacketResponse.PartitionFieldNumber << 3) | WireReader.Varint;

    private byte[] _buffer = [];
    private int _length;
    private string _stream = "";
    private byte[] _streamUtf8 = [];

    public int Count { get; private set; }

    /// <summary>The taken response, encoded; until <see cref="Written"/>.</summary>
    public ReadOnlySpan<byte> Bytes => _buffer.AsSpan(0, _length);

    public bool TryAdd(ReadOnlySpan<byte> packet, string stream, in Record record, int partition)
    {
        if (!PacketDecoder.IsPacket(packet)) return false;
        if (!ReferenceEquals(stream, _stream)) (_stream, _streamUtf8) = (stream, Encoding.UTF8.GetBytes(stream));
        var ticks = record.Timestamp.UtcTicks - DateTimeOffset.UnixEpoch.Ticks;
        var (seconds, rest) = Math.DivRem(ticks, TimeSpan.TicksPerSecond);
        if (rest < 0) (seconds, rest) = (seconds - 1, rest + TimeSpan.TicksPerSecond);
        var nanos = rest * TimeSpan.NanosecondsPerTick;
        var time = (seconds == 0 ? 0 : 1 + Size((ulong)seconds)) + (nanos == 0 ? 0 : 1 + Size((ulong)nanos));
        var size = 1 + Size((ulong)packet.Length) + packet.Length
            + (_streamUtf8.Length == 0 ? 0 : 1 + Size((ulong)_streamUtf8.Length) + _streamUtf8.Length)
            + 2 + time + 2 + Size((ulong)record.Offset) + 2 + Size((ulong)partition);
        Reserve(size + HeadBytesMax);
        Put(ResponseTag, (ulong)size);
        Put(PacketTag, (ulong)packet.Length);
        Put(packet);
        if (_streamUtf8.Length > 0)
        {
            Put(StreamTag, (ulong)_streamUtf8.Length);
            Put(_streamUtf8);
        }

        Put(TimeTag, (ulong)time);
        if (seconds != 0) Put(SecondsTag, (ulong)seconds);
        if (nanos != 0) Put(NanosTag, (ulong)nanos);
        Put(OffsetTag, (ulong)record.Offset);
        Put(PartitionTag, (ulong)partition);
        Count++;
        return true;
    }

    public EncodedResponse Take()
    {
        Count = 0;
        return this;
    }

    public void Written()
    {
        // A read that waits holds no memory.
        ArrayPool<byte>.Shared.Return(_buffer);
        (_buffer, _length) = ([], 0);
    }

    private static int Size(ulong value) => (64 - (int)ulong.LeadingZeroCount(value | 1) + 6) / 7;

    private void Reserve(int bytes)
    {
        if (_buffer.Length - _length >= bytes) return;
        var grown = ArrayPool<byte>.Shared.Rent(Math.Max(BufferBytesMin, Math.Max(_length + bytes, 2 * _buffer.Length)));
        _buffer.AsSpan(0, _length).CopyTo(grown);
        if (_buffer.Length > 0) ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = grown;
    }

    private void Put(uint tag, ulong value)
    {
        Put(tag);
        Put(value);
    }

    private void Put(ulong value)
    {
        for (; value >= 0x80; value >>= 7) _buffer[_length++] = (byte)(value | 0x80);
        _buffer[_length++] = (byte)value;
    }

    private void Put(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_buffer.AsSpan(_length));
        _length += bytes.Length;
    }
}
