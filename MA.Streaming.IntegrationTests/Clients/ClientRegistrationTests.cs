using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.ClientFactory;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.Proto.Client.Remote;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
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
        PacketWriterService.PacketWriterServiceClient writer;
        await using (var services = new ServiceCollection()
            .AddStreamingApiClient("track", track.Address).Services
            .AddStreamingApiClient("rig", client => client.Address = rig.Address).Services
            .AddSingleton<Recorder>()
            .BuildServiceProvider(validateScopes: true))
        {
            await services.GetRequiredService<Recorder>().RecordAsync("Car", limit.Token);
            Assert.That(await SessionsOfAsync(track, "Car", limit.Token), Is.EqualTo(1));
            Assert.That(await SessionsOfAsync(rig, "Car", limit.Token), Is.Zero);

            // By name from the factory, for each of the five; without a name of the server that was added last.
            var clients = services.GetRequiredService<GrpcClientFactory>();
            await clients.CreateClient<SessionManagementService.SessionManagementServiceClient>("rig").CreateSessionAsync(new() { DataSource = "Rig" }, cancellationToken: limit.Token);
            await services.GetRequiredService<SessionManagementService.SessionManagementServiceClient>().CreateSessionAsync(new() { DataSource = "Rig" }, cancellationToken: limit.Token);
            Assert.That((await SessionsOfAsync(track, "Rig", limit.Token), await SessionsOfAsync(rig, "Rig", limit.Token)), Is.EqualTo((0, 2)));
            var connection = (await clients.CreateClient<ConnectionManagerService.ConnectionManagerServiceClient>("track").NewConnectionAsync(
                new() { Details = new() { DataSource = "Car" } }, cancellationToken: limit.Token)).Connection;
            using var read = clients.CreateClient<PacketReaderService.PacketReaderServiceClient>("track").ReadPackets(new() { Connection = connection }, cancellationToken: limit.Token);
            Assert.That(await read.ResponseStream.MoveNext(limit.Token), Is.True);
            var format = await clients.CreateClient<DataFormatManagerService.DataFormatManagerServiceClient>("track").GetEventAsync(
                new() { DataSource = "Car", DataFormatIdentifier = 7 }, cancellationToken: limit.Token);
            Assert.That(format.Event, Is.Empty);
            Assert.That(() => clients.CreateClient<PacketWriterService.PacketWriterServiceClient>("elsewhere"), Throws.InvalidOperationException);
            Assert.That(services.GetKeyedService<DataFormatManagerService.DataFormatManagerServiceClient>("elsewhere"), Is.Null);

            // One channel's worth of connections for all of them.
            Assert.That(track.TcpConnections, Is.EqualTo(2), "one is the test's own");
            writer = clients.CreateClient<PacketWriterService.PacketWriterServiceClient>("track");
        }

        // Gone with the container.
        Assert.That(async () => await writer.WriteDataPacketAsync(new(), cancellationToken: limit.Token), Throws.InstanceOf<RpcException>().Or.InstanceOf<ObjectDisposedException>());
    }

    // As RemoteStreamingApi does: on to the next server while one does not answer, a question asked again while the server is UNAVAILABLE, and a
    // write never.
    [Test]
    public async Task AddStreamingApiClient_ServersThatFail_AreTriedAsRemoteStreamingApiTriesThem()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var server = await RawServer.StartAsync(context => RawServer.Status(context, StatusCode.Unavailable), limit.Token);
        using var closed = new TcpListener(IPAddress.Loopback, 0);
        closed.Start();
        var nobody = ((IPEndPoint)closed.LocalEndpoint).Port;
        closed.Stop();
        await using var services = new ServiceCollection().AddStreamingApiClient("track", $"127.0.0.1:{nobody},{server.Address}").Services.BuildServiceProvider();

        var connections = services.GetRequiredKeyedService<ConnectionManagerService.ConnectionManagerServiceClient>("track");
        Assert.That(async () => await connections.GetConnectionAsync(new(), cancellationToken: limit.Token), Throws.InstanceOf<RpcException>().With.Property("StatusCode").EqualTo(StatusCode.Unavailable));
        Assert.That(server.RequestsOf("/ma.streaming.api.v1.ConnectionManagerService/GetConnection"), Is.EqualTo(4));
        var writer = services.GetRequiredKeyedService<PacketWriterService.PacketWriterServiceClient>("track");
        Assert.That(async () => await writer.WriteDataPacketAsync(new(), cancellationToken: limit.Token), Throws.InstanceOf<RpcException>().With.Property("StatusCode").EqualTo(StatusCode.Unavailable));
        Assert.That(server.RequestsOf("/ma.streaming.api.v1.PacketWriterService/WriteDataPacket"), Is.EqualTo(1));
        Assert.That(server.Connections, Is.EqualTo(1), "the five share it");
    }

    [Test]
    public async Task AddStreamingApiClient_AddressFromOptions_IsCheckedWhenTheHostStarts()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var broker = new MemoryBroker();
        await using var track = await StartAsync(broker, limit.Token);
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Track:Address"] = track.Address,
            ["Track:Connection:ConnectTimeout"] = "00:00:02",
            ["Rig:Address"] = "rig",
        }).Build();
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        builder.Services.AddStreamingApiClient("track");
        builder.Services.AddOptions<StreamingApiClientOptions>("track").Bind(configuration.GetSection("Track"));
        using (var host = builder.Build())
        {
            await host.StartAsync(limit.Token);
            await host.Services.GetRequiredService<SessionManagementService.SessionManagementServiceClient>().CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: limit.Token);
            Assert.That(host.Services.GetRequiredService<IOptionsMonitor<StreamingApiClientOptions>>().Get("track").Connection.ConnectTimeout, Is.EqualTo(TimeSpan.FromSeconds(2)));
            Assert.That(RemoteStreamingApiOptions.Default.ConnectTimeout, Is.EqualTo(TimeSpan.FromSeconds(5)));
            await host.StopAsync(limit.Token);
        }

        var other = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings());
        other.Services.AddStreamingApiClient("rig");
        other.Services.AddOptions<StreamingApiClientOptions>("rig").Bind(configuration.GetSection("Rig"));
        using var wrong = other.Build();
        var failure = (await Assert.ThrowsAsync<OptionsValidationException>(() => wrong.StartAsync(limit.Token)))!;
        Assert.That(failure.Message, Does.Contain("Address = 'rig'").And.Contain("'rig'").And.Contain("host:port"));
    }

    [Test]
    public void AddStreamingApiClient_Mistakes_AreRefusedWhenTheyAreMade()
    {
        var services = new ServiceCollection().AddStreamingApiClient("track", "localhost:13579").Services;
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
