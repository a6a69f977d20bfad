using System.Globalization;
using System.Runtime;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace MA.Streaming.Benchmarks;

/// <summary>Figures as people read them.</summary>
internal static class Numbers
{
    public static string Short(double value)
    {
        var format = Math.Abs(value) switch
        {
            >= 9_999_500 => "0,,.0 M",
            >= 999_500 => "0,,.00 M",
            >= 9_995 => "0, k",
            >= 1_000 => "0,.0 k",
            >= 99.5 or 0 => "0",
            >= 10 => "0.0",
            _ => "0.00",
        };
        return value.ToString(format, CultureInfo.InvariantCulture);
    }

    public static string Of(Spread spread) => $"{Short(spread.Median)} ({Short(spread.Min)}–{Short(spread.Max)})";

    /// <summary>Empty where the limit is next to nothing: such a ratio says nothing.</summary>
    public static string Ratio(double? ratio) => ratio is { } value and < 1_000 ? value.ToString(value < 0.1 ? "0.000" : value < 100 ? "0.00" : "0", CultureInfo.InvariantCulture) : "";
}

/// <summary>Results as text, JSON and a Markdown table.</summary>
internal static partial class Report
{
    private const string FiguresEnd = "<!-- end of figures -->";
    private const int BarWidth = 40;

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    public static async Task WriteTextAsync(TextWriter output, Result result, bool isDry)
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"{result.Benchmark.Name}: {result.Benchmark.Description}");
        text.AppendLine(CultureInfo.InvariantCulture, $"  limit: {result.Benchmark.Limit}");
        foreach (var comparison in result.Comparisons())
        {
            var metric = comparison.Metric;
            var verdict = isDry || comparison.IsMet is not { } met ? "" : $"  target {metric.Target}: {(met ? "OK" : "MISS")}";
            text.AppendLine(CultureInfo.InvariantCulture, $"  {metric.Name}, {metric.Unit}{verdict}");
            var most = Math.Max(comparison.Subject.Median, comparison.Limit?.Median ?? 0);
            text.AppendLine(CultureInfo.InvariantCulture, $"    Stream API {Bar(comparison.Subject.Median, most)} {Numbers.Of(comparison.Subject)}");
            if (comparison.Limit is not { } limit) continue;
            text.AppendLine(CultureInfo.InvariantCulture, $"    limit      {Bar(limit.Median, most)} {Numbers.Of(limit)}  ratio {Numbers.Ratio(comparison.Ratio)}");
        }

        text.AppendLine(
            CultureInfo.InvariantCulture, $"  memory at the end: heap {result.HeapBytes >> 20} MiB, working set {result.WorkingSetBytes >> 20} MiB");
        await output.WriteLineAsync(text.ToString());
    }

    public static string Json(IReadOnlyList<Result> results, RunOptions options) =>
        JsonSerializer.Serialize(
            new
            {
                machine = new
                {
                    cores = Environment.ProcessorCount,
                    memoryMiB = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 20,
                    architecture = RuntimeInformation.ProcessArchitecture.ToString(),
                    os = RuntimeInformation.OSDescription,
                    runtime = RuntimeInformation.FrameworkDescription,
                    serverGc = GCSettings.IsServerGC,
                    configuration = Configuration,
                },
                dry = options.IsDry,
                rounds = options.Rounds,
                benchmarks = results.Select(r => new
                {
                    name = r.Benchmark.Name,
                    description = r.Benchmark.Description,
                    limit = r.Benchmark.Limit,
                    heapBytes = r.HeapBytes,
                    workingSetBytes = r.WorkingSetBytes,
                    figures = r.Comparisons().Select(c => new
                    {
                        name = c.Metric.Name,
                        unit = c.Metric.Unit,
                        subject = c.Subject,
                        limit = c.Limit,
                        ratio = c.Ratio,
                        target = c.Metric.Target?.ToString(),
                        met = options.IsDry ? null : c.IsMet,
                    }),
                    subjectSamples = r.Subject,
                    limitSamples = r.Limit,
                }),
            },
            Indented);

    /// <summary>
    /// Puts the table into the file's place for figures, or makes the file. It may have several places, each for the benchmarks whose
    /// names begin with what it says and one for all others; those for which there are no results stay as they are.
    /// </summary>
    public static async Task WriteMarkdownAsync(string file, IReadOnlyList<Result> results, RunOptions options)
    {
        var text = File.Exists(file) ? await File.ReadAllTextAsync(file) : "";
        var places = Places().Matches(text);
        if (places.Count == 0)
        {
            await File.WriteAllTextAsync(file, Markdown(results, options));
            return;
        }

        var byPlace = results.ToLookup(result => places.Select(Prefix).Where(p => result.Benchmark.Name.StartsWith(p, StringComparison.Ordinal)).MaxBy(p => p.Length));
        await File.WriteAllTextAsync(file, Places().Replace(text, place =>
            byPlace[Prefix(place)].ToList() is { Count: > 0 } own ? $"{place.Groups["start"]}\n{Markdown(own, options)}{FiguresEnd}" : place.Value));

        static string Prefix(Match place) => place.Groups["prefix"].Value;
    }

    private static string Markdown(IReadOnlyList<Result> results, RunOptions options)
    {
        var text = new StringBuilder();
        text.Append(
            CultureInfo.InvariantCulture,
            $"{Environment.ProcessorCount} cores, {RuntimeInformation.ProcessArchitecture}, {RuntimeInformation.OSDescription}, ");
        text.Append(CultureInfo.InvariantCulture, $"{RuntimeInformation.FrameworkDescription}, {Configuration}, {options.Rounds} rounds");
        text.Append(options.IsDry ? "; a dry run: the figures mean nothing.\n\n" : ". Median (minimum–maximum) over the rounds.\n\n");
        text.Append("| benchmark | figure | Stream API | limit | ratio | target | |\n|---|---|---|---|---|---|---|\n");
        foreach (var result in results)
        {
            var name = result.Benchmark.Name;
            foreach (var c in result.Comparisons())
            {
                var verdict = options.IsDry || c.IsMet is not { } met ? "" : met ? "OK" : "MISS";
                text.Append(CultureInfo.InvariantCulture, $"| {name} | {c.Metric.Name}, {c.Metric.Unit} | {Numbers.Of(c.Subject)} | ");
                text.Append(CultureInfo.InvariantCulture, $"{(c.Limit is { } limit ? Numbers.Of(limit) : "")} | {Numbers.Ratio(c.Ratio)} | ");
                text.Append(CultureInfo.InvariantCulture, $"{c.Metric.Target} | {verdict} |\n");
                name = "";
            }
        }

        return text.ToString();
    }

    [GeneratedRegex($"(?<start><!-- figures ?(?<prefix>[a-z-]*) -->).*?{FiguresEnd}", RegexOptions.Singleline | RegexOptions.ExplicitCapture)]
    private static partial Regex Places();

    private static string Bar(double value, double most)
    {
        var length = most > 0 ? (int)Math.Round(Math.Max(0, value) / most * BarWidth) : 0;
        return new string('█', length).PadRight(BarWidth, '·');
    }

#if DEBUG
    private const string Configuration = "Debug";
#else
    private const string Configuration = "Release";
#endif
}
