using System.Text;
using MA.Streaming.Core.Broker;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

public sealed class KeyPlacementTests
{
    [TestCase("", 0u)]
    [TestCase("a", 0xE8B7BE43u)]
    [TestCase("abc", 0x352441C2u)]
    [TestCase("123456789", 0xCBF43926u)]
    [TestCase("The quick brown fox jumps over the lazy dog", 0x414FA339u)]
    public void Crc32_KnownVectors_AreMatched(string text, uint expected) =>
        Assert.That(KeyPlacement.Crc32(Encoding.ASCII.GetBytes(text)), Is.EqualTo(expected));

    [TestCase("123456789", 1, 0)]
    [TestCase("123456789", 3, (int)(0xCBF43926u % 3))]
    [TestCase("123456789", 7, (int)(0xCBF43926u % 7))]
    [TestCase("a", 12, (int)(0xE8B7BE43u % 12))]
    public void PartitionOf_Key_IsItsCrcModuloThePartitions(string key, int partitions, int expected) =>
        Assert.That(KeyPlacement.PartitionOf(Encoding.ASCII.GetBytes(key), partitions), Is.EqualTo(expected));

    [Test]
    public void PartitionOf_EmptyKey_IsTheFirst() => Assert.That(KeyPlacement.PartitionOf([], 5), Is.Zero);

    [Test]
    public void PartitionOf_ManyKeys_UsesEveryPartition()
    {
        var used = Enumerable.Range(0, 1000).Select(i => KeyPlacement.PartitionOf(Encoding.UTF8.GetBytes($"session-{i}"), 16)).Distinct();
        Assert.That(used.Count(), Is.EqualTo(16));
    }

    [TestCase(0)]
    [TestCase(-1)]
    public void PartitionOf_NoPartitions_Throws(int partitions) =>
        Assert.That(() => KeyPlacement.PartitionOf([1], partitions), Throws.InstanceOf<ArgumentOutOfRangeException>());
}
