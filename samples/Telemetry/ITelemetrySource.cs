using MA.Streaming.OpenData;

namespace Telemetry;

/// <summary>Where the telemetry comes from: the simulated car or a recorded log.</summary>
public interface ITelemetrySource
{
    /// <summary>The car's name on the broker.</summary>
    string DataSource { get; }

    /// <summary>What the session is called.</summary>
    string SessionIdentifier { get; }

    /// <summary>Facts about the session, for people.</summary>
    IReadOnlyDictionary<string, string> SessionDetails { get; }

    /// <summary>The time of <see cref="TelemetryPacket.Due"/> zero.</summary>
    DateTimeOffset Start { get; }

    /// <summary>How long it lasts, as far as that is known beforehand.</summary>
    TimeSpan Length { get; }

    /// <summary>Every stream it writes to but the main one.</summary>
    IReadOnlyList<string> Streams { get; }

    IReadOnlyList<SampleGroup> Groups { get; }

    IReadOnlyList<string> Events { get; }

    /// <summary>Units, ranges and rates of every parameter.</summary>
    ConfigurationPacket Configuration { get; }

    /// <summary>The parameters worth a place on the screen, the most telling first.</summary>
    IReadOnlyList<string> Watched { get; }

    /// <summary>The parameter to plot, or null when there is none that means speed.</summary>
    string? SpeedParameter { get; }

    /// <summary>m/s for one unit of <see cref="SpeedParameter"/>.</summary>
    double MetresPerSecond { get; }

    /// <summary>Patterns that pick out the parameters around speed and revolutions.</summary>
    IReadOnlyList<string> SpeedPatterns { get; }

    /// <summary>The packets in the order of their due times; reads or computes them as they are asked for.</summary>
    IEnumerable<TelemetryPacket> Play(DataFormats formats);
}
