using System.Text.RegularExpressions;
using MA.Streaming.API;

namespace Telemetry.Live;

public enum ReadKind
{
    /// <summary>ReadPackets.</summary>
    Packets,

    /// <summary>ReadDataPackets with a filter.</summary>
    Data,

    /// <summary>ReadEssentials, to its end.</summary>
    Essentials,
}

/// <summary>
/// What one reader asks for, and, worked out here once more from the documented rules and from what the writer knows of its
/// packets, what it must get: an include list that is empty lets everything pass, an exclude wins, a packet comes whole if one of
/// its parameters passes, the lists for parameters and events know nothing of each other, markers come when asked for.
/// </summary>
public sealed record ReaderPlan(string Name, string Purpose, ReadKind Kind)
{
    /// <summary>The streams to read, without the main one; none means everything.</summary>
    public IReadOnlyList<string> Streams { get; init; } = [];

    public IReadOnlyList<string> IncludeParameters { get; init; } = [];

    public IReadOnlyList<string> ExcludeParameters { get; init; } = [];

    public IReadOnlyList<string> IncludeEvents { get; init; } = [];

    public IReadOnlyList<string> ExcludeEvents { get; init; } = [];

    public bool IncludeMarkers { get; init; }

    public DataPacketRequest ToRequest(Connection connection) => new()
    {
        Connection = connection,
        IncludeParameters = { IncludeParameters },
        ExcludeParameters = { ExcludeParameters },
        IncludeEvents = { IncludeEvents },
        ExcludeEvents = { ExcludeEvents },
        IncludeMarkers = IncludeMarkers,
    };

    public bool Expects(TelemetryPacket packet) => Kind switch
    {
        ReadKind.Essentials => packet.IsEssential,
        _ when Streams.Count > 0 && !Streams.Contains(packet.Stream) => false,
        ReadKind.Packets => true,
        _ => packet.Type switch
        {
            "PeriodicData" or "RowData" or "SynchroData" => packet.Parameters.Any(p => Passes(p, IncludeParameters, ExcludeParameters)),
            "Event" => Passes(packet.Event!, IncludeEvents, ExcludeEvents),
            "Marker" => IncludeMarkers,
            _ => false,
        },
    };

    private static bool Passes(string identifier, IReadOnlyList<string> include, IReadOnlyList<string> exclude) =>
        (include.Count == 0 || include.Any(pattern => Regex.IsMatch(identifier, pattern)))
        && !exclude.Any(pattern => Regex.IsMatch(identifier, pattern));
}
