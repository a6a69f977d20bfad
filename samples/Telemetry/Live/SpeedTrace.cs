namespace Telemetry.Live;

/// <summary>A lap as its marker told it; times in nanoseconds since 1970.</summary>
public sealed record LapRecord(string Label, long Number, ulong Start, ulong End, string Description)
{
    public TimeSpan Time => TimeSpan.FromTicks((long)(End - Start) / 100);
}

/// <summary>One point of a plot.</summary>
public readonly record struct PlotPoint(double X, double Y);

/// <summary>Speed over time, thinned out to 25 points a second and to the last half million points.</summary>
public sealed class SpeedTrace
{
    private const ulong Gap = 40_000_000;
    private const int PointsMax = 500_000;

    private readonly List<(ulong Time, double Speed)> _points = [];
    private readonly Lock _lock = new();

    public void Add(ulong time, double speed)
    {
        lock (_lock)
        {
            if (_points.Count > 0 && time < _points[^1].Time + Gap) return;
            if (_points.Count == PointsMax) _points.RemoveRange(0, PointsMax / 2);
            _points.Add((time, speed));
        }
    }

    /// <summary>Speed over the metres driven since the start of a lap.</summary>
    public IReadOnlyList<PlotPoint> OverDistance(LapRecord lap, double metresPerSecond)
    {
        var points = new List<PlotPoint>();
        lock (_lock)
        {
            double metres = 0;
            (ulong Time, double Speed)? before = null;
            foreach (var point in _points)
            {
                if (point.Time < lap.Start || point.Time > lap.End) continue;
                if (before is { } last) metres += (point.Speed + last.Speed) / 2 * metresPerSecond * (point.Time - last.Time) / 1e9;
                points.Add(new(metres, point.Speed));
                before = point;
            }
        }

        return points;
    }

    /// <summary>Speed over seconds, the last so many of them.</summary>
    public IReadOnlyList<PlotPoint> OverTime(double lastSeconds = double.MaxValue)
    {
        lock (_lock)
        {
            if (_points.Count == 0) return [];
            var (first, last) = (_points[0].Time, _points[^1].Time);
            var from = _points.Count - 1;
            while (from > 0 && (last - _points[from - 1].Time) / 1e9 <= lastSeconds) from--;
            return [.. _points.Skip(from).Select(p => new PlotPoint((p.Time - first) / 1e9, p.Speed))];
        }
    }
}
