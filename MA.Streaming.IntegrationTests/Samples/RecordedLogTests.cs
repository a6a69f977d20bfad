using System.Globalization;
using System.IO.Compression;
using System.Text.Json;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;
using Telemetry;
using Telemetry.Log;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>A log is played as it was recorded: every value, every timestamp, nothing else.</summary>
public sealed class RecordedLogTests
{
    private static readonly SampleDecoder Decoder = new(_ => null);

    [Test]
    public void Play_SmallOval_IsWhatTheFilesSay() => RequireAsRecorded(SampleProgram.SmallOval);

    [TestCaseSource(typeof(RecordedData), nameof(RecordedData.Names))]
    public void Play_RecordedCar_IsWhatTheFilesSay(string name) => RequireAsRecorded(RecordedData.Require(name));

    [Test]
    public void Play_SmallOval_CellsWithoutAValueAreMissing()
    {
        var missing = Samples(RecordedLog.Open(SampleProgram.SmallOval)).Where(s => s.Status == DataStatus.Missing).ToList();

        Assert.That(missing.Select(s => s.Parameter).Distinct(), Is.EqualTo(new[] { "TTyreSurfaceRR" }));
        Assert.That(missing, Has.Count.EqualTo(4));
    }

    [Test]
    public void Configuration_SmallOval_HasUnitsAndRanges()
    {
        var log = RecordedLog.Open(SampleProgram.SmallOval);
        var speed = log.Configuration.ParameterDefinitions.Single(p => p.Identifier == "vCar");

        Assert.Multiple(() =>
        {
            Assert.That(log.Configuration.ParameterDefinitions, Has.Count.EqualTo(13));
            Assert.That((speed.Units, speed.MinValue, speed.MaxValue, speed.Frequencies.Single()), Is.EqualTo(("km/h", 0.0, 340.0, 10.0)));
            Assert.That(log.Start, Is.EqualTo(DateTimeOffset.FromUnixTimeMilliseconds(1_777_723_200_000)));
            Assert.That(log.SpeedParameter, Is.EqualTo("vCar"));
            Assert.That(log.Streams, Is.EqualTo(new[] { "rate_10hz", "rate_1hz", "Laps" }));
        });
    }

    [Test]
    public void Open_LogWithoutAStart_BeginsWithTheCentury()
    {
        using var log = new LogFolder().With("parameters.json", """{"parameters":[{"identifier":"v"}]}""").With("a.csv", "t_s,v\n0.5,1\n");

        var sample = Samples(RecordedLog.Open(log.Path)).Single();

        Assert.That(sample, Is.EqualTo(new Sample("v", 946_684_800_500_000_000, SampleValue.Of(1.0), DataStatus.Valid)));
    }

    [TestCase("t_s,v\n1.5,2\n")]
    [TestCase("t_ms,v\n1500,2\n")]
    [TestCase("t_us,v\r\n1500000,2\r\n")]
    [TestCase("t_us,v\n\n1500000,2")]
    public void Open_TimeUnitsAndLineEnds_AreUnderstood(string csv)
    {
        using var log = new LogFolder().With("parameters.json", """{"start_utc_us":1000000,"parameters":[{"identifier":"v"}]}""").With("a.csv", csv);

        Assert.That(Samples(RecordedLog.Open(log.Path)).Single().TimestampNanoseconds, Is.EqualTo(2_500_000_000));
    }

    [Test]
    public void Play_IrregularTimesThatStepBack_AreKept()
    {
        using var log = new LogFolder().With("parameters.json", """{"start_utc_ms":1000,"parameters":[{"identifier":"v"}]}""").With("a.csv", "t_ms,v\n0,1\n40,2\n31,3\n31,4\n");

        Assert.That(Samples(RecordedLog.Open(log.Path)).Select(s => (s.TimestampNanoseconds / 1_000_000, s.Value.ToDouble())),
            Is.EqualTo(new[] { (1000UL, 1.0), (1040UL, 2.0), (1031UL, 3.0), (1031UL, 4.0) }));
    }

    [Test]
    public void Open_LongLog_StaysSmallInMemory()
    {
        using var log = new LogFolder().With("parameters.json", """{"parameters":[{"identifier":"v"}]}""");
        using (var file = new StreamWriter(System.IO.Path.Combine(log.Path, "a.csv")))
        {
            file.Write("t_ms,v\n");
            for (var i = 0; i < 1_000_000; i++) file.Write($"{i},{i % 77}.25\n");
        }

        var before = GC.GetTotalMemory(forceFullCollection: true);
        var rows = 0L;
        foreach (var packet in RecordedLog.Open(log.Path).Play(DataFormats.Inline))
        {
            rows += packet.Samples;
            if (packet.Due.TotalSeconds < 990) continue;
            Assert.That(GC.GetTotalMemory(forceFullCollection: true) - before, Is.LessThan(8_000_000));
            break;
        }

        Assert.That(rows, Is.GreaterThan(980_000));
    }

    // Read back with nothing but string.Split, so that a mistake is not made twice.
    private static void RequireAsRecorded(string directory)
    {
        var log = RecordedLog.Open(directory);
        using var parameters = JsonDocument.Parse(File.ReadAllText(Path.Combine(directory, "parameters.json")));
        var start = parameters.RootElement.TryGetProperty("start_utc_us", out var us) ? us.GetUInt64() * 1000
            : parameters.RootElement.TryGetProperty("start_utc_ms", out var ms) ? ms.GetUInt64() * 1_000_000
            : 946_684_800_000_000_000;
        var packets = log.Play(DataFormats.Inline).ToList();
        foreach (var file in Directory.EnumerateFiles(directory, "*.csv*"))
        {
            var stream = Path.GetFileName(file).Split('.')[0];
            var lines = ReadLines(file);
            var header = lines[0].Split(',');
            var nanoseconds = header[0] == "t_us" ? 1_000UL : 1_000_000UL;
            var mine = packets.Where(p => p.Stream == stream).ToList();
            if (header.Contains("data_hex"))
            {
                var frames = mine.Select(p => RawCANDataPacket.Parser.ParseFrom(p.Content)).ToList();
                Assert.That(frames, Has.Count.EqualTo(lines.Count - 1), file);
                for (var i = 0; i < frames.Count; i++)
                {
                    var written = $"{(frames[i].Timestamp - start) / nanoseconds},{frames[i].CanId:X3},{Convert.ToHexString(frames[i].Payload.Span)}";
                    if (written != lines[i + 1]) Assert.Fail($"{file}, line {i + 2}: {lines[i + 1]}, played as {written}");
                }

                continue;
            }

            var samples = mine.SelectMany(p => Decoder.Decode(new Packet { Type = p.Type, Content = p.Content })).GetEnumerator();
            for (var line = 1; line < lines.Count; line++)
            {
                var cells = lines[line].Split(',');
                for (var column = 1; column < header.Length; column++)
                {
                    Assert.That(samples.MoveNext(), Is.True, $"{file}: ends at line {line}");
                    var expected = cells[column].Length == 0
                        ? new Sample(header[column], start + ulong.Parse(cells[0], CultureInfo.InvariantCulture) * nanoseconds, SampleValue.Of(0.0), DataStatus.Missing)
                        : new Sample(header[column], start + ulong.Parse(cells[0], CultureInfo.InvariantCulture) * nanoseconds, SampleValue.Of(double.Parse(cells[column], CultureInfo.InvariantCulture)), DataStatus.Valid);
                    if (samples.Current != expected) Assert.Fail($"{file}, line {line + 1}: {samples.Current} instead of {expected}");
                }
            }

            Assert.That(samples.MoveNext(), Is.False, $"{file}: more samples than cells");
        }
    }

    private static List<string> ReadLines(string file)
    {
        using var stream = File.OpenRead(file);
        using var reader = new StreamReader(file.EndsWith(".gz", StringComparison.Ordinal) ? new GZipStream(stream, CompressionMode.Decompress) : stream);
        var lines = new List<string>();
        while (reader.ReadLine() is { } line) lines.Add(line);
        return lines;
    }

    private static IEnumerable<Sample> Samples(RecordedLog log) =>
        log.Play(DataFormats.Inline).SelectMany(p => Decoder.Decode(new Packet { Type = p.Type, Content = p.Content }));
}
