using Google.Protobuf;

namespace Telemetry;

/// <summary>A packet to write, and what its writer knows about it without looking inside.</summary>
/// <param name="Stream">The stream it goes to; empty is the main stream.</param>
/// <param name="Type">The packet's type, as on the wire.</param>
/// <param name="Content">The message, encoded.</param>
/// <param name="Due">When it is complete, on the source's clock: with its last sample.</param>
/// <param name="Parameters">The parameters it carries; none for events, markers and the rest.</param>
/// <param name="Event">The event it is, or null.</param>
/// <param name="Samples">How many samples it carries.</param>
/// <param name="IsEssential">Whether every reader needs it.</param>
public sealed record TelemetryPacket(
    string Stream,
    string Type,
    ByteString Content,
    TimeSpan Due,
    IReadOnlyList<string> Parameters,
    string? Event = null,
    int Samples = 0,
    bool IsEssential = false);
