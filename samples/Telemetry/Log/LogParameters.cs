using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Telemetry.Log;

/// <summary>A parameter as parameters.json describes it.</summary>
public sealed record LogParameter
{
    public string Identifier { get; init; } = "";

    public string? Name { get; init; }

    public string? Unit { get; init; }

    public double? RateHz { get; init; }

    public double? Min { get; init; }

    public double? Max { get; init; }

    public double? DeclaredMin { get; init; }

    public double? DeclaredMax { get; init; }

    public string? File { get; init; }
}

/// <summary>parameters.json: what was recorded, when it began, and which file holds what.</summary>
public sealed record LogParameters
{
    public const string FileName = "parameters.json";

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowReadingFromString,
    };

    public string? Name { get; init; }

    public string? Vehicle { get; init; }

    public string? Venue { get; init; }

    public long? StartUtcMs { get; init; }

    public long? StartUtcUs { get; init; }

    public double? DurationS { get; init; }

    public IReadOnlyDictionary<string, JsonElement>? Files { get; init; }

    public IReadOnlyList<LogParameter>? Parameters { get; init; }

    /// <summary>When it was recorded; a log that does not say began with the century.</summary>
    [JsonIgnore]
    public DateTimeOffset Start => StartUtcUs is { } us
        ? DateTimeOffset.UnixEpoch.AddTicks(us * 10)
        : StartUtcMs is { } ms ? DateTimeOffset.FromUnixTimeMilliseconds(ms) : new DateTimeOffset(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public static LogParameters Load(string directory)
    {
        var file = Path.Combine(directory, FileName);
        var loaded = JsonFile.Load<LogParameters>(file, Json);
        if (loaded.Parameters is not { Count: > 0 }) throw new LogException($"{file}: it lists no parameters");
        for (var i = 0; i < loaded.Parameters.Count; i++)
        {
            if (loaded.Parameters[i] is not { Identifier.Length: > 0 })
                throw new LogException($"{file}: parameter {(i + 1).ToString(CultureInfo.InvariantCulture)} has no identifier");
        }

        if (loaded.StartUtcUs is < 0 or > 4_000_000_000_000_000 || loaded.StartUtcMs is < 0 or > 4_000_000_000_000)
            throw new LogException($"{file}: start_utc is not a time after 1970 in its unit");
        return loaded;
    }
}
