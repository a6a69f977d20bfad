using System.Diagnostics;
using MA.Streaming.OpenData;
using NUnit.Framework;
using Telemetry;
using Telemetry.Live;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>The measuring instruments of the telemetry sample measure right.</summary>
public sealed class TelemetryPartsTests
{
    [Test]
    public void LatencyHistogram_Percentiles_AreWithinThreePercent()
    {
        var random = new Random(1);
        var histogram = new LatencyHistogram();
        var all = new List<long>();
        for (var i = 0; i < 20_000; i++)
        {
            var ticks = (long)Math.Exp(random.NextDouble() * 25);
            all.Add(ticks);
            histogram.Record(ticks);
        }

        all.Sort();
        foreach (var share in new[] { 0.001, 0.1, 0.5, 0.9, 0.99, 1 })
        {
            var exact = all[(int)Math.Ceiling(share * all.Count) - 1] / (double)Stopwatch.Frequency;
            Assert.That(histogram.Percentile(share).TotalSeconds, Is.EqualTo(exact).Within(3.2).Percent.Or.EqualTo(exact).Within(2e-7), $"{share}");
        }

        Assert.That(histogram.Max.TotalSeconds, Is.EqualTo(all[^1] / (double)Stopwatch.Frequency).Within(1e-6));
    }

    [Test]
    public void LatencyHistogram_Empty_IsZero() => Assert.That(new LatencyHistogram().Percentile(0.5), Is.EqualTo(TimeSpan.Zero));

    [Test]
    public void WriteTimes_OlderThanTheLastMillion_AreUnknown()
    {
        var times = new WriteTimes();
        times.Stamp(1);
        Assert.That(times.TryGetAge(1, out var age), Is.True);
        Assert.That(age, Is.GreaterThanOrEqualTo(0));
        times.Stamp(1 + (1 << 20));
        Assert.That(times.TryGetAge(1, out _), Is.False);
        Assert.That(times.TryGetAge(2, out _), Is.False);
    }

    [Test]
    public void ReaderPlan_Filter_FollowsTheRules()
    {
        var speeds = new ReaderPlan("", "", ReadKind.Data) { IncludeParameters = ["^vCar", "^n"], ExcludeParameters = ["^nIdle"], ExcludeEvents = ["."] };
        var news = new ReaderPlan("", "", ReadKind.Data) { ExcludeParameters = ["."], IncludeMarkers = true, IncludeEvents = ["^Gear"] };

        Assert.Multiple(() =>
        {
            Assert.That(speeds.Expects(Samples("TWater", "nEngine")), Is.True, "whole if any passes");
            Assert.That(speeds.Expects(Samples("TWater", "nIdleTarget")), Is.False, "exclude wins");
            Assert.That(speeds.Expects(Samples("TvCar", "N")), Is.False, "case and anchors count");
            Assert.That(speeds.Expects(Event("GearShift")), Is.False);
            Assert.That(speeds.Expects(Other("Marker")), Is.False);
            Assert.That(news.Expects(Samples("vCar")), Is.False);
            Assert.That(news.Expects(Event("GearShift")), Is.True);
            Assert.That(news.Expects(Event("LockUp")), Is.False);
            Assert.That(news.Expects(Other("Marker")), Is.True);
            Assert.That(news.Expects(Other("RawCANData")), Is.False);
            Assert.That((speeds with { Streams = ["Other"] }).Expects(Samples("vCar")), Is.False);
        });

        static TelemetryPacket Samples(params string[] parameters) => new("Chassis", "PeriodicData", Google.Protobuf.ByteString.Empty, TimeSpan.Zero, parameters);
        static TelemetryPacket Event(string name) => new("Timing", "Event", Google.Protobuf.ByteString.Empty, TimeSpan.Zero, [], Event: name);
        static TelemetryPacket Other(string type) => new("Timing", type, Google.Protobuf.ByteString.Empty, TimeSpan.Zero, []);
    }

    [Test]
    public void Tally_EveryFieldOfAPacketCounts()
    {
        var packet = new Packet { Id = 5, Type = "Marker", SessionKey = "s", Content = Google.Protobuf.ByteString.CopyFromUtf8("abc") };
        var changes = new Action<Packet>[]
        {
            p => p.Id = 6, p => p.Type = "Event", p => p.SessionKey = "t", p => p.IsEssential = true, p => p.Content = Google.Protobuf.ByteString.CopyFromUtf8("abd"),
        };
        foreach (var change in changes)
        {
            var changed = packet.Clone();
            change(changed);
            Assert.That(Tally.Differences(Of(packet), Of(changed)), Is.EqualTo(new[] { "stream a: 1 packets, but contents or order differ" }));
        }

        Assert.That(Tally.Differences(Of(packet), Of(packet.Clone())), Is.Empty);
        Assert.That(Tally.Differences(Of(packet), Of(packet, packet)), Is.EqualTo(new[] { "stream a: 1 packets written, 2 read" }));
        Assert.That(Tally.Differences(Of(), Of(packet)), Is.EqualTo(new[] { "stream a: 0 packets written, 1 read" }));

        static IReadOnlyDictionary<string, StreamTally> Of(params Packet[] packets)
        {
            using var tally = new Tally();
            foreach (var each in packets) tally.Add("a", each);
            return tally.Close();
        }
    }

    [Test]
    public void SpeedTrace_OverDistance_IntegratesSpeedFromTheLine()
    {
        var trace = new SpeedTrace();
        for (ulong ms = 0; ms <= 20_000; ms += 10) trace.Add(ms * 1_000_000, 36);

        var lap = trace.OverDistance(new LapRecord("Lap 1", 1, 4_000_000_000, 14_000_000_000, ""), 1 / 3.6);

        Assert.That(lap[0].X, Is.Zero);
        Assert.That(lap[^1].X, Is.EqualTo(100).Within(0.5), "10 s at 36 km/h");
        Assert.That(trace.OverTime(5)[0].X, Is.EqualTo(15).Within(0.1));
    }
}
