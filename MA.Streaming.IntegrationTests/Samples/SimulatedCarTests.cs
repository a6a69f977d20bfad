using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;
using Telemetry;
using Telemetry.Car;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>The simulated car's packets say what its channels promise.</summary>
public sealed class SimulatedCarTests
{
    private static readonly SampleDecoder Decoder = new(_ => null);

    [Test]
    public void Play_SameSeed_SamePackets()
    {
        var (once, again, other) = (Fingerprints(seed: 9), Fingerprints(seed: 9), Fingerprints(seed: 10));

        Assert.That(again, Is.EqualTo(once));
        Assert.That(other, Is.Not.EqualTo(once));

        static List<(string, string, TimeSpan, int)> Fingerprints(int seed) =>
            [.. new SimulatedCar(1, seed, Circuit.SmallOval).Play(DataFormats.Inline).Select(p => (p.Stream, p.Type, p.Due, p.Content.GetHashCode()))];
    }

    [Test]
    public void Configuration_CoversEveryParameterWithUnitRangeAndRate()
    {
        var car = new SimulatedCar(1, 1);
        var defined = car.Configuration.ParameterDefinitions;

        Assert.Multiple(() =>
        {
            Assert.That(defined.Select(p => p.Identifier), Is.EquivalentTo(car.Groups.SelectMany(g => g.Parameters)));
            Assert.That(defined.Select(p => p.Identifier), Is.Unique);
            Assert.That(defined, Has.Count.GreaterThanOrEqualTo(40));
            Assert.That(defined.Where(p => p.DataType == DataType.Float64), Has.All.Matches<ParameterDefinition>(p => p!.MaxValue > p.MinValue && p.WarningMaxValue > p.WarningMinValue));
            Assert.That(defined.SelectMany(p => p.Frequencies).Max(), Is.EqualTo(1000));
            Assert.That(car.Configuration.EventDefinitions.Select(e => e.Identifier), Is.EquivalentTo(car.Events));
        });
    }

    [Test]
    public void Play_OneLap_EverySampleIsInItsRangeAndTime()
    {
        var source = new SimulatedCar(1, 1, Circuit.SmallOval);
        var ranges = source.Configuration.ParameterDefinitions.ToDictionary(p => p.Identifier);
        var last = new Dictionary<string, ulong>();
        var counts = new Dictionary<string, int>();
        var start = (ulong)source.Start.ToUnixTimeMilliseconds() * 1_000_000;
        var due = TimeSpan.Zero;
        foreach (var packet in source.Play(DataFormats.Inline))
        {
            Assert.That(packet.Due, Is.GreaterThanOrEqualTo(due), "packets come in the order of their due times");
            due = packet.Due;
            var samples = Decoder.Decode(new Packet { Type = packet.Type, Content = packet.Content }).ToList();
            Assert.That(samples, Has.Count.EqualTo(packet.Samples));
            foreach (var sample in samples)
            {
                if (last.TryGetValue(sample.Parameter, out var before) && sample.TimestampNanoseconds <= before)
                    Assert.Fail($"{sample.Parameter}: {sample.TimestampNanoseconds} after {before}");
                last[sample.Parameter] = sample.TimestampNanoseconds;
                counts[sample.Parameter] = counts.GetValueOrDefault(sample.Parameter) + 1;
                var definition = ranges[sample.Parameter];
                if (!sample.Value.IsNumeric || sample.Status != DataStatus.Valid || definition.MaxValue <= definition.MinValue) continue;
                var value = sample.Value.ToDouble();
                // Sensors are noisy at the ends of their range.
                var slack = (definition.MaxValue - definition.MinValue) * 0.01;
                if (value < definition.MinValue - slack || value > definition.MaxValue + slack)
                    Assert.Fail($"{sample.Parameter} = {value}, range {definition.MinValue} to {definition.MaxValue}");
            }
        }

        var seconds = (last["vCar"] - start) / 1e9;
        Assert.Multiple(() =>
        {
            Assert.That(counts.Keys, Is.EquivalentTo(ranges.Keys));
            Assert.That(counts["vCar"], Is.EqualTo(seconds * 1000).Within(1));
            Assert.That(counts["rThrottle"], Is.EqualTo(seconds * 100).Within(1));
            Assert.That(counts["TWater"], Is.EqualTo(seconds * 10).Within(1));
        });
    }

    [Test]
    public void Play_OneLap_HasEveryKindOfPacketValueAndStatus()
    {
        var packets = new SimulatedCar(1, 1).Play(DataFormats.Inline).ToList();
        var samples = packets.Where(p => p.Stream is "Chassis" or "Timing" or "Powertrain")
            .SelectMany(p => Decoder.Decode(new Packet { Type = p.Type, Content = p.Content }))
            .Select(s => (s.Value.Kind, s.Status))
            .ToHashSet();

        Assert.Multiple(() =>
        {
            Assert.That(packets.Select(p => p.Type).Distinct(), Is.EquivalentTo(new[] { "PeriodicData", "RowData", "SynchroData", "Event", "Marker" }));
            Assert.That(samples.Select(s => s.Kind).Distinct(), Is.EquivalentTo(Enum.GetValues<SampleKind>()));
            Assert.That(samples.Select(s => s.Status).Distinct(), Is.EquivalentTo(new[] { DataStatus.Valid, DataStatus.Missing, DataStatus.Error }));
            Assert.That(packets.Count(p => p.Event == nameof(CarEventKind.GearShift)), Is.GreaterThan(20));
        });
    }

    [Test]
    public void Fuel_AFullTank_LastsAsManyLapsAsItIsMeantTo()
    {
        var car = new CarSimulation(Circuit.Riverside, CarSpecification.SingleSeater with { FuelMass = 180 }, seed: 1);
        while (car.Lap <= 3) car.Step();

        Assert.That((180 - car.Fuel) / 3, Is.InRange(1.2, SimulatedCar.FuelALap));
    }

    [Test]
    public void Play_TwoLaps_LapMarkersCarryNumberAndTime()
    {
        var markers = new SimulatedCar(2, 1, Circuit.SmallOval).Play(DataFormats.Inline)
            .Where(p => p.Type == "Marker").Select(p => MarkerPacket.Parser.ParseFrom(p.Content)).Where(m => m.Type == "Lap").ToList();

        Assert.That(markers.Select(m => (m.Label, m.Value)), Is.EqualTo(new[] { ("Lap 1", 1L), ("Lap 2", 2L) }));
        Assert.That(markers[1].Timestamp, Is.EqualTo(markers[0].EndTime), "a lap begins where the last one ended");
        Assert.That((markers[1].EndTime - markers[1].Timestamp) / 1e9, Is.InRange(12, 18));
    }
}
