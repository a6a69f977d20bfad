namespace MA.Streaming.Core.Packets;

/// <summary>A reader of protobuf's wire format over a span: tags, and values skipped or taken as slices. Never throws.</summary>
internal ref struct WireReader(ReadOnlySpan<byte> bytes)
{
    public const int Varint = 0;
    public const int Fixed64 = 1;
    public const int Bytes = 2;
    public const int Fixed32 = 5;

    private ReadOnlySpan<byte> _rest = bytes;

    public readonly bool IsAtEnd => _rest.IsEmpty;

    public bool TryReadTag(out int field, out int wireType)
    {
        field = wireType = 0;
        if (!TryReadVarint(out var tag) || tag > uint.MaxValue) return false;
        field = (int)(tag >> 3);
        wireType = (int)(tag & 7);
        return field > 0;
    }

    public bool TryReadVarint(out ulong value)
    {
        value = 0;
        for (var i = 0; i < _rest.Length && i < 10; i++)
        {
            value |= (ulong)(_rest[i] & 0x7F) << (7 * i);
            if (_rest[i] >= 0x80) continue;
            _rest = _rest[(i + 1)..];
            return true;
        }

        return false;
    }

    /// <summary>False also when the varint is longer than it has to be: not as protobuf writes it.</summary>
    public bool TryReadShortestVarint(out ulong value)
    {
        value = 0;
        for (var i = 0; i < _rest.Length && i < 10; i++)
        {
            var part = _rest[i];
            value |= (ulong)(part & 0x7F) << (7 * i);
            if (part >= 0x80) continue;
            if ((part == 0 && i > 0) || (part > 1 && i == 9)) return false;
            _rest = _rest[(i + 1)..];
            return true;
        }

        return false;
    }

    public bool TryReadBytes(out ReadOnlySpan<byte> value)
    {
        value = default;
        return TryReadVarint(out var length) && TryTake(length, out value);
    }

    /// <summary>False also when the length is longer than it has to be: not as protobuf writes it.</summary>
    public bool TryReadShortestBytes(out ReadOnlySpan<byte> value)
    {
        value = default;
        return TryReadShortestVarint(out var length) && TryTake(length, out value);
    }

    public bool TrySkip(int wireType)
    {
        switch (wireType)
        {
            case Varint: return TryReadVarint(out _);
            case Fixed64: return TryAdvance(8);
            case Bytes: return TryReadBytes(out _);
            case Fixed32: return TryAdvance(4);
            default: return false; // Groups: no message of this protocol has any.
        }
    }

    private bool TryTake(ulong length, out ReadOnlySpan<byte> value)
    {
        value = default;
        if (length > (ulong)_rest.Length) return false;
        value = _rest[..(int)length];
        _rest = _rest[(int)length..];
        return true;
    }

    private bool TryAdvance(int count)
    {
        if (_rest.Length < count) return false;
        _rest = _rest[count..];
        return true;
    }
}

/// <summary>What a fold or a filter needs of an encoded packet, read in place.</summary>
internal readonly ref struct PacketView
{
    private PacketView(ReadOnlySpan<byte> type, ReadOnlySpan<byte> content)
    {
        Type = type;
        Content = content;
    }

    /// <summary>The packet's type, UTF-8.</summary>
    public ReadOnlySpan<byte> Type { get; }

    /// <summary>The packet's content, as it is.</summary>
    public ReadOnlySpan<byte> Content { get; }

    /// <summary>False when the bytes are not a packet.</summary>
    public static bool TryRead(ReadOnlySpan<byte> packet, out PacketView view)
    {
        view = default;
        ReadOnlySpan<byte> type = default, content = default;
        var reader = new WireReader(packet);
        while (!reader.IsAtEnd)
        {
            if (!reader.TryReadTag(out var field, out var wireType)) return false;
            if (wireType == WireReader.Bytes && field is 1 or 4)
            {
                if (!reader.TryReadBytes(out var value)) return false;
                if (field == 1) type = value;
                else content = value;
            }
            else if (!reader.TrySkip(wireType))
            {
                return false;
            }
        }

        view = new PacketView(type, content);
        return true;
    }
}

/// <summary>How a data or event packet names its identifiers.</summary>
internal enum FormatKind
{
    /// <summary>It does not, or not readably.</summary>
    None,

    /// <summary>By the id of a data format.</summary>
    Id,

    /// <summary>By a parameter list (encoded) or an event's identifier (UTF-8) of its own.</summary>
    Inline,

    /// <summary>Its content is a JSON object whose property names they are.</summary>
    Json,
}

/// <summary>The data format of a packet's content, read without its samples.</summary>
internal readonly ref struct FormatView
{
    private FormatView(FormatKind kind, ulong id, ReadOnlySpan<byte> inline)
    {
        Kind = kind;
        Id = id;
        Inline = inline;
    }

    public FormatKind Kind { get; }

    public ulong Id { get; }

    public ReadOnlySpan<byte> Inline { get; }

    /// <summary>Reads the format of a PeriodicData, RowData, SynchroData or Event packet: in each it is field 1 of the content,
    /// with the id as its field 1 and the inline form as its field 2.</summary>
    public static FormatView Of(ReadOnlySpan<byte> content)
    {
        // No field of these messages has the tag 0x7B, so a leading brace is JSON.
        var json = content.TrimStart(" \t\r\n"u8);
        if (content.Length > 0 && content[0] == (byte)'{') return new(FormatKind.Json, 0, default);
        var view = OfMessage(content);
        return view.Kind == FormatKind.None && json.Length > 0 && json[0] == (byte)'{' ? new(FormatKind.Json, 0, default) : view;
    }

    private static FormatView OfMessage(ReadOnlySpan<byte> content)
    {
        var reader = new WireReader(content);
        while (!reader.IsAtEnd)
        {
            if (!reader.TryReadTag(out var field, out var wireType)) return default;
            if (field == 1 && wireType == WireReader.Bytes)
            {
                return reader.TryReadBytes(out var format) ? OfFormat(format) : default;
            }

            if (!reader.TrySkip(wireType)) return default;
        }

        return default;
    }

    private static FormatView OfFormat(ReadOnlySpan<byte> format)
    {
        var view = default(FormatView);
        var reader = new WireReader(format);
        while (!reader.IsAtEnd)
        {
            if (!reader.TryReadTag(out var field, out var wireType)) return default;
            if (field == 1 && wireType == WireReader.Varint)
            {
                if (!reader.TryReadVarint(out var id)) return default;
                view = new(FormatKind.Id, id, default);
            }
            else if (field == 2 && wireType == WireReader.Bytes)
            {
                if (!reader.TryReadBytes(out var inline)) return default;
                view = new(FormatKind.Inline, 0, inline);
            }
            else if (!reader.TrySkip(wireType))
            {
                return default;
            }
        }

        return view;
    }
}
