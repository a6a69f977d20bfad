using System.Diagnostics.CodeAnalysis;
using Google.Protobuf;
using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Packets;

/// <summary>
/// Turns the three kinds of sample packet into samples by parameter and time, statuses kept.
/// <list type="bullet">
/// <item><c>PeriodicData</c>: sample i of every column stands at start_time + i × interval; by parameter, then time.</item>
/// <item><c>SynchroData</c>: the intervals are the gaps between neighbouring samples, so n samples have n − 1 of them (a
/// further one at the end is not used); by parameter, then time.</item>
/// <item><c>RowData</c>: row i stands at timestamp i; by row, then parameter.</item>
/// </list>
/// A packet is checked whole before its first sample comes: enumerating a result never fails, provided nobody changes the
/// packet meanwhile. One decoder may be used by several threads if its resolver may.
/// </summary>
/// <param name="parametersOf">The parameters of a data format id, in order, or null when the id is not known; asked once a
/// packet that names its format by id. <c>DataFormatManagerService.GetParametersList</c> knows them.</param>
/// <example><code>
/// var decoder = new SampleDecoder(id => formats.GetParametersList(new() { DataSource = "Car", DataFormatIdentifier = id }).Parameters);
/// foreach (var sample in decoder.Decode(response.Packet))
///     Console.WriteLine($"{sample.TimestampNanoseconds} {sample.Parameter} = {sample.Value} ({sample.Status})");
/// </code></example>
public sealed class SampleDecoder(Func<ulong, IReadOnlyList<string>?> parametersOf)
{
    private readonly Func<ulong, IReadOnlyList<string>?> _parametersOf =
        parametersOf ?? throw new ArgumentNullException(nameof(parametersOf));

    /// <summary>Whether packets of this type carry samples.</summary>
    /// <param name="packetType">A <see cref="Packet.Type"/>.</param>
    public static bool IsSampleType(string packetType) => packetType is "PeriodicData" or "RowData" or "SynchroData";

    /// <summary>The samples of a packet; none when its type is not one of the three that carry samples.</summary>
    /// <param name="packet">The packet as it was read.</param>
    /// <exception cref="MalformedPacketException">Its content is not a message of its type, or does not fit its format.</exception>
    public IEnumerable<Sample> Decode(Packet packet)
    {
        ArgumentNullException.ThrowIfNull(packet);
        return packet.Type switch
        {
            "PeriodicData" => Decode(Parse(PeriodicDataPacket.Parser, packet)),
            "RowData" => Decode(Parse(RowDataPacket.Parser, packet)),
            "SynchroData" => Decode(Parse(SynchroDataPacket.Parser, packet)),
            _ => [],
        };
    }

    /// <summary>As <see cref="Decode(Packet)"/>, without an exception for a malformed packet.</summary>
    /// <param name="packet">The packet as it was read.</param>
    /// <param name="samples">Its samples, or null.</param>
    /// <param name="reason">Null, or why there are none.</param>
    public bool TryDecode(
        Packet packet, [NotNullWhen(true)] out IEnumerable<Sample>? samples, [NotNullWhen(false)] out string? reason)
    {
        try
        {
            samples = Decode(packet);
            reason = null;
            return true;
        }
        catch (MalformedPacketException malformed)
        {
            samples = null;
            reason = malformed.Message;
            return false;
        }
    }

    /// <summary>The samples of a periodic packet; columns may differ in length.</summary>
    /// <param name="packet">The content of a <c>PeriodicData</c> packet.</param>
    /// <exception cref="MalformedPacketException">It does not fit its format, or a sample's time exceeds 64 bits.</exception>
    public IEnumerable<Sample> Decode(PeriodicDataPacket packet)
    {
        ArgumentNullException.ThrowIfNull(packet);
        var parameters = ParametersOf(packet.DataFormat);
        RequireColumns(parameters, packet.Columns.Count);
        foreach (var column in packet.Columns)
            RequireTime(packet.StartTime, (UInt128)packet.Interval * (uint)Math.Max(0, Count(column) - 1));

        return Samples(packet, parameters);

        static IEnumerable<Sample> Samples(PeriodicDataPacket packet, IReadOnlyList<string> parameters)
        {
            for (var c = 0; c < parameters.Count; c++)
            {
                var column = packet.Columns[c];
                var timestamp = packet.StartTime;
                for (var i = 0; i < Count(column); i++, timestamp += packet.Interval)
                    yield return At(column, i, parameters[c], timestamp);
            }
        }
    }

    /// <summary>The samples of a synchronous packet, whose gaps differ from sample to sample.</summary>
    /// <param name="packet">The content of a <c>SynchroData</c> packet.</param>
    /// <exception cref="MalformedPacketException">It does not fit its format, a column does not fit the intervals, or a sample's
    /// time exceeds 64 bits.</exception>
    public IEnumerable<Sample> Decode(SynchroDataPacket packet)
    {
        ArgumentNullException.ThrowIfNull(packet);
        var parameters = ParametersOf(packet.DataFormat);
        RequireColumns(parameters, packet.Columns.Count);
        var gaps = packet.Intervals.Count;
        var longest = 0;
        for (var c = 0; c < packet.Columns.Count; c++)
        {
            var count = Count(packet.Columns[c]);
            if (gaps != count && gaps != Math.Max(0, count - 1))
                throw new MalformedPacketException(
                    $"column {c} ({parameters[c]}) has {count} samples, which takes {Math.Max(0, count - 1)} intervals; there are {gaps}");

            longest = Math.Max(longest, count);
        }

        UInt128 span = 0;
        for (var i = 0; i < longest - 1; i++) span += packet.Intervals[i];
        RequireTime(packet.StartTime, span);
        return Samples(packet, parameters);

        static IEnumerable<Sample> Samples(SynchroDataPacket packet, IReadOnlyList<string> parameters)
        {
            for (var c = 0; c < parameters.Count; c++)
            {
                var column = packet.Columns[c];
                var timestamp = packet.StartTime;
                for (var i = 0; i < Count(column); i++)
                {
                    if (i > 0) timestamp += packet.Intervals[i - 1];
                    yield return At(column, i, parameters[c], timestamp);
                }
            }
        }
    }

    /// <summary>The samples of a row packet.</summary>
    /// <param name="packet">The content of a <c>RowData</c> packet.</param>
    /// <exception cref="MalformedPacketException">Rows and timestamps differ in number, or a row does not fit the format.</exception>
    public IEnumerable<Sample> Decode(RowDataPacket packet)
    {
        ArgumentNullException.ThrowIfNull(packet);
        var parameters = ParametersOf(packet.DataFormat);
        if (packet.Rows.Count != packet.Timestamps.Count)
            throw new MalformedPacketException($"{packet.Rows.Count} rows with {packet.Timestamps.Count} timestamps");

        for (var r = 0; r < packet.Rows.Count; r++)
        {
            var count = Count(packet.Rows[r]);
            if (count != parameters.Count)
                throw new MalformedPacketException($"row {r} has {count} samples for the {parameters.Count} parameters of its data format");
        }

        return Samples(packet, parameters);

        static IEnumerable<Sample> Samples(RowDataPacket packet, IReadOnlyList<string> parameters)
        {
            for (var r = 0; r < packet.Rows.Count; r++)
            {
                for (var i = 0; i < parameters.Count; i++)
                    yield return At(packet.Rows[r], i, parameters[i], packet.Timestamps[r]);
            }
        }
    }

    private static T Parse<T>(MessageParser<T> parser, Packet packet) where T : IMessage<T>
    {
        try
        {
            return parser.ParseFrom(packet.Content);
        }
        catch (InvalidProtocolBufferException notOne)
        {
            throw new MalformedPacketException($"the content of a packet of type {packet.Type} is not such a message: {notOne.Message}", notOne);
        }
    }

    private IReadOnlyList<string> ParametersOf(SampleDataFormat? format) => format?.FormatCase switch
    {
        SampleDataFormat.FormatOneofCase.ParameterIdentifiers => format.ParameterIdentifiers.ParameterIdentifiers,
        SampleDataFormat.FormatOneofCase.DataFormatIdentifier => _parametersOf(format.DataFormatIdentifier) is { Count: > 0 } known
            ? known
            : throw new MalformedPacketException($"unknown data format {format.DataFormatIdentifier}"),
        _ => throw new MalformedPacketException("the packet names no data format"),
    };

    private static void RequireColumns(IReadOnlyList<string> parameters, int columns)
    {
        if (columns != parameters.Count)
            throw new MalformedPacketException($"{columns} columns for the {parameters.Count} parameters of its data format");
    }

    private static void RequireTime(ulong start, UInt128 span)
    {
        if (start + span > ulong.MaxValue)
            throw new MalformedPacketException($"start_time {start} and its intervals exceed 64 bits of nanoseconds");
    }

    private static int Count(SampleColumn column) => column.ListCase switch
    {
        SampleColumn.ListOneofCase.DoubleSamples => column.DoubleSamples.Samples.Count,
        SampleColumn.ListOneofCase.Int32Samples => column.Int32Samples.Samples.Count,
        SampleColumn.ListOneofCase.BoolSamples => column.BoolSamples.Samples.Count,
        SampleColumn.ListOneofCase.StringSamples => column.StringSamples.Samples.Count,
        _ => 0,
    };

    private static int Count(SampleRow row) => row.ListCase switch
    {
        SampleRow.ListOneofCase.DoubleSamples => row.DoubleSamples.Samples.Count,
        SampleRow.ListOneofCase.Int32Samples => row.Int32Samples.Samples.Count,
        SampleRow.ListOneofCase.BoolSamples => row.BoolSamples.Samples.Count,
        SampleRow.ListOneofCase.StringSamples => row.StringSamples.Samples.Count,
        _ => 0,
    };

    private static Sample At(SampleColumn column, int i, string parameter, ulong timestamp) => column.ListCase switch
    {
        SampleColumn.ListOneofCase.DoubleSamples => Of(column.DoubleSamples.Samples[i], parameter, timestamp),
        SampleColumn.ListOneofCase.Int32Samples => Of(column.Int32Samples.Samples[i], parameter, timestamp),
        SampleColumn.ListOneofCase.BoolSamples => Of(column.BoolSamples.Samples[i], parameter, timestamp),
        _ => Of(column.StringSamples.Samples[i], parameter, timestamp),
    };

    private static Sample At(SampleRow row, int i, string parameter, ulong timestamp) => row.ListCase switch
    {
        SampleRow.ListOneofCase.DoubleSamples => Of(row.DoubleSamples.Samples[i], parameter, timestamp),
        SampleRow.ListOneofCase.Int32Samples => Of(row.Int32Samples.Samples[i], parameter, timestamp),
        SampleRow.ListOneofCase.BoolSamples => Of(row.BoolSamples.Samples[i], parameter, timestamp),
        _ => Of(row.StringSamples.Samples[i], parameter, timestamp),
    };

    private static Sample Of(DoubleSample sample, string parameter, ulong timestamp) =>
        new(parameter, timestamp, SampleValue.Of(sample.Value), sample.Status);

    private static Sample Of(Int32Sample sample, string parameter, ulong timestamp) =>
        new(parameter, timestamp, SampleValue.Of(sample.Value), sample.Status);

    private static Sample Of(BoolSample sample, string parameter, ulong timestamp) =>
        new(parameter, timestamp, SampleValue.Of(sample.Value), sample.Status);

    private static Sample Of(StringSample sample, string parameter, ulong timestamp) =>
        new(parameter, timestamp, SampleValue.Of(sample.Value), sample.Status);
}
