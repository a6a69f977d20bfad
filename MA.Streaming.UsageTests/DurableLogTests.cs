using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;
using NUnit.Framework;

namespace MA.Streaming.UsageTests;

/// <summary>The Stream API on its durable log, as customers start it.</summary>
public sealed class DurableLogTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(60);

    private string _directory = "";

    private string Url => $"embedded:{_directory}";

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("stream-api-usage-").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    [Test]
    public async Task Restart_SessionsFormatsAndPackets_AreStillThere()
    {
        string key;
        ulong format;
        await using (var api = await StartAsync(new StreamingApiConfiguration(brokerUrl: Url)))
        {
            key = (await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car", Identifier = "Day 1", Details = { ["driver"] = "A" } })).SessionKey;
            format = (await api.GetDataFormatManagerClient().GetParameterDataFormatIdAsync(new() { DataSource = "Car", Parameters = { "vCar", "nEngine" } }))
                .DataFormatIdentifier;
            for (var i = 0; i < 100; i++) await WriteAsync(api, key, i);
            await api.GetSessionManagementClient().EndSessionAsync(new() { DataSource = "Car", SessionKey = key });
        }

        await using var again = await StartAsync(new StreamingApiConfiguration(brokerUrl: Url));
        var sessions = again.GetSessionManagementClient();
        Assert.That((await sessions.GetCurrentSessionsAsync(new() { DataSource = "Car" })).SessionKeys, Is.EqualTo(new[] { key }));
        var info = await sessions.GetSessionInfoAsync(new() { SessionKey = key });
        Assert.That(info.Success && info.IsComplete && info.Identifier == "Day 1" && info.Details["driver"] == "A", Is.True, info.ToString());
        var list = await again.GetDataFormatManagerClient().GetParametersListAsync(new() { DataSource = "Car", DataFormatIdentifier = format });
        Assert.That(list.Parameters, Is.EqualTo(new[] { "vCar", "nEngine" }));
        Assert.That(await ReadAsync(again, key, 100), Is.EqualTo(Enumerable.Range(0, 100)));
    }

    [Test]
    public async Task Offsets_OfAnEarlierSession_LeadToTheNextOne()
    {
        await using var api = await StartAsync(new StreamingApiConfiguration(brokerUrl: Url));
        for (var i = 0; i < 10; i++) await WriteAsync(api, "", i);
        var created = await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car" });
        var info = await api.GetSessionManagementClient().GetSessionInfoAsync(new() { SessionKey = created.SessionKey });
        Assert.That(info.MainOffset, Is.EqualTo(10));
    }

    [Test]
    public async Task Directory_InUse_IsAnErrorThatNamesItAndWhatToDo()
    {
        await using var api = await StartAsync(new StreamingApiConfiguration(brokerUrl: Url));
        var error = (await Assert.ThrowsAsync<InitialisationException>(async () => await StartAsync(new StreamingApiConfiguration(brokerUrl: Url))))!;
        Assert.That(error.Message, Does.Contain(_directory).And.Contain("one process owns a log").And.Contain("remote client").And.Contain("another directory"));
        await WriteAsync(api, "", 1);
    }

    [Test]
    public async Task Directory_ThatIsAFile_IsAnErrorThatNamesIt()
    {
        var file = Path.Combine(_directory, "file");
        File.WriteAllText(file, "not a log");
        var error = (await Assert.ThrowsAsync<InitialisationException>(async () => await StartAsync(new StreamingApiConfiguration(brokerUrl: $"embedded:{file}"))))!;
        Assert.That(error.Message, Does.Contain(file));
        Assert.That(File.ReadAllText(file), Is.EqualTo("not a log"));
    }

    [Test]
    public async Task CommitPolicy_Written_IsInForceAndSurvivesARestart()
    {
        var configuration = new StreamingApiConfiguration(brokerUrl: Url) { Embedded = new() { CommitPolicy = CommitPolicy.Written } };
        await using (var api = await StartAsync(configuration)) await WriteAsync(api, "", 7);
        await using var again = await StartAsync(configuration);
        Assert.That(await ReadAsync(again, "", 1), Is.EqualTo(new[] { 7 }));
        Assert.That(again.BrokerName, Is.EqualTo(Url));
    }

    [Test]
    public async Task Kafka_ThatIsNotThere_IsNamedWithWhatWasTried()
    {
        var error = (await Assert.ThrowsAsync<Core.InitialisationException>(
            async () => await StartAsync(new StreamingApiConfiguration(brokerUrl: "127.0.0.1:1"))))!;

        // Without its native library Kafka says so instead.
        Assert.That(error.Message, Does.Contain("127.0.0.1:1").And.Contain("Kafka"));
    }

    private static Task<LocalStreamingApi> StartAsync(StreamingApiConfiguration configuration) =>
        LocalStreamingApi.StartAsync(configuration).WaitAsync(Deadline);

    private static async Task WriteAsync(LocalStreamingApi api, string sessionKey, int value)
    {
        var packet = new Packet { Type = "Marker", SessionKey = sessionKey, Content = Google.Protobuf.ByteString.CopyFrom(BitConverter.GetBytes(value)) };
        await api.GetPacketWriterClient()
            .WriteDataPacketAsync(new() { Detail = new() { DataSource = "Car", SessionKey = sessionKey, Message = packet } })
            .ResponseAsync.WaitAsync(Deadline);
    }

    private static async Task<List<int>> ReadAsync(LocalStreamingApi api, string sessionKey, int count)
    {
        var connection = (await api.GetConnectionManagerClient().NewConnectionAsync(new() { Details = new() { DataSource = "Car", SessionKey = sessionKey } })).Connection;
        using var limit = new CancellationTokenSource(Deadline);
        using var read = api.GetPacketReaderClient().ReadPackets(new() { Connection = connection }, cancellationToken: limit.Token);
        var values = new List<int>();
        while (values.Count < count && await read.ResponseStream.MoveNext(limit.Token))
            values.AddRange(read.ResponseStream.Current.Response.Select(packet => BitConverter.ToInt32(packet.Packet.Content.Span)));
        return values;
    }
}
