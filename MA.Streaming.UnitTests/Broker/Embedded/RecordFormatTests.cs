using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

public sealed class RecordFormatTests
{
    private const ulong FileId = 0x0123_4567_89AB_CDEF;

    [Test]
    public void Checksum_KnownText_IsCrc32C() => Assert.That(Checksum.Of("123456789"u8), Is.EqualTo(0xE3069283u));

    [Test]
    public void Checksum_AnotherSeed_IsAnother() => Assert.That(Checksum.Of("123456789"u8, 1), Is.Not.EqualTo(Checksum.Of("123456789"u8, 2)));

    [TestCase(null, null)]
    [TestCase(null, "")]
    [TestCase("", null)]
    [TestCase("", "")]
    [TestCase("key", null)]
    [TestCase(null, "value")]
    [TestCase("key", "value")]
    public void TryRead_WrittenRecord_IsTheSame(string? key, string? value)
    {
        var record = RecordOf(key, value);
        var bytes = Written(record);
        Assert.That(RecordFormat.TryRead(bytes, FileId, out var header), Is.True);
        var read = header.ToRecord(bytes);
        Assert.Multiple(() =>
        {
            Assert.That((read.Offset, read.Timestamp), Is.EqualTo((record.Offset, record.Timestamp)));
            Assert.That((header.Sequence, header.Topic, header.Partition), Is.EqualTo((99L, 7, 3)));
            Assert.That(Text(read.Key), Is.EqualTo(key));
            Assert.That(Text(read.Value), Is.EqualTo(value));
        });
    }

    [TestCase("key", "a value of some length")]
    [TestCase(null, null)]
    [TestCase("", "0123456789")]
    public void TryRead_AnyBitFlipped_IsRefused(string? key, string? value)
    {
        var bytes = Written(RecordOf(key, value));
        for (var bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(RecordFormat.TryRead(bytes, FileId, out _), Is.False, $"bit {bit}");
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Test]
    public void TryRead_Truncated_IsRefused()
    {
        var bytes = Written(RecordOf("key", "a value of some length"));
        for (var length = 0; length < bytes.Length; length++) Assert.That(RecordFormat.TryRead(bytes.AsSpan(0, length), FileId, out _), Is.False, $"{length} bytes");
    }

    [Test]
    public void TryRead_RecordOfAnotherFile_IsRefused()
    {
        var bytes = Written(RecordOf("key", "value"));
        for (var bit = 0; bit < 64; bit++) Assert.That(RecordFormat.TryRead(bytes, FileId ^ (1UL << bit), out _), Is.False, $"bit {bit}");
    }

    [Test]
    public void TryRead_GroupHeadWithAnyBitFlipped_IsRefused()
    {
        var bytes = new byte[GroupFormat.HeaderBytes];
        var group = new GroupHeader(FileId, 5, 2, 1000, 10, 77);
        GroupFormat.Write(bytes, group);
        Assert.That(GroupFormat.TryRead(bytes, FileId, out var read) && read == group, Is.True);
        for (var bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(GroupFormat.TryRead(bytes, FileId, out _), Is.False, $"bit {bit}");
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Test]
    public void TryRead_FileHeadWithAnySectorDamaged_ReadsTheOther()
    {
        var bytes = new byte[FileHead.Bytes];
        var head = new SegmentHead(FileId, 7, 3, 1234, 5678, new string('n', 249), true);
        head.Write(bytes);
        for (var bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(SegmentHead.Read(bytes), Is.EqualTo(head), $"bit {bit}");
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        bytes[20] ^= 1;
        bytes[FileHead.SectorBytes + 20] ^= 1;
        Assert.That(SegmentHead.Read(bytes), Is.Null);
    }

    [Test]
    public void Checkpoint_AnyBitFlippedOrTruncated_IsRefused()
    {
        var checkpoint = new Checkpoint(3, 17, 900, 4, [new Checkpoint.Topic(1, "car", true, [new(1, 2, 3, 4, 5), new(6, 7, 8, 9, 10)])]);
        var bytes = checkpoint.ToBytes();
        Assert.That(Checkpoint.Read(bytes)!.Topics.Single().Partitions, Is.EqualTo(checkpoint.Topics.Single().Partitions));
        for (var bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(Checkpoint.Read(bytes), Is.Null, $"bit {bit}");
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        for (var length = 0; length < bytes.Length; length++) Assert.That(Checkpoint.Read(bytes[..length]), Is.Null, $"{length} bytes");
    }

    [Test]
    public void Meta_NewerVersion_SaysSo()
    {
        var bytes = new Meta(Meta.CurrentVersion + 1, Guid.NewGuid(), 5).ToBytes();
        Assert.That(Meta.Read(bytes)!.Value.Version, Is.EqualTo(Meta.CurrentVersion + 1));
    }

    [Test]
    public void Meta_AnyBitFlipped_IsNeverTakenForThisVersion()
    {
        var bytes = new Meta(Meta.CurrentVersion, Guid.NewGuid(), 5).ToBytes();
        for (var bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(Meta.Read(bytes)?.Version, Is.Not.EqualTo(Meta.CurrentVersion), $"bit {bit}");
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    internal static Record RecordOf(string? key, string? value, long offset = 42) => new(
        offset,
        new DateTimeOffset(2025, 3, 16, 15, 0, 0, TimeSpan.Zero).AddTicks(offset),
        key is null ? default(ReadOnlyMemory<byte>?) : Encoding.UTF8.GetBytes(key),
        value is null ? default(ReadOnlyMemory<byte>?) : Encoding.UTF8.GetBytes(value));

    private static byte[] Written(Record record)
    {
        var bytes = new byte[RecordFormat.SizeOf(record.Bytes)];
        Assert.That(RecordFormat.Write(bytes, FileId, record, 99, 7, 3), Is.EqualTo(bytes.Length));
        return bytes;
    }

    private static string? Text(ReadOnlyMemory<byte>? bytes) => bytes is { } there ? Encoding.UTF8.GetString(there.Span) : null;
}
