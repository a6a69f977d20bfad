using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;

namespace Telemetry.Car;

/// <summary>One parameter of the car: what it is called, its unit and range, and how to read it off the simulation.</summary>
public sealed record Channel(
    string Identifier, string Name, string Unit, double Min, double Max, Func<CarSimulation, SampleValue> Read)
{
    public double? WarningMin { get; init; }

    public double? WarningMax { get; init; }

    public string Format { get; init; } = "%.2f";

    public DataType Type { get; init; } = DataType.Float64;

    /// <summary>Whether the sensor works at the moment.</summary>
    public Func<CarSimulation, DataStatus> Status { get; init; } = static _ => DataStatus.Valid;

    public ParameterDefinition Define(SampleGroup group) => new()
    {
        Identifier = Identifier,
        Name = Identifier,
        Description = Name,
        ApplicationName = "Car",
        Groups = { group.Name },
        Units = Unit,
        DataType = Type,
        FormatString = Format,
        MinValue = Min,
        MaxValue = Max,
        WarningMinValue = WarningMin ?? Min,
        WarningMaxValue = WarningMax ?? Max,
        Frequencies = { group.Rate > 0 ? [group.Rate] : Array.Empty<double>() },
        IncludesRowData = group.Layout == SampleLayout.Row,
        IncludesSynchroData = group.Layout == SampleLayout.Synchro,
    };
}
