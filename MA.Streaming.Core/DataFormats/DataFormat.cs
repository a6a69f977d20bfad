using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace MA.Streaming.Core.DataFormats;

/// <summary>What a data format is of.</summary>
internal enum DataFormatKind
{
    /// <summary>An ordered list of parameters.</summary>
    Parameters = 1,

    /// <summary>One event.</summary>
    Event = 2,
}

/// <summary>An ordered list of parameters, or an event, of a data source, with its 64-bit id.</summary>
internal sealed record DataFormat(ulong Id, DataFormatKind Kind, IReadOnlyList<string> Identifiers, FormatIdentity Identity);

/// <summary>The SHA-256 over (kind, data source, identifiers): equal exactly when those are.</summary>
internal readonly record struct FormatIdentity(UInt128 High, UInt128 Low)
{
    /// <summary>The id that everybody computes for this identity: the first 8 bytes, big-endian, top 11 bits cleared so that JavaScript
    /// keeps every digit; 0 becomes 1.</summary>
    public ulong ContentId => Math.Max(1, (ulong)(High >> 64) & ((1UL << 53) - 1));

    /// <summary>Hashes one byte for the kind, then the data source and each identifier as UTF-8 with its 4-byte big-endian length in front.</summary>
    public static FormatIdentity Of(string dataSource, DataFormatKind kind, IReadOnlyList<string> identifiers)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData([(byte)kind]);
        Append(hash, dataSource);
        foreach (var identifier in identifiers) Append(hash, identifier);
        Span<byte> bytes = stackalloc byte[SHA256.HashSizeInBytes];
        hash.GetHashAndReset(bytes);
        return new(BinaryPrimitives.ReadUInt128BigEndian(bytes), BinaryPrimitives.ReadUInt128BigEndian(bytes[16..]));
    }

    private static void Append(IncrementalHash hash, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Span<byte> length = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(length, bytes.Length);
        hash.AppendData(length);
        hash.AppendData(bytes);
    }
}
