using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json;
using NUnit.Framework;
using Telemetry.Car;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>The log in samples/Telemetry/logs/small-oval is two laps of the simulated car on the small oval, as a logger at 10 and
/// 1 Hz would have seen them. With WRITE_SMALL_OVAL=1 in the environment the test writes it anew.</summary>
public sealed class SmallOvalLogTests
{
    private const string Rewrite = "WRITE_SMALL_OVAL";

    private static readonly (string Identifier, string Unit, double Min, double Max, string Format, Func<CarSimulation, double> Read)[] Fast =
    [
        ("vCar", "km/h", 0, 340, "0.00", c => c.Speed * 3.6),
        ("nEngine", "rpm", 0, 9500, "0", c => c.Rpm),
        ("NGear", "", 0, 8, "0", c => c.Gear),
        ("rThrottle", "%", 0, 100, "0.0", c => c.Throttle * 100),
        ("pBrakeFront", "bar", 0, 160, "0.0", c => c.BrakePressureFront),
        ("aSteer", "deg", -220, 220, "0.0", c => c.Steering),
        ("gLat", "g", -5, 5, "0.00", c => c.LateralAcceleration / CarSpecification.Gravity),
        ("gLong", "g", -6, 3, "0.00", c => c.LongitudinalAcceleration / CarSpecification.Gravity),
        ("sLap", "m", 0, 8000, "0.0", c => c.LapDistance),
    ];

    private static readonly (string Identifier, string Unit, double Min, double Max, string Format, Func<CarSimulation, double> Read)[] Slow =
    [
        ("TWater", "C", 0, 140, "0.0", c => c.WaterTemperature),
        ("TOil", "C", 0, 170, "0.0", c => c.OilTemperature),
        ("mFuel", "kg", 0, 110, "0.000", c => c.Fuel),
        ("TTyreSurfaceRR", "C", 0, 180, "0.0", c => c.Wheels[3].SurfaceTemperature),
    ];

    [Test]
    public void Files_SmallOval_AreWhatTheCarDoes()
    {
        if (Environment.GetEnvironmentVariable(Rewrite) == "1") WriteTo(SampleProgram.SmallOval);
        using var folder = new LogFolder();
        WriteTo(folder.Path);

        foreach (var name in new[] { "parameters.json", "laps.json" })
            Assert.That(File.ReadAllText(Path.Combine(SampleProgram.SmallOval, name)), Is.EqualTo(File.ReadAllText(Path.Combine(folder.Path, name))), name);
        foreach (var name in new[] { "rate_10hz.csv.gz", "rate_1hz.csv.gz" })
        {
            var (standing, fresh) = (ReadCells(SampleProgram.SmallOval, name), ReadCells(folder.Path, name));
            Assert.That(standing, Has.Length.EqualTo(fresh.Length), name);
            for (var i = 0; i < standing.Length; i++)
            {
                // Another processor's sine may round another way in the last digit.
                if (standing[i] == fresh[i]) continue;
                Assert.That(Parse(standing[i]), Is.EqualTo(Parse(fresh[i])).Within(0.02 + 0.001 * Math.Abs(Parse(fresh[i]))), $"{name}, cell {i}");
            }
        }
    }

    private static string[] ReadCells(string directory, string name)
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(Path.Combine(directory, name)), CompressionMode.Decompress));
        return reader.ReadToEnd().Split(',', '\n');
    }

    private static double Parse(string cell) => double.Parse(cell, CultureInfo.InvariantCulture);

    private static void WriteTo(string directory)
    {
        Directory.CreateDirectory(directory);
        var car = new CarSimulation(Circuit.SmallOval, CarSpecification.SingleSeater, seed: 7);
        var fast = new StringBuilder($"t_ms,{string.Join(',', Fast.Select(p => p.Identifier))}\n");
        var slow = new StringBuilder($"t_ms,{string.Join(',', Slow.Select(p => p.Identifier))}\n");
        var laps = new List<object>();
        var (lapStart, rows, slowRows) = (0.0, 0, 0);
        while (car.Lap <= 2)
        {
            car.Step();
            if (car.CrossedLine)
            {
                laps.Add(new { lap = car.Lap - 1, start_ms = Math.Round(lapStart * 1000), end_ms = Math.Round(car.LapStart * 1000), kind = "timed" });
                lapStart = car.LapStart;
            }

            // A logger's clock is a millisecond off now and then.
            var ms = car.Milliseconds + (car.Milliseconds % 700 == 0 ? 1 : 0);
            if (car.Milliseconds % 100 == 0) AddRow(fast, ms, Fast.Select(p => p.Read(car).ToString(p.Format, CultureInfo.InvariantCulture)), ref rows);
            if (car.Milliseconds % 1000 != 0) continue;
            // The infrared sensor sees nothing every seventh second.
            AddRow(slow, ms, Slow.Select(p => p.Identifier == "TTyreSurfaceRR" && car.Milliseconds % 7000 == 0 ? "" : p.Read(car).ToString(p.Format, CultureInfo.InvariantCulture)), ref slowRows);
        }

        Save("rate_10hz.csv.gz", fast);
        Save("rate_1hz.csv.gz", slow);
        var parameters = new
        {
            name = "small-oval",
            vehicle = "single-seater, simulated",
            venue = "Small Oval",
            start_utc_ms = 1_777_723_200_000,
            duration_s = car.Milliseconds / 1000.0,
            time_column = "t_ms since the start",
            files = new Dictionary<string, object>
            {
                ["rate_10hz.csv.gz"] = new { rows, nominal_rate_hz = 10 },
                ["rate_1hz.csv.gz"] = new { rows = slowRows, nominal_rate_hz = 1 },
            },
            parameter_count = Fast.Length + Slow.Length,
            parameters = Fast.Select(p => Describe(p.Identifier, p.Unit, p.Min, p.Max, 10, "rate_10hz.csv.gz"))
                .Concat(Slow.Select(p => Describe(p.Identifier, p.Unit, p.Min, p.Max, 1, "rate_1hz.csv.gz"))),
        };
        var json = new JsonSerializerOptions { WriteIndented = true };
        File.WriteAllText(Path.Combine(directory, "parameters.json"), JsonSerializer.Serialize(parameters, json) + "\n");
        File.WriteAllText(Path.Combine(directory, "laps.json"), JsonSerializer.Serialize(laps, json) + "\n");

        void Save(string name, StringBuilder text)
        {
            using var file = new GZipStream(File.Create(Path.Combine(directory, name)), CompressionLevel.SmallestSize);
            file.Write(Encoding.UTF8.GetBytes(text.ToString()));
        }
    }

    private static object Describe(string identifier, string unit, double min, double max, double rate, string file) =>
        new { identifier, unit, rate_hz = rate, declared_min = min, declared_max = max, file };

    private static void AddRow(StringBuilder text, long ms, IEnumerable<string> cells, ref int rows)
    {
        text.Append(CultureInfo.InvariantCulture, $"{ms},{string.Join(',', cells)}\n");
        rows++;
    }
}
