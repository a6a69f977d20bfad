using System.IO.Compression;
using Grpc.Net.Compression;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class CompressionTests
{
    private static readonly byte[] Payload = [.. Enumerable.Range(0, 100_000).Select(i => (byte)(i / 1000))];

    public static IEnumerable<TestCaseData> Providers()
    {
        yield return new TestCaseData((CompressionLevel level) => (ICompressionProvider)new GzipCompressionProvider(level)).SetArgDisplayNames("gzip");
        yield return new TestCaseData((CompressionLevel level) => (ICompressionProvider)new DeflateCompressionProvider(level)).SetArgDisplayNames("deflate");
    }

    [Test]
    public void EncodingName_EitherProvider_IsThatOfHttp()
    {
        Assert.That(new GzipCompressionProvider(CompressionLevel.Fastest).EncodingName, Is.EqualTo("gzip"));
        Assert.That(new DeflateCompressionProvider(CompressionLevel.Fastest).EncodingName, Is.EqualTo("deflate"));
    }

    [TestCaseSource(nameof(Providers))]
    public void Streams_RoundTrip_YieldsThePayloadAndLeavesTheStreamsOpen(Func<CompressionLevel, ICompressionProvider> create)
    {
        var provider = create(CompressionLevel.Optimal);
        using var compressed = new MemoryStream();
        using var result = new MemoryStream();

        using (var stream = provider.CreateCompressionStream(compressed, null))
            stream.Write(Payload);
        Assert.That(compressed.CanWrite, Is.True);

        compressed.Position = 0;
        using (var stream = provider.CreateDecompressionStream(compressed))
            stream.CopyTo(result);
        Assert.That(compressed.CanRead, Is.True);
        Assert.That(result.ToArray(), Is.EqualTo(Payload));
    }

    [TestCaseSource(nameof(Providers))]
    public void CreateCompressionStream_NoLevel_TakesThatOfTheConstructor(Func<CompressionLevel, ICompressionProvider> create)
    {
        Assert.That(Compress(create(CompressionLevel.NoCompression), null), Has.Length.GreaterThan(Payload.Length));
        Assert.That(Compress(create(CompressionLevel.Optimal), null), Has.Length.LessThan(Payload.Length / 10));
    }

    [TestCaseSource(nameof(Providers))]
    public void CreateCompressionStream_Level_OverridesThatOfTheConstructor(Func<CompressionLevel, ICompressionProvider> create)
    {
        Assert.That(Compress(create(CompressionLevel.NoCompression), CompressionLevel.Optimal), Has.Length.LessThan(Payload.Length / 10));
        Assert.That(Compress(create(CompressionLevel.Optimal), CompressionLevel.NoCompression), Has.Length.GreaterThan(Payload.Length));
    }

    [Test]
    public void Gzip_Format_IsThatOfRfc1952()
    {
        var compressed = Compress(new GzipCompressionProvider(CompressionLevel.Optimal), null);

        Assert.That(compressed.Take(3), Is.EqualTo(new byte[] { 0x1f, 0x8b, 8 }));
        using var stream = new GZipStream(new MemoryStream(compressed), CompressionMode.Decompress);
        Assert.That(ReadAll(stream), Is.EqualTo(Payload));
    }

    [Test]
    public void Deflate_Format_IsTheZlibOfRfc1950()
    {
        var compressed = Compress(new DeflateCompressionProvider(CompressionLevel.Optimal), null);

        Assert.That(compressed[0] & 0x0f, Is.EqualTo(8));
        Assert.That(((compressed[0] << 8) + compressed[1]) % 31, Is.Zero);
        using var stream = new ZLibStream(new MemoryStream(compressed), CompressionMode.Decompress);
        Assert.That(ReadAll(stream), Is.EqualTo(Payload));
    }

    private static byte[] Compress(ICompressionProvider provider, CompressionLevel? level)
    {
        using var compressed = new MemoryStream();
        using (var stream = provider.CreateCompressionStream(compressed, level))
            stream.Write(Payload);
        return compressed.ToArray();
    }

    private static byte[] ReadAll(Stream stream)
    {
        using var result = new MemoryStream();
        stream.CopyTo(result);
        return result.ToArray();
    }
}
