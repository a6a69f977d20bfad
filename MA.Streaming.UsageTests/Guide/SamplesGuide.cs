using Google.Protobuf;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class SamplesGuide
{
    [Test]
    public void Run()
    {
        var samples = new PeriodicDataPacket
        {
            DataFormat = new() { ParameterIdentifiers = new() { ParameterIdentifiers = { "vCar" } } },
            Columns = { new SampleColumn { DoubleSamples = new() { Samples = { new DoubleSample { Value = 71.5, Status = DataStatus.Valid } } } } },
        };
        Assert.That(SpeedsOf(new Packet { Type = "PeriodicData", Content = samples.ToByteString() }), Is.EqualTo(new[] { "0: 71.5" }));
    }

    // <guide>
    private static IEnumerable<string> SpeedsOf(Packet packet)
    {
        var decoder = new SampleDecoder(_ => null); // Looks up the parameters of a data format; not needed when packets carry their names.
        return decoder.Decode(packet).Where(sample => sample.Parameter == "vCar").Select(sample => $"{sample.TimestampNanoseconds}: {sample.Value}");
    }
    // </guide>
}
