using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.KeyGenerator;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.Proto.Client.Remote;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Two servers over one broker whose session keys and format ids come from one key generator.</summary>
[TestFixtureSource(typeof(ScenarioFixture), nameof(Variants))]
[Parallelizable(ParallelScope.Self)]
public sealed class RemoteKeyTests(Transport transport, StreamCreationStrategy strategy, Storage storage) : ScenarioFixture(transport, strategy, storage)
{
    private readonly List<IDisposable> _clients = [];
    private RecordedKeys _keys = null!;
    private KeyServer _keyServer = null!;
    private StreamServer[] _servers = [];

    [SetUp]
    public async Task StartTwoWithOneKeyGenerator()
    {
        _keys = new RecordedKeys();
        _keyServer = await KeyServer.StartAsync(_keys, Limit);
        var broker = await NewBrokerAsync();
        _servers = [await StartWithKeysAsync(broker), await StartWithKeysAsync(broker)];
    }

    [TearDown]
    public async Task StopKeyGenerator()
    {
        await _keyServer.DisposeAsync();
        foreach (var client in _clients) client.Dispose();
        _clients.Clear();
        _keys.Dispose();
    }

    [Test]
    public async Task CreateSession_WithoutAKey_TakesTheKeyGenerators()
    {
        var keys = new[] { await _servers[0].CreateSessionAsync(DataSource, Limit), await _servers[1].CreateSessionAsync(DataSource, Limit) };
        Assert.That(keys, Is.EqualTo(_keys.Strings));
        Assert.That(keys, Is.Unique);
        await _servers[0].CreateSessionAsync(DataSource, Limit, key: "chosen");
        Assert.That(_keys.Strings, Has.Length.EqualTo(2));
    }

    [Test]
    public async Task DataFormats_OfOneIdentityOnBothAtOnce_TheFirstDefinitionInTheLogWins()
    {
        for (var round = 0; round < 20; round++)
        {
            var dataSource = NewDataSource();
            var ids = await Task.WhenAll(_servers.Select(server => server.ParametersIdAsync(dataSource, Limit, "vCar", "nEngine"))).WaitAsync(Limit);
            Assert.That(ids[0], Is.EqualTo(ids[1]));
            Assert.That(_keys.Numbers, Does.Contain(ids[0]));

            // Also on a server that comes later, and also for ids that were published and not handed out.
            var defined = (await _servers[0].EssentialsNowAsync(new() { DataSource = dataSource }, Limit))
                .Select(p => DataFormatDefinitionPacket.Parser.ParseFrom(p.Packet.Content)).ToArray();
            Assert.That(defined[0].Identifier, Is.EqualTo(ids[0]));
            foreach (var server in _servers)
            {
                foreach (var definition in defined)
                    Assert.That(await server.ParametersAsync(dataSource, definition.Identifier, Limit), Is.EqualTo(new[] { "vCar", "nEngine" }));
            }
        }
    }

    [Test]
    public async Task DataFormats_KnownOnes_AskForNoKey()
    {
        var id = await _servers[0].EventIdAsync(DataSource, "Gear", Limit);
        for (var i = 0; i < 10; i++) Assert.That(await _servers[i % 2].EventIdAsync(DataSource, "Gear", Limit), Is.EqualTo(id));
        Assert.That(_keys.Numbers, Is.EqualTo(new[] { id }));
    }

    [Test]
    public async Task KeyGenerator_Unreachable_IsUnavailableAndNothingIsWritten()
    {
        var server = _servers[0];
        var known = await server.EventIdAsync(DataSource, "Gear", Limit);
        await server.CreateSessionAsync(DataSource, Limit);
        var address = _keyServer.Address;
        await _keyServer.DisposeAsync();
        var essentials = (await server.EssentialsNowAsync(new() { DataSource = DataSource }, Limit)).Count;

        AssertFailure(await FailureOfAsync(() => server.CreateSessionAsync(DataSource, Limit)), StatusCode.Unavailable, "key generator", address);
        AssertFailure(await FailureOfAsync(() => server.ParametersIdAsync(DataSource, Limit, "vCar")), StatusCode.Unavailable, "key generator", address);
        Assert.That((await server.Sessions.GetCurrentSessionsAsync(new() { DataSource = DataSource }, cancellationToken: Limit)).SessionKeys, Has.Count.EqualTo(1));
        Assert.That(await server.EssentialsNowAsync(new() { DataSource = DataSource }, Limit), Has.Count.EqualTo(essentials));

        // What needs no new key goes on.
        Assert.That(await server.EventIdAsync(DataSource, "Gear", Limit), Is.EqualTo(known));
        await server.CreateSessionAsync(DataSource, Limit, key: $"{DataSource}-chosen");
        await server.WriteTextAsync(DataSource, "", "x", Limit);

        // It is back.
        _keyServer = await KeyServer.StartAsync(_keys, Limit, new Uri($"http://{address}").Port);
        Assert.That(await server.CreateSessionAsync(DataSource, Limit), Is.EqualTo(_keys.Strings[^1]));
        Assert.That(await server.ParametersIdAsync(DataSource, Limit, "vCar"), Is.EqualTo(_keys.Numbers[^1]));
    }

    [Test]
    public async Task KeyGenerator_ThatAnswersWithoutAKey_IsUnavailable()
    {
        _keys.IsEmpty = true;
        AssertFailure(await FailureOfAsync(() => _servers[0].CreateSessionAsync(DataSource, Limit)), StatusCode.Unavailable, "without a key");
        AssertFailure(await FailureOfAsync(() => _servers[0].EventIdAsync(DataSource, "Gear", Limit)), StatusCode.Unavailable, "without a key");
    }

    [Test]
    public async Task StartAsync_RemoteKeysWithoutAKeyGenerator_IsRefused()
    {
        var broker = await NewBrokerAsync();
        var withoutKeys = new StreamingApiConfiguration(Strategy, "memory:", useRemoteKeyGenerator: true, remoteKeyGeneratorServiceAddress: "localhost:1");
        Assert.That(
            async () => await StreamApi.StartAsync(withoutKeys, broker, cancellationToken: Limit), Throws.TypeOf<ConfigurationException>().With.Message.Contains("UseRemoteKeyGenerator"));
    }

    private async Task<StreamServer> StartWithKeysAsync(Core.Broker.IBroker broker)
    {
        var configuration = new StreamingApiConfiguration(
            Strategy, "memory:", [new("one", 1)], useRemoteKeyGenerator: true, remoteKeyGeneratorServiceAddress: _keyServer.Address);
        var keys = RemoteKeyGenerator.Of(configuration)!;
        _clients.Add(keys);
        return await StartAsync(configuration, broker, new StreamApiOptions { KeyGenerator = keys });
    }

    /// <summary>A key generator that keeps what it gave.</summary>
    private sealed class RecordedKeys : UniqueKeyGeneratorService.UniqueKeyGeneratorServiceBase, IDisposable
    {
        private readonly LocalKeyGenerator _keys = LocalKeyGenerator.Start("");
        private readonly List<string> _strings = [];
        private readonly List<ulong> _numbers = [];

        public bool IsEmpty { get; set; }

        public string[] Strings
        {
            get
            {
                lock (_strings) return [.. _strings];
            }
        }

        public ulong[] Numbers
        {
            get
            {
                lock (_strings) return [.. _numbers];
            }
        }

        public override async Task<GenerateUniqueKeyResponse> GenerateUniqueKey(GenerateUniqueKeyRequest request, ServerCallContext context)
        {
            if (IsEmpty) return new();
            var response = await _keys.Service.GenerateUniqueKey(request, context);
            lock (_strings)
            {
                if (request.Type == KeyType.String) _strings.Add(response.StringKey);
                else _numbers.Add(response.UlongKey);
            }

            return response;
        }

        public void Dispose() => _keys.Dispose();
    }
}
