using System.Globalization;
using Spectre.Console;
using Telemetry.Live;

namespace Telemetry.Terminal;

/// <summary>What is left on the screen when the run is over: laps, the speed plot, latencies, and the comparison.</summary>
internal sealed class Report(IAnsiConsole console, bool isTerminal)
{
    private const int PlotHeight = 13;
    private const int LapsShown = 30;
    private const int SessionsShown = 8;
    private const int WideColumns = 112;

    public void Write(LiveRun run, RunOutcome outcome)
    {
        WriteLaps(run.Watcher.Laps);
        WritePlot(run);
        WriteReaders(outcome);
        WriteSessions(run, outcome.Sessions);
        WriteVerdict(run, outcome);
    }

    private void WriteLaps(IReadOnlyList<LapRecord> laps)
    {
        if (laps.Count == 0) return;
        var fastest = Fastest(laps);
        var hasNotes = laps.Any(l => !LooksLikeTime(l.Description));
        var table = hasNotes ? NewTable("lap", "time", "to the fastest", "kind") : NewTable("lap", "time", "to the fastest");
        table.Columns[1].RightAligned();
        table.Columns[2].RightAligned();
        foreach (var lap in laps.TakeLast(LapsShown))
        {
            var gap = lap.Time - fastest.Time;
            // An out lap may be shorter: it began on the track.
            var later = gap > TimeSpan.Zero ? gap.TotalSeconds.ToString("+0.000", CultureInfo.InvariantCulture) : "";
            var toFastest = gap == TimeSpan.Zero ? "fastest" : later;
            string[] cells = [Markup.Escape(lap.Label), Words.LapTime(lap.Time), toFastest];
            table.AddRow(hasNotes ? [.. cells, Markup.Escape(lap.Description)] : cells);
        }

        console.Write(table);
    }

    private void WritePlot(LiveRun run)
    {
        if (run.Source.SpeedParameter is not { } parameter) return;
        var laps = run.Watcher.Laps;
        var unit = run.Definitions.GetValueOrDefault(parameter)?.Units ?? "";
        var speed = run.Watcher.Speed;
        var fastest = laps.Count > 0 ? Fastest(laps) : null;
        var (points, title, xUnit) = fastest is not null
            ? (speed.OverDistance(fastest, run.Source.MetresPerSecond), $"{fastest.Label}: {parameter} ({unit}) against lap distance", "m")
            : (speed.OverTime(), $"{parameter} ({unit}) over time", "s");
        var lines = Plot.Render(points, Math.Min(isTerminal ? console.Profile.Width - 1 : 110, 118), PlotHeight, isTerminal, xUnit);
        if (lines.Count == 0) return;
        console.WriteLine();
        console.MarkupLine($"[bold]{Markup.Escape(title)}[/]");
        foreach (var line in lines) console.Write(new Text(line + "\n", new Style(Color.DeepSkyBlue1)));
        console.WriteLine();
    }

    private void WriteReaders(RunOutcome outcome)
    {
        // A narrow terminal shows the columns that count.
        var isWide = console.Profile.Width >= WideColumns;
        var table = isWide
            ? NewTable("reader", "reads", "written", "read", "MB", "p50", "p90", "p99", "max", "same")
            : NewTable("reader", "written", "read", "p50", "p99", "max", "same");
        foreach (var column in table.Columns.Skip(isWide ? 2 : 1)) column.RightAligned();
        foreach (var (plan, written, read, bytes, latency, differences) in outcome.Readers)
        {
            var same = differences.Count == 0 ? "[green]yes[/]" : "[red]NO[/]";
            var max = latency.Count > 0 ? Words.Latency(latency.Max) : "";
            if (isWide)
            {
                table.AddRow(
                    plan.Name, Markup.Escape(plan.Purpose), Words.Count(written), Words.Count(read), Words.Megabytes(bytes),
                    Share(0.5), Share(0.9), Share(0.99), max, same);
            }
            else
            {
                table.AddRow(plan.Name, Words.Count(written), Words.Count(read), Share(0.5), Share(0.99), max, same);
            }

            string Share(double share) => latency.Count > 0 ? Words.Latency(latency.Percentile(share)) : "";
        }

        console.Write(table);
        console.MarkupLine("[grey]p50 to max: from the moment a packet is handed to its write call until the reader has it[/]");
    }

    // With one there is nothing to tell; a durable log has those of earlier runs too.
    private void WriteSessions(LiveRun run, IReadOnlyList<KeptSession> sessions)
    {
        if (sessions.Count < 2) return;
        var table = NewTable("session", "identifier", "began", "ended", "");
        foreach (var session in sessions.TakeLast(SessionsShown))
        {
            table.AddRow(
                session.Key, Markup.Escape(session.Identifier), Words.Moment(session.Created),
                session.Ended is { } ended ? Words.Moment(ended) : "[yellow]open[/]", session.IsOfThisRun ? "this run" : "");
        }

        console.Write(table);
        console.MarkupLine($"[grey]{Words.Count(sessions.Count)} sessions of {Markup.Escape(run.Source.DataSource)} are kept in {Markup.Escape(run.Broker)}"
            + $"{(sessions.Count > SessionsShown ? $", the last {SessionsShown} are shown" : "")}[/]");
    }

    private void WriteVerdict(LiveRun run, RunOutcome outcome)
    {
        var seconds = Math.Max(0.001, outcome.Took.TotalSeconds);
        console.MarkupLine(
            $"{Words.Clock(outcome.Played)} of telemetry in {Words.Clock(outcome.Took)}: {Words.Count(run.Written.Packets)} packets, "
            + $"{Words.Count(run.Written.Samples)} samples ({Words.Count(run.Watcher.Missing)} missing, {Words.Count(run.Watcher.Wrong)} in error), "
            + $"{Words.Megabytes(run.Written.Bytes)} MB; "
            + $"{Words.Count(run.Written.Packets / seconds)} packets/s, {Words.Count(run.Written.Samples / seconds)} samples/s");
        if (outcome.StoppedEarly) console.MarkupLine("[yellow]stopped early[/]");
        foreach (var reader in outcome.Readers)
        {
            foreach (var difference in reader.Differences) console.MarkupLine($"[red]{Markup.Escape($"reader {reader.Plan.Name}: {difference}")}[/]");
        }

        foreach (var difference in outcome.OtherDifferences) console.MarkupLine($"[red]{Markup.Escape(difference)}[/]");
        console.MarkupLine(outcome.IsAsWritten
            ? "[green]Every reader got exactly what was written for it: same packets, same contents, same order in every stream.[/]"
            : "[red]What was read differs from what was written.[/]");
    }

    private Table NewTable(params string[] heads)
    {
        var table = new Table().Border(isTerminal ? TableBorder.Rounded : TableBorder.Ascii).BorderColor(Color.Grey35);
        foreach (var head in heads) table.AddColumn(new TableColumn($"[grey]{Markup.Escape(head)}[/]").NoWrap());
        return table;
    }

    private static LapRecord Fastest(IReadOnlyList<LapRecord> laps)
    {
        // A lap that somebody timed beats one that began or ended off the line.
        var timed = laps.Where(l => LooksLikeTime(l.Description) || l.Description == "timed").ToList();
        return (timed.Count > 0 ? timed : laps).MinBy(l => l.Time)!;
    }

    private static bool LooksLikeTime(string text) => text.Length > 0 && text.All(c => char.IsAsciiDigit(c) || c is ':' or '.');
}
