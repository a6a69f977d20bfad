using MA.Streaming.API;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;

namespace Telemetry.Live;

/// <summary>What a parameter last was.</summary>
public readonly record struct Reading(SampleValue Value, DataStatus Status);

/// <summary>Makes telemetry of packets again: decodes every sample, keeps the last values, the speed trace, laps and events. One
/// reader feeds it, the screen looks.</summary>
public sealed class CarWatcher
{
    private readonly ITelemetrySource _source;
    private readonly SampleDecoder _decoder;
    private readonly Dictionary<string, Reading> _latest = [];
    private readonly List<LapRecord> _laps = [];
    private readonly HashSet<string> _watched;
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, IReadOnlyList<string>> _formats = [];
    private readonly Dictionary<ulong, string> _events = [];
    private readonly DataFormatManagerService.DataFormatManagerServiceClient _client;

    public CarWatcher(ITelemetrySource source, DataFormatManagerService.DataFormatManagerServiceClient formats)
    {
        _source = source;
        _client = formats;
        _watched = [.. source.Watched];
        _decoder = new SampleDecoder(ParametersOf);
    }

    public SpeedTrace Speed { get; } = new();

    /// <summary>Samples that were marked as missing or wrong by whoever measured them.</summary>
    public long Missing { get; private set; }

    public long Wrong { get; private set; }

    /// <summary>The first packet that could not be decoded, in words, or null.</summary>
    public string? Undecodable { get; private set; }

    /// <summary>The last event or marker, in words.</summary>
    public string LastNews { get; private set; } = "";

    public IReadOnlyList<LapRecord> Laps
    {
        get
        {
            lock (_lock) return [.. _laps];
        }
    }

    public Reading? Latest(string parameter)
    {
        lock (_lock) return _latest.TryGetValue(parameter, out var reading) ? reading : null;
    }

    /// <summary>Takes a packet in; returns how many samples it had.</summary>
    public long Watch(Packet packet)
    {
        switch (packet.Type)
        {
            case "Marker":
                Watch(MarkerPacket.Parser.ParseFrom(packet.Content));
                return 0;
            case "Event":
                var happened = EventPacket.Parser.ParseFrom(packet.Content);
                LastNews = $"{EventName(happened.DataFormat)} {string.Join("  ", happened.RawValues.Select(v => v.ToString("0.#")))}";
                return 0;
            default:
                return WatchSamples(packet);
        }
    }

    private long WatchSamples(Packet packet)
    {
        if (!_decoder.TryDecode(packet, out var samples, out var reason))
        {
            Undecodable ??= $"packet {packet.Id}: {reason}";
            return 0;
        }

        long count = 0;
        Sample last = default;
        foreach (var sample in samples)
        {
            // Samples of one parameter come in a row: what is kept is the last of each row.
            if (count > 0 && !ReferenceEquals(sample.Parameter, last.Parameter)) Keep(last);
            if (sample.Parameter == _source.SpeedParameter && sample.Status == DataStatus.Valid)
                Speed.Add(sample.TimestampNanoseconds, sample.Value.ToDouble());
            if (sample.Status == DataStatus.Missing) Missing++;
            if (sample.Status == DataStatus.Error) Wrong++;
            last = sample;
            count++;
        }

        if (count > 0) Keep(last);
        return count;

        void Keep(in Sample sample)
        {
            if (!_watched.Contains(sample.Parameter)) return;
            lock (_lock) _latest[sample.Parameter] = new(sample.Value, sample.Status);
        }
    }

    private void Watch(MarkerPacket marker)
    {
        LastNews = $"{marker.Label}  {marker.Description}";
        if (marker.Type != "Lap" || marker.EndTime <= marker.Timestamp) return;
        lock (_lock) _laps.Add(new(marker.Label, marker.Value, marker.Timestamp, marker.EndTime, marker.Description));
    }

    private IReadOnlyList<string> ParametersOf(ulong id)
    {
        if (_formats.TryGetValue(id, out var known)) return known;
        var request = new GetParametersListRequest { DataSource = _source.DataSource, DataFormatIdentifier = id };
        return _formats[id] = _client.GetParametersList(request).Parameters;
    }

    private string EventName(EventDataFormat? format)
    {
        if (format is null) return "event";
        if (format.HasEventIdentifier) return format.EventIdentifier;
        var id = format.DataFormatIdentifier;
        if (_events.TryGetValue(id, out var known)) return known;
        var request = new GetEventRequest { DataSource = _source.DataSource, DataFormatIdentifier = id };
        return _events[id] = _client.GetEvent(request).Event;
    }
}
