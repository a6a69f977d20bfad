using MA.Streaming.Broker.Embedded;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>The bytes of format version 1. They never change: logs out there consist of them.</summary>
public sealed class FormatVersionTests
{
    private const ulong FileId = 0x0123_4567_89AB_CDEF;

    [Test]
    public void Version1_Record_IsFrozen()
    {
        var bytes = new byte[RecordFormat.SizeOf(8)];
        RecordFormat.Write(bytes, FileId, RecordFormatTests.RecordOf("key", "value"), 99, 7, 3);
        Assert.That(Convert.ToHexString(bytes), Is.EqualTo(
            "E7A5C3D14DAE309F3C000000030000002A000000000000002AD844399B64DD08630000000000000007000000030000000300"
            + "00006B657976616C7565"));
    }

    [Test]
    public void Version1_GroupHead_IsFrozen()
    {
        var bytes = new byte[GroupFormat.HeaderBytes];
        GroupFormat.Write(bytes, new GroupHeader(FileId, 5, 2, 1000, 10, 77, 262144));
        Assert.That(Convert.ToHexString(bytes), Is.EqualTo(
            "C8E25F9BD67F4C8CEFCDAB896745230105000000000000000200000000000000E80300000A0000004D000000000000000000"
            + "040000000000"));
    }

    [Test]
    public void Version1_JournalHead_IsFrozen()
    {
        var bytes = new byte[FileHead.Bytes];
        new JournalHead(FileId, 6, 17).Write(bytes);
        Assert.That(Convert.ToHexString(bytes, 0, 40), Is.EqualTo("4D41534AB2603771EFCDAB8967452301060000000000000011000000000000000000000000000000"));
    }

    [Test]
    public void Version1_SegmentHead_IsFrozen()
    {
        var bytes = new byte[FileHead.Bytes];
        new SegmentHead(FileId, 7, 3, 1234, 5678, "car", true).Write(bytes);
        Assert.That(Convert.ToHexString(bytes, 0, 56), Is.EqualTo(
            "4D4153538F2EDBE1EFCDAB89674523010700000003000000D2040000000000002E1600000000000001030000636172000000"
            + "000000000000"));
    }

    [Test]
    public void Version1_IndexEntry_IsFrozen()
    {
        var bytes = new byte[IndexEntry.Bytes];
        new IndexEntry(1, 2, 3).Write(bytes, FileId);
        Assert.That(Convert.ToHexString(bytes), Is.EqualTo("010000000000000002000000000000000300000000000000A8462D3900000000"));
    }

    [Test]
    public void Version1_Topic_IsFrozen() => Assert.That(Convert.ToHexString(new TopicFormat(7, 3, true, "car").ToBytes()), Is.EqualTo("070000000300000001636172"));

    [Test]
    public void Version1_Meta_IsFrozen() => Assert.That(
        Convert.ToHexString(new Meta(1, new Guid("00112233-4455-6677-8899-aabbccddeeff"), 5).ToBytes(), 0, 40), Is.EqualTo("4D41534D158BE7180100000033221100554477668899AABBCCDDEEFF050000000000000000000000"));

    [Test]
    public void Version1_Checkpoint_IsFrozen() => Assert.That(
        Convert.ToHexString(new Checkpoint(8, 3, 17, 900, 4, [new Checkpoint.Topic(1, "car", true, [new(1, 2, 3, 4, 5)])]).ToBytes(), 0, 105),
        Is.EqualTo(
            "4D41534394C281D9690000000800000000000000030000000000000011000000000000008403000000000000040000000100"
            + "0000010000000363617201010000000100000000000000020000000000000003000000000000000400000000000000050000"
            + "0000000000"));
}
