using System.Net;
using Grpc.Core;
using Grpc.Health.V1;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static Grpc.Health.V1.HealthCheckResponse.Types;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>What load balancers and orchestrators ask: ready means broker reachable, caught up, writable.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class HealthTests
{
    private GatedBroker _broker = null!;
    private NetworkServer _server = null!;
    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public async Task Start()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        _broker = new GatedBroker(new MemoryBroker());
        _server = await NetworkServer.StartAsync(Limit, options => options.Broker = _broker);
    }

    [TearDown]
    public async Task Stop()
    {
        await _server.DisposeAsync();
        await _broker.DisposeAsync();
        _limit.Dispose();
    }

    [TestCase("")]
    [TestCase("ma.streaming.api.v1.PacketReaderService")]
    public async Task Check_HealthyAndNot_SaysSo(string service)
    {
        var health = new Health.HealthClient(_server.Channel);
        Assert.That((await health.CheckAsync(new() { Service = service }, cancellationToken: Limit)).Status, Is.EqualTo(ServingStatus.Serving));
        _broker.Health = () => new BrokerHealth(false, "the disk is full");
        Assert.That((await health.CheckAsync(new() { Service = service }, cancellationToken: Limit)).Status, Is.EqualTo(ServingStatus.NotServing));
    }

    [Test]
    public async Task Check_UnknownService_IsNotFound() => AssertFailure(
        await FailureOfAsync(async () => await new Health.HealthClient(_server.Channel).CheckAsync(new() { Service = "no.Such" }, cancellationToken: Limit)),
        StatusCode.NotFound,
        "no.Such");

    [Test]
    public async Task Watch_Changes_AreToldUntilTheServerStops()
    {
        using var watch = new Health.HealthClient(_server.Channel).Watch(new(), cancellationToken: Limit);
        Assert.That(await NextAsync(watch), Is.EqualTo(ServingStatus.Serving));
        _broker.Health = () => new BrokerHealth(false, "the disk is full");
        Assert.That(await NextAsync(watch), Is.EqualTo(ServingStatus.NotServing));
        _broker.Health = null;
        Assert.That(await NextAsync(watch), Is.EqualTo(ServingStatus.Serving));

        var stopping = _server.Server.StopAsync(Limit);
        Assert.That(await NextAsync(watch), Is.EqualTo(ServingStatus.NotServing));
        AssertFailure(await FailureOfAsync(() => watch.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable, "shutting down");
        await stopping.WaitAsync(Limit);
    }

    [Test]
    public async Task Watch_UnknownService_IsToldAndStaysOpen()
    {
        using var watch = new Health.HealthClient(_server.Channel).Watch(new() { Service = "no.Such" }, cancellationToken: Limit);
        Assert.That(await NextAsync(watch), Is.EqualTo(ServingStatus.ServiceUnknown));
        Assert.That(watch.ResponseStream.MoveNext(Limit).IsCompleted, Is.False);
    }

    [Test]
    public async Task Ready_OverHttp_SaysWhyNot()
    {
        var healthy = await _server.Diagnostics.GetAsync("/healthz/ready", Limit);
        Assert.That(healthy.StatusCode, Is.EqualTo(HttpStatusCode.OK));
        _broker.Health = () => new BrokerHealth(false, "the disk is full");
        var sick = await _server.Diagnostics.GetAsync("/healthz/ready", Limit);
        Assert.That(sick.StatusCode, Is.EqualTo(HttpStatusCode.ServiceUnavailable));
        Assert.That(await sick.Content.ReadAsStringAsync(Limit), Does.Contain("the disk is full").And.Contain("\"ready\":false"));
        Assert.That((await _server.Diagnostics.GetAsync("/healthz/live", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK), "it need not be restarted");
    }

    private async Task<ServingStatus> NextAsync(AsyncServerStreamingCall<HealthCheckResponse> watch)
    {
        Assert.That(await watch.ResponseStream.MoveNext(Limit), Is.True);
        return watch.ResponseStream.Current.Status;
    }
}
