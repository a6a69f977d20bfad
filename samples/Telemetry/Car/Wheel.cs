namespace Telemetry.Car;

/// <summary>One corner of the car: load, slip, and the heat of tyre and brake disc. SI units, temperatures in °C.</summary>
public sealed class Wheel(bool isFront, bool isLeft)
{
    private const double SurfaceHeatCapacity = 2_600;
    private const double CarcassHeatCapacity = 15_000;
    private const double SurfaceToCarcass = 170;
    private const double ColdPressureBar = 1.38;
    private const double ColdTemperature = 20;

    private double DiscHeatCapacity => isFront ? 1_750 : 1_450;

    public bool IsFront => isFront;

    public bool IsLeft => isLeft;

    /// <summary>Vertical, N.</summary>
    public double Load { get; private set; }

    /// <summary>Along and across the wheel, N.</summary>
    public double LongitudinalForce { get; private set; }

    public double LateralForce { get; private set; }

    /// <summary>Share by which the wheel turns faster (or, braked, slower) than the road.</summary>
    public double SlipRatio { get; private set; }

    /// <summary>Speed of the wheel's circumference, m/s.</summary>
    public double Speed { get; private set; }

    /// <summary>Slip that the driver provokes: -1 is a locked wheel.</summary>
    public double ProvokedSlip { get; set; }

    public double SurfaceTemperature { get; private set; } = 82;

    public double CarcassTemperature { get; private set; } = 84;

    public double DiscTemperature { get; private set; } = 260;

    /// <summary>Bar, of the air that warms with the carcass.</summary>
    public double Pressure => (ColdPressureBar + 1) * (CarcassTemperature + 273.15) / (ColdTemperature + 273.15) - 1;

    public void Step(double load, double longitudinal, double lateral, double hubSpeed, double carSpeed, double air, double seconds)
    {
        Load = load;
        LongitudinalForce = longitudinal;
        LateralForce = lateral;
        var stiffness = 24 * Math.Max(load, 400);
        SlipRatio = Math.Clamp(longitudinal / stiffness + ProvokedSlip, -1, 1.5);
        Speed = Math.Max(0, hubSpeed * (1 + SlipRatio));
        var slipAngle = lateral / stiffness * 1.5;

        var sliding = Math.Abs(ProvokedSlip) * load * carSpeed * 0.35;
        var rubbing = Math.Abs(longitudinal * longitudinal / stiffness) * carSpeed + Math.Abs(lateral * slipAngle) * carSpeed + sliding;
        var flexing = (isFront ? 0.0175 : 0.0125) * load * carSpeed;
        var toAir = (24 + 1.25 * carSpeed) * (SurfaceTemperature - air);
        var toCarcass = SurfaceToCarcass * (SurfaceTemperature - CarcassTemperature);
        SurfaceTemperature += (rubbing * (isFront ? 0.75 : 0.6) + flexing * 0.5 - toAir - toCarcass) / SurfaceHeatCapacity * seconds;
        CarcassTemperature += (toCarcass + flexing * 0.5 - (6 + 0.3 * carSpeed) * (CarcassTemperature - air)) / CarcassHeatCapacity * seconds;

        var braking = Math.Max(0, -longitudinal) * Math.Abs(hubSpeed) * 0.92;
        var kelvin = DiscTemperature + 273.15;
        var radiation = 0.8 * 5.67e-8 * 0.09 * (kelvin * kelvin * kelvin * kelvin - 8e9);
        DiscTemperature += (braking - radiation - (22 + 0.95 * carSpeed) * (DiscTemperature - air)) / DiscHeatCapacity * seconds;
    }
}
