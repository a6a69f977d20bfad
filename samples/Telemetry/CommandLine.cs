using System.Globalization;

namespace Telemetry;

/// <summary>What the user asked for.</summary>
/// <param name="Laps">Laps of the simulated car.</param>
/// <param name="Seed">The simulated car's random numbers.</param>
/// <param name="Speed">Seconds of telemetry in a second; null does not wait.</param>
/// <param name="LogDirectory">The recorded log to play instead, or null.</param>
/// <param name="BrokerUrl">Where the packets are kept.</param>
/// <param name="ShowHelp">Only explain.</param>
public sealed record CommandLine(int Laps, int Seed, double? Speed, string? LogDirectory, string BrokerUrl, bool ShowHelp)
{
    public const int LapsMax = 100;
    public const double DefaultSpeed = 12;
    public const string DefaultBrokerUrl = "embedded:";

    public const string Help = """
        A car on its laps, written live to a Stream API inside this process and followed by several
        readers at once. At the end every reader's packets are compared with what was written for it.

        usage: Telemetry [--laps N] [--seed N] [--speed X] [--broker URL]
               Telemetry --log DIR [--speed X] [--broker URL]

          --laps N      laps of the simulated car, 1 to 100 (default 3)
          --seed N      0 to 2147483647 (default 1); the same seed writes the same samples
          --speed X     seconds of telemetry in a second, 1 to 1000, or max (default 12). With max the
                        writer waits for nothing but readers that are 64 MiB behind
          --log DIR     play a recorded log instead of the simulated car: parameters.json, *.csv or
                        *.csv.gz (first column t_s, t_ms or t_us), and laps.json where there are laps.
                        Recorded timestamps and units are kept; a log that does not say when it began
                        begins at 2000-01-01T00:00:00Z. It is checked whole before anything is written
          --broker URL  where the packets are kept: embedded: (default, a durable log in ./stream-api-data,
                        where the sessions of every run stay), embedded:PATH, or memory:
          --help        this

        Latencies are measured from the moment a packet is handed to its write call until a reader has
        it, with the same clock on both sides.

        exit code: 0 every reader got exactly what was written for it; 1 something differs or the Stream
        API failed; 2 the arguments or the log are wrong
        """;

    /// <summary>Reads the arguments.</summary>
    /// <exception cref="CommandLineException">Says which option, which value, and what is allowed.</exception>
    public static CommandLine Parse(IReadOnlyList<string> arguments)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < arguments.Count; i++)
        {
            var (option, value) = Split(arguments[i]);
            switch (option)
            {
                case "--help" or "-h" or "-?":
                    return new(3, 1, DefaultSpeed, null, DefaultBrokerUrl, ShowHelp: true);
                case "--laps" or "--seed" or "--speed" or "--log" or "--broker":
                    value ??= ++i < arguments.Count ? arguments[i] : throw Missing(option);
                    if (!values.TryAdd(option, value)) throw new CommandLineException($"{option}: given twice, as '{values[option]}' and '{value}'");
                    break;
                default:
                    throw new CommandLineException($"'{arguments[i]}' is no option; allowed: --laps, --seed, --speed, --log, --broker, --help");
            }
        }

        if (values.TryGetValue("--log", out var log))
        {
            foreach (var option in new[] { "--laps", "--seed" })
            {
                if (values.TryGetValue(option, out var value))
                    throw new CommandLineException($"{option}: '{value}' does not go with --log; a recorded log is played as it is");
            }

            if (!Directory.Exists(log)) throw Wrong("--log", log);
        }

        return new(
            Laps: values.TryGetValue("--laps", out var laps) ? Whole("--laps", laps, 1, LapsMax) : 3,
            Seed: values.TryGetValue("--seed", out var seed) ? Whole("--seed", seed, 0, int.MaxValue) : 1,
            Speed: values.TryGetValue("--speed", out var speed) ? SpeedOf(speed) : DefaultSpeed,
            LogDirectory: log,
            BrokerUrl: values.GetValueOrDefault("--broker", DefaultBrokerUrl),
            ShowHelp: false);
    }

    private static (string Option, string? Value) Split(string argument)
    {
        var equals = argument.StartsWith("--", StringComparison.Ordinal) ? argument.IndexOf('=', StringComparison.Ordinal) : -1;
        return equals < 0 ? (argument, null) : (argument[..equals], argument[(equals + 1)..]);
    }

    private static int Whole(string option, string text, int min, int max) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw Wrong(option, text);

    private static double? SpeedOf(string text)
    {
        if (text == "max") return null;
        return double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value) && value is >= 1 and <= 1000
            ? value
            : throw Wrong("--speed", text);
    }

    private static CommandLineException Wrong(string option, string value) => new($"{option}: '{value}' is not allowed; allowed: {Allowed(option)}");

    private static CommandLineException Missing(string option) => new($"{option}: a value is missing; allowed: {Allowed(option)}");

    private static string Allowed(string option) => option switch
    {
        "--laps" => $"a whole number from 1 to {LapsMax}",
        "--seed" => $"a whole number from 0 to {int.MaxValue}",
        "--speed" => "a number from 1 to 1000, or max",
        "--broker" => "embedded:, embedded:PATH or memory:",
        _ => "a directory with parameters.json and *.csv or *.csv.gz",
    };
}

/// <summary>The arguments are wrong; the message names option, value and what is allowed.</summary>
public sealed class CommandLineException(string message) : Exception(message);
