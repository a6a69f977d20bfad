using System.Diagnostics.Metrics;
using MA.Streaming.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Hosting;

/// <summary>Instruments as Prometheus text.</summary>
internal sealed class PrometheusMetricsTests
{
    private readonly object _scope = new();
    private PrometheusMetrics _metrics = null!;
    private Meter _meter = null!;

    [SetUp]
    public void Start()
    {
        _metrics = new PrometheusMetrics(_scope, NullLogger.Instance);
        _meter = new Meter(new MeterOptions("test") { Scope = _scope });
    }

    [TearDown]
    public void Stop()
    {
        _meter.Dispose();
        _metrics.Dispose();
    }

    [Test]
    public void Counter_WithLabels_IsEscapedAndSorted()
    {
        var counter = _meter.CreateCounter<long>("requests", "{request}", "Back\\slash and\nnew line.");
        counter.Add(2, new KeyValuePair<string, object?>("who", "b"));
        counter.Add(1, new KeyValuePair<string, object?>("who", "a \"quoted\" \\ and\nbroken"));
        counter.Add(3, new KeyValuePair<string, object?>("who", "b"));
        Assert.That(_metrics.Collect(), Is.EqualTo(
            """
            # HELP requests_total Back\\slash and\nnew line.
            # TYPE requests_total counter
            requests_total{who="a \"quoted\" \\ and\nbroken"} 1
            requests_total{who="b"} 5

            """));
    }

    [Test]
    public void Names_UnitsAndCharacters_AreMadeValid()
    {
        _meter.CreateCounter<double>("9.time-spent", "s", "x").Add(1.5);
        _meter.CreateUpDownCounter<long>("queue", "By", "x").Add(-3);
        _meter.CreateObservableGauge("stream_api_pending_bytes", () => 7, "By", "x");
        var text = _metrics.Collect();
        Assert.That(text, Does.Contain("\n_9_time_spent_seconds_total 1.5\n").And.Contain("# TYPE queue_bytes gauge\nqueue_bytes -3\n"));
        Assert.That(text, Does.Contain("\nstream_api_pending_bytes 7\n"));
    }

    [Test]
    public void Histogram_Values_FallIntoTheirBuckets()
    {
        var histogram = _meter.CreateHistogram<double>("rpc", "s", "x");
        foreach (var value in new[] { 0.0001, 0.0002, 0.3, 5_000 }) histogram.Record(value, new KeyValuePair<string, object?>("m", "a"));
        var text = _metrics.Collect();
        Assert.That(text, Does.Contain("rpc_seconds_bucket{m=\"a\",le=\"0.0001\"} 1\n"), "a bound is inside its bucket");
        Assert.That(text, Does.Contain("rpc_seconds_bucket{m=\"a\",le=\"0.00025\"} 2\n"));
        Assert.That(text, Does.Contain("rpc_seconds_bucket{m=\"a\",le=\"0.25\"} 2\n").And.Contain("rpc_seconds_bucket{m=\"a\",le=\"0.5\"} 3\n"));
        Assert.That(text, Does.Contain("rpc_seconds_bucket{m=\"a\",le=\"3600\"} 3\n").And.Contain("rpc_seconds_bucket{m=\"a\",le=\"+Inf\"} 4\n"));
        Assert.That(text, Does.Contain("rpc_seconds_count{m=\"a\"} 4\n").And.Contain("rpc_seconds_sum{m=\"a\"} 5000.3003\n"));
    }

    [Test]
    public void Counter_MoreThanAThousandSeries_CountsTheRestAsOther()
    {
        var counter = _meter.CreateCounter<long>("many", "{thing}", "x");
        for (var i = 0; i < 5_000; i++) counter.Add(1, new("a", $"{i}"), new("b", "x"));
        var lines = _metrics.Collect().Split('\n').Where(line => line.StartsWith("many_total{", StringComparison.Ordinal)).ToArray();
        Assert.That(lines, Has.Length.EqualTo(PrometheusMetrics.SeriesMax));
        Assert.That(lines, Does.Contain("many_total{a=\"other\",b=\"other\"} 4001"));
    }

    [Test]
    public void Gauge_MoreThanAThousandSeries_AddsTheRestUpAnewEachTime()
    {
        _meter.CreateObservableGauge("many", () => Enumerable.Range(0, 3_000).Select(i => new Measurement<int>(2, new KeyValuePair<string, object?>("a", $"{i}"))), "1", "x");
        _metrics.Collect();
        Assert.That(_metrics.Collect(), Does.Contain($"many{{a=\"other\"}} {2 * 2_001}\n"));
    }

    [Test]
    public void Gauge_SeriesThatIsGone_IsNotTold()
    {
        string[] present = ["a", "b"];
        _meter.CreateObservableGauge("things", () => present.Select(name => new Measurement<int>(1, new KeyValuePair<string, object?>("n", name))), "1", "x");
        Assert.That(_metrics.Collect(), Does.Contain("things{n=\"b\"} 1"));
        present = ["a"];
        Assert.That(_metrics.Collect(), Does.Not.Contain("things{n=\"b\"}"));
    }

    [Test]
    public void Collect_ThreeLabels_AllStandInTheLine()
    {
        _meter.CreateCounter<long>("c", "1", "x").Add(1, new("a", 1), new("b", true), new("c", "z"));
        Assert.That(_metrics.Collect(), Does.Contain("c_total{a=\"1\",b=\"True\",c=\"z\"} 1\n"));
    }

    [Test]
    public void Collect_OtherScope_IsNotHeard()
    {
        using var other = new Meter(new MeterOptions("test") { Scope = new object() });
        other.CreateCounter<long>("foreign", "1", "x").Add(1);
        Assert.That(_metrics.Collect(), Is.Empty);
    }

    [Test]
    public void Collect_InstrumentThatThrows_LeavesTheOthers()
    {
        _meter.CreateObservableGauge("bad", int () => throw new InvalidOperationException("gone"), "1", "x");
        _meter.CreateObservableGauge("good", () => 1, "1", "x");
        Assert.That(_metrics.Collect(), Does.Contain("\ngood 1\n"));
    }

    [Test]
    public void Counters_FromManyThreads_LoseNothing()
    {
        var counter = _meter.CreateCounter<long>("c", "1", "x");
        var histogram = _meter.CreateHistogram<double>("h", "s", "x");
        Parallel.For(0, 8, i =>
        {
            for (var n = 0; n < 10_000; n++)
            {
                counter.Add(1, new KeyValuePair<string, object?>("t", $"{n % 10}"));
                histogram.Record(0.5);
            }
        });
        var text = _metrics.Collect();
        for (var i = 0; i < 10; i++) Assert.That(text, Does.Contain($"c_total{{t=\"{i}\"}} 8000\n"));
        Assert.That(text, Does.Contain("h_seconds_count 80000\n").And.Contain("h_seconds_sum 40000\n"));
    }
}
