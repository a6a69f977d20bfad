using System.Diagnostics.Metrics;

namespace MA.Streaming.Broker.Embedded;

/// <summary>The instruments of one embedded log.</summary>
internal sealed class LogMeter : IDisposable
{
    public const string Name = "MA.Streaming.Broker.Embedded";

    private static readonly KeyValuePair<string, object?> Rot = new("kind", "rot");
    private static readonly KeyValuePair<string, object?> TornTail = new("kind", "torn_tail");

    private readonly Meter _meter = new(Name);
    private readonly Counter<long> _damages;
    private readonly Counter<long> _groups;
    private readonly Histogram<int> _groupRecords;

    public LogMeter()
    {
        _damages = _meter.CreateCounter<long>("stream_api_log_damages_total", "{place}", "Places where bytes were not what was written, by kind; a torn tail is what a crash leaves.");
        _groups = _meter.CreateCounter<long>("stream_api_log_groups_total", "{group}", "Commit groups made durable.");
        _groupRecords = _meter.CreateHistogram<int>("stream_api_log_group_records", "{record}", "Appends made durable by one commit group.");
    }

    public void Observe(Func<long> undrainedBytes, Func<long> journalBytes, Func<long> queuedBytes)
    {
        _meter.CreateObservableGauge("stream_api_log_undrained_bytes", undrainedBytes, "By", "Bytes of records that are in the journal and in no segment yet.");
        _meter.CreateObservableGauge("stream_api_log_journal_bytes", journalBytes, "By", "Bytes of the journal files in use.");
        _meter.CreateObservableGauge("stream_api_log_queued_bytes", queuedBytes, "By", "Bytes of appends that wait to be written.");
    }

    public void Damaged(bool isTornTail) => _damages.Add(1, isTornTail ? TornTail : Rot);

    public void Committed(int records)
    {
        if (_groups.Enabled) _groups.Add(1);
        if (_groupRecords.Enabled) _groupRecords.Record(records);
    }

    public void Dispose() => _meter.Dispose();
}
