using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace MA.Streaming.Benchmarks;

/// <summary>What the command line asks for.</summary>
internal sealed record RunOptions
{
    private const int RoundsMax = 1_000;

    public IReadOnlyList<Benchmark> Benchmarks { get; private init; } = Suite.All;

    public bool IsDry { get; private init; }

    public int Rounds { get; private init; } = 5;

    public string? JsonFile { get; private init; }

    public string? MarkdownFile { get; private init; }

    public bool ShowHelp { get; private init; }

    public bool ShowList { get; private init; }

    public string? Directory { get; private init; }

    /// <summary>False, with what is wrong in words, when the arguments are.</summary>
    public static bool TryParse(IReadOnlyList<string> args, [NotNullWhen(true)] out RunOptions? options, [NotNullWhen(false)] out string? mistake)
    {
        options = null;
        var parsed = new RunOptions();
        int? rounds = null;
        var names = new List<string>();
        for (var i = 0; i < args.Count; i++)
        {
            var arg = args[i];
            var value = i + 1 < args.Count && !args[i + 1].StartsWith("--", StringComparison.Ordinal) ? args[i + 1] : null;
            switch (arg)
            {
                case "--help" or "-h":
                    parsed = parsed with { ShowHelp = true };
                    break;
                case "--list":
                    parsed = parsed with { ShowList = true };
                    break;
                case "--dry":
                    parsed = parsed with { IsDry = true };
                    break;
                case "--rounds" or "--json" or "--markdown" or "--directory" when value is null:
                    mistake = $"option '{arg}' needs a value";
                    return false;
                case "--rounds":
                    if (!int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var count) || count is < 1 or > RoundsMax)
                    {
                        mistake = $"--rounds is '{value}'; allowed are 1 to {RoundsMax}";
                        return false;
                    }

                    rounds = count;
                    i++;
                    break;
                case "--json":
                    parsed = parsed with { JsonFile = value };
                    i++;
                    break;
                case "--directory":
                    if (!System.IO.Directory.Exists(value))
                    {
                        mistake = $"--directory is '{value}', which does not exist";
                        return false;
                    }

                    parsed = parsed with { Directory = value };
                    i++;
                    break;
                case "--markdown":
                    parsed = parsed with { MarkdownFile = value };
                    i++;
                    break;
                default:
                    if (arg.StartsWith('-'))
                    {
                        mistake = $"there is no option '{arg}'";
                        return false;
                    }

                    names.Add(arg);
                    break;
            }
        }

        if (names.Find(name => !Suite.All.Any(b => Matches(b, name))) is { } unknown)
        {
            mistake = $"there is no benchmark '{unknown}'; there are {string.Join(", ", Suite.All.Select(b => b.Name))}";
            return false;
        }

        mistake = null;
        options = parsed with
        {
            Rounds = rounds ?? (parsed.IsDry ? 1 : parsed.Rounds),
            Benchmarks = names.Count == 0 ? Suite.All : [.. Suite.All.Where(b => names.Exists(name => Matches(b, name)))],
        };
        return true;
    }

    private static bool Matches(Benchmark benchmark, string name) => benchmark.Name.StartsWith(name, StringComparison.Ordinal);
}
