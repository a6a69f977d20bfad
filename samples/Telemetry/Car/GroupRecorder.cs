using Google.Protobuf;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;

namespace Telemetry.Car;

/// <summary>Collects the samples of one group until they make a packet.</summary>
internal sealed class GroupRecorder(ChannelGroup channels, DataFormats formats)
{
    private readonly SampleDataFormat _format = formats.Of(channels.Group);
    private readonly List<SampleColumn> _columns = [];
    private readonly List<SampleRow> _rows = [];
    private readonly List<ulong> _times = [];

    public SampleGroup Group => channels.Group;

    public bool IsFull => _times.Count >= channels.SamplesAPacket;

    public bool IsEmpty => _times.Count == 0;

    /// <summary>Milliseconds between samples; 0 where the car decides.</summary>
    public int Interval { get; } = channels.Group.Rate > 0 ? (int)Math.Round(1000 / channels.Group.Rate) : 0;

    public void Sample(CarSimulation car, ulong timestamp)
    {
        _times.Add(timestamp);
        if (Group.Layout == SampleLayout.Row)
        {
            var row = new DoubleSampleList();
            foreach (var channel in channels.Channels)
                row.Samples.Add(new DoubleSample { Value = channel.Read(car).ToDouble(), Status = channel.Status(car) });
            _rows.Add(new SampleRow { DoubleSamples = row });
            return;
        }

        for (var i = 0; i < channels.Channels.Count; i++)
        {
            var value = channels.Channels[i].Read(car);
            if (i == _columns.Count) _columns.Add(NewColumn(value.Kind));
            Add(_columns[i], value, channels.Channels[i].Status(car));
        }
    }

    /// <summary>The packet of what was collected until now; the recorder is empty then.</summary>
    public TelemetryPacket Take(TimeSpan now)
    {
        IMessage content = Group.Layout switch
        {
            SampleLayout.Row => new RowDataPacket { DataFormat = _format, Timestamps = { _times }, Rows = { _rows } },
            SampleLayout.Synchro => new SynchroDataPacket
            {
                DataFormat = _format,
                StartTime = _times[0],
                Intervals = { _times.Skip(1).Select((time, i) => (uint)(time - _times[i])) },
                Columns = { _columns },
            },
            _ => new PeriodicDataPacket
            {
                DataFormat = _format,
                StartTime = _times[0],
                Interval = (uint)Interval * 1_000_000,
                Columns = { _columns },
            },
        };
        var packet = new TelemetryPacket(
            Group.Stream, $"{Group.Layout}Data", content.ToByteString(), now, Group.Parameters, Samples: _times.Count * Group.Parameters.Count);
        _times.Clear();
        _rows.Clear();
        _columns.Clear();
        return packet;
    }

    private static SampleColumn NewColumn(SampleKind kind) => kind switch
    {
        SampleKind.Int32 => new() { Int32Samples = new() },
        SampleKind.Boolean => new() { BoolSamples = new() },
        SampleKind.Text => new() { StringSamples = new() },
        _ => new() { DoubleSamples = new() },
    };

    private static void Add(SampleColumn column, SampleValue value, DataStatus status)
    {
        switch (value.Kind)
        {
            case SampleKind.Int32:
                column.Int32Samples.Samples.Add(new Int32Sample { Value = value.ToInt32(), Status = status });
                break;
            case SampleKind.Boolean:
                column.BoolSamples.Samples.Add(new BoolSample { Value = value.ToBoolean(), Status = status });
                break;
            case SampleKind.Text:
                column.StringSamples.Samples.Add(new StringSample { Value = value.ToString(), Status = status });
                break;
            default:
                column.DoubleSamples.Samples.Add(new DoubleSample { Value = value.ToDouble(), Status = status });
                break;
        }
    }
}
