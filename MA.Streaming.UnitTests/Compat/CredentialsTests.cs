using Grpc.Core;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

public sealed class CredentialsTests
{
    private static readonly AsyncAuthInterceptor Interceptor = (_, _) => Task.CompletedTask;
    private static readonly object State = new();

    [Test]
    public void FromInterceptor_Visited_ShowsTheInterceptor()
    {
        var visited = Visit(CallCredentials.FromInterceptor(Interceptor));

        Assert.That(visited, Is.EqualTo(new object[] { "interceptor", State, Interceptor }));
    }

    [Test]
    public void Compose_TwoOrMore_ShowsThemInOrder()
    {
        var (a, b, c) = (CallCredentials.FromInterceptor(Interceptor), CallCredentials.FromInterceptor(Interceptor), new NoCallCredentials());

        var visited = Visit(CallCredentials.Compose(a, b, c));

        Assert.That(visited.Take(2), Is.EqualTo(new[] { "composite", State }));
        Assert.That(visited[2], Is.EqualTo(new[] { a, b, c }));
        Assert.That(visited, Has.Count.EqualTo(3));
    }

    [Test]
    public void Compose_FewerThanTwo_Throws()
    {
        Assert.That(() => CallCredentials.Compose(), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => CallCredentials.Compose(new NoCallCredentials()), Throws.InstanceOf<ArgumentException>());
    }

    [Test]
    public void Insecure_Visited_SaysSo()
    {
        var credentials = ChannelCredentials.Insecure;

        Assert.That(Visit(credentials), Is.EqualTo(new[] { "insecure", State }));
        Assert.That(ChannelCredentials.Insecure, Is.SameAs(credentials));
    }

    [Test]
    public void SecureSsl_Visited_LeavesEverythingToTheTransport()
    {
        var credentials = ChannelCredentials.SecureSsl;

        Assert.That(Visit(credentials), Is.EqualTo(new[] { "ssl", State, null, null, null }));
        Assert.That(ChannelCredentials.SecureSsl, Is.SameAs(credentials));
    }

    [Test]
    public void SslCredentials_Visited_ShowWhatTheyWereGiven()
    {
        var pair = new KeyCertificatePair("chain", "key");
        VerifyPeerCallback verify = _ => true;

        Assert.That(Visit(new SslCredentials()), Is.EqualTo(new[] { "ssl", State, null, null, null }));
        Assert.That(Visit(new SslCredentials("roots")), Is.EqualTo(new[] { "ssl", State, "roots", null, null }));
        Assert.That(Visit(new SslCredentials("roots", pair)), Is.EqualTo(new[] { "ssl", State, "roots", pair, null }));
        Assert.That(Visit(new SslCredentials("roots", pair, verify)), Is.EqualTo(new[] { "ssl", State, "roots", pair, verify }));
    }

    [Test]
    public void SslCredentials_Properties_AreThoseGiven()
    {
        var pair = new KeyCertificatePair("chain", "key");
        var credentials = new SslCredentials("roots", pair);

        Assert.That(credentials.RootCertificates, Is.EqualTo("roots"));
        Assert.That(credentials.KeyCertificatePair, Is.SameAs(pair));
        Assert.That(pair.CertificateChain, Is.EqualTo("chain"));
        Assert.That(pair.PrivateKey, Is.EqualTo("key"));
        Assert.That(new SslCredentials().RootCertificates, Is.Null);
        Assert.That(new SslCredentials().KeyCertificatePair, Is.Null);
    }

    [Test]
    public void Create_ChannelAndCall_ShowsBoth()
    {
        var call = CallCredentials.FromInterceptor(Interceptor);

        Assert.That(
            Visit(ChannelCredentials.Create(ChannelCredentials.SecureSsl, call)),
            Is.EqualTo(new[] { "composite", State, ChannelCredentials.SecureSsl, call }));
        Assert.That(
            Visit(ChannelCredentials.Create(ChannelCredentials.Insecure, call)),
            Is.EqualTo(new[] { "composite", State, ChannelCredentials.Insecure, call }));
    }

    [Test]
    public void Create_Null_Throws()
    {
        Assert.That(() => ChannelCredentials.Create(null!, new NoCallCredentials()), Throws.ArgumentNullException);
        Assert.That(() => ChannelCredentials.Create(ChannelCredentials.SecureSsl, null!), Throws.ArgumentNullException);
    }

    [Test]
    public void AuthInterceptorContext_Members_AreThoseGiven()
    {
        using var cancellation = new CancellationTokenSource();

        var context = new AuthInterceptorContext("url", "method", cancellation.Token);

        Assert.That(context.ServiceUrl, Is.EqualTo("url"));
        Assert.That(context.MethodName, Is.EqualTo("method"));
        Assert.That(context.CancellationToken, Is.EqualTo(cancellation.Token));
        Assert.That(new AuthInterceptorContext("url", "method").CancellationToken, Is.EqualTo(CancellationToken.None));
    }

    private static List<object?> Visit(CallCredentials credentials)
    {
        var configurator = new CallConfigurator();
        credentials.InternalPopulateConfiguration(configurator, State);
        return configurator.Visited;
    }

    private static List<object?> Visit(ChannelCredentials credentials)
    {
        var configurator = new ChannelConfigurator();
        credentials.InternalPopulateConfiguration(configurator, State);
        return configurator.Visited;
    }

    private sealed class NoCallCredentials : CallCredentials
    {
        public override void InternalPopulateConfiguration(CallCredentialsConfiguratorBase configurator, object? state)
        {
        }
    }

    private sealed class CallConfigurator : CallCredentialsConfiguratorBase
    {
        public List<object?> Visited { get; } = [];

        public override void SetCompositeCredentials(object? state, IReadOnlyList<CallCredentials> credentials) =>
            Visited.AddRange(["composite", state, credentials]);

        public override void SetAsyncAuthInterceptorCredentials(object? state, AsyncAuthInterceptor interceptor) =>
            Visited.AddRange(["interceptor", state, interceptor]);
    }

    private sealed class ChannelConfigurator : ChannelCredentialsConfiguratorBase
    {
        public List<object?> Visited { get; } = [];

        public override void SetInsecureCredentials(object state) => Visited.AddRange(["insecure", state]);

        public override void SetSslCredentials(
            object state,
            string? rootCertificates,
            KeyCertificatePair? keyCertificatePair,
            VerifyPeerCallback? verifyPeerCallback) =>
            Visited.AddRange(["ssl", state, rootCertificates, keyCertificatePair, verifyPeerCallback]);

        public override void SetCompositeCredentials(object state, ChannelCredentials channelCredentials, CallCredentials callCredentials) =>
            Visited.AddRange(["composite", state, channelCredentials, callCredentials]);
    }
}
