using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Support;

public sealed class SampleTests
{
    [Test]
    public void Of_EverySeed_TakesEachCaseOnceAndAllTogether()
    {
        var all = Enumerable.Range(0, 17).SelectMany(seed => Sample.Of(1000, 17, seed)).ToArray();

        Assert.That(all, Is.EquivalentTo(Enumerable.Range(0, 1000)));
        Assert.That(Sample.Of(1000, 1, 12345), Is.EqualTo(Enumerable.Range(0, 1000)));
    }

    [TestCase("1.0.0-alpha.1+8f5499019331c9c51ee3cd1ca4b26fcb1ef75448", 0x8f5499)]
    [TestCase("1.0.0", 0)]
    [TestCase("1.0.0+local", 0)]
    public void SeedOf_Version_IsFromTheHash(string version, int seed) => Assert.That(Sample.SeedOf(version), Is.EqualTo(seed));

    [Test]
    public void CheckAll_FailingCase_IsNamed() => Assert.That(
        () => Sample.CheckAll([1, 2, 3], each => Assert.That(each, Is.Not.EqualTo(2))), Throws.InstanceOf<AssertionException>().With.Message.Contains("2: "));
}
