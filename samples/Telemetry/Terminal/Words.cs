using System.Globalization;

namespace Telemetry.Terminal;

/// <summary>Numbers as people read them; the same everywhere, whatever the machine's culture.</summary>
internal static class Words
{
    public static string Count(double value) => value.ToString("#,0", CultureInfo.InvariantCulture);

    public static string Megabytes(double bytes) => (bytes / 1e6).ToString("0.00", CultureInfo.InvariantCulture);

    public static string Number(double value)
    {
        var size = Math.Abs(value);
        return value.ToString(size >= 100 ? "0" : size >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);
    }

    /// <summary>A latency with its unit.</summary>
    public static string Latency(TimeSpan duration)
    {
        var ms = duration.TotalMilliseconds;
        var text = ms switch
        {
            < 0.0995 => $"{(ms * 1000).ToString("0", CultureInfo.InvariantCulture)} µs",
            < 9.995 => $"{ms.ToString("0.00", CultureInfo.InvariantCulture)} ms",
            < 999.5 => $"{ms.ToString("0", CultureInfo.InvariantCulture)} ms",
            _ => $"{(ms / 1000).ToString("0.00", CultureInfo.InvariantCulture)} s",
        };
        return text;
    }

    public static string Clock(TimeSpan time) =>
        time.ToString(time.TotalHours >= 1 ? @"h\:mm\:ss\.f" : @"m\:ss\.f", CultureInfo.InvariantCulture);

    public static string Moment(DateTimeOffset time) => time.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);

    public static string LapTime(TimeSpan time) =>
        time.ToString(time.TotalHours >= 1 ? @"h\:mm\:ss\.fff" : @"m\:ss\.fff", CultureInfo.InvariantCulture);
}
