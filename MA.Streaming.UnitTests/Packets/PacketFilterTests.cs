using System.Text;
using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

[TestFixture]
[FixtureLifeCycle(LifeCycle.InstancePerTestCase)]
internal sealed class PacketFilterTests : IFormatLookup, IDisposable
{
    private readonly Telemetry _telemetry = new();
    private readonly RecordingLogger _logger = new();
    private readonly Dictionary<ulong, string[]> _formats = [];
    private int _resolved;

    public void Dispose() => _telemetry.Dispose();

    ValueTask<IReadOnlyList<string>?> IFormatLookup.FindParametersAsync(string dataSource, ulong id, CancellationToken cancellationToken) => Find(id);

    ValueTask<IReadOnlyList<string>?> IFormatLookup.FindEventAsync(string dataSource, ulong id, CancellationToken cancellationToken) => Find(id);

    [TestCase("a", null, "a", true)]
    [TestCase("a", null, "b", false)]
    [TestCase("^a$", null, "xax", false)]
    [TestCase("a", null, "xax", true, Description = "unanchored")]
    [TestCase("A", null, "a", false, Description = "case-sensitive")]
    [TestCase(null, "a", "a", false)]
    [TestCase(null, "a", "b", true)]
    [TestCase(null, "a", "a b", false)]
    [TestCase("a", "b", "ab", false, Description = "exclude wins")]
    [TestCase(null, null, "a", true)]
    [TestCase(null, null, "", false, Description = "the default exclusion")]
    [TestCase("^$", null, "", false, Description = "the default exclusion holds beside an include list")]
    [TestCase(null, "x", "", true, Description = "an exclude list takes its place")]
    [TestCase("(?=a)ab", null, "ab", true, Description = "a lookahead, which the linear engine cannot take")]
    public async Task PassesAsync_OneParameter_IsJudged(string? include, string? exclude, string identifier, bool passes)
    {
        Assert.That(await PassesAsync(Filter(include, exclude), Row(identifier)), Is.EqualTo(passes));
        Assert.That(await PassesAsync(Filter(include, exclude), Json($"{{\"{identifier}\":1}}")), Is.EqualTo(passes), "by JSON");
    }

    [Test]
    public async Task PassesAsync_SeveralParameters_OneThatPassesIsEnough() =>
        Assert.That(await PassesAsync(Filter("b", "a"), Row("a", "b")), Is.True);

    [Test]
    public async Task PassesAsync_OnlyParameterLists_DeliverAllEvents()
    {
        var filter = Filter("nothing", null);

        Assert.That(await PassesAsync(filter, Event("e")), Is.True);
        Assert.That(await PassesAsync(filter, Row("a")), Is.False);
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task PassesAsync_Markers_ByTheirSwitch(bool include)
    {
        var filter = new PacketFilter(new DataPacketRequest { IncludeMarkers = include }, "Car", this, _logger, _telemetry);

        Assert.That(await PassesAsync(filter, TestApi.Packet("", type: "Marker")), Is.EqualTo(include));
        Assert.That(await PassesAsync(filter, TestApi.Packet("", type: "Configuration")), Is.False);
        Assert.That(await PassesAsync(filter, TestApi.Packet("", type: "")), Is.False);
    }

    [Test]
    public async Task PassesAsync_FormatId_IsResolvedOnce()
    {
        _formats[7] = ["a"];
        var filter = Filter("a", null);
        for (var i = 0; i < 100; i++) Assert.That(await PassesAsync(filter, Id(7)), Is.True);

        Assert.That(_resolved, Is.EqualTo(1));
    }

    [Test]
    public async Task PassesAsync_FormatUnknownThenKnown_IsDroppedThenDelivered()
    {
        var filter = Filter("a", null);
        Assert.That(await PassesAsync(filter, Id(7)), Is.False);
        Assert.That(await PassesAsync(filter, Id(7)), Is.False);
        Assert.That(_logger.CountOf("UnknownFormat"), Is.EqualTo(1), "one warning a read");
        _formats[7] = ["a"];

        Assert.That(await PassesAsync(filter, Id(7)), Is.True);
    }

    [Test]
    public async Task PassesAsync_FormatUnknownAndNoList_IsDelivered() => Assert.That(await PassesAsync(Filter(null, null), Id(7)), Is.True);

    [TestCase("garbage")]
    [TestCase("{")]
    [TestCase("{\"a\":1} x")]
    [TestCase("{\"a\"}")]
    [TestCase("[\"a\"]")]
    [TestCase("")]
    public async Task PassesAsync_ContentUnreadable_OnlyWhereNoListIsGiven(string content)
    {
        Assert.That(await PassesAsync(Filter(null, null), Json(content)), Is.True);
        var filter = Filter("a", null);
        Assert.That(await PassesAsync(filter, Json(content)), Is.False);
        Assert.That(await PassesAsync(filter, Json(content)), Is.False);
        Assert.That(_logger.CountOf("UnreadableContent"), Is.EqualTo(1));
    }

    [Test]
    public async Task PassesAsync_JsonNested_OnlyTopLevelNamesCount()
    {
        Assert.That(await PassesAsync(Filter("inner", null), Json("{\"outer\":{\"inner\":[{\"inner\":1}]}}")), Is.False);
        Assert.That(await PassesAsync(Filter("outer", null), Json(" \n{ \"x\" : [1], \"outer\" : { } } ")), Is.True);
        Assert.That(await PassesAsync(Filter("é", null), Json("{\"\\u00e9\":1}")), Is.True, "escapes are names too");
    }

    [Test]
    public async Task PassesAsync_MoreInlineListsThanAreKept_StillRight()
    {
        var filter = Filter("^p1", null);
        for (var round = 0; round < 2; round++)
        {
            for (var i = 0; i < 10_500; i++)
            {
                var name = $"p{i}";
                if (await PassesAsync(filter, Row(name)) != name.StartsWith("p1", StringComparison.Ordinal)) Assert.Fail(name);
            }
        }
    }

    [TestCase("(", "include_parameters")]
    [TestCase("[z-a]", "include_parameters")]
    public void Filter_PatternInvalid_IsRefusedNamingIt(string pattern, string field)
    {
        var exception = Assert.Throws<RpcException>(() => Filter(pattern, null))!;

        Assert.That(exception.StatusCode, Is.EqualTo(StatusCode.InvalidArgument));
        Assert.That(exception.Status.Detail, Does.Contain(pattern).And.Contain(field));
    }

    [Test]
    public void Filter_TooManyOrTooLongPatterns_AreRefused()
    {
        Assert.That(() => Filter(new string('a', 1_001), null), Throws.InstanceOf<RpcException>().With.Message.Contains("1001").And.Message.Contains("1000"));
        Assert.That(() => Filter(new string('a', 1_000), null), Throws.Nothing);
        var many = new DataPacketRequest { ExcludeEvents = { Enumerable.Repeat("a", 1_001) } };
        Assert.That(
            () => new PacketFilter(many, "Car", this, _logger, _telemetry),
            Throws.InstanceOf<RpcException>().With.Message.Contains("exclude_events").And.Message.Contains("1001"));
    }

    [Test]
    public async Task PassesAsync_PatternThatExplodes_IsLinearOrRefused()
    {
        var bait = new string('a', 60) + "!";
        Assert.That(async () => await PassesAsync(Filter("(a+)+$", null), Row(bait)), Is.False, "the linear engine answers");
        var backtracking = (await Assert.ThrowsAsync<RpcException>(async () => await PassesAsync(Filter("(?=a)(a+)+$", null), Row(bait))))!;

        Assert.That(backtracking.StatusCode, Is.EqualTo(StatusCode.InvalidArgument));
        Assert.That(backtracking.Status.Detail, Does.Contain("(?=a)(a+)+$"));
    }

    private PacketFilter Filter(string? include, string? exclude)
    {
        var request = new DataPacketRequest();
        if (include is not null) request.IncludeParameters.Add(include);
        if (exclude is not null) request.ExcludeParameters.Add(exclude);
        return new PacketFilter(request, "Car", this, _logger, _telemetry);
    }

    private ValueTask<IReadOnlyList<string>?> Find(ulong id)
    {
        _resolved++;
        return new(_formats.GetValueOrDefault(id));
    }

    private static Task<bool> PassesAsync(PacketFilter filter, Packet packet) =>
        filter.PassesAsync(packet.ToByteArray(), "", CancellationToken.None).WithDeadline();

    private static Packet Json(string content) => new() { Type = "PeriodicData", Content = ByteString.CopyFrom(content, Encoding.UTF8) };

    private static Packet Row(params string[] identifiers) =>
        Of("RowData", new RowDataPacket { DataFormat = new SampleDataFormat { ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { identifiers } } } });

    private static Packet Id(ulong id) => Of("PeriodicData", new PeriodicDataPacket { DataFormat = new SampleDataFormat { DataFormatIdentifier = id } });

    private static Packet Event(string identifier) => Of("Event", new EventPacket { DataFormat = new EventDataFormat { EventIdentifier = identifier } });

    private static Packet Of(string type, IMessage content) => new() { Type = type, Content = content.ToByteString() };
}
