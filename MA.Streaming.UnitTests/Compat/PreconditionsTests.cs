using Grpc.Core.Utils;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class PreconditionsTests
{
    [Test]
    public void Checks_ConditionHolds_PassIt()
    {
        Assert.That(() => GrpcPreconditions.CheckArgument(true), Throws.Nothing);
        Assert.That(() => GrpcPreconditions.CheckArgument(true, "message"), Throws.Nothing);
        Assert.That(() => GrpcPreconditions.CheckState(true), Throws.Nothing);
        Assert.That(() => GrpcPreconditions.CheckState(true, "message"), Throws.Nothing);
        Assert.That(GrpcPreconditions.CheckNotNull("text", "name"), Is.EqualTo("text"));
    }

    [Test]
    public void Checks_ConditionFails_Throw()
    {
        Assert.That(() => GrpcPreconditions.CheckArgument(false), Throws.ArgumentException);
        Assert.That(() => GrpcPreconditions.CheckArgument(false, "message"), Throws.ArgumentException.With.Message.EqualTo("message"));
        Assert.That(() => GrpcPreconditions.CheckState(false), Throws.InvalidOperationException);
        Assert.That(() => GrpcPreconditions.CheckState(false, "message"), Throws.InvalidOperationException.With.Message.EqualTo("message"));
        Assert.That(
            () => GrpcPreconditions.CheckNotNull<string>(null!, "name"),
            Throws.ArgumentNullException.With.Property(nameof(ArgumentNullException.ParamName)).EqualTo("name"));
    }
}
