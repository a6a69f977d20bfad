using System.Net.Sockets;
using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class StatusTests
{
    [Test]
    public void Default_NoConstructor_IsOkWithNullDetail()
    {
        Assert.That(default(Status).StatusCode, Is.EqualTo(StatusCode.OK));
        Assert.That(default(Status).Detail, Is.Null);
        Assert.That(default(Status).DebugException, Is.Null);
    }

    [Test]
    public void NamedStatuses_Detail_IsEmpty()
    {
        Assert.That(Status.DefaultSuccess.StatusCode, Is.EqualTo(StatusCode.OK));
        Assert.That(Status.DefaultSuccess.Detail, Is.Empty);
        Assert.That(Status.DefaultCancelled.StatusCode, Is.EqualTo(StatusCode.Cancelled));
        Assert.That(Status.DefaultCancelled.Detail, Is.Empty);
    }

    [Test]
    public void ToString_WithoutException_NamesCodeAndDetail()
    {
        Assert.That(new Status(StatusCode.NotFound, "text").ToString(), Is.EqualTo("Status(StatusCode=\"NotFound\", Detail=\"text\")"));
    }

    [Test]
    public void ToString_WithException_NamesItsTypeAndMessage()
    {
        var status = new Status(StatusCode.Unavailable, "text", new CustomException("Connection refused"));

        Assert.That(
            status.ToString(),
            Is.EqualTo(
                "Status(StatusCode=\"Unavailable\", Detail=\"text\", "
                + "DebugException=\"MA.Streaming.UnitTests.Compat.CustomException: Connection refused\")"));
    }

    [TestCase(StatusCode.OK, 0)]
    [TestCase(StatusCode.Cancelled, 1)]
    [TestCase(StatusCode.DeadlineExceeded, 4)]
    [TestCase(StatusCode.PermissionDenied, 7)]
    [TestCase(StatusCode.ResourceExhausted, 8)]
    [TestCase(StatusCode.Internal, 13)]
    [TestCase(StatusCode.DataLoss, 15)]
    [TestCase(StatusCode.Unauthenticated, 16)]
    public void StatusCode_OnTheWire_HasTheNumberOfTheProtocol(StatusCode code, int number)
    {
        Assert.That((int)code, Is.EqualTo(number));
    }

    [Test]
    public void RpcException_FromStatus_TakesMessageAndInnerExceptionFromIt()
    {
        var cause = new SocketException(111);
        var status = new Status(StatusCode.Unavailable, "text", cause);

        var exception = new RpcException(status);

        Assert.That(exception.Message, Is.EqualTo(status.ToString()));
        Assert.That(exception.InnerException, Is.SameAs(cause));
        Assert.That(exception.Status, Is.EqualTo(status));
        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.Unavailable));
        Assert.That(exception.Trailers, Is.SameAs(Metadata.Empty));
    }

    [Test]
    public void RpcException_WithMessageAndTrailers_KeepsBoth()
    {
        var status = new Status(StatusCode.Aborted, "text");
        var trailers = new Metadata { { "key", "value" } };

        Assert.That(new RpcException(status, "message").Message, Is.EqualTo("message"));
        Assert.That(new RpcException(status, "message").Trailers, Is.SameAs(Metadata.Empty));
        Assert.That(new RpcException(status, trailers).Message, Is.EqualTo(status.ToString()));
        Assert.That(new RpcException(status, trailers).Trailers, Is.SameAs(trailers));
        Assert.That(new RpcException(status, trailers, "message").Message, Is.EqualTo("message"));
        Assert.That(new RpcException(status, trailers, "message").Trailers, Is.SameAs(trailers));
    }

    [Test]
    public void RpcException_NullTrailers_Throws()
    {
        Assert.That(() => new RpcException(Status.DefaultCancelled, (Metadata)null!), Throws.ArgumentNullException);
        Assert.That(() => new RpcException(Status.DefaultCancelled, null!, "message"), Throws.ArgumentNullException);
    }

    [Test]
    public void RpcException_Class_MayBeDerivedFrom()
    {
        Assert.That(typeof(RpcException).IsSealed, Is.False);
    }
}

public sealed class CustomException(string message) : Exception(message);
