using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>
/// The instruments of one server as Prometheus text (version 0.0.4). It counts from its making on, through restarts of the engine, and
/// holds at most <see cref="SeriesMax"/> series an instrument; what comes beyond counts in a series whose labels are all <c>other</c>.
/// </summary>
internal sealed class PrometheusMetrics : IDisposable
{
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";
    public const int SeriesMax = 1_000;

    /// <summary>Upper bounds of durations in seconds: a call in memory, a disk, a slow disk, a client's deadline, a read.</summary>
    private static readonly double[] Bounds =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600, 3600];

    private readonly ConcurrentDictionary<string, Metric> _metrics = new(StringComparer.Ordinal);
    private readonly MeterListener _listener = new();
    private readonly Lock _collecting = new();
    private readonly ILogger _logger;

    /// <param name="scope">The scope of the meters to listen to: it tells several servers of one process apart.</param>
    /// <param name="logger">Is told when an instrument cannot be observed.</param>
    public PrometheusMetrics(object scope, ILogger logger)
    {
        _logger = logger;
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, scope)) listener.EnableMeasurementEvents(instrument, MetricOf(instrument));
        };
        _listener.SetMeasurementEventCallback<int>(static (_, value, tags, metric) => ((Metric)metric!).Record(value, tags));
        _listener.SetMeasurementEventCallback<long>(static (_, value, tags, metric) => ((Metric)metric!).Record(value, tags));
        _listener.SetMeasurementEventCallback<double>(static (_, value, tags, metric) => ((Metric)metric!).Record(value, tags));
        _listener.Start();
    }

    public string Collect()
    {
        var text = new StringBuilder(16 << 10);
        lock (_collecting)
        {
            foreach (var metric in _metrics.Values) metric.BeginCollection();
            try
            {
                _listener.RecordObservableInstruments();
            }
            catch (AggregateException exception)
            {
                _logger.ObservingFailed(exception); // The others are there all the same.
            }

            foreach (var (_, metric) in _metrics.OrderBy(metric => metric.Key, StringComparer.Ordinal)) metric.WriteTo(text);
        }

        return text.ToString();
    }

    public void Dispose() => _listener.Dispose();

    private Metric MetricOf(Instrument instrument)
    {
        var type = instrument.GetType().GetGenericTypeDefinition();
        var kind = type == typeof(Counter<>) || type == typeof(ObservableCounter<>) ? Kind.Counter
            : type == typeof(Histogram<>) ? Kind.Histogram
            : type == typeof(UpDownCounter<>) ? Kind.Sum
            : Kind.Gauge;
        var name = NameOf(instrument, kind);
        return _metrics.GetOrAdd(name, _ => new Metric(name, kind, instrument.IsObservable, instrument.Description ?? ""));
    }

    private static string NameOf(Instrument instrument, Kind kind)
    {
        var name = Sanitize(instrument.Name);
        if (instrument.Unit == "s" && !name.Contains("_seconds", StringComparison.Ordinal)) name += "_seconds";
        if (instrument.Unit == "By" && !name.Contains("_bytes", StringComparison.Ordinal)) name += "_bytes";
        return kind == Kind.Counter && !name.EndsWith("_total", StringComparison.Ordinal) ? name + "_total" : name;
    }

    private static string Sanitize(string name)
    {
        var clean = string.Create(name.Length, name, static (chars, name) =>
        {
            for (var i = 0; i < chars.Length; i++) chars[i] = char.IsAsciiLetterOrDigit(name[i]) ? name[i] : '_';
        });
        return clean.Length > 0 && char.IsAsciiDigit(clean[0]) ? $"_{clean}" : clean;
    }

    private enum Kind
    {
        Counter,
        Gauge,
        Sum,
        Histogram,
    }

    private sealed class Metric(string name, Kind kind, bool isObserved, string description)
    {
        private readonly ConcurrentDictionary<LabelSet, Series> _series = new();
        private int _count;

        /// <summary>What is observed is said anew at each collection.</summary>
        public void BeginCollection()
        {
            if (!isObserved) return;
            _series.Clear();
            _count = 0;
        }

        public void Record(long value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            var series = SeriesOf(tags, out var isOther);
            if (kind == Kind.Histogram) series.Observe(value);
            else if (Sets(isOther)) series.Set(value);
            else series.Add(value);
        }

        public void Record(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            var series = SeriesOf(tags, out var isOther);
            if (kind == Kind.Histogram) series.Observe(value);
            else if (Sets(isOther)) series.Set(value);
            else series.Add(value);
        }

        public void WriteTo(StringBuilder text)
        {
            text.Append("# HELP ").Append(name).Append(' ').Append(description.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)).Append('\n');
            text.Append("# TYPE ").Append(name).Append(kind switch
            {
                Kind.Counter => " counter\n",
                Kind.Histogram => " histogram\n",
                _ => " gauge\n",
            });
            foreach (var (labels, series) in _series.OrderBy(series => series.Key.Text, StringComparer.Ordinal)) series.WriteTo(text, name, labels.Text);
        }

        // Counters come as increments, unless they are observed: then as what they have reached. Others share one series, so they add up.
        private bool Sets(bool isOther) => !isOther && (kind == Kind.Gauge || (kind == Kind.Counter && isObserved));

        private Series SeriesOf(ReadOnlySpan<KeyValuePair<string, object?>> tags, out bool isOther)
        {
            var labels = new LabelSet(tags);
            isOther = false;
            if (_series.TryGetValue(labels, out var series)) return series;
            if (Interlocked.Increment(ref _count) < SeriesMax) return _series.GetOrAdd(labels, _ => new Series(kind == Kind.Histogram));
            Interlocked.Decrement(ref _count);
            isOther = true;
            return _series.GetOrAdd(LabelSet.Other(tags), _ => new Series(kind == Kind.Histogram));
        }
    }

    /// <summary>The labels of a series: names and values, of which most have two at most.</summary>
    private readonly struct LabelSet : IEquatable<LabelSet>
    {
        private readonly string? _firstName;
        private readonly string? _firstValue;
        private readonly string? _secondName;
        private readonly string? _secondValue;
        private readonly string? _rest;

        public LabelSet(ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (tags.Length > 0) (_firstName, _firstValue) = (tags[0].Key, ValueOf(tags[0]));
            if (tags.Length > 1) (_secondName, _secondValue) = (tags[1].Key, ValueOf(tags[1]));
            if (tags.Length <= 2) return;
            var rest = new StringBuilder();
            foreach (var tag in tags[2..]) Append(rest.Append(','), tag.Key, ValueOf(tag));
            _rest = rest.ToString();
        }

        /// <summary>As they stand between the braces.</summary>
        public string Text
        {
            get
            {
                if (_firstName is null) return "";
                var text = new StringBuilder();
                Append(text, _firstName, _firstValue!);
                if (_secondName is not null) Append(text.Append(','), _secondName, _secondValue!);
                return text.Append(_rest).ToString();
            }
        }

        public static LabelSet Other(ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            var others = new KeyValuePair<string, object?>[tags.Length];
            for (var i = 0; i < others.Length; i++) others[i] = new(tags[i].Key, "other");
            return new LabelSet(others);
        }

        public bool Equals(LabelSet other) =>
            _firstValue == other._firstValue && _secondValue == other._secondValue && _rest == other._rest
            && _firstName == other._firstName && _secondName == other._secondName;

        public override bool Equals(object? obj) => obj is LabelSet other && Equals(other);

        // The names are the same for all series of an instrument.
        public override int GetHashCode() => HashCode.Combine(_firstValue, _secondValue, _rest);

        private static string ValueOf(KeyValuePair<string, object?> tag) => tag.Value as string ?? Convert.ToString(tag.Value, CultureInfo.InvariantCulture) ?? "";

        private static void Append(StringBuilder text, string name, string value)
        {
            text.Append(Sanitize(name)).Append("=\"");
            foreach (var c in value)
            {
                _ = c switch
                {
                    '\\' => text.Append("\\\\"),
                    '"' => text.Append("\\\""),
                    '\n' => text.Append("\\n"),
                    _ => text.Append(c),
                };
            }

            text.Append('"');
        }
    }

    private sealed class Series(bool isHistogram)
    {
        private readonly long[]? _buckets = isHistogram ? new long[Bounds.Length + 1] : null;
        private readonly Lock _gate = new();
        private long _whole;
        private double _sum;

        public void Add(long value) => Interlocked.Add(ref _whole, value);

        public void Set(long value) => Interlocked.Exchange(ref _whole, value);

        public void Add(double value)
        {
            lock (_gate) _sum += value;
        }

        public void Set(double value)
        {
            lock (_gate) _sum = value;
        }

        public void Observe(double value)
        {
            var bucket = Array.BinarySearch(Bounds, value);
            lock (_gate)
            {
                _buckets![bucket < 0 ? ~bucket : bucket]++;
                _sum += value;
            }
        }

        public void WriteTo(StringBuilder text, string name, string labels)
        {
            if (_buckets is null)
            {
                double sum;
                lock (_gate) sum = _sum;
                var whole = Interlocked.Read(ref _whole);
                Line(text, name, "", labels, "", sum == 0 ? whole.ToString(CultureInfo.InvariantCulture) : Number(whole + sum));
                return;
            }

            long[] buckets;
            double total;
            lock (_gate) (buckets, total) = ([.. _buckets], _sum);
            var count = 0L;
            for (var i = 0; i < buckets.Length; i++)
            {
                count += buckets[i];
                Line(text, name, "_bucket", labels, i < Bounds.Length ? Number(Bounds[i]) : "+Inf", count.ToString(CultureInfo.InvariantCulture));
            }

            Line(text, name, "_sum", labels, "", Number(total));
            Line(text, name, "_count", labels, "", count.ToString(CultureInfo.InvariantCulture));
        }

        private static void Line(StringBuilder text, string name, string suffix, string labels, string upTo, string value)
        {
            text.Append(name).Append(suffix);
            if (labels.Length + upTo.Length > 0)
            {
                text.Append('{').Append(labels);
                if (upTo.Length > 0) text.Append(labels.Length > 0 ? "," : "").Append("le=\"").Append(upTo).Append('"');
                text.Append('}');
            }

            text.Append(' ').Append(value).Append('\n');
        }

        private static string Number(double value) => value switch
        {
            double.PositiveInfinity => "+Inf",
            double.NegativeInfinity => "-Inf",
            double.NaN => "NaN",
            _ => value.ToString("R", CultureInfo.InvariantCulture),
        };
    }
}
