using System.Globalization;
using System.Text.RegularExpressions;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>One setting as it stands in a configuration, read as what it should be or refused in the words of who wrote it.</summary>
internal sealed partial class SettingsReader(IConfigurationSection section, string key, ILogger logger)
{
    private const string Durations = "a time like \"00:30:00\", \"1.12:00:00\" (a day and a half), \"90s\", \"15m\", \"24h\", \"7d\", or a number of seconds";

    public ILogger Logger => logger;

    public bool IsEmpty => string.IsNullOrEmpty(section.Value) && !section.GetChildren().Any();

    public ConfigurationException Bad(string allowed) =>
        new(key, section.Value is { } value ? $"'{value}'" : section.GetChildren().Any() ? "a list or a group of settings" : "nothing", allowed);

    public string Text() => Scalar("a text");

    public bool Boolean() => bool.TryParse(Scalar("true or false"), out var value) ? value : throw Bad("true or false");

    /// <summary>A whole number whose bounds are checked with those of the other settings.</summary>
    public int Integer() => (int)Integer(int.MinValue, int.MaxValue, "a whole number");

    /// <inheritdoc cref="Integer()"/>
    public long LongInteger() => Integer(long.MinValue, long.MaxValue, "a whole number");

    public int Integer(int min, int max) => (int)Integer(min, max, $"a whole number, {min} to {max}");

    public TimeSpan Duration()
    {
        var text = Scalar(Durations).Trim();
        try
        {
            if (UnitTime().Match(text) is { Success: true } unit)
            {
                var number = double.Parse(unit.Groups["number"].ValueSpan, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture);
                return unit.Groups["unit"].Value.ToLowerInvariant() switch
                {
                    "ms" => TimeSpan.FromMilliseconds(number),
                    "m" => TimeSpan.FromMinutes(number),
                    "h" => TimeSpan.FromHours(number),
                    "d" => TimeSpan.FromDays(number),
                    _ => TimeSpan.FromSeconds(number),
                };
            }

            // Not TimeSpan.Parse, to which "24:00:00" is 24 days.
            if (ClockTime().Match(text) is { Success: true } clock)
            {
                return TimeSpan.FromDays(Number("days")) + TimeSpan.FromHours(Number("hours")) + TimeSpan.FromMinutes(Number("minutes"))
                    + TimeSpan.FromSeconds(Number("seconds"));

                double Number(string group) =>
                    clock.Groups[group].Success ? double.Parse(clock.Groups[group].ValueSpan, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture) : 0;
            }
        }
        catch (OverflowException)
        {
            // Longer than any time there is.
        }

        throw Bad(Durations);
    }

    public CommitPolicy Policy() =>
        CommitPolicy.All.FirstOrDefault(policy => policy.Name.Equals(Text(), StringComparison.OrdinalIgnoreCase))
        ?? throw Bad(string.Join(" or ", CommitPolicy.All.Select(policy => policy.Name)));

    /// <summary>The settings of a group over its defaults. The table has a setter for each key: a table, because a record is copied by <c>with</c>,
    /// which reflection cannot do.</summary>
    /// <param name="defaults">The settings without the group.</param>
    /// <param name="setters">The keys of the group.</param>
    /// <param name="setOther">Takes every other key as a text; without it another key is warned of.</param>
    public T Section<T>(T defaults, Dictionary<string, Func<T, SettingsReader, T>> setters, Func<T, string, string, T>? setOther = null)
    {
        if (section.Value is not null and not "") throw Bad($"a group of settings: {string.Join(", ", setters.Keys)}");
        if (setOther is null) Only([.. setters.Keys]);
        var settings = defaults;
        foreach (var (name, value) in Children)
        {
            if (setters.TryGetValue(name, out var set)) settings = set(settings, value);
            else if (setOther is not null) settings = setOther(settings, name, value.Text());
        }

        return settings;
    }

    /// <summary>Every key of this group as a text.</summary>
    public Dictionary<string, string> Texts() => Children.ToDictionary(child => child.Name, child => child.Value.Text(), StringComparer.Ordinal);

    public IEnumerable<SettingsReader> Items(string allowed)
    {
        if (section.Value is not null and not "") throw Bad(allowed);
        return section.GetChildren().Select(child => new SettingsReader(child, $"{key}[{child.Key}]", logger));
    }

    /// <summary>A setting of this group; null when it is not given.</summary>
    public SettingsReader? Child(string name) =>
        section.GetSection(name) is var child && (child.Value is not null || child.GetChildren().Any()) ? new SettingsReader(child, $"{key}.{name}", logger) : null;

    /// <summary>Warns of what else stands in this group.</summary>
    public void Only(params string[] names)
    {
        foreach (var child in section.GetChildren())
        {
            if (names.Contains(child.Key, StringComparer.OrdinalIgnoreCase)) continue;
            logger.UnknownKey($"{key}.{child.Key}", NearestKey.Find(child.Key, names) ?? string.Join(", ", names));
        }
    }

    // A key without a value keeps the default.
    private IEnumerable<(string Name, SettingsReader Value)> Children =>
        from child in section.GetChildren()
        where child.Value is not null || child.GetChildren().Any()
        select (child.Key, new SettingsReader(child, $"{key}.{child.Key}", logger));

    private long Integer(long min, long max, string allowed) =>
        long.TryParse(Scalar(allowed), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw Bad(allowed);

    private string Scalar(string allowed) => section.GetChildren().Any() || section.Value is null ? throw Bad(allowed) : section.Value;

    [GeneratedRegex(@"^(?<number>\d+(\.\d+)?)\s*(?<unit>ms|s|m|h|d)?$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex UnitTime();

    [GeneratedRegex(@"^((?<days>\d+)\.)?(?<hours>\d+):(?<minutes>[0-5]?\d)(:(?<seconds>[0-5]?\d(\.\d+)?))?$", RegexOptions.CultureInvariant)]
    private static partial Regex ClockTime();
}

/// <summary>Guesses which key was meant.</summary>
internal static class NearestKey
{
    /// <summary>The key that takes the fewest changes of a letter, if those are at most a third of the longer of the two.</summary>
    public static string? Find(string written, IEnumerable<string> known)
    {
        var best = known.Select(key => (Key: key, Distance: Distance(written.ToUpperInvariant(), key.ToUpperInvariant())))
            .OrderBy(guess => guess.Distance).ThenBy(guess => guess.Key, StringComparer.Ordinal).FirstOrDefault();
        return best.Key is not null && best.Distance * 3 <= Math.Max(written.Length, best.Key.Length) ? best.Key : null;
    }

    private static int Distance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var above = row[j];
                row[j] = Math.Min(Math.Min(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }

        return row[b.Length];
    }
}
