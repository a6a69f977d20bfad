using System.Globalization;
using Google.Protobuf;
using MA.Streaming.OpenData;

namespace Telemetry.Car;

/// <summary>Some laps of the simulated car as telemetry: the same seed writes the same samples.</summary>
public sealed class SimulatedCar(int laps, int seed, Circuit circuit) : ITelemetrySource
{
    /// <summary>kg to reckon with.</summary>
    public const double FuelALap = 1.75;

    private const string TimingStream = "Timing";

    private static readonly double[] SectorEnds = [1_480, 2_960];

    // Fuel for the distance: nobody stops.
    private readonly CarSpecification _car = Fuelled(laps);

    public SimulatedCar(int laps, int seed)
        : this(laps, seed, Circuit.Riverside)
    {
    }

    public string DataSource => "SimulatedCar";

    public string SessionIdentifier => $"{circuit.Name}, {laps} {(laps == 1 ? "lap" : "laps")}, seed {seed}";

    public IReadOnlyDictionary<string, string> SessionDetails => new Dictionary<string, string>
    {
        ["Circuit"] = circuit.Name,
        ["Circuit length"] = string.Create(CultureInfo.InvariantCulture, $"{circuit.Length:F0} m"),
        ["Car"] = "single-seater, simulated",
        ["Seed"] = seed.ToString(CultureInfo.InvariantCulture),
    };

    /// <summary>A fixed day: a run does not depend on when it is made.</summary>
    public DateTimeOffset Start { get; } = new(2026, 3, 14, 13, 0, 0, TimeSpan.Zero);

    /// <summary>What an average driver takes.</summary>
    public TimeSpan Length { get; } = Expected(laps, circuit);

    public IReadOnlyList<string> Streams { get; } = [.. CarChannels.All.Select(g => g.Group.Stream).Distinct()];

    public IReadOnlyList<SampleGroup> Groups { get; } = [.. CarChannels.All.Select(g => g.Group)];

    public IReadOnlyList<string> Events { get; } = Enum.GetNames<CarEventKind>();

    public IReadOnlyList<string> Watched { get; } =
    [
        "vCar", "nEngine", "NGear", "rThrottle", "pBrakeFront", "gLat", "gLong", "TTyreSurfaceRL", "TBrakeFL", "mFuel",
    ];

    public string SpeedParameter => "vCar";

    public IReadOnlyList<string> SpeedPatterns { get; } = ["^vCar", "^n"];

    public double MetresPerSecond => 1 / 3.6;

    public ConfigurationPacket Configuration => new()
    {
        ConfigId = "simulated-car-1",
        ParameterDefinitions = { CarChannels.All.SelectMany(g => g.Channels.Select(c => c.Define(g.Group))) },
        EventDefinitions = { Enum.GetValues<CarEventKind>().Select(Define) },
        GroupDefinitions =
        {
            CarChannels.All.Select(g => new GroupDefinition { Identifier = g.Group.Name, Name = g.Group.Name, ApplicationName = "Car" }),
        },
        PacketNumber = 1,
        TotalPacketNumber = 1,
    };

    public IEnumerable<TelemetryPacket> Play(DataFormats formats)
    {
        var car = new CarSimulation(circuit, _car, seed);
        var recorders = CarChannels.All.Select(g => new GroupRecorder(g, formats)).ToArray();
        var sector = 0;
        var sectorStart = 0.0;
        while (car.Lap <= laps)
        {
            car.Step();
            var now = TimeSpan.FromMilliseconds(car.Milliseconds);
            var timestamp = At(car.Seconds);
            if (car.Happened is { } happened) yield return Event(happened, formats, timestamp, now);

            if (car.CrossedLine)
            {
                var started = car.LapStart - car.LastLapTime;
                yield return Marker("Sector", $"Lap {car.Lap - 1} sector {sector + 1}", sector + 1, sectorStart, car.LapStart, now);
                yield return Marker("Lap", $"Lap {car.Lap - 1}", car.Lap - 1, started, car.LapStart, now);
                (sector, sectorStart) = (0, car.LapStart);
            }
            else if (sector < SectorEnds.Length && car.LapDistance >= SectorEnds[sector])
            {
                yield return Marker("Sector", $"Lap {car.Lap} sector {sector + 1}", sector + 1, sectorStart, car.Seconds, now);
                (sector, sectorStart) = (sector + 1, car.Seconds);
            }

            foreach (var recorder in recorders)
            {
                var isDue = recorder.Interval > 0 ? car.Milliseconds % recorder.Interval == 0 : car.CylinderFired;
                if (!isDue) continue;
                recorder.Sample(car, timestamp);
                if (recorder.IsFull) yield return recorder.Take(now);
            }
        }

        var end = TimeSpan.FromMilliseconds(car.Milliseconds);
        foreach (var recorder in recorders)
        {
            if (!recorder.IsEmpty) yield return recorder.Take(end);
        }
    }

    private ulong At(double seconds) => (ulong)Start.ToUnixTimeMilliseconds() * 1_000_000 + (ulong)Math.Round(seconds * 1e9);

    private TelemetryPacket Event(CarEvent happened, DataFormats formats, ulong timestamp, TimeSpan now)
    {
        var name = happened.Kind.ToString();
        var content = new EventPacket { DataFormat = formats.Of(name), Timestamp = timestamp, RawValues = { happened.Values } };
        return new(TimingStream, "Event", content.ToByteString(), now, [], Event: name);
    }

    private TelemetryPacket Marker(string type, string label, int value, double from, double to, TimeSpan now)
    {
        var content = new MarkerPacket
        {
            Type = type,
            Label = label,
            Value = value,
            Timestamp = At(from),
            EndTime = At(to),
            Description = TimeSpan.FromSeconds(to - from).ToString(@"m\:ss\.fff", CultureInfo.InvariantCulture),
            Source = DataSource,
        };
        return new(TimingStream, "Marker", content.ToByteString(), now, []);
    }

    private static CarSpecification Fuelled(int laps)
    {
        var car = CarSpecification.SingleSeater;
        return car with { FuelMass = Math.Max(car.FuelMass, laps * FuelALap + 5) };
    }

    private static TimeSpan Expected(int laps, Circuit circuit)
    {
        var car = Fuelled(laps);
        var mass = car.DryMass + car.FuelMass;
        var first = new LapPlan(circuit, car, mass, 0, 0.962, false);
        var flying = new LapPlan(circuit, car, mass, first.ExitSpeed, 0.962, true);
        return TimeSpan.FromSeconds(first.LapTime + (laps - 1) * flying.LapTime);
    }

    private static EventDefinition Define(CarEventKind kind)
    {
        (string Description, EventPriority Priority, string[] Values, string[] Units) = kind switch
        {
            CarEventKind.GearShift => ("Gear changed", EventPriority.Low, ["from", "to", "engine"], ["", "", "rpm"]),
            CarEventKind.LockUp => ("A wheel locked under braking", EventPriority.High, ["wheel", "speed", "brake"], ["", "km/h", "bar"]),
            CarEventKind.WheelSpin => ("A driven wheel spun", EventPriority.Medium, ["wheel", "speed", "throttle"], ["", "km/h", "%"]),
            CarEventKind.DrsOpen => ("Rear wing opened", EventPriority.Low, ["speed", "lap distance"], ["km/h", "m"]),
            _ => ("Rear wing closed", EventPriority.Low, new[] { "speed", "lap distance" }, new[] { "km/h", "m" }),
        };
        return new()
        {
            Identifier = kind.ToString(),
            Name = kind.ToString(),
            DefinitionId = (uint)kind,
            ApplicationName = "Car",
            Description = $"{Description} ({string.Join(", ", Values)})",
            Priority = Priority,
            Groups = { "Timing" },
            DataTypes = { Values.Select(_ => DataType.Float64) },
            FormatStrings = { Values.Select(_ => "%.1f") },
            Units = { Units },
        };
    }
}
