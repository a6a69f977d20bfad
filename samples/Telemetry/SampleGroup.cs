namespace Telemetry;

public enum SampleLayout
{
    Periodic,
    Row,
    Synchro,
}

/// <summary>Parameters that are sampled together and travel in one kind of packet on one stream.</summary>
/// <param name="Name">What people call it.</param>
/// <param name="Stream">The stream it is written to.</param>
/// <param name="Layout">How its packets keep time.</param>
/// <param name="Rate">Samples a second; 0 where they come when they come.</param>
/// <param name="Parameters">Their identifiers, in the order of the data format.</param>
/// <param name="NamesParametersInline">Its packets carry the identifiers instead of a data format id.</param>
public sealed record SampleGroup(
    string Name, string Stream, SampleLayout Layout, double Rate, IReadOnlyList<string> Parameters, bool NamesParametersInline = false);
