using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>The sample programs, run as people run them.</summary>
public sealed partial class TelemetrySampleTests
{
    private const string Verdict = "Every reader got exactly what was written for it: same packets, same contents, same order in every stream.";

    [Test]
    public async Task Telemetry_ThreeLaps_EveryReaderGotWhatWasWritten()
    {
        var result = await SampleProgram.TelemetryAsync("--speed", "max");

        RequireSuccess(result);
        Assert.Multiple(() =>
        {
            Assert.That(result.Output, Does.Contain("| Lap 3 |"));
            Assert.That(result.Output, Does.Contain("vCar (km/h) against lap distance"));
            Assert.That(result.Output, Does.Not.Contain("\u001b"), "no escape sequences in a file");
            Assert.That(Row(result, "everything"), Is.GreaterThan(15_000));
            Assert.That(Row(result, "speeds"), Is.InRange(5_000, 15_000));
            Assert.That(Row(result, "events"), Is.InRange(50, 500));
            Assert.That(Row(result, "essentials"), Is.EqualTo(2));
        });
    }

    [Test]
    [Timing]
    public async Task Telemetry_SmallLog_IsPlayedAtItsPace()
    {
        var clock = Stopwatch.StartNew();
        var result = await SampleProgram.TelemetryAsync("--log", SampleProgram.SmallOval, "--speed", "10");

        RequireSuccess(result);
        Assert.That(clock.Elapsed.TotalSeconds, Is.InRange(3.1, 20), "31 s at ten times the pace");
        Assert.That(result.Output, Does.Match(@"\| Lap 2 \| 0:14\.531 \| +fastest \|"));
    }

    [Test]
    public async Task Telemetry_SmallLogAtItsFastest_EveryReaderGotWhatWasWritten() =>
        RequireSuccess(await SampleProgram.TelemetryAsync("--log", SampleProgram.SmallOval, "--speed=1000"));

    [TestCaseSource(typeof(RecordedData), nameof(RecordedData.Names))]
    public async Task Telemetry_RecordedCar_EveryReaderGotWhatWasWritten(string name) =>
        RequireSuccess(await SampleProgram.TelemetryAsync("--log", RecordedData.Require(name), "--speed", "max"));

    [Test]
    public async Task Telemetry_BadLog_ExitsWithTwoAndTheMessageAlone()
    {
        using var log = new LogFolder()
            .With("parameters.json", """{"parameters":[{"identifier":"v","file":"a.csv"}]}""")
            .With("a.csv", "t_ms,v\n0,1\n40,oops\n");

        var result = await SampleProgram.TelemetryAsync("--log", log.Path, "--speed", "max");

        Assert.That(result, Is.EqualTo(new ProgramResult(2, "", $"telemetry: {Path.Combine(log.Path, "a.csv")}, line 3, column v: 'oops' is not a number\n")));
    }

    [TestCase("--laps: '0' is not allowed; allowed: a whole number from 1 to 100", "--laps", "0")]
    [TestCase("--laps: '3.5' is not allowed; allowed: a whole number from 1 to 100", "--laps=3.5")]
    [TestCase("--speed: '1001' is not allowed; allowed: a number from 1 to 1000, or max", "--speed", "1001")]
    [TestCase("--speed: '0.5' is not allowed; allowed: a number from 1 to 1000, or max", "--speed", "0.5")]
    [TestCase("--seed: '-1' is not allowed; allowed: a whole number from 0 to 2147483647", "--seed", "-1")]
    [TestCase("--log: '/no/such' is not allowed; allowed: a directory with parameters.json and *.csv or *.csv.gz", "--log", "/no/such")]
    [TestCase("--speed: a value is missing; allowed: a number from 1 to 1000, or max", "--speed")]
    [TestCase("--laps: given twice, as '1' and '2'", "--laps", "1", "--laps", "2")]
    [TestCase("--laps: '2' does not go with --log; a recorded log is played as it is", "--log", ".", "--laps", "2")]
    [TestCase("'--fast' is no option; allowed: --laps, --seed, --speed, --log, --broker, --help", "--fast")]
    public async Task Telemetry_WrongArguments_ExitsWithTwo(string message, params string[] arguments)
    {
        var result = await SampleProgram.TelemetryAsync(arguments);

        Assert.That(result, Is.EqualTo(new ProgramResult(2, "", $"telemetry: {message}\ntelemetry: --help explains the options\n")));
    }

    [Test]
    public async Task Telemetry_Help_ExplainsEveryOption()
    {
        var result = await SampleProgram.TelemetryAsync("--help");

        Assert.That(result.ExitCode, Is.Zero);
        foreach (var option in new[] { "--laps", "--seed", "--speed", "--log", "--broker", "--help", "exit code" }) Assert.That(result.Output, Does.Contain(option));
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "there is no SIGINT to send")]
    public async Task Telemetry_Interrupted_EndsTheSessionAndStillCompares()
    {
        using var folder = new WorkingFolder();
        using var process = SampleProgram.Start(folder, "Telemetry", "--speed", "1");
        var firstLine = await process.StandardOutput.ReadLineAsync().WaitAsync(SampleProgram.Deadline);
        using (var kill = Process.Start("kill", ["-INT", process.Id.ToString(CultureInfo.InvariantCulture)])!) await kill.WaitForExitAsync();

        var result = await SampleProgram.FinishAsync(process);

        Assert.That(firstLine, Does.Contain("wrote"));
        RequireSuccess(result);
        Assert.That(result.Output, Does.Contain("stopped early"));
    }

    [Test]
    public async Task QuickStart_Run_PrintsWhatItWrote()
    {
        var result = await SampleProgram.RunAsync("QuickStart");

        Assert.That(result.ExitCode, Is.Zero, result.Errors);
        Assert.That(
            QuickStartPatterns().Replace(result.Output, ""), Is.EqualTo("vCar = 71.3 Valid\nvCar = 72.1 Valid\nvCar = 72.8 Valid\nsession \n"));
    }

    [Test]
    public async Task QuickStart_RunTwice_ShowsBothSessions()
    {
        using var folder = new WorkingFolder();
        var first = await SampleProgram.RunInAsync(folder, "QuickStart");
        var second = await SampleProgram.RunInAsync(folder, "QuickStart");

        Assert.That(second.ExitCode, Is.Zero, second.Errors);
        var (once, twice) = (Sessions(first), Sessions(second));
        Assert.That(once, Has.Length.EqualTo(1));
        Assert.That(twice, Has.Length.EqualTo(2));
        Assert.That(twice[0], Is.EqualTo(once[0]), "the older one first");
        Assert.That(Directory.Exists(Path.Combine(folder.Path, "stream-api-data")), Is.True);

        static string[] Sessions(ProgramResult result) => [.. result.Output.Split('\n').Where(line => line.StartsWith("session ", StringComparison.Ordinal))];
    }

    [Test]
    public async Task Telemetry_RunTwice_ShowsBothSessionsAndReadsOnlyItsOwn()
    {
        using var folder = new WorkingFolder();
        string[] arguments = ["--laps", "1", "--speed", "max"];
        var first = await SampleProgram.RunInAsync(folder, "Telemetry", arguments);
        var second = await SampleProgram.RunInAsync(folder, "Telemetry", arguments);

        RequireSuccess(first);
        RequireSuccess(second);
        Assert.That(first.Output, Does.Not.Contain("are kept in"));
        Assert.That(second.Output, Does.Contain($"2 sessions of SimulatedCar are kept in embedded:{Path.Combine(folder.Path, "stream-api-data")}"));
        Assert.That(Row(second, "everything"), Is.EqualTo(Row(first, "everything")));
        Assert.That(Row(second, "essentials"), Is.EqualTo(2));
    }

    [Test]
    public async Task Telemetry_LogInUse_SaysWhoseItIsAndWhatToDo()
    {
        using var folder = new WorkingFolder();
        using var first = SampleProgram.Start(folder, "Telemetry", "--speed", "1");
        Assert.That(await first.StandardOutput.ReadLineAsync().WaitAsync(SampleProgram.Deadline), Is.Not.Null);

        var second = await SampleProgram.RunInAsync(folder, "Telemetry", "--speed", "max");

        first.Kill();
        await first.WaitForExitAsync().WaitAsync(SampleProgram.Deadline);
        Assert.That(second.ExitCode, Is.EqualTo(1));
        Assert.That(second.Errors, Does.Contain(Path.Combine(folder.Path, "stream-api-data")).And.Contain("in use").And.Contain("remote client"));
    }

    [Test]
    public async Task Telemetry_InMemory_LeavesNothing()
    {
        using var folder = new WorkingFolder();
        RequireSuccess(await SampleProgram.RunInAsync(folder, "Telemetry", "--laps", "1", "--speed", "max", "--broker", "memory:"));
        Assert.That(Directory.EnumerateFileSystemEntries(folder.Path), Is.Empty);
    }

    [Test]
    public async Task Telemetry_WrongBroker_ExitsWithTwo()
    {
        var result = await SampleProgram.TelemetryAsync("--broker", "embeded:here");
        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Errors, Does.Contain("BrokerUrl = 'embeded:here': allowed is 'memory:', 'embedded:'"));
    }

    private static void RequireSuccess(ProgramResult result)
    {
        Assert.That(result.ExitCode, Is.Zero, $"{result.Output}\n{result.Errors}");
        Assert.That(result.Output, Does.Contain(Verdict));
        Assert.That(result.Errors, Is.Empty);
    }

    // The number of packets a reader's row says were read, after checking that it says the same of those written.
    private static int Row(ProgramResult result, string reader)
    {
        var row = ReaderRow().Matches(result.Output).Single(m => m.Groups["name"].Value == reader);
        Assert.That(row.Groups["read"].Value, Is.EqualTo(row.Groups["written"].Value), reader);
        return int.Parse(row.Groups["read"].Value, NumberStyles.AllowThousands, CultureInfo.InvariantCulture);
    }

    [GeneratedRegex(@"(?<=^session ).*$|^\d+ ", RegexOptions.Multiline)]
    private static partial Regex QuickStartPatterns();

    [GeneratedRegex(@"^\| (?<name>[a-z ]+?) +\|[^|]+\| +(?<written>[\d,]+) \| +(?<read>[\d,]+) \|.*\| +yes \|", RegexOptions.Multiline)]
    private static partial Regex ReaderRow();
}
