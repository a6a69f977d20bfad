using System.Reflection;
using Grpc.Core;
using MA.Streaming.UnitTests.Wire;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class ServerServiceDefinitionTests
{
    private static readonly UnaryServerMethod<string, string> Unary = (_, _) => Task.FromResult("");
    private static readonly ClientStreamingServerMethod<string, string> ClientStreaming = (_, _) => Task.FromResult("");
    private static readonly ServerStreamingServerMethod<string, string> ServerStreaming = (_, _, _) => Task.CompletedTask;
    private static readonly DuplexStreamingServerMethod<string, string> DuplexStreaming = (_, _, _) => Task.CompletedTask;

    [Test]
    public void BindService_MethodsOfEveryKind_AreReplayedInOrder()
    {
        var duplex = EveryKind.Method(MethodType.DuplexStreaming);
        var unary = EveryKind.Method(MethodType.Unary);
        var client = EveryKind.Method(MethodType.ClientStreaming);
        var server = EveryKind.Method(MethodType.ServerStreaming);
        var binder = new RecordingBinder();

        ServerServiceDefinition.CreateBuilder()
            .AddMethod(duplex, DuplexStreaming)
            .AddMethod(unary, Unary)
            .AddMethod(client, ClientStreaming)
            .AddMethod(server, ServerStreaming)
            .Build()
            .BindService(binder);

        Assert.That(
            binder.Bound,
            Is.EqualTo(
                new[]
                {
                    new BoundMethod(duplex, DuplexStreaming, typeof(DuplexStreamingServerMethod<string, string>)),
                    new BoundMethod(unary, Unary, typeof(UnaryServerMethod<string, string>)),
                    new BoundMethod(client, ClientStreaming, typeof(ClientStreamingServerMethod<string, string>)),
                    new BoundMethod(server, ServerStreaming, typeof(ServerStreamingServerMethod<string, string>)),
                }));
    }

    [Test]
    public void BindService_Twice_ReplaysToEachBinder()
    {
        var definition = ServerServiceDefinition.CreateBuilder().AddMethod(EveryKind.Method(MethodType.Unary), Unary).Build();
        var (first, second) = (new RecordingBinder(), new RecordingBinder());

        definition.BindService(first);
        definition.BindService(second);

        Assert.That(first.Bound, Has.Count.EqualTo(1));
        Assert.That(second.Bound, Is.EqualTo(first.Bound));
    }

    [Test]
    public void AddMethod_SameFullNameTwice_Throws()
    {
        var builder = ServerServiceDefinition.CreateBuilder().AddMethod(EveryKind.Method(MethodType.Unary), Unary);

        Assert.That(() => builder.AddMethod(EveryKind.Method(MethodType.Unary), Unary), Throws.ArgumentException);
        Assert.That(() => builder.AddMethod(EveryKind.Method(MethodType.Unary), ClientStreaming), Throws.ArgumentException);
        Assert.That(() => builder.AddMethod(EveryKind.Method(MethodType.Unary), ServerStreaming), Throws.ArgumentException);
        Assert.That(() => builder.AddMethod(EveryKind.Method(MethodType.Unary), DuplexStreaming), Throws.ArgumentException);
    }

    [Test]
    public void ServiceBinderBase_NothingOverridden_Throws()
    {
        var binder = new ServiceBinderBase();
        var method = EveryKind.Method(MethodType.Unary);

        Assert.That(() => binder.AddMethod(method, Unary), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => binder.AddMethod(method, ClientStreaming), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => binder.AddMethod(method, ServerStreaming), Throws.TypeOf<NotImplementedException>());
        Assert.That(() => binder.AddMethod(method, DuplexStreaming), Throws.TypeOf<NotImplementedException>());
    }

    [Test]
    public void GeneratedBind_NullService_OffersEveryMethodWithoutHandler()
    {
        var binder = new RecordingBinder();

        WireSmoke.BindService(binder, null!);

        Assert.That(
            binder.Bound.Select(bound => bound.Method.FullName.Split('/')[^1]),
            Is.EqualTo(new[] { "Echo", "Join", "Split", "Chat", "Hang" }));
        Assert.That(binder.Bound.Select(bound => bound.Handler), Is.All.Null);
        Assert.That(
            binder.Bound.Select(bound => bound.Kind),
            Is.EqualTo(
                new[]
                {
                    typeof(UnaryServerMethod<Text, Text>),
                    typeof(ClientStreamingServerMethod<Text, Text>),
                    typeof(ServerStreamingServerMethod<Text, Text>),
                    typeof(DuplexStreamingServerMethod<Text, Text>),
                    typeof(UnaryServerMethod<Text, Text>),
                }));
    }

    [Test]
    public void GeneratedBind_Service_MakesADefinitionWithHandlers()
    {
        var binder = new RecordingBinder();

        WireSmoke.BindService(new DerivedService()).BindService(binder);

        Assert.That(binder.Bound, Has.Count.EqualTo(5));
        Assert.That(binder.Bound.Select(bound => bound.Handler), Is.All.Not.Null);
    }

    [Test]
    public void BindServiceMethodAttribute_DerivedService_FindsItOnTheBase()
    {
        var attribute = typeof(DerivedService).GetCustomAttribute<BindServiceMethodAttribute>(inherit: true);

        Assert.That(attribute, Is.Not.Null);
        Assert.That(attribute.BindType, Is.EqualTo(typeof(WireSmoke)));
        Assert.That(attribute.BindMethodName, Is.EqualTo("BindService"));
    }

    [Test]
    public void BindServiceMethodAttribute_Usage_IsOnceAClassAndInherited()
    {
        var usage = typeof(BindServiceMethodAttribute).GetCustomAttribute<AttributeUsageAttribute>();

        Assert.That(usage, Is.Not.Null);
        Assert.That(usage.ValidOn, Is.EqualTo(AttributeTargets.Class));
        Assert.That(usage.AllowMultiple, Is.False);
        Assert.That(usage.Inherited, Is.True);
    }

    private sealed class DerivedService : WireSmoke.WireSmokeBase;

    private sealed record BoundMethod(IMethod Method, Delegate? Handler, Type Kind);

    private sealed class RecordingBinder : ServiceBinderBase
    {
        public List<BoundMethod> Bound { get; } = [];

        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method,
            UnaryServerMethod<TRequest, TResponse>? handler) =>
            Bound.Add(new BoundMethod(method, handler, typeof(UnaryServerMethod<TRequest, TResponse>)));

        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method,
            ClientStreamingServerMethod<TRequest, TResponse>? handler) =>
            Bound.Add(new BoundMethod(method, handler, typeof(ClientStreamingServerMethod<TRequest, TResponse>)));

        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method,
            ServerStreamingServerMethod<TRequest, TResponse>? handler) =>
            Bound.Add(new BoundMethod(method, handler, typeof(ServerStreamingServerMethod<TRequest, TResponse>)));

        public override void AddMethod<TRequest, TResponse>(
            Method<TRequest, TResponse> method,
            DuplexStreamingServerMethod<TRequest, TResponse>? handler) =>
            Bound.Add(new BoundMethod(method, handler, typeof(DuplexStreamingServerMethod<TRequest, TResponse>)));
    }
}
