using System.IO.Compression;
using NUnit.Framework;
using Telemetry.Log;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>What is wrong with a log is told with file, line and column.</summary>
public sealed class BadLogTests
{
    private const string Parameters = """{"parameters":[{"identifier":"Speed","file":"a.csv"},{"identifier":"RPM","file":"a.csv"}]}""";

    private static IEnumerable<TestCaseData> Mistakes()
    {
        yield return Case("wrong number", "t_ms,Speed,RPM\n0,1,2\n40,1,fast\n", "a.csv, line 3, column RPM: 'fast' is not a number");
        yield return Case("number out of range", "t_ms,Speed,RPM\n0,1e999,2\n", "a.csv, line 2, column Speed: '1e999' is not a number");
        yield return Case("not a number", "t_ms,Speed,RPM\n0,NaN,2\n", "a.csv, line 2, column Speed: 'NaN' is not a number");
        yield return Case("decimal comma", "t_ms,Speed,RPM\n0,\"1,5\",2\n", "a.csv, line 2, column Speed: '1,5' is not a number");
        yield return Case("after an empty line", "t_ms,Speed,RPM\n\n0,1,x\n", "a.csv, line 3, column RPM: 'x' is not a number");
        yield return Case("wrong time", "t_ms,Speed,RPM\nsoon,1,2\n", "a.csv, line 2, column t_ms: 'soon' is not a number");
        yield return Case("negative time", "t_ms,Speed,RPM\n-5,1,2\n", "a.csv, line 2, column t_ms: '-5' is not a time since the start");
        yield return Case("no time", "t_ms,Speed,RPM\n,1,2\n", "a.csv, line 2, column t_ms: '' is not a number");
        yield return Case("missing column", "t_ms,Speed\n0,1\n", "a.csv, line 1, column RPM: the column is missing; parameters.json says it is in this file");
        yield return Case("missing cell", "t_ms,Speed,RPM\n0,1,2\n40,1\n", "a.csv, line 3, column RPM: the cell is missing");
        yield return Case("one cell too many", "t_ms,Speed,RPM\n0,1,2,3\n", "a.csv, line 2: 4 cells for 3 columns");
        yield return Case("unknown time unit", "t_min,Speed,RPM\n0,1,2\n", "a.csv, line 1, column t_min: the first column is the time; its unit is not known (allowed: t_s, t_ms, t_us)");
        yield return Case("no time column", "Speed,RPM\n1,2\n", "a.csv, line 1, column Speed: the first column is the time; its unit is not known (allowed: t_s, t_ms, t_us)");
        yield return Case("column twice", "t_ms,Speed,RPM,Speed\n0,1,2,3\n", "a.csv, line 1, column Speed: there are two of this name");
        yield return Case("column without a name", "t_ms,Speed,RPM,\n0,1,2,3\n", "a.csv, line 1, column 4: it has no name");
        yield return Case("empty file", "", "a.csv, line 1: there is no header");

        static TestCaseData Case(string name, string csv, string message) => new TestCaseData(csv, message).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Mistakes))]
    public void Open_BadFile_NamesFileLineAndColumn(string csv, string message)
    {
        using var log = new LogFolder().With("parameters.json", Parameters).With("a.csv", csv);

        Require(log, message);
    }

    [Test]
    public void Open_MistakeInAGzippedFile_IsFoundThereToo()
    {
        using var log = new LogFolder().With("parameters.json", Parameters);
        using (var gzip = new StreamWriter(new GZipStream(File.Create(Path.Combine(log.Path, "a.csv.gz")), CompressionLevel.Fastest)))
        {
            gzip.Write("t_ms,Speed,RPM\n");
            for (var i = 0; i < 20_000; i++) gzip.Write($"{i},{i},{(i == 15_000 ? "?" : "1")}\n");
        }

        Require(log, "a.csv.gz, line 15002, column RPM: '?' is not a number");
    }

    [Test]
    public void Open_TruncatedGzip_IsTold()
    {
        using var log = new LogFolder().With("parameters.json", Parameters);
        var file = Path.Combine(log.Path, "a.csv.gz");
        using (var gzip = new StreamWriter(new GZipStream(File.Create(file), CompressionLevel.Fastest)))
        {
            gzip.Write("t_ms,Speed,RPM\n");
            for (var i = 0; i < 20_000; i++) gzip.Write($"{i},{i * 31 % 977},{i * 17 % 1013}\n");
        }

        var bytes = File.ReadAllBytes(file);
        File.WriteAllBytes(file, bytes[..(bytes.Length / 2)]);

        Assert.That(() => RecordedLog.Open(log.Path), Throws.TypeOf<LogException>().With.Message.Contains("a.csv.gz, line "));
    }

    [TestCase("t_us,can_id_hex,data_hex\n0,0D2,00FF\n5,xyz,00\n", "c.csv, line 3, column can_id_hex: 'xyz' is not a CAN id in hexadecimal")]
    [TestCase("t_us,can_id_hex,data_hex\n0,0D2,00F\n", "c.csv, line 2, column data_hex: '00F' is not a CAN payload in hexadecimal")]
    [TestCase("t_us,can_id_hex\n0,0D2\n", "c.csv, line 1: CAN frames need both columns, can_id_hex and data_hex")]
    public void Open_BadCanFrames_NamesFileLineAndColumn(string csv, string message)
    {
        using var log = new LogFolder().With("parameters.json", Parameters).With("a.csv", "t_ms,Speed,RPM\n0,1,2\n").With("c.csv", csv);

        Require(log, message);
    }

    [Test]
    public void Open_NoParametersFile_NamesIt()
    {
        using var log = new LogFolder().With("a.csv", "t_ms,Speed,RPM\n0,1,2\n");

        Require(log, "parameters.json: there is no such file");
    }

    [Test]
    public void Open_FileThatParametersName_MustBeThere()
    {
        using var log = new LogFolder().With("parameters.json", Parameters);

        Require(log, "a.csv: there is no such file; parameters.json names it");
    }

    [TestCase("{\n \"parameters\": [\n  {\"identifier\": 5}\n ]\n}", "parameters.json, line 3: parameters[0].identifier is not the JSON that is expected here")]
    [TestCase("{\"parameters\":[]}", "parameters.json: it lists no parameters")]
    [TestCase("{\"parameters\":[{\"identifier\":\"Speed\"},{}]}", "parameters.json: parameter 2 has no identifier")]
    [TestCase("{\"parameters\":[{\"identifier\":\"Speed\"}],\"start_utc_ms\":-1}", "parameters.json: start_utc is not a time after 1970 in its unit")]
    public void Open_BadParametersFile_SaysWhere(string json, string message)
    {
        using var log = new LogFolder().With("parameters.json", json).With("a.csv", "t_ms,Speed,RPM\n0,1,2\n");

        Require(log, message);
    }

    [TestCase("[{\"lap\":1,\"start_ms\":5}]", "laps.json: lap 1 needs start_ms and, not before it, end_ms")]
    [TestCase("[{\"lap\":1,\"start_ms\":5,\"end_ms\":4}]", "laps.json: lap 1 needs start_ms and, not before it, end_ms")]
    [TestCase("[\n{\"lap\":1\n", "laps.json, line 3: [0] is not the JSON that is expected here")]
    public void Open_BadLapsFile_SaysWhere(string json, string message)
    {
        using var log = new LogFolder().With("parameters.json", Parameters).With("a.csv", "t_ms,Speed,RPM\n0,1,2\n").With("laps.json", json);

        Require(log, message);
    }

    private static void Require(LogFolder log, string message) =>
        Assert.That(() => RecordedLog.Open(log.Path), Throws.TypeOf<LogException>().With.Message.EqualTo(Path.Combine(log.Path, message)));
}
