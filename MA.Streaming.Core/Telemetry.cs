using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace MA.Streaming.Core;

/// <summary>
/// The meter <c>MA.Streaming</c>, its instruments, and the activity source of the same name. Names and labels are what dashboards
/// already use. An instrument has at most 1,000 series; the rest count as <c>other</c>.
/// </summary>
internal sealed class Telemetry : IDisposable
{
    public const string Name = "MA.Streaming";
    private const int SeriesMax = 1_000;
    private const string Other = "other";

    private readonly Meter _meter;
    private readonly ConcurrentDictionary<(string DataSource, string Stream), StreamTags> _streams = new();
    private readonly Counter<long> _routed;
    private readonly Counter<long> _dataPublished;
    private readonly Counter<long> _dataRouted;
    private readonly Counter<long> _dataBytes;
    private readonly Counter<long> _infoPublished;
    private readonly Counter<long> _infoRouted;
    private readonly Counter<long> _infoBytes;
    private readonly Counter<long> _read;
    private readonly Counter<long> _delivered;
    private readonly Counter<long> _essentialRead;
    private readonly Counter<long> _essentialDelivered;
    private readonly Counter<long> _skipped;
    private readonly Histogram<double> _rpcs;
    private int _readsBlocked;
    private int _series; // ConcurrentDictionary.Count takes every lock it has.

    public Telemetry(object? scope = null)
    {
        _meter = new Meter(new MeterOptions(Name) { Scope = scope });
        _routed = _meter.CreateCounter<long>("stream_api_packets_routed_total", "{packet}", "Packets made durable, of every kind.");
        _dataPublished = _meter.CreateCounter<long>("stream_api_data_packets_published_total", "{packet}", "Data packets accepted for writing.");
        _dataRouted = _meter.CreateCounter<long>("stream_api_data_packets_routed_total", "{packet}", "Data packets made durable.");
        _dataBytes = _meter.CreateCounter<long>("stream_api_data_packets_routed_bytes_total", "By", "Bytes of data packets made durable.");
        _infoPublished = _meter.CreateCounter<long>("stream_api_info_packets_published_total", "{packet}", "Info packets accepted for writing.");
        _infoRouted = _meter.CreateCounter<long>("stream_api_info_packets_routed_total", "{packet}", "Info packets made durable.");
        _infoBytes = _meter.CreateCounter<long>("stream_api_info_packets_routed_bytes_total", "By", "Bytes of info packets made durable.");
        _read = _meter.CreateCounter<long>("stream_api_data_packets_read_total", "{packet}", "Packets read from the broker for readers.");
        _delivered = _meter.CreateCounter<long>("stream_api_data_packets_delivered_total", "{packet}", "Packets delivered to readers.");
        _essentialRead = _meter.CreateCounter<long>("stream_api_essential_packets_read_total", "{packet}", "Essential packets read from the broker.");
        _essentialDelivered = _meter.CreateCounter<long>("stream_api_essential_packets_delivered_total", "{packet}", "Essential packets delivered.");
        _skipped = _meter.CreateCounter<long>("stream_api_records_skipped_total", "{record}", "Records that no reader or fold could use, by reason.");
        _meter.CreateObservableGauge(
            "stream_api_reads_behind", () => ReadsBlocked, "{read}", "Open reads whose client has not taken the last response yet.");
        _rpcs = _meter.CreateHistogram<double>("stream_api_rpc_duration", "s", "Duration of rpcs by method and status.");
        _routed.Add(0); // It has no labels: a dashboard finds it before the first packet.
    }

    public static ActivitySource Activities { get; } = new(Name);

    /// <summary>The span of an rpc; null when nobody listens.</summary>
    /// <param name="service">The service's full name.</param>
    /// <param name="method">The method's name.</param>
    /// <param name="kind">Server over a port.</param>
    /// <param name="caller">The span it is a child of; default means the current one.</param>
    public static Activity? StartRpc(string service, string method, ActivityKind kind, ActivityContext caller)
    {
        var activity = Activities.StartActivity($"{service}/{method}", kind, caller);
        return activity?.SetTag("rpc.system", "grpc").SetTag("rpc.service", service).SetTag("rpc.method", method);
    }

    /// <summary>Ends the span of an rpc with the rpc's status.</summary>
    public static void EndRpc(Activity? activity, int status, string detail)
    {
        if (activity is null) return;
        activity.SetTag("rpc.grpc.status_code", status);
        if (status != 0) activity.SetStatus(ActivityStatusCode.Error, detail);
        activity.Dispose();
    }

    public void ObserveConnections(Func<int> open) =>
        _meter.CreateObservableGauge("stream_api_connections_total", open, "{connection}", "Open connections.");

    public void ObserveReads(Func<int> open) =>
        _meter.CreateObservableGauge("stream_api_reads_open", open, "{read}", "Open reads.");

    public void ReadBlocks() => Interlocked.Increment(ref _readsBlocked);

    public void ReadGoesOn() => Interlocked.Decrement(ref _readsBlocked);

    /// <summary>Open reads whose client has not taken the last response yet.</summary>
    public int ReadsBlocked => Volatile.Read(ref _readsBlocked);

    public void ObservePending(Func<long> bytes, Func<long> packets)
    {
        _meter.CreateObservableGauge("stream_api_pending_bytes", bytes, "By", "Bytes of unary writes that wait for the broker.");
        _meter.CreateObservableGauge("stream_api_pending_packets", packets, "{packet}", "Unary writes that wait for the broker.");
    }

    public void ObserveSessions(Func<int> active, Func<IEnumerable<KeyValuePair<string, int>>> byDataSource)
    {
        _meter.CreateObservableGauge("stream_api_sessions_active", active, "{session}", "Known sessions that have not ended.");
        _meter.CreateObservableGauge("stream_api_sessions_total", () => Measure(byDataSource()), "{session}", "Known sessions by data source.");
    }

    public void ObserveDataFormats(Func<int> registered, Func<IEnumerable<KeyValuePair<string, int>>> byDataSource)
    {
        _meter.CreateObservableGauge("stream_api_data_formats_registered", registered, "{format}", "Known data formats.");
        _meter.CreateObservableGauge("stream_api_data_formats_total", () => Measure(byDataSource()), "{format}", "Known data formats by data source.");
    }

    /// <summary>The labels of a stream; callers that count often keep them.</summary>
    public StreamTags TagsOf(string dataSource, string stream)
    {
        if (_streams.TryGetValue((dataSource, stream), out var tags)) return tags;
        if (Volatile.Read(ref _series) >= SeriesMax) return StreamTags.Others;
        var added = new StreamTags(dataSource, stream);
        tags = _streams.GetOrAdd((dataSource, stream), added);
        if (tags == added) Interlocked.Increment(ref _series);
        return tags;
    }

    public void DataPublished(StreamTags tags, int packets)
    {
        if (_dataPublished.Enabled) _dataPublished.Add(packets, tags.DataSource, tags.Stream);
    }

    public void DataRouted(StreamTags tags, int packets, long bytes)
    {
        if (_routed.Enabled) _routed.Add(packets);
        if (_dataRouted.Enabled) _dataRouted.Add(packets, tags.DataSource, tags.Stream);
        if (_dataBytes.Enabled) _dataBytes.Add(bytes, tags.DataSource, tags.Stream);
    }

    public void InfoPublished(StreamTags tags) => _infoPublished.Add(1, tags.DataSource);

    public void InfoRouted(StreamTags tags, int bytes)
    {
        _routed.Add(1);
        _infoRouted.Add(1, tags.DataSource);
        _infoBytes.Add(bytes, tags.DataSource);
    }

    public void Read(StreamTags tags, int packets) => _read.Add(packets, tags.DataSource, tags.Stream);

    public void Delivered(StreamTags tags, int packets) => _delivered.Add(packets, tags.DataSource, tags.Stream);

    public void EssentialsRead(StreamTags tags, int packets) => _essentialRead.Add(packets, tags.DataSource);

    public void EssentialsDelivered(StreamTags tags, int packets) => _essentialDelivered.Add(packets, tags.DataSource);

    public void Skipped(string reason) => _skipped.Add(1, new KeyValuePair<string, object?>("reason", reason));

    public void RpcEnded(string method, string status, TimeSpan duration)
    {
        if (!_rpcs.Enabled) return;
        _rpcs.Record(
            duration.TotalSeconds, new KeyValuePair<string, object?>("method", method), new KeyValuePair<string, object?>("status", status));
    }

    public void Dispose() => _meter.Dispose();

    private static IEnumerable<Measurement<int>> Measure(IEnumerable<KeyValuePair<string, int>> byDataSource)
    {
        var series = 0;
        var rest = 0;
        foreach (var (dataSource, count) in byDataSource)
        {
            if (++series < SeriesMax) yield return new(count, new KeyValuePair<string, object?>("data_source", dataSource));
            else rest += count;
        }

        if (series >= SeriesMax) yield return new(rest, new KeyValuePair<string, object?>("data_source", Other));
    }

    internal sealed class StreamTags(string dataSource, string stream)
    {
        public static StreamTags Others { get; } = new(Other, Other);

        public KeyValuePair<string, object?> DataSource { get; } = new("data_source", dataSource);

        public KeyValuePair<string, object?> Stream { get; } = new("stream", stream);
    }
}
