using System.Globalization;
using System.Reflection;
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

    public int Integer(int min, int max) => (int)Integer((long)min, max);

    public long Integer(long min, long max)
    {
        var allowed = (min, max) switch
        {
            (long.MinValue, _) or (int.MinValue, int.MaxValue) => "a whole number",
            _ => $"a whole number, {min} to {max}",
        };
        return long.TryParse(Scalar(allowed), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw Bad(allowed);
    }

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

    /// <summary>The settings of a group over its defaults: every property that can be set is a key.</summary>
    public T Section<T>(T defaults)
        where T : notnull
    {
        if (section.Value is not null and not "") throw Bad($"a group of settings: {string.Join(", ", PropertiesOf(typeof(T)).Keys)}");
        var properties = PropertiesOf(typeof(T));
        Only([.. properties.Keys]);

        // A copy of the defaults: a record clones itself.
        var settings = (T)typeof(T).GetMethod("<Clone>$")!.Invoke(defaults, null)!;
        foreach (var (name, property) in properties)
        {
            if (Child(name) is { } value) property.SetValue(settings, value.As(property.PropertyType));
        }

        return settings;
    }

    /// <summary>The typed settings of Kafka; every other key of the group is a property of librdkafka, which knows what is allowed.</summary>
    public KafkaOptions Kafka()
    {
        if (section.Value is not null and not "") throw Bad("a group of settings");
        var typed = PropertiesOf(typeof(KafkaOptions));
        var properties = new Dictionary<string, string>(StringComparer.Ordinal);
        var settings = KafkaOptions.Default with { Properties = properties };
        foreach (var child in section.GetChildren())
        {
            var value = new SettingsReader(child, $"{key}.{child.Key}", logger);
            if (!typed.TryGetValue(child.Key, out var property)) properties[child.Key] = value.Text();
            else if (property.Name == nameof(KafkaOptions.TopicConfiguration)) settings = settings with { TopicConfiguration = value.Texts() };
            else if (property.Name != nameof(KafkaOptions.Properties)) property.SetValue(settings, value.As(property.PropertyType));
            else foreach (var (name, text) in value.Texts()) properties[name] = text;
        }

        return settings;
    }

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

    private Dictionary<string, string> Texts() => section.GetChildren().ToDictionary(
        child => child.Key, child => new SettingsReader(child, $"{key}.{child.Key}", logger).Text(), StringComparer.Ordinal);

    private static SortedDictionary<string, PropertyInfo> PropertiesOf(Type type) => new(
        type.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(property => property.SetMethod is not null)
            .ToDictionary(property => property.Name),
        StringComparer.OrdinalIgnoreCase);

    private object As(Type type)
    {
        var plain = Nullable.GetUnderlyingType(type) ?? type;
        if (plain == typeof(int)) return Integer(int.MinValue, int.MaxValue);
        if (plain == typeof(long)) return Integer(long.MinValue, long.MaxValue);
        if (plain == typeof(bool)) return Boolean();
        if (plain == typeof(string)) return Text();
        if (plain == typeof(TimeSpan)) return Duration();
        if (plain == typeof(CommitPolicy)) return Policy();
        throw new NotSupportedException($"{key}: settings of type {type} cannot be read from a configuration");
    }

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
