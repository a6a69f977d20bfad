using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>The commands that ask a server: <c>sessions</c> and <c>tail</c>.</summary>
[Parallelizable(ParallelScope.Self)]
[Platform(Exclude = "Win", Reason = "signals are those of Unix")]
internal sealed class ClientCommandTests
{
    private const string DataSource = "Car1";

    // 2026-03-08T13:00:00.000000100Z
    private const ulong Start = 1_772_974_800_000_000_100;

    private CancellationTokenSource _limit = null!;
    private TemporaryFolder _folder = null!;
    private ToolProcess _server = null!;
    private GrpcChannel _channel = null!;
    private string _key = "";

    private CancellationToken Limit => _limit.Token;

    [OneTimeSetUp]
    public async Task ServeASession()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        _folder = new TemporaryFolder();
        _server = ToolProcess.Start(_folder.Path, ["serve", "--broker", "memory:", "--port", "0", "--metric-port", "0"]);
        _channel = GrpcChannel.ForAddress(await _server.GrpcAddressAsync(Limit));
        var sessions = new SessionManagementService.SessionManagementServiceClient(_channel);
        var request = new CreateSessionRequest { DataSource = DataSource, Type = "Session", Version = 2, UtcOffset = Duration.FromTimeSpan(TimeSpan.FromMinutes(-90)) };
        request.Details.Add("driver", "A. Prost");
        _key = (await sessions.CreateSessionAsync(request, cancellationToken: Limit)).SessionKey;
        await sessions.UpdateSessionIdentifierAsync(new() { SessionKey = _key, Identifier = "Practice 1" }, cancellationToken: Limit);
        var formats = new DataFormatManagerService.DataFormatManagerServiceClient(_channel);
        var id = (await formats.GetParameterDataFormatIdAsync(new() { DataSource = DataSource, Parameters = { "vCar:Chassis", "nEngine:Engine" } }, cancellationToken: Limit)).DataFormatIdentifier;
        await WriteAsync("", "PeriodicData", new PeriodicDataPacket
        {
            DataFormat = new SampleDataFormat { DataFormatIdentifier = id },
            StartTime = Start,
            Interval = 1_000_000,
            Columns =
            {
                Column((220.5, DataStatus.Valid), (double.NaN, DataStatus.Missing)),
                Column((11_000, DataStatus.Valid), (11_250, DataStatus.Valid)),
            },
        });
        await WriteAsync("engine", "Event", new EventPacket { DataFormat = new EventDataFormat { EventIdentifier = "Shift:Engine" }, Timestamp = Start, RawValues = { 4, 5 } });
        await WriteAsync("", "Marker", new MarkerPacket { Timestamp = Start, Label = "Lap 1", Type = "Lap", Value = 1, Description = "out lap" });
    }

    [OneTimeTearDown]
    public void Stop()
    {
        _channel.Dispose();
        _server.Dispose();
        _folder.Dispose();
        _limit.Dispose();
    }

    [Test]
    public async Task Sessions_DataSource_ListsThem()
    {
        var (exitCode, output) = await AskAsync("sessions", DataSource);
        Assert.That(exitCode, Is.Zero, output);
        Assert.That(output, Does.StartWith("key ").And.Contain(_key).And.Contain("Practice 1").And.Contain("live").And.Contain("Session"));
        Assert.That((await AskAsync("sessions", "Nobody")).Output.Trim(), Is.EqualTo("no sessions of data source 'Nobody'"));
    }

    [Test]
    public async Task Sessions_OneAsJson_HasEverything()
    {
        var (exitCode, output) = await AskAsync("sessions", "--session", _key, "--json");
        Assert.That(exitCode, Is.Zero, output);
        using var json = JsonDocument.Parse(output);
        var session = json.RootElement;
        Assert.That(session.GetProperty("dataSource").GetString(), Is.EqualTo(DataSource));
        Assert.That(session.GetProperty("identifier").GetString(), Is.EqualTo("Practice 1"));
        Assert.That(session.GetProperty("isComplete").GetBoolean(), Is.False);
        Assert.That(session.GetProperty("version").GetInt32(), Is.EqualTo(2));
        Assert.That(session.GetProperty("streams").EnumerateArray().Select(stream => stream.GetString()), Is.EqualTo(new[] { "engine" }));
        Assert.That(session.GetProperty("details").GetProperty("driver").GetString(), Is.EqualTo("A. Prost"));
        Assert.That((await AskAsync("sessions", "--session", _key)).Output, Does.Contain("UTC -01:30").And.Contain("driver = A. Prost"));
    }

    [Test]
    public async Task Sessions_UnknownKey_FailsAndSaysSo()
    {
        var (exitCode, output) = await AskAsync("sessions", "--session", "nothing");
        Assert.That(exitCode, Is.EqualTo(1));
        Assert.That(output, Does.Contain("knows no session 'nothing'"));
    }

    [Test]
    public async Task Tail_Session_PrintsSamplesEventsAndMarkersDecoded()
    {
        var (exitCode, output) = await AskAsync("tail", "--session", _key, "--count", "6");
        Assert.That(exitCode, Is.Zero, output);
        Assert.That(output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Trim()), Is.EquivalentTo(new[]
        {
            "2026-03-08T13:00:00.000000100Z  -  vCar:Chassis = 220.5",
            "2026-03-08T13:00:00.001000100Z  -  vCar:Chassis = NaN  Missing",
            "2026-03-08T13:00:00.000000100Z  -  nEngine:Engine = 11000",
            "2026-03-08T13:00:00.001000100Z  -  nEngine:Engine = 11250",
            "2026-03-08T13:00:00.000000100Z  engine  event Shift:Engine: 4, 5",
            "2026-03-08T13:00:00.000000100Z  -  marker Lap 1 (Lap 1): out lap",
        }));
    }

    [Test]
    public async Task Tail_WithFilters_PrintsWhatPassesAsJson()
    {
        var (exitCode, output) = await AskAsync("tail", DataSource, "--from", "start", "--parameter", "^nEngine", "--not-event", ".", "--count", "3", "--json");
        Assert.That(exitCode, Is.Zero, output);
        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement).ToList();
        Assert.That(lines.Where(line => line.TryGetProperty("parameter", out _)).Select(line => $"{line.GetProperty("parameter")} {line.GetProperty("value")}"), Is.EqualTo(new[]
        {
            "nEngine:Engine 11000",
            "nEngine:Engine 11250",
        }));
        Assert.That(lines.Count(line => line.TryGetProperty("marker", out _)), Is.EqualTo(1));
    }

    [Test]
    public async Task Tail_PacketsUntilIdle_TellsPlaceAndType()
    {
        var (exitCode, output) = await AskAsync("tail", DataSource, "--from", "start", "--packets", "--idle", "2");
        Assert.That(exitCode, Is.Zero, output);
        Assert.That(output, Does.Contain("PeriodicData").And.Contain("Event").And.Contain("Marker").And.Contain($"session {_key}"));
    }

    [Test]
    public async Task Tail_Live_ShowsOnlyWhatComesAndEndsOnASignal()
    {
        using var tail = ToolProcess.Start(_folder.Path, ["tail", "Car2", "--server", _channel.Target]);
        // It follows from a time on that nobody outside knows: what is written until it shows is written again.
        await Until.DoneAsync(
            tail.SaysAsync("(vCar = 7)", Limit),
            () => WriteAsync("", "PeriodicData", new PeriodicDataPacket
            {
                DataFormat = new SampleDataFormat { ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { "vCar" } } },
                StartTime = Start,
                Columns = { Column((7, DataStatus.Valid)) },
            }, "Car2"),
            Limit);
        tail.Signal(System.Runtime.InteropServices.PosixSignal.SIGINT);
        Assert.That(await tail.EndAsync(Limit), Is.Zero, tail.Output);
    }

    [TestCase("give a data source", "sessions")]
    [TestCase("give a data source", "tail", "Car1", "--session", "key")]
    [TestCase("--from = 7 is not allowed; expected live or start", "tail", "Car1", "--from", "7")]
    [TestCase("--count = 0 is not allowed; expected a whole number, 1 or more", "tail", "Car1", "--count", "0")]
    [TestCase("--count = abc is not allowed; expected a whole number, 1 or more", "tail", "Car1", "--count", "abc")]
    [TestCase("--idle = 0,5 is not allowed; expected more than 0, up to 86400", "tail", "Car1", "--idle", "0,5")]
    [TestCase("--port = 70000 is not allowed; expected 0 to 65535", "serve", "--port", "70000")]
    [TestCase("--port = x is not allowed; expected 0 to 65535", "keygen", "--port", "x")]
    [TestCase("--log-level = loud is not allowed; expected Trace, Debug, Information, Warning, Error, Critical, None", "serve", "--log-level", "loud")]
    [TestCase("--set = x is not allowed; expected KEY=VALUE", "doctor", "--set", "x")]
    [TestCase("--packets shows none", "tail", "Car1", "--packets", "--parameter", "v")]
    [TestCase("--parameter '(': ", "tail", "Car1", "--parameter", "(")]
    [TestCase("--server 'nowhere': ", "tail", "Car1", "--server", "nowhere")]
    public async Task Command_BadArguments_SaysWhichAndWhatIsAllowed(string expected, params string[] arguments)
    {
        var (exitCode, output) = await ToolProcess.RunAsync(_folder.Path, Limit, arguments);
        Assert.That(exitCode, Is.EqualTo(2));
        Assert.That(output, Does.Contain(expected));
        Assert.That(output.Split('\n', StringSplitOptions.RemoveEmptyEntries), Has.Length.EqualTo(2), "one error, and where the help is");
    }

    [Test]
    public async Task Sessions_NobodyThere_SaysWhereItAsked()
    {
        var (exitCode, output) = await ToolProcess.RunAsync(_folder.Path, Limit, "sessions", DataSource, "--server", "127.0.0.1:1");
        Assert.That(exitCode, Is.EqualTo(1));
        Assert.That(output, Does.Contain("127.0.0.1:1").And.Contain("Unavailable"));
    }

    private static SampleColumn Column(params (double Value, DataStatus Status)[] samples) =>
        new() { DoubleSamples = new DoubleSampleList { Samples = { samples.Select(sample => new DoubleSample { Value = sample.Value, Status = sample.Status }) } } };

    private Task<(int ExitCode, string Output)> AskAsync(params string[] arguments) => ToolProcess.RunAsync(_folder.Path, Limit, [.. arguments, "--server", _channel.Target]);

    private async Task WriteAsync(string stream, string type, IMessage content, string dataSource = DataSource) =>
        await new PacketWriterService.PacketWriterServiceClient(_channel).WriteDataPacketAsync(
            new()
            {
                Detail = new()
                {
                    DataSource = dataSource,
                    Stream = stream,
                    SessionKey = dataSource == DataSource ? _key : "",
                    Message = new Packet { Type = type, SessionKey = dataSource == DataSource ? _key : "", Content = content.ToByteString() },
                },
            },
            cancellationToken: Limit);
}
