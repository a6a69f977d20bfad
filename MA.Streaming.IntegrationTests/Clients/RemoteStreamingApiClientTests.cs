using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.Proto.Client.Remote;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The static face of the client; there is one a process.</summary>
[NonParallelizable]
public sealed class RemoteStreamingApiClientTests
{
    [TearDown]
    public void Shutdown() => RemoteStreamingApiClient.Shutdown();

    [Test]
    public void Getters_BeforeInitialise_SayWhatIsMissing()
    {
        Func<object>[] getters =
        [
            RemoteStreamingApiClient.GetConnectionManagerClient, RemoteStreamingApiClient.GetDataFormatManagerClient,
            RemoteStreamingApiClient.GetPacketReaderClient, RemoteStreamingApiClient.GetPacketWriterClient,
            RemoteStreamingApiClient.GetSessionManagementClient,
        ];
        Assert.That(RemoteStreamingApiClient.Initialised, Is.False);
        foreach (var get in getters)
            Assert.That(() => get(), Throws.InvalidOperationException.With.Message.Contains("RemoteStreamingApiClient.Initialise"));

        RemoteStreamingApiClient.Initialise("localhost:1");
        foreach (var get in getters) Assert.That(get(), Is.Not.Null);
        RemoteStreamingApiClient.Shutdown();
        foreach (var get in getters) Assert.That(() => get(), Throws.InvalidOperationException);
        RemoteStreamingApiClient.Shutdown();
    }

    [Test]
    public void Initialise_BadAddress_IsRefusedAndLeavesItUninitialised()
    {
        Assert.That(
            () => RemoteStreamingApiClient.Initialise("server"), Throws.ArgumentException.With.Message.Contains("serverAddress = 'server'"));
        Assert.That(RemoteStreamingApiClient.Initialised, Is.False);
    }

    [Test]
    public async Task Initialise_Twice_TheFirstServerStays()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await using var broker = new MemoryBroker();
        await using var server = await StreamServer.StartAsync(Transport.Kestrel, new StreamingApiConfiguration(brokerUrl: "memory:"), broker, null, limit.Token);
        RemoteStreamingApiClient.Initialise(server.Address);
        RemoteStreamingApiClient.Initialise("localhost:1");

        Assert.That(RemoteStreamingApiClient.Initialised);
        var session = await RemoteStreamingApiClient.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: limit.Token);
        Assert.That((await server.InfoAsync(session.SessionKey, limit.Token)).DataSource, Is.EqualTo("Car"));
    }

    [Test]
    public async Task InitialiseAndShutdown_FromManyThreads_EndsShutDown()
    {
        await Task.WhenAll(Enumerable.Range(0, 8).Select(i => Task.Run(() =>
        {
            for (var round = 0; round < 50; round++)
            {
                if ((i + round) % 2 == 0) RemoteStreamingApiClient.Initialise("localhost:1");
                else RemoteStreamingApiClient.Shutdown();
            }
        }))).WaitAsync(TimeSpan.FromSeconds(30));
        RemoteStreamingApiClient.Shutdown();
        Assert.That(RemoteStreamingApiClient.Initialised, Is.False);
    }
}
