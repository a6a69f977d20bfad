using System.Text.Json;

namespace Telemetry.Log;

/// <summary>A lap as laps.json describes it.</summary>
public sealed record LogLap
{
    public int Lap { get; init; }

    public double? StartMs { get; init; }

    public double? EndMs { get; init; }

    public string? Kind { get; init; }
}

/// <summary>laps.json, which a log may have.</summary>
public static class LogLaps
{
    public const string FileName = "laps.json";

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>The laps by their ends; none where there is no such file.</summary>
    public static IReadOnlyList<LogLap> Load(string directory)
    {
        var file = Path.Combine(directory, FileName);
        if (!File.Exists(file)) return [];
        var laps = JsonFile.Load<List<LogLap>>(file, Json);
        foreach (var lap in laps)
        {
            if (lap is not { StartMs: >= 0, EndMs: not null } || lap.EndMs < lap.StartMs || lap.EndMs > 1e12)
                throw new LogException($"{file}: lap {lap?.Lap} needs start_ms and, not before it, end_ms");
        }

        return [.. laps.OrderBy(l => l.EndMs)];
    }
}
