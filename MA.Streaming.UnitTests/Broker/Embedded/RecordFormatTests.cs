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
        var group = new GroupHeader(FileId, 5, 2, 1000, 10, 77, 4000);
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
    public void Checkpoint_DamagedInOneCopy_IsReadFromTheOther()
    {
        var checkpoint = new Checkpoint(8, 3, 17, 900, 4, [new Checkpoint.Topic(1, "car", true, [new(1, 2, 3, 4, 5), new(6, 7, 8, 9, 10)])]);
        var bytes = checkpoint.ToBytes();
        AssertRead(isWhole: true, "untouched");
        for (var bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            AssertRead(isWhole: false, $"bit {bit}");
            var other = bytes.Length / 2 * 8;
            bytes[((bit + other) / 8) % bytes.Length] ^= 1;
            Assert.That(Checkpoint.Read(bytes, out _), Is.Null, $"bit {bit} and one of the other copy");
            bytes[((bit + other) / 8) % bytes.Length] ^= 1;
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }

        for (var length = 0; length < bytes.Length; length++)
        {
            var read = Checkpoint.Read(bytes[..length], out var isWhole);
            Assert.That(isWhole, Is.False, $"{length} bytes");
            Assert.That(read is null, Is.EqualTo(length < bytes.Length / 2), $"{length} bytes");
        }

        void AssertRead(bool isWhole, string what)
        {
            var read = Checkpoint.Read(bytes, out var whole)!;
            Assert.That(whole, Is.EqualTo(isWhole), what);
            Assert.That(read with { Topics = [] }, Is.EqualTo(checkpoint with { Topics = [] }), what);
            Assert.That(read.Topics.Single().Partitions, Is.EqualTo(checkpoint.Topics.Single().Partitions), what);
        }
    }

    [Test]
    public void Meta_NewerVersion_SaysSo()
    {
        var bytes = new Meta(Meta.CurrentVersion + 1, Guid.NewGuid(), 5).ToBytes();
        Assert.That(Meta.Read(bytes)!.Value.Version, Is.EqualTo(Meta.CurrentVersion + 1));
    }

    [Test]
    public void Meta_AnyBitFlipped_IsReadFromTheOtherCopy()
    {
        var meta = new Meta(Meta.CurrentVersion, Guid.NewGuid(), 5);
        var bytes = meta.ToBytes();
        for (var bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(Meta.Read(bytes), Is.EqualTo(meta), $"bit {bit}");
            Assert.That(Meta.IsWhole(bytes), Is.False, $"bit {bit}");
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
