using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using MA.Streaming.OpenData;

namespace Telemetry.Live;

/// <summary>What went by on one stream: how many packets, and a hash over their contents in their order.</summary>
public sealed record StreamTally(long Packets, long Bytes, string Hash);

/// <summary>Counts packets by stream and chains a SHA-256 over id, type, session, essential flag and content of each: two tallies are
/// equal only if every stream carried the same packets in the same order. For one thread at a time.</summary>
public sealed class Tally : IDisposable
{
    private readonly SortedDictionary<string, Chain> _streams = new(StringComparer.Ordinal);

    public long Packets { get; private set; }

    public long Bytes { get; private set; }

    public void Add(string stream, Packet packet)
    {
        if (!_streams.TryGetValue(stream, out var chain)) _streams[stream] = chain = new Chain();
        chain.Add(packet);
        Packets++;
        Bytes += packet.Content.Length;
    }

    public IReadOnlyDictionary<string, StreamTally> Close() =>
        _streams.ToDictionary(s => s.Key, s => new StreamTally(s.Value.Packets, s.Value.Bytes, s.Value.Hash()), StringComparer.Ordinal);

    public void Dispose()
    {
        foreach (var chain in _streams.Values) chain.Dispose();
    }

    /// <summary>What differs between what was written and what was read, in words; empty when nothing does.</summary>
    public static IReadOnlyList<string> Differences(IReadOnlyDictionary<string, StreamTally> written, IReadOnlyDictionary<string, StreamTally> read)
    {
        var differences = new List<string>();
        foreach (var stream in written.Keys.Union(read.Keys).Order(StringComparer.Ordinal))
        {
            var name = stream.Length == 0 ? "the main stream" : $"stream {stream}";
            var expected = written.GetValueOrDefault(stream);
            var got = read.GetValueOrDefault(stream);
            if (expected?.Packets != got?.Packets)
                differences.Add($"{name}: {expected?.Packets ?? 0} packets written, {got?.Packets ?? 0} read");
            else if (expected?.Hash != got?.Hash)
                differences.Add($"{name}: {expected?.Packets} packets, but contents or order differ");
        }

        return differences;
    }

    private sealed class Chain : IDisposable
    {
        private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

        public long Packets { get; private set; }

        public long Bytes { get; private set; }

        public void Add(Packet packet)
        {
            Span<byte> numbers = stackalloc byte[17];
            BinaryPrimitives.WriteUInt64LittleEndian(numbers, packet.Id);
            BinaryPrimitives.WriteInt64LittleEndian(numbers[8..], packet.Content.Length);
            numbers[16] = packet.IsEssential ? (byte)1 : (byte)0;
            _hash.AppendData(numbers);
            _hash.AppendData(Encoding.UTF8.GetBytes($"{packet.Type}\n{packet.SessionKey}\n"));
            _hash.AppendData(packet.Content.Span);
            Packets++;
            Bytes += packet.Content.Length;
        }

        public string Hash() => Convert.ToHexStringLower(_hash.GetCurrentHash().AsSpan(0, 8));

        public void Dispose() => _hash.Dispose();
    }
}
