using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class AuthContextTests
{
    private static readonly AuthProperty First = AuthProperty.Create("name", "first"u8.ToArray());
    private static readonly AuthProperty Second = AuthProperty.Create("name", "second"u8.ToArray());
    private static readonly AuthProperty Other = AuthProperty.Create("other", "value"u8.ToArray());

    [Test]
    public void Authenticated_PeerIdentity_IsTheNamedProperty()
    {
        var context = new AuthContext("name", Properties());

        Assert.That(context.IsPeerAuthenticated, Is.True);
        Assert.That(context.PeerIdentityPropertyName, Is.EqualTo("name"));
        Assert.That(context.PeerIdentity, Is.EqualTo(new[] { First, Second }));
    }

    [Test]
    public void Unauthenticated_PeerIdentity_IsEmpty()
    {
        var context = new AuthContext(null, Properties());

        Assert.That(context.IsPeerAuthenticated, Is.False);
        Assert.That(context.PeerIdentityPropertyName, Is.Null);
        Assert.That(context.PeerIdentity, Is.Empty);
    }

    [Test]
    public void Properties_SeveralNames_AreAllOfThem()
    {
        Assert.That(new AuthContext(null, Properties()).Properties, Is.EquivalentTo(new[] { First, Second, Other }));
    }

    [Test]
    public void FindPropertiesByName_KnownOrNot_YieldsThoseOfThatName()
    {
        var context = new AuthContext(null, Properties());

        Assert.That(context.FindPropertiesByName("name"), Is.EqualTo(new[] { First, Second }));
        Assert.That(context.FindPropertiesByName("unknown"), Is.Empty);
    }

    [Test]
    public void Constructor_NullProperties_Throws()
    {
        Assert.That(() => new AuthContext("name", null!), Throws.ArgumentNullException);
    }

    [Test]
    public void AuthProperty_BytesChangedByTheCaller_KeepsItsOwn()
    {
        var bytes = "value"u8.ToArray();
        var property = AuthProperty.Create("name", bytes);

        bytes[0] = (byte)'X';

        Assert.That(property.Name, Is.EqualTo("name"));
        Assert.That(property.Value, Is.EqualTo("value"));
        Assert.That(property.ValueBytes, Is.EqualTo("value"u8.ToArray()));
    }

    [Test]
    public void AuthProperty_Value_IsUtf8()
    {
        Assert.That(AuthProperty.Create("name", "caf\u00e9"u8.ToArray()).Value, Is.EqualTo("caf\u00e9"));
    }

    private static Dictionary<string, List<AuthProperty>> Properties() => new() { ["name"] = [First, Second], ["other"] = [Other] };
}
