using System.Collections;
using System.Text;
using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class MetadataTests
{
    [TestCase("key", "key")]
    [TestCase("X-Trace.ID_9", "x-trace.id_9")]
    [TestCase("0", "0")]
    public void Entry_LegalKey_IsLowerCased(string key, string expected)
    {
        Assert.That(new Metadata.Entry(key, "value").Key, Is.EqualTo(expected));
    }

    [TestCase("a b")]
    [TestCase(":path")]
    [TestCase("a/b")]
    [TestCase("a\nb")]
    [TestCase("caf\u00e9")]
    [TestCase("a+b")]
    public void Entry_KeyWithOtherCharacter_Throws(string key)
    {
        Assert.That(() => new Metadata.Entry(key, "value"), Throws.ArgumentException);
        Assert.That(() => new Metadata.Entry(key + "-bin", [1]), Throws.ArgumentException);
    }

    [Test]
    public void Entry_NullKeyOrValue_Throws()
    {
        Assert.That(() => new Metadata.Entry(null!, "value"), Throws.ArgumentNullException);
        Assert.That(() => new Metadata.Entry(null!, [1]), Throws.ArgumentNullException);
        Assert.That(() => new Metadata.Entry("key", (string)null!), Throws.ArgumentNullException);
        Assert.That(() => new Metadata.Entry("key-bin", (byte[])null!), Throws.ArgumentNullException);
    }

    [TestCase("key-bin")]
    [TestCase("KEY-BIN")]
    [TestCase("-bin")]
    public void Entry_BinarySuffix_IsForBytesOnly(string key)
    {
        Assert.That(() => new Metadata.Entry(key, "value"), Throws.ArgumentException);
        Assert.That(new Metadata.Entry(key, [1]).Key, Is.EqualTo(key.ToLowerInvariant()));
    }

    [TestCase("key")]
    [TestCase("key-bin-")]
    [TestCase("bin")]
    public void Entry_NoBinarySuffix_IsForTextOnly(string key)
    {
        Assert.That(() => new Metadata.Entry(key, [1]), Throws.ArgumentException);
        Assert.That(new Metadata.Entry(key, "value").Key, Is.EqualTo(key));
    }

    [Test]
    public void BinaryHeaderSuffix_Constant_IsBin()
    {
        Assert.That(Metadata.BinaryHeaderSuffix, Is.EqualTo("-bin"));
    }

    [Test]
    public void Entry_Text_HasValueAndItsAsciiBytes()
    {
        var entry = new Metadata.Entry("key", "value");

        Assert.That(entry.IsBinary, Is.False);
        Assert.That(entry.Value, Is.EqualTo("value"));
        Assert.That(entry.ValueBytes, Is.EqualTo("value"u8.ToArray()));
    }

    [Test]
    public void Entry_NonAsciiText_HasReplacementBytes()
    {
        Assert.That(new Metadata.Entry("key", "caf\u00e9").ValueBytes, Is.EqualTo(Encoding.ASCII.GetBytes("caf\u00e9")));
    }

    [Test]
    public void Entry_Binary_HasBytesAndNoText()
    {
        var entry = new Metadata.Entry("key-bin", [1, 2, 255]);

        Assert.That(entry.IsBinary, Is.True);
        Assert.That(entry.ValueBytes, Is.EqualTo(new byte[] { 1, 2, 255 }));
        Assert.That(() => entry.Value, Throws.InvalidOperationException);
    }

    [Test]
    public void Entry_BytesChangedByTheCaller_KeepsItsOwn()
    {
        byte[] given = [1, 2, 3];
        var entry = new Metadata.Entry("key-bin", given);

        given[0] = 9;
        entry.ValueBytes[1] = 9;

        Assert.That(entry.ValueBytes, Is.EqualTo(new byte[] { 1, 2, 3 }));
    }

    [Test]
    public void EntryToString_TextOrBinary_NamesKeyAndValue()
    {
        Assert.That(new Metadata.Entry("Key", "value").ToString(), Is.EqualTo("[Entry: key=key, value=value]"));
        Assert.That(new Metadata.Entry("key-bin", [1]).ToString(), Does.StartWith("[Entry: key=key-bin, valueBytes=").And.EndsWith("]"));
    }

    [Test]
    public void Get_KeyMoreThanOnce_YieldsTheLast()
    {
        var metadata = new Metadata { { "key", "first" }, { "other", "value" }, { "key", "last" }, { "key-bin", [1] }, { "key-bin", [2] } };

        Assert.That(metadata.Get("key"), Is.SameAs(metadata[2]));
        Assert.That(metadata.GetValue("key"), Is.EqualTo("last"));
        Assert.That(metadata.GetValueBytes("key"), Is.EqualTo("last"u8.ToArray()));
        Assert.That(metadata.GetValueBytes("key-bin"), Is.EqualTo(new byte[] { 2 }));
    }

    [Test]
    public void Get_KeyInAnotherCase_IsFound()
    {
        var metadata = new Metadata { { "key", "value" }, { "key-bin", [1] } };

        Assert.That(metadata.Get("KEY"), Is.SameAs(metadata[0]));
        Assert.That(metadata.GetValue("Key"), Is.EqualTo("value"));
        Assert.That(metadata.GetValueBytes("KEY-Bin"), Is.EqualTo(new byte[] { 1 }));
        Assert.That(metadata.GetAll("kEy"), Is.EqualTo(new[] { metadata[0] }));
    }

    [Test]
    public void Get_AbsentKey_YieldsNothing()
    {
        var metadata = new Metadata { { "key", "value" } };

        Assert.That(metadata.Get("other"), Is.Null);
        Assert.That(metadata.GetValue("other"), Is.Null);
        Assert.That(metadata.GetValueBytes("other-bin"), Is.Null);
        Assert.That(metadata.GetAll("other"), Is.Empty);
    }

    [Test]
    public void GetValue_BinaryEntry_Throws()
    {
        var metadata = new Metadata { { "key-bin", [1] } };

        Assert.That(() => metadata.GetValue("key-bin"), Throws.InvalidOperationException);
    }

    [Test]
    public void GetAll_EntriesAddedAfterwards_AreSeenInOrder()
    {
        var metadata = new Metadata { { "key", "1" }, { "other", "2" } };
        var all = metadata.GetAll("key");

        metadata.Add("key", "3");

        Assert.That(all.Select(entry => entry.Value), Is.EqualTo(new[] { "1", "3" }));
    }

    [Test]
    public void Add_SameKeyTwice_KeepsBothInOrder()
    {
        var entry = new Metadata.Entry("key", "2");
        var metadata = new Metadata { { "key", "1" }, entry, { "key", "3" }, { "key-bin", [4] } };

        Assert.That(metadata, Has.Count.EqualTo(4));
        Assert.That(metadata.Select(item => item.Key), Is.EqualTo(new[] { "key", "key", "key", "key-bin" }));
        Assert.That(metadata.Take(3).Select(item => item.Value), Is.EqualTo(new[] { "1", "2", "3" }));
        Assert.That(metadata[1], Is.SameAs(entry));
    }

    [Test]
    public void Insert_RemoveAndReplace_ChangeTheOrderedList()
    {
        var (a, b, c) = (new Metadata.Entry("a", "1"), new Metadata.Entry("b", "2"), new Metadata.Entry("c", "3"));
        var metadata = new Metadata { b };

        metadata.Insert(0, a);
        metadata.Add(c);
        Assert.That(metadata, Is.EqualTo(new[] { a, b, c }));

        metadata[1] = c;
        Assert.That(metadata, Is.EqualTo(new[] { a, c, c }));

        metadata.RemoveAt(0);
        Assert.That(metadata.Remove(c), Is.True);
        Assert.That(metadata, Is.EqualTo(new[] { c }));
        Assert.That(metadata.Remove(a), Is.False);

        metadata.Clear();
        Assert.That(metadata, Is.Empty);
        Assert.That(metadata.IsReadOnly, Is.False);
    }

    [Test]
    public void Enumerate_ByEitherInterfaceOrCopy_YieldsTheSameEntries()
    {
        var metadata = new Metadata { { "a", "1" }, { "b", "2" } };
        var copy = new Metadata.Entry[3];

        metadata.CopyTo(copy, 1);

        Assert.That(copy, Is.EqualTo(new[] { null, metadata[0], metadata[1] }));
        Assert.That(((IEnumerable)metadata).Cast<object>(), Is.EqualTo(new object[] { metadata[0], metadata[1] }));
    }

    [Test]
    public void Contains_EqualButNotTheSameEntry_IsFalse()
    {
        var entry = new Metadata.Entry("key", "value");
        var twin = new Metadata.Entry("key", "value");
        var metadata = new Metadata { entry };

        Assert.That(metadata.Contains(entry), Is.True);
        Assert.That(metadata.Contains(twin), Is.False);
        Assert.That(metadata.IndexOf(entry), Is.Zero);
        Assert.That(metadata.IndexOf(twin), Is.EqualTo(-1));
        Assert.That(metadata.Remove(twin), Is.False);
    }

    [Test]
    public void Add_NullEntry_Throws()
    {
        var metadata = new Metadata { { "key", "value" } };

        Assert.That(() => metadata.Add(null!), Throws.ArgumentNullException);
        Assert.That(() => metadata.Insert(0, null!), Throws.ArgumentNullException);
        Assert.That(() => metadata[0] = null!, Throws.ArgumentNullException);
        Assert.That(metadata.Single().Value, Is.EqualTo("value"));
    }

    [Test]
    public void Empty_AnyChange_Throws()
    {
        var entry = new Metadata.Entry("key", "value");

        Assert.That(Metadata.Empty.IsReadOnly, Is.True);
        Assert.That(() => Metadata.Empty.Add(entry), Throws.InvalidOperationException);
        Assert.That(() => Metadata.Empty.Add("key", "value"), Throws.InvalidOperationException);
        Assert.That(() => Metadata.Empty.Add("key-bin", [1]), Throws.InvalidOperationException);
        Assert.That(() => Metadata.Empty.Insert(0, entry), Throws.InvalidOperationException);
        Assert.That(() => Metadata.Empty[0] = entry, Throws.InvalidOperationException);
        Assert.That(() => Metadata.Empty.Remove(entry), Throws.InvalidOperationException);
        Assert.That(() => Metadata.Empty.RemoveAt(0), Throws.InvalidOperationException);
        Assert.That(() => Metadata.Empty.Clear(), Throws.InvalidOperationException);
        Assert.That(Metadata.Empty, Is.Empty);
    }
}
