namespace Telemetry.Car;

/// <summary>
/// The speed at every metre of one lap, for a point mass that always uses the grip it has: corners limit the speed (tyres and
/// downforce), braking points follow backwards from them, engine, traction and drag limit the way out. It looks 700 m past the
/// line, so that braking for the next lap's first corner is in it.
/// </summary>
public sealed class LapPlan
{
    private const double LookAhead = 700;
    private const double SpeedMax = 97;
    private const double DrivenLoadShare = 0.62;

    private readonly Circuit _circuit;
    private readonly double[] _squares;
    private readonly double[] _accelerations;

    /// <param name="circuit">The track.</param>
    /// <param name="car">The car.</param>
    /// <param name="mass">With driver and fuel, kg.</param>
    /// <param name="entrySpeed">At the line, m/s; 0 is a standing start.</param>
    /// <param name="commitment">How much of the grip the driver uses, 0 to 1.</param>
    /// <param name="drsAllowed">Whether the wing may open in the zones.</param>
    public LapPlan(Circuit circuit, CarSpecification car, double mass, double entrySpeed, double commitment, bool drsAllowed)
    {
        _circuit = circuit;
        var step = circuit.CellLength;
        var cells = circuit.CellCount + (int)Math.Min(LookAhead / step, circuit.CellCount);
        var squares = new double[cells + 1];

        for (var i = 0; i <= cells; i++)
        {
            var limit = CornerSpeed(car, mass, Math.Abs(circuit.CurvatureAt(i * step)), commitment);
            squares[i] = limit * limit;
        }

        // Backwards: no faster than the brakes allow.
        for (var i = cells - 1; i >= 0; i--)
        {
            var speed = Math.Sqrt(squares[i + 1]);
            var grip = Longitudinal(car, mass, speed, circuit.CurvatureAt((i + 1) * step), commitment);
            var deceleration = (grip + car.Drag(mass, speed, false)) / mass;
            squares[i] = Math.Min(squares[i], squares[i + 1] + 2 * deceleration * step);
        }

        // Forwards: no faster than engine and traction allow.
        squares[0] = entrySpeed * entrySpeed;
        for (var i = 0; i < cells; i++)
        {
            var speed = Math.Sqrt(squares[i]);
            var traction = DrivenLoadShare * Longitudinal(car, mass, speed, circuit.CurvatureAt(i * step), commitment);
            var drive = Math.Min(traction, Powertrain.BestForce(car, speed));
            var drs = drsAllowed && circuit.IsDrsZone(i * step);
            var acceleration = (drive - car.Drag(mass, speed, drs)) / mass;
            squares[i + 1] = Math.Min(squares[i + 1], Math.Max(0.01, squares[i] + 2 * acceleration * step));
        }

        _squares = Blend(squares, (int)Math.Round(6 / step));
        _accelerations = new double[cells];
        for (var i = 0; i < cells; i++) _accelerations[i] = (_squares[i + 1] - _squares[i]) / (2 * step);

        for (var i = 0; i < circuit.CellCount; i++)
            LapTime += 2 * step / (Math.Sqrt(_squares[i]) + Math.Sqrt(_squares[i + 1]));
    }

    /// <summary>Seconds from line to line.</summary>
    public double LapTime { get; }

    /// <summary>m/s at the end of the lap.</summary>
    public double ExitSpeed => SpeedAt(_circuit.Length);

    public double SpeedAt(double distance)
    {
        var cells = distance / _circuit.CellLength;
        var before = Math.Clamp((int)cells, 0, _squares.Length - 2);
        var share = cells - before;
        return Math.Sqrt(Math.Max(0, _squares[before] * (1 - share) + _squares[before + 1] * share));
    }

    /// <summary>dv/dt in m/s² at a distance from the line.</summary>
    public double AccelerationAt(double distance)
    {
        var cells = distance / _circuit.CellLength - 0.5;
        var before = Math.Clamp((int)Math.Floor(cells), 0, _accelerations.Length - 2);
        var share = Math.Clamp(cells - before, 0, 1);
        return _accelerations[before] * (1 - share) + _accelerations[before + 1] * share;
    }

    private static double CornerSpeed(CarSpecification car, double mass, double curvature, double commitment)
    {
        bool Holds(double speed) => commitment * car.Grip(mass, speed) > mass * curvature * speed * speed;

        if (Holds(SpeedMax)) return SpeedMax;
        double low = 3, high = SpeedMax;
        for (var i = 0; i < 40; i++)
        {
            var middle = (low + high) / 2;
            if (Holds(middle)) low = middle;
            else high = middle;
        }

        return low;
    }

    // The grip that cornering leaves over, N: the tyres' forces add up as the sides of a right-angled triangle.
    private static double Longitudinal(CarSpecification car, double mass, double speed, double curvature, double commitment)
    {
        var grip = commitment * car.Grip(mass, speed);
        var lateral = mass * Math.Abs(curvature) * speed * speed;
        return lateral >= grip ? 0 : Math.Sqrt(grip * grip - lateral * lateral);
    }

    // A moving average: nobody goes from full throttle to full brakes in no time. Narrower at the ends, which stay where they are.
    private static double[] Blend(double[] values, int reach)
    {
        var sums = new double[values.Length + 1];
        for (var i = 0; i < values.Length; i++) sums[i + 1] = sums[i] + values[i];
        var blended = new double[values.Length];
        for (var i = 0; i < values.Length; i++)
        {
            var width = Math.Min(reach, Math.Min(i, values.Length - 1 - i));
            blended[i] = (sums[i + width + 1] - sums[i - width]) / (2 * width + 1);
        }

        return blended;
    }
}
