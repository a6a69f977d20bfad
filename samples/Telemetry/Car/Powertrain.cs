namespace Telemetry.Car;

/// <summary>Engine torque over revolutions, the six gears, and when the driver changes them.</summary>
public static class Powertrain
{
    public const double IdleRpm = 2800;
    public const double LaunchRpm = 5200;
    public const double ShiftUpRpm = 8650;
    public const double ShiftDownRpm = 7700;
    public const double LimiterRpm = 9000;
    public const int TopGear = 6;

    private static readonly (double Rpm, double Torque)[] Curve =
    [
        (0, 220), (2000, 310), (3500, 400), (5000, 505), (6200, 570), (7200, 578), (8000, 560), (8500, 532), (9000, 470), (9400, 0),
    ];

    // Engine revolutions for one of the wheel, final drive included: 1st pulls to 107 km/h, 6th to 312 km/h.
    private static readonly double[] Ratios = [0, 10.45, 7.62, 5.93, 4.84, 4.11, 3.58];

    /// <summary>Nm at full throttle.</summary>
    public static double Torque(double rpm)
    {
        for (var i = 1; i < Curve.Length; i++)
        {
            if (rpm > Curve[i].Rpm) continue;
            var share = (rpm - Curve[i - 1].Rpm) / (Curve[i].Rpm - Curve[i - 1].Rpm);
            return Curve[i - 1].Torque + share * (Curve[i].Torque - Curve[i - 1].Torque);
        }

        return 0;
    }

    public static double Ratio(int gear) => Ratios[gear];

    /// <summary>What the wheels make the engine turn in a gear, the clutch closed.</summary>
    public static double Rpm(CarSpecification car, int gear, double speed) => speed / car.TyreRadius * Ratios[gear] * 30 / Math.PI;

    /// <summary>N at the driven wheels at full throttle; the clutch slips below <see cref="LaunchRpm"/> in first gear.</summary>
    public static double Force(CarSpecification car, int gear, double speed)
    {
        var rpm = Rpm(car, gear, speed);
        if (gear == 1) rpm = Math.Max(rpm, LaunchRpm);
        return Torque(rpm) * Ratios[gear] * car.DrivelineEfficiency / car.TyreRadius;
    }

    /// <summary>N at the driven wheels in the best gear.</summary>
    public static double BestForce(CarSpecification car, double speed)
    {
        var best = 0.0;
        for (var gear = 1; gear <= TopGear; gear++)
        {
            if (Rpm(car, gear, speed) <= ShiftUpRpm || gear == TopGear) best = Math.Max(best, Force(car, gear, speed));
        }

        return best;
    }

    /// <summary>The gear to be in next, at most one away.</summary>
    public static int NextGear(CarSpecification car, int gear, double speed, bool braking)
    {
        if (!braking && gear < TopGear && Rpm(car, gear, speed) >= ShiftUpRpm) return gear + 1;
        if (gear > 1 && Rpm(car, gear - 1, speed) < (braking ? ShiftDownRpm : ShiftDownRpm - 1500)) return gear - 1;
        return gear;
    }
}
