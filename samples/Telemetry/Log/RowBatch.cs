using Google.Protobuf;
using MA.Streaming.OpenData;

namespace Telemetry.Log;

/// <summary>Rows of one file on their way into a packet.</summary>
internal sealed class RowBatch(SampleGroup group, SampleDataFormat format, ulong start)
{
    // A fifth of a second: at a live pace nobody waits longer, at 100 Hz a packet has twenty rows.
    private const long SpanNanoseconds = 200_000_000;
    private const int RowsMax = 250;

    private readonly RowDataPacket _packet = new() { DataFormat = format };
    private long _first;
    private long _last;

    public void Add(in LogRow row)
    {
        if (_packet.Rows.Count == 0) _first = row.Nanoseconds;
        _last = row.Nanoseconds;
        var samples = new DoubleSampleList();
        foreach (var value in row.Values)
        {
            samples.Samples.Add(double.IsNaN(value)
                ? new DoubleSample { Status = DataStatus.Missing }
                : new DoubleSample { Value = value, Status = DataStatus.Valid });
        }

        _packet.Timestamps.Add(start + (ulong)row.Nanoseconds);
        _packet.Rows.Add(new SampleRow { DoubleSamples = samples });
    }

    /// <summary>Whether to close the packet before the file's next row, or at its end.</summary>
    public bool IsFullBefore(LogRow? next) =>
        next is not { } row || _packet.Rows.Count >= RowsMax || row.Nanoseconds - _first >= SpanNanoseconds;

    public TelemetryPacket Take()
    {
        var content = _packet.ToByteString();
        var samples = _packet.Rows.Count * group.Parameters.Count;
        _packet.Timestamps.Clear();
        _packet.Rows.Clear();
        return new(group.Stream, "RowData", content, TimeSpan.FromTicks(_last / 100), group.Parameters, Samples: samples);
    }
}
