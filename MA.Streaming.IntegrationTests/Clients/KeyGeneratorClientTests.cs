using Grpc.Core;
using MA.KeyGenerator.Proto.Client;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.KeyGenerator;
using MA.Streaming.Proto.Client.Local;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The client of a key generator, and the Stream API in process that uses one.</summary>
[NonParallelizable]
public sealed class KeyGeneratorClientTests
{
    private CancellationTokenSource _limit = null!;
    private LocalKeyGenerator _keys = null!;
    private KeyServer _server = null!;

    [SetUp]
    public async Task Start()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        _keys = LocalKeyGenerator.Start("");
        _server = await KeyServer.StartAsync(_keys.Service, _limit.Token);
    }

    [TearDown]
    public async Task Stop()
    {
        KeyGeneratorClient.Shutdown();
        await _server.DisposeAsync();
        _keys.Dispose();
        _limit.Dispose();
    }

    [Test]
    public async Task GenerateUniqueKey_OverThePort_GivesKeysOfEachType()
    {
        Assert.That(KeyGeneratorClient.Initialised, Is.False);
        Assert.That(KeyGeneratorClient.GetKeyGeneratorClient, Throws.InvalidOperationException.With.Message.Contains("KeyGeneratorClient.Initialise"));
        KeyGeneratorClient.Initialise(_server.Address);
        KeyGeneratorClient.Initialise("localhost:1");
        Assert.That(KeyGeneratorClient.Initialised);

        var client = KeyGeneratorClient.GetKeyGeneratorClient();
        var text = await client.GenerateUniqueKeyAsync(new() { Type = KeyType.String }, cancellationToken: _limit.Token);
        Assert.That(Guid.TryParseExact(text.StringKey, "D", out _));
        var numbers = new List<ulong>();
        for (var i = 0; i < 10; i++) numbers.Add((await client.GenerateUniqueKeyAsync(new() { Type = KeyType.Ulong }, cancellationToken: _limit.Token)).UlongKey);
        Assert.That(numbers, Is.Ordered.Ascending.And.Unique);
        AssertFailure(
            await FailureOfAsync(async () => await client.GenerateUniqueKeyAsync(new(), cancellationToken: _limit.Token)), StatusCode.InvalidArgument, "KEY_TYPE_ULONG");

        KeyGeneratorClient.Shutdown();
        Assert.That(KeyGeneratorClient.Initialised, Is.False);
        Assert.That(KeyGeneratorClient.GetKeyGeneratorClient, Throws.InvalidOperationException);
    }

    [Test]
    public void Initialise_BadAddress_IsRefused()
    {
        Assert.That(() => KeyGeneratorClient.Initialise("keys"), Throws.ArgumentException.With.Message.Contains("serverAddress = 'keys'"));
        Assert.That(KeyGeneratorClient.Initialised, Is.False);
    }

    [Test]
    public async Task LocalStreamingApi_UseRemoteKeyGenerator_TakesItsKeysAndNeverOwnOnes()
    {
        await using var api = await LocalStreamingApi.StartAsync(
            new StreamingApiConfiguration(brokerUrl: "memory:", useRemoteKeyGenerator: true, remoteKeyGeneratorServiceAddress: _server.Address));
        var formats = api.GetDataFormatManagerClient();
        var id = (await formats.GetEventDataFormatIdAsync(new() { DataSource = "Car", Event = "Gear" }, cancellationToken: _limit.Token)).DataFormatIdentifier;
        Assert.That(new DateTime((long)id, DateTimeKind.Utc), Is.EqualTo(DateTime.UtcNow).Within(TimeSpan.FromMinutes(5)));
        await _server.DisposeAsync();

        AssertFailure(
            await FailureOfAsync(async () => await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: _limit.Token)),
            StatusCode.Unavailable,
            _server.Address);
    }

    [Test]
    public void LocalStreamingApi_BadKeyGeneratorAddress_IsRefusedWithKeyValueAndWhatIsAllowed()
    {
        var configuration = new StreamingApiConfiguration(brokerUrl: "memory:", useRemoteKeyGenerator: true, remoteKeyGeneratorServiceAddress: "keys");
        Assert.That(
            () => LocalStreamingApi.StartAsync(configuration),
            Throws.TypeOf<ConfigurationException>().With.Message.Contains("RemoteKeyGeneratorServiceAddress = 'keys'").And.Message.Contains("host:port"));
    }
}
