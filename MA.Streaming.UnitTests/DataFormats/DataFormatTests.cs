using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.DataFormats;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.DataFormats;

[TestFixture]
internal sealed class DataFormatTests
{
    [Test]
    public void ContentId_TellsIdentitiesApart()
    {
        ulong[] ids =
        [
            Id("Car", DataFormatKind.Parameters, "a,b"),
            Id("Car", DataFormatKind.Parameters, "a", "b"),
            Id("Car", DataFormatKind.Parameters, "b", "a"),
            Id("Car", DataFormatKind.Parameters, "ab"),
            Id("Car", DataFormatKind.Parameters, "", "ab"),
            Id("Car", DataFormatKind.Parameters, "e"),
            Id("Car", DataFormatKind.Event, "e"),
            Id("Cars", DataFormatKind.Event, "e"),
        ];

        Assert.That(ids, Is.Unique);
        Assert.That(ids, Is.All.InRange(1UL, (1UL << 53) - 1));
    }

    [TestCase("Car", DataFormatKind.Parameters, new[] { "a", "b" })]
    [TestCase("Ferrari", DataFormatKind.Event, new[] { "Gear:Chassis" })]
    [TestCase("é", DataFormatKind.Parameters, new[] { "ü", "" })]
    public void ContentId_IsWhatTheRuleSays(string dataSource, DataFormatKind kind, string[] identifiers)
    {
        using var bytes = new MemoryStream();
        bytes.WriteByte((byte)kind);
        foreach (var text in identifiers.Prepend(dataSource))
        {
            var utf8 = System.Text.Encoding.UTF8.GetBytes(text);
            bytes.Write([(byte)(utf8.Length >> 24), (byte)(utf8.Length >> 16), (byte)(utf8.Length >> 8), (byte)utf8.Length]);
            bytes.Write(utf8);
        }

        var hash = System.Security.Cryptography.SHA256.HashData(bytes.ToArray());
        var expected = 0UL;
        for (var i = 0; i < 8; i++) expected = (expected << 8) | hash[i];

        Assert.That(Id(dataSource, kind, identifiers), Is.EqualTo(expected & 0x1F_FFFF_FFFF_FFFF));
    }

    [Test]
    public async Task GetParameterDataFormatId_ManyAtOnce_IsRegisteredOnce()
    {
        await using var api = await TestApi.StartAsync();
        var ids = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => Task.Run(() => RegisterAsync(api, "a", "b")))).WithDeadline();

        Assert.That(ids.Distinct().Count(), Is.EqualTo(1));
        Assert.That((await api.Memory.GetWatermarksAsync([new("Car_essential", 0)], default))[0].High, Is.EqualTo(1));
        Assert.That((await api.Memory.GetWatermarksAsync([new("Car", 0)], default))[0].High, Is.EqualTo(1));
    }

    [Test]
    public async Task GetParameterDataFormatId_DefinedByOthersWithAnotherId_HandsOutTheFirstInTheLog()
    {
        await using var api = await TestApi.StartAsync();
        await DefineAsync(api, 42, "a");
        await DefineAsync(api, 41, "a");

        Assert.That(await RegisterAsync(api, "a"), Is.EqualTo(42));
        foreach (var id in new ulong[] { 41, 42 })
        {
            var list = await api.Formats.GetParametersListAsync(
                new GetParametersListRequest { DataSource = "Car", DataFormatIdentifier = id }).ResponseAsync.WithDeadline();
            Assert.That(list.Parameters, Is.EqualTo(new[] { "a" }), "every id ever published resolves");
        }
    }

    [Test]
    public async Task GetParameterDataFormatId_IdTakenByAnotherIdentity_IsInternal()
    {
        await using var api = await TestApi.StartAsync();
        await DefineAsync(api, Id("Car", DataFormatKind.Parameters, "mine"), "theirs");
        var exception = (await Assert.ThrowsAsync<RpcException>(async () => await RegisterAsync(api, "mine")))!;

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.Internal));
        Assert.That(exception.Status.Detail, Does.Contain("mine").And.Contain("theirs"));
        Assert.That(api.Logger.CountOf("FormatConflict"), Is.GreaterThanOrEqualTo(1));
    }

    [Test]
    public async Task GetParametersList_UnknownThenPublished_Resolves()
    {
        await using var api = await TestApi.StartAsync();
        var request = new GetParametersListRequest { DataSource = "Car", DataFormatIdentifier = 42 };
        for (var i = 0; i < 3; i++) Assert.That((await api.Formats.GetParametersListAsync(request).ResponseAsync.WithDeadline()).Parameters, Is.Empty);
        await DefineAsync(api, 42, "a", "b");

        Assert.That((await api.Formats.GetParametersListAsync(request).ResponseAsync.WithDeadline()).Parameters, Is.EqualTo(new[] { "a", "b" }));
        var calls = api.Broker.WatermarkCalls;
        for (var i = 0; i < 100; i++) await api.Formats.GetParametersListAsync(request).ResponseAsync.WithDeadline();
        Assert.That(api.Broker.WatermarkCalls, Is.EqualTo(calls), "a known id asks nobody");
    }

    [Test]
    public async Task GetDataFormatId_NothingNamed_IsInvalid()
    {
        await using var api = await TestApi.StartAsync();

        Assert.That((await Assert.ThrowsAsync<RpcException>(() => RegisterAsync(api)))!.StatusCode, Is.EqualTo(StatusCode.InvalidArgument));
        Assert.That(
            (await Assert.ThrowsAsync<RpcException>(async () => await api.Formats.GetEventDataFormatIdAsync(new GetEventDataFormatIdRequest { DataSource = "Car" })))!.StatusCode,
            Is.EqualTo(StatusCode.InvalidArgument));
    }

    private static ulong Id(string dataSource, DataFormatKind kind, params string[] identifiers) => FormatIdentity.Of(dataSource, kind, identifiers).ContentId;

    private static async Task<ulong> RegisterAsync(TestApi api, params string[] parameters) =>
        (await api.Formats.GetParameterDataFormatIdAsync(
            new GetParameterDataFormatIdRequest { DataSource = "Car", Parameters = { parameters } }).ResponseAsync.WithDeadline()).DataFormatIdentifier;

    private static async Task DefineAsync(TestApi api, ulong id, params string[] parameters)
    {
        var definition = new DataFormatDefinitionPacket
        {
            Identifier = id,
            Type = DataFormatType.Parameter,
            ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { parameters } },
        };
        var packet = new Packet { Type = "DataFormatDefinition", Content = definition.ToByteString() };
        await api.Memory.EnsureTopicAsync(new TopicSpec("Car_essential"), default);
        await api.Memory.AppendAsync(new("Car_essential", 0), new RecordData(Array.Empty<byte>(), packet.ToByteArray()), default);
    }
}
