using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Packets;

/// <summary>One value of one parameter at one time.</summary>
/// <param name="Parameter">The parameter's identifier.</param>
/// <param name="TimestampNanoseconds">Nanoseconds since 1970-01-01T00:00:00Z.</param>
/// <param name="Value">The value, as it was written, whatever the status says about it.</param>
/// <param name="Status">The status as it was written; writers that set none leave <see cref="DataStatus.Unspecified"/>.</param>
public readonly record struct Sample(string Parameter, ulong TimestampNanoseconds, SampleValue Value, DataStatus Status);
