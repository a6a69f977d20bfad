using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;

namespace Telemetry.Car;

/// <summary>Channels sampled together, and how many samples of each make a packet.</summary>
public sealed record ChannelGroup(SampleGroup Group, IReadOnlyList<Channel> Channels, int SamplesAPacket);

/// <summary>Everything that is measured on the car. Names begin with what they are: v speed, n revolutions, a angle, g acceleration,
/// p pressure, T temperature, r ratio, x travel, h height, s distance, M torque, N count, B flag, S text.</summary>
public static class CarChannels
{
    private const double MetresADegree = 111_320;
    private const double Latitude = 46.9481;
    private const double Longitude = 7.4474;

    private static readonly string[] Corners = ["FL", "FR", "RL", "RR"];

    public static IReadOnlyList<ChannelGroup> All { get; } = Build();

    private static List<ChannelGroup> Build() =>
    [
        Periodic("Motion", "Chassis", 1000, 100,
            new("vCar", "Car speed", "km/h", 0, 340, c => Of(c.Speed * 3.6 + c.Noise(0.03))),
            new("gLat", "Lateral acceleration, left positive", "g", -5, 5,
                c => Of(c.LateralAcceleration / CarSpecification.Gravity + c.Noise(0.012))),
            new("gLong", "Longitudinal acceleration", "g", -6, 3, c => Of(c.LongitudinalAcceleration / CarSpecification.Gravity + c.Noise(0.012))),
            new("gVert", "Vertical acceleration", "g", -2, 4, c => Of(c.VerticalAcceleration / CarSpecification.Gravity + c.Noise(0.02)))),

        Periodic("WheelSpeeds", "Chassis", 1000, 100, PerCorner(i =>
            new($"nWheel{Corners[i]}", $"Wheel revolutions {Corners[i]}", "rpm", 0, 3000, c => WheelRevolutions(c, i))
            {
                Format = "%.1f",
                Status = c => WheelSensorFails(c, i) ? DataStatus.Error : DataStatus.Valid,
            })),

        Row("Driver", "Chassis", 100, 10,
            new("rThrottle", "Throttle pedal", "%", 0, 100, c => Of(Math.Clamp(c.Throttle * 100, 0, 100))) { Format = "%.1f" },
            new("pBrakeFront", "Brake pressure front", "bar", 0, 160, c => Of(c.BrakePressureFront + c.Noise(0.05))) { Format = "%.1f" },
            new("pBrakeRear", "Brake pressure rear", "bar", 0, 160, c => Of(c.BrakePressureRear + c.Noise(0.05))) { Format = "%.1f" },
            new("aSteer", "Steering wheel angle, left positive", "deg", -220, 220, c => Of(c.Steering + c.Noise(0.15))) { Format = "%.1f" },
            new("nYaw", "Yaw rate, left positive", "deg/s", -120, 120, c => Of(c.YawRate * 180 / Math.PI + c.Noise(0.08))),
            new("rBrakeBias", "Brake force at the front", "%", 50, 65, c => Of(c.Car.BrakeFrontShare * 100)) { Format = "%.1f" }),

        Periodic("Suspension", "Chassis", 200, 20,
        [
            .. PerCorner(i => new($"xDamper{Corners[i]}", $"Wheel travel {Corners[i]}, bump positive", "mm", -40, 60, c => Of(c.Travel(i)))),
            new("hRideFront", "Ride height front", "mm", 0, 80, c => Of(c.RideHeight(true))) { WarningMin = 3 },
            new("hRideRear", "Ride height rear", "mm", 0, 120, c => Of(c.RideHeight(false))) { WarningMin = 5 },
        ]),

        Periodic("Engine", "Powertrain", 200, 20,
            new("nEngine", "Engine revolutions", "rpm", 0, 9500,
                c => Of(c.Rpm + c.Noise(6))) { Format = "%.0f", WarningMax = Powertrain.LimiterRpm },
            new("MEngine", "Engine torque", "Nm", -150, 650, c => Of(c.Torque)) { Format = "%.0f" },
            new("pBoost", "Intake pressure over ambient", "bar", -0.9, 2, c => Of(c.Boost + c.Noise(0.004))) { WarningMax = 1.6 },
            new("rLambda", "Air to fuel against stoichiometric", "", 0.6, 1.6,
                c => Of(0.86 + 0.16 * (1 - c.Throttle) + c.Noise(0.004))) { Format = "%.3f" },
            new("aIgnition", "Ignition before top dead centre", "deg", 0, 45, c => Of(34 - 14 * c.Throttle - c.Boost * 3)) { Format = "%.1f" },
            new("TExhaust", "Exhaust gas temperature", "C", 0, 1100, c => Of(c.ExhaustTemperature)) { Format = "%.0f", WarningMax = 1020 }),

        Periodic("Gearbox", "Powertrain", 50, 10,
            new("NGear", "Gear", "", 0, 8, c => SampleValue.Of(c.Gear)) { Type = DataType.Sint32, Format = "%d" },
            new("BDrs", "Rear wing open", "", 0, 1, c => SampleValue.Of(c.DrsOpen)) { Type = DataType.Uint8, Format = "%d" },
            new("TGearbox", "Gearbox oil temperature", "C", 0, 160, c => Of(c.GearboxTemperature)) { Format = "%.1f", WarningMax = 140 }),

        Synchro("Knock", "Powertrain", 12,
            new Channel("UKnock", "Knock sensor at each firing of cylinder 1", "V", 0, 5, c => Of(Knock(c)))),

        Periodic("Fluids", "Powertrain", 10, 10,
            new("TWater", "Coolant temperature", "C", 0, 140, c => Of(c.WaterTemperature + c.Noise(0.05))) { Format = "%.1f", WarningMax = 115 },
            new("TOil", "Engine oil temperature", "C", 0, 170, c => Of(c.OilTemperature + c.Noise(0.05))) { Format = "%.1f", WarningMax = 135 },
            new("pOil", "Engine oil pressure", "bar", 0, 10,
                c => Of(1.6 + 4.6 * c.Rpm / Powertrain.LimiterRpm - 0.012 * (c.OilTemperature - 90) + c.Noise(0.03))) { WarningMin = 1.2 },
            new("pFuel", "Fuel pressure", "bar", 0, 8, c => Of(5 - 0.25 * c.Throttle + c.Noise(0.02))) { WarningMin = 3.5 },
            new("mFuel", "Fuel on board", "kg", 0, 200, c => Of(c.Fuel)) { Format = "%.3f", WarningMin = 2 },
            new("QFuel", "Fuel flow", "kg/h", 0, 140, c => Of(c.FuelFlow * 3600)) { Format = "%.1f" },
            new("UBattery", "Battery voltage", "V", 0, 18,
                c => Of(13.9 + 0.2 * c.Rpm / Powertrain.LimiterRpm + c.Noise(0.02))) { WarningMin = 12 }),

        Periodic("TyresAndBrakes", "Tyres", 10, 10,
        [
            .. PerCorner(i => new($"TTyreSurface{Corners[i]}", $"Tyre surface temperature {Corners[i]}", "C", 0, 180,
                c => Of(c.Wheels[i].SurfaceTemperature + c.Noise(0.4)))
            {
                Format = "%.1f",
                WarningMax = 130,
                Status = c => LensIsDirty(c, i) ? DataStatus.Missing : DataStatus.Valid,
            }),
            .. PerCorner(i => new($"TTyreCarcass{Corners[i]}", $"Tyre carcass temperature {Corners[i]}", "C", 0, 160,
                c => Of(c.Wheels[i].CarcassTemperature)) { Format = "%.1f" }),
            .. PerCorner(i => new($"pTyre{Corners[i]}", $"Tyre pressure {Corners[i]}", "bar", 0, 3.5,
                c => Of(c.Wheels[i].Pressure)) { Format = "%.3f", WarningMin = 1.1 }),
            .. PerCorner(i => new($"TBrake{Corners[i]}", $"Brake disc temperature {Corners[i]}", "C", 0, 1200,
                c => Of(c.Wheels[i].DiscTemperature)) { Format = "%.0f", WarningMax = 900 }),
        ]),

        // The one group whose packets name their parameters themselves.
        Row("Position", "Timing", 20, 10,
            new("sLap", "Distance since the line", "m", 0, 8000, c => Of(c.LapDistance)) { Format = "%.1f" },
            new("sRun", "Distance since the start", "m", 0, 1_000_000, c => Of(c.Distance)) { Format = "%.1f" },
            new("GpsLat", "Latitude", "deg", -90, 90,
                c => Of(Latitude + c.Circuit.PositionAt(c.LapDistance).North / MetresADegree)) { Format = "%.7f", Status = UnderTheBridge },
            new("GpsLong", "Longitude", "deg", -180, 180,
                c => Of(Longitude + c.Circuit.PositionAt(c.LapDistance).East / MetresADegree / Math.Cos(Latitude * Math.PI / 180)))
            {
                Format = "%.7f",
                Status = UnderTheBridge,
            },
            new("tLap", "Time since the line", "s", 0, 600, c => Of(c.Seconds - c.LapStart)) { Format = "%.3f" })
            .NamingParametersInline(),

        Periodic("Modes", "Timing", 1, 5,
            new("SDriverMode", "What the driver is about", "", 0, 0,
                c => SampleValue.Of(c.Lap == 1 ? "Start" : c.DrsOpen ? "Attack" : "Race")) { Type = DataType.String, Format = "%s" },
            new("NLap", "Lap", "", 0, 200, c => SampleValue.Of(c.Lap)) { Type = DataType.Sint32, Format = "%d" }),
    ];

    private static ChannelGroup NamingParametersInline(this ChannelGroup channels) =>
        channels with { Group = channels.Group with { NamesParametersInline = true } };

    private static ChannelGroup Periodic(string name, string stream, double rate, int samplesAPacket, params Channel[] channels) =>
        new(new(name, stream, SampleLayout.Periodic, rate, Identifiers(channels)), channels, samplesAPacket);

    private static ChannelGroup Row(string name, string stream, double rate, int samplesAPacket, params Channel[] channels) =>
        new(new(name, stream, SampleLayout.Row, rate, Identifiers(channels)), channels, samplesAPacket);

    private static ChannelGroup Synchro(string name, string stream, int samplesAPacket, params Channel[] channels) =>
        new(new(name, stream, SampleLayout.Synchro, 0, Identifiers(channels)), channels, samplesAPacket);

    private static string[] Identifiers(Channel[] channels) => [.. channels.Select(c => c.Identifier)];

    private static Channel[] PerCorner(Func<int, Channel> channel) => [.. Enumerable.Range(0, 4).Select(channel)];

    private static SampleValue Of(double value) => SampleValue.Of(value);

    private static SampleValue WheelRevolutions(CarSimulation c, int wheel) => WheelSensorFails(c, wheel)
        ? Of(0)
        : Of(Math.Max(0, c.Wheels[wheel].Speed / c.Car.TyreRadius * 30 / Math.PI + c.Noise(0.4)));

    // A loose plug at the rear right: 14 ms every 47 s.
    private static bool WheelSensorFails(CarSimulation c, int wheel) => wheel == 3 && c.Milliseconds % 47_311 < 14;

    // Rubber on the lens of one infrared sensor: a second and a half every minute.
    private static bool LensIsDirty(CarSimulation c, int wheel) => wheel == 0 && c.Milliseconds % 61_000 < 1_500;

    // No satellites under the bridge of the river straight.
    private static DataStatus UnderTheBridge(CarSimulation c) =>
        c.LapDistance is > 2_900 and < 3_010 ? DataStatus.Missing : DataStatus.Valid;

    private static double Knock(CarSimulation c) =>
        Math.Clamp(0.3 + 1.1 * c.Throttle * c.Rpm / Powertrain.LimiterRpm + 0.25 * c.Boost + Math.Abs(c.Noise(0.12)), 0, 5);
}
