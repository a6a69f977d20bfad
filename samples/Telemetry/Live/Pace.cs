using System.Diagnostics;

namespace Telemetry.Live;

/// <summary>Keeps the source's clock to so many of its seconds in a second; null does not wait at all.</summary>
public sealed class Pace(double? speed)
{
    private static readonly TimeSpan Worthwhile = TimeSpan.FromMilliseconds(2);

    private readonly Stopwatch _clock = Stopwatch.StartNew();

    public async ValueTask WaitUntilAsync(TimeSpan due, CancellationToken cancellationToken)
    {
        if (speed is not { } factor) return;
        var ahead = due / factor - _clock.Elapsed;
        if (ahead > Worthwhile) await Task.Delay(ahead, cancellationToken);
    }
}
