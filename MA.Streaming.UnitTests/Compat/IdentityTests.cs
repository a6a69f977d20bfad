using System.Reflection;
using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class IdentityTests
{
    [TestCase(typeof(Metadata), "Grpc.Core.Api, Version=2.0.0.0, Culture=neutral, PublicKeyToken=d754f35622e28bad")]
    [TestCase(typeof(ConnectivityState), "Grpc.Net.Common, Version=2.0.0.0, Culture=neutral, PublicKeyToken=d754f35622e28bad")]
    public void Assembly_Name_IsTheGenuineOne(Type type, string expected)
    {
        Assert.That(type.Assembly.FullName, Is.EqualTo(expected));
    }

    [Test]
    public void Assembly_PublicKey_IsThatOfGrpc()
    {
        var genuine = Assembly.Load("Grpc.Net.Client").GetName().GetPublicKey();

        Assert.That(genuine, Has.Length.EqualTo(160));
        Assert.That(typeof(Metadata).Assembly.GetName().GetPublicKey(), Is.EqualTo(genuine));
        Assert.That(typeof(ConnectivityState).Assembly.GetName().GetPublicKey(), Is.EqualTo(genuine));
    }

    [TestCase("Grpc.Core.Api", "MoveNext")]
    [TestCase("Grpc.Net.Common", "ReadAllAsync")]
    public void AsyncStreamReaderExtensions_EachAssembly_HasItsOwnMethod(string assembly, string method)
    {
        var type = Assembly.Load(assembly).GetType("Grpc.Core.AsyncStreamReaderExtensions", throwOnError: true);

        Assert.That(
            type!.GetMethods(BindingFlags.Public | BindingFlags.Static).Select(declared => declared.Name),
            Is.EqualTo(new[] { method }));
    }
}
