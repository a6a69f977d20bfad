namespace Telemetry.Car;

/// <summary>A piece of track: straight, or an arc that turns by so many degrees (left positive).</summary>
public sealed record Segment(string Name, double Length, double TurnDegrees = 0);

/// <summary>A stretch where the rear wing may be opened.</summary>
public sealed record DrsZone(double From, double To);

/// <summary>A closed track as curvature over distance, on a grid of about a metre. Arcs are blended into straights over 30 m, as
/// a road is, so that lateral g builds up instead of jumping.</summary>
public sealed class Circuit
{
    private const int BlendCells = 15;

    private readonly double[] _curvature;
    private readonly double[] _x;
    private readonly double[] _y;

    public Circuit(string name, IReadOnlyList<Segment> segments, IReadOnlyList<DrsZone>? drsZones = null, double cellLength = 1)
    {
        Name = name;
        Segments = segments;
        DrsZones = drsZones ?? [];
        Length = segments.Sum(s => s.Length);
        CellCount = (int)Math.Round(Length / cellLength);
        CellLength = Length / CellCount;
        _curvature = new double[CellCount];
        _x = new double[CellCount + 1];
        _y = new double[CellCount + 1];

        var blend = BlendCells * CellLength;
        var heading = 0.0;
        for (var i = 0; i < CellCount; i++)
        {
            var middle = (i + 0.5) * CellLength;
            _curvature[i] = (Heading(middle + blend) - Heading(middle - blend)) / (2 * blend);
            var turn = _curvature[i] * CellLength;
            _x[i + 1] = _x[i] + Math.Cos(heading + turn / 2) * CellLength;
            _y[i + 1] = _y[i] + Math.Sin(heading + turn / 2) * CellLength;
            heading += turn;
        }

        TotalTurn = heading;
    }

    public string Name { get; }

    public IReadOnlyList<Segment> Segments { get; }

    public IReadOnlyList<DrsZone> DrsZones { get; }

    /// <summary>Metres of one lap.</summary>
    public double Length { get; }

    public int CellCount { get; }

    public double CellLength { get; }

    /// <summary>Radians turned in one lap: ±2π where the track closes.</summary>
    public double TotalTurn { get; }

    /// <summary>How far the end of the lap is from its start, in metres.</summary>
    public double ClosingError => Math.Sqrt(_x[^1] * _x[^1] + _y[^1] * _y[^1]);

    /// <summary>4.45 km, clockwise, ten turns from a 27 m hairpin to a 150 m kink.</summary>
    public static Circuit Riverside { get; } = new(
        "Riverside Park",
        [
            new("Start straight", 470),
            Turn("Turn 1", -105, 48),
            new("Short chute", 110),
            Turn("Turn 2", 55, 95),
            new("Dip", 160),
            Turn("Turn 3", -75, 140),
            new("Infield", 210),
            Turn("Turn 4", 95, 38),
            new("Approach", 150),
            Turn("Hairpin", -160, 27),
            new("Back straight", 700),
            Turn("Kink", 45, 150),
            new("Quarry", 170),
            Turn("Turn 7", -85, 62),
            new("River straight", 663.350),
            Turn("Turn 8", -85, 105),
            new("Braking hill", 180),
            Turn("Chicane left", 40, 45),
            new("Chicane", 40),
            Turn("Last turn", -85, 50),
            new("Finish straight", 629.666),
        ],
        [new(0, 380), new(1790, 2350), new(3900, 4454.99)]);

    /// <summary>A 430 m oval, anticlockwise: two straights and two half circles.</summary>
    public static Circuit SmallOval { get; } = new(
        "Small Oval",
        [
            new("Front half", 50),
            Turn("Turns 1 and 2", 180, 37),
            new("Back straight", 100),
            Turn("Turns 3 and 4", 180, 37),
            new("Front half", 50),
        ],
        cellLength: 0.5);

    /// <summary>1/m at a distance from the line, left positive; distances go round.</summary>
    public double CurvatureAt(double distance)
    {
        // Between the middles of two cells: a straight line.
        var cells = Wrap(distance) / CellLength - 0.5;
        var before = (int)Math.Floor(cells);
        var share = cells - before;
        return _curvature[(before + CellCount) % CellCount] * (1 - share) + _curvature[(before + 1) % CellCount] * share;
    }

    /// <summary>Metres east and north of the line.</summary>
    public (double East, double North) PositionAt(double distance)
    {
        var cells = Wrap(distance) / CellLength;
        var before = Math.Min((int)cells, CellCount - 1);
        var share = cells - before;
        return (_x[before] * (1 - share) + _x[before + 1] * share, _y[before] * (1 - share) + _y[before + 1] * share);
    }

    public bool IsDrsZone(double distance)
    {
        var wrapped = Wrap(distance);
        foreach (var zone in DrsZones)
        {
            if (wrapped >= zone.From && wrapped < zone.To) return true;
        }

        return false;
    }

    private static Segment Turn(string name, double degrees, double radius) =>
        new(name, Math.Abs(degrees) * Math.PI / 180 * radius, degrees);

    private double Wrap(double distance)
    {
        var wrapped = distance % Length;
        return wrapped < 0 ? wrapped + Length : wrapped;
    }

    // The heading of the unblended track, radians, going on over the line.
    private double Heading(double distance)
    {
        var laps = Math.Floor(distance / Length);
        var rest = distance - laps * Length;
        var heading = laps * Segments.Sum(s => s.TurnDegrees);
        foreach (var segment in Segments)
        {
            if (rest <= segment.Length) return (heading + segment.TurnDegrees * rest / segment.Length) * Math.PI / 180;
            rest -= segment.Length;
            heading += segment.TurnDegrees;
        }

        return heading * Math.PI / 180;
    }
}
