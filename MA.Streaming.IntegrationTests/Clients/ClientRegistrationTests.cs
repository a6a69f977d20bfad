using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.Proto.Client.Remote;
using Microsoft.Extensions.DependencyInjection;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The clients of servers as services of a container.</summary>
[Parallelizable(ParallelScope.Self)]
public sealed class ClientRegistrationTests
{
    [Test]
    public async Task AddStreamingApiClient_TwoServers_EachNameHasItsOwnFiveClients()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var trackBroker = new MemoryBroker();
        await using var rigBroker = new MemoryBroker();
        await using var track = await StartAsync(trackBroker, limit.Token);
        await using var rig = await StartAsync(rigBroker, limit.Token);
        RemoteStreamingApi api;
        await using (var services = new ServiceCollection()
            .AddStreamingApiClient("track", track.Address)
            .AddStreamingApiClient("rig", rig.Address)
            .AddSingleton<Recorder>()
            .BuildServiceProvider(validateScopes: true))
        {
            await services.GetRequiredService<Recorder>().RecordAsync("Car", limit.Token);
            api = services.GetRequiredKeyedService<RemoteStreamingApi>("track");

            Assert.That(await SessionsOfAsync(track, "Car", limit.Token), Is.EqualTo(1));
            Assert.That(await SessionsOfAsync(rig, "Car", limit.Token), Is.Zero);
            Assert.That(services.GetRequiredKeyedService<PacketReaderService.PacketReaderServiceClient>("rig"), Is.SameAs(
                services.GetRequiredKeyedService<RemoteStreamingApi>("rig").GetPacketReaderClient()));
            Assert.That(services.GetRequiredKeyedService<ConnectionManagerService.ConnectionManagerServiceClient>("rig"), Is.Not.SameAs(
                services.GetRequiredKeyedService<ConnectionManagerService.ConnectionManagerServiceClient>("track")));
            Assert.That(services.GetKeyedService<DataFormatManagerService.DataFormatManagerServiceClient>("elsewhere"), Is.Null);
        }

        // Gone with the container.
        Assert.That(async () => await api.GetConnectionManagerClient().GetConnectionAsync(new()), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public void AddStreamingApiClient_Mistakes_AreRefusedWhenTheyAreMade()
    {
        var services = new ServiceCollection().AddStreamingApiClient("track", "localhost:13579");
        Assert.That(
            () => services.AddStreamingApiClient("rig", "localhost"),
            Throws.ArgumentException.With.Message.Contains("serverAddress = 'localhost'").And.Message.Contains("host:port"));
        Assert.That(() => services.AddStreamingApiClient("track", "localhost:1"), Throws.ArgumentException.With.Message.Contains("name = 'track'"));
        Assert.That(() => services.AddStreamingApiClient("", "localhost:1"), Throws.ArgumentException);
    }

    private static Task<StreamServer> StartAsync(MemoryBroker broker, CancellationToken token) =>
        StreamServer.StartAsync(Transport.Kestrel, new StreamingApiConfiguration(brokerUrl: "memory:"), broker, null, token);

    private static async Task<int> SessionsOfAsync(StreamServer server, string dataSource, CancellationToken token) =>
        (await server.Sessions.GetCurrentSessionsAsync(new() { DataSource = dataSource }, cancellationToken: token)).SessionKeys.Count;

    private sealed class Recorder(
        [FromKeyedServices("track")] SessionManagementService.SessionManagementServiceClient sessions,
        [FromKeyedServices("track")] PacketWriterService.PacketWriterServiceClient writer)
    {
        public async Task RecordAsync(string dataSource, CancellationToken token)
        {
            var session = await sessions.CreateSessionAsync(new() { DataSource = dataSource }, cancellationToken: token);
            var detail = Support.Clients.Detail(dataSource, "", Support.Clients.TextPacket("x"), session.SessionKey);
            await writer.WriteDataPacketAsync(new() { Detail = detail }, cancellationToken: token);
        }
    }
}
