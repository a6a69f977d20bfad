namespace Telemetry.Car;

/// <summary>The car in numbers: a single-seater of about 470 kW with wings. SI units.</summary>
public sealed record CarSpecification
{
    public static CarSpecification SingleSeater { get; } = new();

    public const double Gravity = 9.80665;

    public double DryMass { get; init; } = 755;

    public double FuelMass { get; init; } = 58;

    public double AirDensity { get; init; } = 1.19;

    public double AirTemperature { get; init; } = 24;

    /// <summary>Drag coefficient times area, m².</summary>
    public double DragArea { get; init; } = 1.12;

    /// <summary>Share of the drag that an open wing takes off.</summary>
    public double DrsDragCut { get; init; } = 0.14;

    /// <summary>Downforce coefficient times area, m².</summary>
    public double DownforceArea { get; init; } = 3.3;

    public double DownforceFrontShare { get; init; } = 0.44;

    public double RollingResistance { get; init; } = 0.014;

    /// <summary>Friction of the tyres at the static load; it falls as load grows.</summary>
    public double Friction { get; init; } = 1.66;

    public double LoadSensitivity { get; init; } = 0.11;

    public double Wheelbase { get; init; } = 3.12;

    public double TrackWidth { get; init; } = 1.6;

    public double CentreOfGravityHeight { get; init; } = 0.29;

    public double WeightFrontShare { get; init; } = 0.455;

    public double BrakeFrontShare { get; init; } = 0.57;

    public double TyreRadius { get; init; } = 0.33;

    public double DrivelineEfficiency { get; init; } = 0.94;

    public double EngineEfficiency { get; init; } = 0.34;

    /// <summary>Joules in a kilogram of fuel.</summary>
    public double FuelEnergy { get; init; } = 43.2e6;

    /// <summary>Newtons a millimetre at a wheel, front and rear.</summary>
    public double WheelRateFront { get; init; } = 190;

    public double WheelRateRear { get; init; } = 150;

    public double SteeringRatio { get; init; } = 12.5;

    /// <summary>Drag or downforce in N at a speed.</summary>
    public double Aero(double area, double speed) => 0.5 * AirDensity * area * speed * speed;

    /// <summary>Most horizontal force the four tyres give together, N.</summary>
    public double Grip(double mass, double speed)
    {
        var load = mass * Gravity + Aero(DownforceArea, speed);
        return Friction * Math.Pow(load / (DryMass * Gravity), -LoadSensitivity) * load;
    }

    public double Drag(double mass, double speed, bool drsOpen) =>
        Aero(DragArea * (drsOpen ? 1 - DrsDragCut : 1), speed) + RollingResistance * mass * Gravity;
}
