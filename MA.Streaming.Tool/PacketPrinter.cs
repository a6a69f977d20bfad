using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;
using Google.Protobuf;
using MA.Streaming.API;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;

namespace MA.Streaming.Tool;

/// <summary>Packets as lines: one a sample, event or marker, or one a packet.</summary>
/// <param name="formats">Knows the formats.</param>
/// <param name="dataSource">The data source that is read.</param>
/// <param name="isWanted">Whether to print a parameter: packets come whole.</param>
/// <param name="asPackets">A line a packet.</param>
/// <param name="asJson">Lines of JSON.</param>
internal sealed class PacketPrinter(
    DataFormatManagerService.DataFormatManagerServiceClient formats, string dataSource, Predicate<string> isWanted, bool asPackets, bool asJson)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly Dictionary<ulong, IReadOnlyList<string>> _parameters = [];
    private readonly Dictionary<ulong, string> _events = [];
    private SampleDecoder? _decoder;

    /// <summary>Passes what one of the first matches, or everything where there is none, and none of the second does; as the server does for packets.</summary>
    public static Predicate<string> Matcher(string[] include, string[] exclude)
    {
        Regex[] wanted = [.. include.Select(Of)], unwanted = [.. exclude.Select(Of)];
        return name => (wanted.Length == 0 || wanted.Any(regex => regex.IsMatch(name))) && !unwanted.Any(regex => regex.IsMatch(name));
    }

    /// <summary>What is wrong with a pattern, or null.</summary>
    public static string? FaultOf(string pattern)
    {
        try
        {
            Of(pattern);
            return null;
        }
        catch (RegexParseException exception)
        {
            return exception.Message.TrimEnd('.');
        }
    }

    /// <summary>What to print of a packet.</summary>
    public IEnumerable<string> LinesOf(PacketResponse response)
    {
        if (asPackets) return [Whole(response)];
        try
        {
            return response.Packet.Type switch
            {
                "Event" => [Line(response, EventPacket.Parser.ParseFrom(response.Packet.Content))],
                "Marker" => [Line(response, MarkerPacket.Parser.ParseFrom(response.Packet.Content))],
                _ => Samples(response),
            };
        }
        catch (InvalidProtocolBufferException exception)
        {
            return [Unreadable(response, exception.Message)];
        }
    }

    private static Regex Of(string pattern) => new(pattern, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));

    private static string Time(ulong nanoseconds) => string.Create(
        CultureInfo.InvariantCulture, $"{DateTimeOffset.UnixEpoch.AddTicks((long)(nanoseconds / 100)).UtcDateTime:yyyy-MM-ddTHH:mm:ss.fffffff}{nanoseconds % 100:00}Z");

    private static string Stream(PacketResponse response) => response.Stream.Length == 0 ? "-" : response.Stream;

    private static object Number(SampleValue value) => value.Kind switch
    {
        // JSON has no infinities and no NaN.
        SampleKind.Double when double.IsFinite(value.ToDouble()) => value.ToDouble(),
        SampleKind.Int32 => value.ToInt32(),
        SampleKind.Boolean => value.ToBoolean(),
        _ => value.ToString(),
    };

    private IEnumerable<string> Samples(PacketResponse response)
    {
        _decoder ??= new SampleDecoder(ParametersOf);
        if (!_decoder.TryDecode(response.Packet, out var samples, out var reason)) return [Unreadable(response, reason)];
        return samples.Where(sample => isWanted(sample.Parameter)).Select(sample => Line(response, sample));
    }

    private string Line(PacketResponse response, Sample sample)
    {
        var status = sample.Status is DataStatus.Valid or DataStatus.Unspecified ? "" : $"  {sample.Status}";
        return asJson
            ? JsonSerializer.Serialize(new { Time = Time(sample.TimestampNanoseconds), response.Stream, sample.Parameter, Value = Number(sample.Value), Status = $"{sample.Status}" }, Json)
            : $"{Time(sample.TimestampNanoseconds)}  {Stream(response)}  {sample.Parameter} = {sample.Value}{status}";
    }

    private string Line(PacketResponse response, EventPacket happened)
    {
        var name = EventOf(happened.DataFormat);
        var values = happened.RawValues.Select(SampleValue.Of).ToList();
        return asJson
            ? JsonSerializer.Serialize(new { Time = Time(happened.Timestamp), response.Stream, Event = name, Values = values.Select(Number) }, Json)
            : $"{Time(happened.Timestamp)}  {Stream(response)}  event {name}{(values.Count == 0 ? "" : $": {string.Join(", ", values)}")}";
    }

    private string Line(PacketResponse response, MarkerPacket marker)
    {
        if (asJson)
        {
            return JsonSerializer.Serialize(
                new
                {
                    Time = Time(marker.Timestamp),
                    EndTime = marker.EndTime == 0 ? null : Time(marker.EndTime),
                    response.Stream,
                    Marker = marker.Label,
                    marker.Type,
                    marker.Description,
                    marker.Value,
                },
                Json);
        }

        var until = marker.EndTime == 0 ? "" : $", until {Time(marker.EndTime)}";
        var description = marker.Description.Length == 0 ? "" : $": {marker.Description}";
        return $"{Time(marker.Timestamp)}  {Stream(response)}  marker {marker.Label} ({marker.Type} {marker.Value.ToString(CultureInfo.InvariantCulture)}{until}){description}";
    }

    private string Whole(PacketResponse response)
    {
        var (packet, written) = (response.Packet, response.SubmitTime?.ToDateTimeOffset().UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ss.fffffffZ", CultureInfo.InvariantCulture) ?? "-");
        return asJson
            ? JsonSerializer.Serialize(
                new
                {
                    Written = written,
                    response.Stream,
                    Partition = response.HasPartition ? response.Partition : (int?)null,
                    Offset = response.HasOffset ? response.Offset : (long?)null,
                    packet.Type,
                    packet.Id,
                    packet.SessionKey,
                    packet.IsEssential,
                    Bytes = packet.CalculateSize(),
                },
                Json)
            : string.Create(
                CultureInfo.InvariantCulture,
                $"{written}  {Stream(response)}  {response.Partition}:{response.Offset}  {packet.Type}{(packet.IsEssential ? " (essential)" : "")}  id {packet.Id}, {packet.CalculateSize()} bytes, session {(packet.SessionKey.Length == 0 ? "-" : packet.SessionKey)}");
    }

    private string Unreadable(PacketResponse response, string reason) => asJson
        ? JsonSerializer.Serialize(new { response.Stream, response.Packet.Type, response.Packet.Id, Unreadable = reason }, Json)
        : $"a {response.Packet.Type} packet (id {response.Packet.Id.ToString(CultureInfo.InvariantCulture)}) of stream {Stream(response)} cannot be decoded: {reason}";

    private IReadOnlyList<string> ParametersOf(ulong id)
    {
        if (_parameters.TryGetValue(id, out var known)) return known;
        var found = formats.GetParametersList(new GetParametersListRequest { DataSource = dataSource, DataFormatIdentifier = id }).Parameters;
        return found.Count == 0 ? found : _parameters[id] = found;
    }

    private string EventOf(EventDataFormat? format)
    {
        if (format?.HasEventIdentifier ?? false) return format.EventIdentifier;
        if (format is null) return "without a name";
        var id = format.DataFormatIdentifier;
        if (_events.TryGetValue(id, out var known)) return known;
        var found = formats.GetEvent(new GetEventRequest { DataSource = dataSource, DataFormatIdentifier = id }).Event;
        return found.Length == 0 ? $"of unknown format {id.ToString(CultureInfo.InvariantCulture)}" : _events[id] = found;
    }
}
