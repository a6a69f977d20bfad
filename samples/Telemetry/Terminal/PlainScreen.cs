using Telemetry.Live;

namespace Telemetry.Terminal;

/// <summary>A line a second, for logs and pipes.</summary>
internal sealed class PlainScreen(TextWriter output) : IScreen
{
    public async Task ShowAsync(LiveRun run, Task over)
    {
        var rates = new Rates();
        rates.Of("", run.Written);
        while (await Task.WhenAny(over, Task.Delay(TimeSpan.FromSeconds(1))) != over)
        {
            var rate = rates.Of("", run.Written);
            var readers = run.Readers.Where(r => r.Plan.Kind != ReadKind.Essentials && r.Latency.Count > 0).Select(r =>
            {
                var (p50, p99) = (Words.Latency(r.Latency.Percentile(0.5)), Words.Latency(r.Latency.Percentile(0.99)));
                return $"{r.Plan.Name} {Words.Count(r.Read.Packets)} (p50 {p50}, p99 {p99})";
            });
            await output.WriteLineAsync(
                $"{Words.Clock(run.Played)} of {Words.Clock(run.Source.Length)}: wrote {Words.Count(run.Written.Packets)} packets, "
                + $"{Words.Count(rate.Packets)}/s, {Words.Count(rate.Samples)} samples/s, {Words.Megabytes(rate.Bytes)} MB/s; "
                + $"read {string.Join(", ", readers)}");
            await output.FlushAsync();
        }
    }
}
