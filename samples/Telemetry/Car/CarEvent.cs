namespace Telemetry.Car;

public enum CarEventKind
{
    GearShift,
    LockUp,
    WheelSpin,
    DrsOpen,
    DrsClosed,
}

/// <summary>Something that happened at one moment, with the numbers that describe it.</summary>
public sealed record CarEvent(CarEventKind Kind, IReadOnlyList<double> Values);
