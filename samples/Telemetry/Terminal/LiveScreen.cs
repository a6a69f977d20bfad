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

    private const int GaugeTextWidth = 32;
    private const int WideColumns = 100;
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
        var gaugeLines = (run.Source.Watched.Count + 1) / 2;
        var space = console.Profile.Height - FixedLines;
        var parts = new List<IRenderable> { Progress(run), new Text("") };
        if (space >= gaugeLines + 1)
        {
            parts.Add(Gauges(run));
            parts.Add(new Text(""));
            space -= gaugeLines + 1;
        }

        if (space >= 6) parts.Add(Trace(run, Math.Min(13, space - 2)));
        parts.Add(Traffic(run, rates));
        return new Rows(parts);
    }

    private Markup Progress(LiveRun run)
    {
        var width = console.Profile.Width >= WideColumns ? 30 : 16;
        var share = run.Source.Length > TimeSpan.Zero ? Math.Clamp(run.Played / run.Source.Length, 0, 1) : 0;
        var done = (int)Math.Round(share * width);
        var laps = run.Watcher.Laps;
        var last = laps.Count > 0 ? $"   {Markup.Escape(laps[^1].Label)} [bold]{Words.LapTime(laps[^1].Time)}[/]" : "";
        return new Markup(
            $"[bold]{Markup.Escape(run.Source.SessionIdentifier)}[/]   "
            + $"[deepskyblue1]{new string('━', done)}[/][grey35]{new string('━', width - done)}[/] "
            + $"{Words.Clock(run.Played)} of {Words.Clock(run.Source.Length)} [grey](at {run.SpeedText})[/]{last}");
    }

    // Two columns.
    private Grid Gauges(LiveRun run)
    {
        var grid = new Grid().AddColumn(new GridColumn().PadRight(4).NoWrap()).AddColumn(new GridColumn().NoWrap());
        var barWidth = Math.Clamp((console.Profile.Width - 6) / 2 - GaugeTextWidth, 2, 24);
        var gauges = run.Source.Watched.Select(parameter => new Markup(Gauge(run, parameter, barWidth))).ToList();
        var half = (gauges.Count + 1) / 2;
        for (var i = 0; i < half; i++) grid.AddRow(gauges[i], i + half < gauges.Count ? gauges[i + half] : new Markup(""));
        return grid;
    }

    private static string Gauge(LiveRun run, string parameter, int barWidth)
    {
        var definition = run.Definitions.GetValueOrDefault(parameter);
        var unit = definition?.Units ?? "";
        var name = Markup.Escape(parameter.Length > 15 ? parameter[..15] : parameter).PadRight(15);
        if (run.Watcher.Latest(parameter) is not { } reading || !reading.Value.IsNumeric) return $"[grey]{name}[/]";

        var value = reading.Value.ToDouble();
        var number = reading.Value.Kind == SampleKind.Double ? Words.Number(value) : reading.Value.ToString();
        var text = reading.Status == DataStatus.Missing ? "-" : number;
        var (min, max) = (definition?.MinValue ?? 0, definition?.MaxValue ?? 0);
        var share = max > min ? Math.Clamp((value - min) / (max - min), 0, 1) : 0;
        var cells = (int)Math.Round(share * barWidth);
        var isHigh = definition is not null && (value > definition.WarningMaxValue || value < definition.WarningMinValue);
        var colour = reading.Status == DataStatus.Error ? "red" : isHigh ? "orange1" : "green3";
        var bar = $"[{colour}]{new string('█', cells)}[/][grey23]{new string('░', barWidth - cells)}[/]";
        return $"[grey]{name}[/] {text,7} [grey]{Markup.Escape(unit),-7}[/] {bar}";
    }

    private Rows Trace(LiveRun run, int height)
    {
        var points = run.Watcher.Speed.OverTime(TraceSeconds);
        var width = Math.Min(console.Profile.Width - 1, 118);
        var lines = Plot.Render(points, width, height, braille: true, "s");
        var unit = run.Source.SpeedParameter is { } speed ? $"{speed} ({run.Definitions.GetValueOrDefault(speed)?.Units})" : "no speed";
        var title = new Markup($"[grey]{Markup.Escape(unit)}, the last {TraceSeconds:0} s as read[/]");
        return new Rows([title, .. lines.Select(l => new Text(l, new Style(Color.DeepSkyBlue1)))]);
    }

    // A narrow terminal shows the columns that count.
    private Table Traffic(LiveRun run, Rates rates)
    {
        var isWide = console.Profile.Width >= WideColumns;
        var table = new Table().Border(TableBorder.Simple).AddColumn("");
        string[] heads = ["packets", "packets/s", "samples/s", "MB/s", "p50", "p90", "p99", "max"];
        foreach (var head in Chosen(heads)) table.AddColumn(new TableColumn($"[grey]{head}[/]").RightAligned().NoWrap());

        table.AddRow(["[bold]written[/]", .. Chosen([.. Flow(run.Written, rates.Of("", run.Written)), "", "", "", ""])]);
        foreach (var (plan, read, latency) in run.Readers)
        {
            var shares = latency.Count > 0
                ? [Words.Latency(latency.Percentile(0.5)), Words.Latency(latency.Percentile(0.9)), Words.Latency(latency.Percentile(0.99)), Words.Latency(latency.Max)]
                : new[] { "", "", "", "" };
            table.AddRow([Markup.Escape(plan.Name), .. Chosen([.. Flow(read, rates.Of(plan.Name, read)), .. shares])]);
        }

        return table.Caption(Markup.Escape(run.Watcher.LastNews), new Style(Color.Grey));

        IEnumerable<string> Chosen(string[] cells) => isWide ? cells : [.. cells[..3], cells[4], cells[6]];

        static string[] Flow(Counters counters, Rate rate) =>
        [
            Words.Count(counters.Packets), Words.Count(rate.Packets), rate.Samples > 0 ? Words.Count(rate.Samples) : "", Words.Megabytes(rate.Bytes),
        ];
    }
}
