using System.Diagnostics;
using Telemetry.Live;

namespace Telemetry.Terminal;

/// <summary>What went by in a second, lately.</summary>
public readonly record struct Rate(double Packets, double Samples, double Bytes);

/// <summary>Turns counters into rates over the last second or so.</summary>
internal sealed class Rates
{
    private static readonly TimeSpan Window = TimeSpan.FromSeconds(1);

    private readonly Dictionary<string, Queue<(long At, long Packets, long Samples, long Bytes)>> _history = [];

    public Rate Of(string name, Counters counters)
    {
        if (!_history.TryGetValue(name, out var history)) _history[name] = history = [];
        var now = (At: Stopwatch.GetTimestamp(), counters.Packets, counters.Samples, counters.Bytes);
        history.Enqueue(now);
        while (history.Count > 2 && Stopwatch.GetElapsedTime(history.Peek().At, now.At) > Window) history.Dequeue();
        var first = history.Peek();
        var seconds = Stopwatch.GetElapsedTime(first.At, now.At).TotalSeconds;
        return seconds <= 0
            ? default
            : new((now.Packets - first.Packets) / seconds, (now.Samples - first.Samples) / seconds, (now.Bytes - first.Bytes) / seconds);
    }
}
