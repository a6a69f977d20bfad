using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using Spectre.Console;
using Spectre.Console.Rendering;
using Telemetry.Live;

namespace Telemetry.Terminal;

/// <summary>The car, the readers and the speed trace, redrawn in place.</summary>
internal sealed class LiveScreen(IAnsiConsole console) : IScreen
{
    private static readonly TimeSpan Refresh = TimeSpan.FromMilliseconds(125);

    private const int BarWidth = 18;
    private const int FixedLines = 13;
    private const double TraceSeconds = 90;

    public async Task ShowAsync(LiveRun run, Task over)
    {
        var rates = new Rates();
        await console.Live(Draw(run, rates)).AutoClear(true).Overflow(VerticalOverflow.Crop).StartAsync(async live =>
        {
            while (await Task.WhenAny(over, Task.Delay(Refresh)) != over)
            {
                live.UpdateTarget(Draw(run, rates));
                live.Refresh();
            }
        });
    }

    private Rows Draw(LiveRun run, Rates rates)
    {
        // What does not fit stays away, the least important first.
        var watched = Watched(run);
        var space = console.Profile.Height - FixedLines;
        var parts = new List<IRenderable> { Progress(run), new Text("") };
        if (space >= watched.Count + 1)
        {
            parts.Add(Gauges(watched));
            parts.Add(new Text(""));
            space -= watched.Count + 1;
        }

        if (space >= 6) parts.Add(Trace(run, Math.Min(13, space - 2)));
        parts.Add(Traffic(run, rates));
        return new Rows(parts);
    }

    private static Markup Progress(LiveRun run)
    {
        const int Width = 30;
        var share = run.Source.Length > TimeSpan.Zero ? Math.Clamp(run.Played / run.Source.Length, 0, 1) : 0;
        var done = (int)Math.Round(share * Width);
        var laps = run.Watcher.Laps;
        var last = laps.Count > 0 ? $"   {Markup.Escape(laps[^1].Label)} [bold]{Words.LapTime(laps[^1].Time)}[/]" : "";
        return new Markup(
            $"[bold]{Markup.Escape(run.Source.SessionIdentifier)}[/]   [deepskyblue1]{new string('━', done)}[/][grey35]{new string('━', Width - done)}[/] "
            + $"{Words.Clock(run.Played)} of {Words.Clock(run.Source.Length)} [grey](at {run.SpeedText})[/]{last}");
    }

    private static List<(string Gauge, string Name)> Watched(LiveRun run)
    {
        var gauges = run.Source.Watched.Select(parameter => (Gauge(run, parameter), parameter)).ToList();
        // Two columns.
        var half = (gauges.Count + 1) / 2;
        return [.. Enumerable.Range(0, half).Select(i => (gauges[i].Item1 + "\n" + (i + half < gauges.Count ? gauges[i + half].Item1 : ""), gauges[i].parameter))];
    }

    private static Grid Gauges(List<(string Gauge, string Name)> watched)
    {
        var grid = new Grid().AddColumn(new GridColumn().PadRight(4)).AddColumn();
        foreach (var (gauge, _) in watched)
        {
            var sides = gauge.Split('\n');
            grid.AddRow(new Markup(sides[0]), new Markup(sides[1]));
        }

        return grid;
    }

    private static string Gauge(LiveRun run, string parameter)
    {
        var definition = run.Definitions.GetValueOrDefault(parameter);
        var unit = definition?.Units ?? "";
        var name = Markup.Escape(parameter.Length > 15 ? parameter[..15] : parameter).PadRight(15);
        if (run.Watcher.Latest(parameter) is not { } reading || !reading.Value.IsNumeric) return $"[grey]{name}[/]";

        var value = reading.Value.ToDouble();
        var text = reading.Status == DataStatus.Missing ? "-" : reading.Value.Kind == SampleKind.Double ? Words.Number(value) : reading.Value.ToString();
        var (min, max) = (definition?.MinValue ?? 0, definition?.MaxValue ?? 0);
        var share = max > min ? Math.Clamp((value - min) / (max - min), 0, 1) : 0;
        var cells = (int)Math.Round(share * BarWidth);
        var isHigh = definition is not null && (value > definition.WarningMaxValue || value < definition.WarningMinValue);
        var colour = reading.Status == DataStatus.Error ? "red" : isHigh ? "orange1" : "green3";
        return $"[grey]{name}[/] {text,7} [grey]{Markup.Escape(unit),-7}[/] [{colour}]{new string('█', cells)}[/][grey23]{new string('░', BarWidth - cells)}[/]";
    }

    private Rows Trace(LiveRun run, int height)
    {
        var points = run.Watcher.Speed.OverTime(TraceSeconds);
        var width = Math.Min(console.Profile.Width - 1, 118);
        var lines = Plot.Render(points, width, height, braille: true, "s");
        var unit = run.Source.SpeedParameter is { } speed ? $"{speed} ({run.Definitions.GetValueOrDefault(speed)?.Units})" : "no speed";
        var title = new Markup($"[grey]{Markup.Escape(unit)}, the last {TraceSeconds:0} s as read[/]");
        return lines.Count == 0 ? new Rows(title) : new Rows(new IRenderable[] { title }.Concat(lines.Select(l => new Text(l, new Style(Color.DeepSkyBlue1)))));
    }

    private static Table Traffic(LiveRun run, Rates rates)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumn("");
        foreach (var head in new[] { "packets", "packets/s", "samples/s", "MB/s", "p50", "p90", "p99", "max" }) table.AddColumn(new TableColumn($"[grey]{head}[/]").RightAligned());

        var written = rates.Of("", run.Written);
        table.AddRow("[bold]written[/]", Words.Count(run.Written.Packets), Words.Count(written.Packets), Words.Count(written.Samples), Words.Megabytes(written.Bytes), "", "", "", "");
        foreach (var (plan, read, latency) in run.Readers)
        {
            var rate = rates.Of(plan.Name, read);
            table.AddRow(
                Markup.Escape(plan.Name),
                Words.Count(read.Packets),
                Words.Count(rate.Packets),
                rate.Samples > 0 ? Words.Count(rate.Samples) : "",
                Words.Megabytes(rate.Bytes),
                Share(0.5),
                Share(0.9),
                Share(0.99),
                latency.Count > 0 ? Words.Latency(latency.Max) : "");

            string Share(double share) => latency.Count > 0 ? Words.Latency(latency.Percentile(share)) : "";
        }

        return table.Caption(Markup.Escape(run.Watcher.LastNews), new Style(Color.Grey));
    }
}
