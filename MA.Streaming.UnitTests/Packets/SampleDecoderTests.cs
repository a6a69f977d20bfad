using Google.Protobuf;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Packets;

public sealed class SampleDecoderTests
{
    private const ulong Start = 1_700_000_000_000_000_000;

    private readonly SampleDecoder _decoder = new(id => id switch { 7 => ["vCar", "nEngine"], 8 => [], _ => null });

    [Test]
    public void Decode_Periodic_SampleIStandsAtStartPlusITimesInterval()
    {
        var packet = new PeriodicDataPacket
        {
            DataFormat = ById(7),
            StartTime = Start,
            Interval = 1_000_000,
            Columns = { Doubles(1.5, 2.5, 3.5), Ints(9000, 9001, 9002) },
        };

        Assert.That(_decoder.Decode(packet), Is.EqualTo(new[]
        {
            Valid("vCar", Start, SampleValue.Of(1.5)),
            Valid("vCar", Start + 1_000_000, SampleValue.Of(2.5)),
            Valid("vCar", Start + 2_000_000, SampleValue.Of(3.5)),
            Valid("nEngine", Start, SampleValue.Of(9000)),
            Valid("nEngine", Start + 1_000_000, SampleValue.Of(9001)),
            Valid("nEngine", Start + 2_000_000, SampleValue.Of(9002)),
        }));
    }

    [Test]
    public void Decode_PeriodicColumnsOfDifferentLength_EachHasItsOwn()
    {
        var packet = new PeriodicDataPacket
        {
            DataFormat = Inline("a", "b", "c"),
            StartTime = 10,
            Interval = 5,
            Columns = { Doubles(1, 2), new SampleColumn(), Doubles(3) },
        };

        Assert.That(_decoder.Decode(packet).Select(s => (s.Parameter, s.TimestampNanoseconds)), Is.EqualTo(new[] { ("a", 10UL), ("a", 15UL), ("c", 10UL) }));
    }

    [Test]
    public void Decode_Row_ByRowThenParameter()
    {
        var packet = new RowDataPacket
        {
            DataFormat = Inline("a", "b"),
            Timestamps = { 30, 10 },
            Rows = { Row(1, 2), new SampleRow { StringSamples = new() { Samples = { new StringSample { Value = "x" }, new StringSample { Value = "" } } } } },
        };

        Assert.That(_decoder.Decode(packet).Select(s => (s.Parameter, s.TimestampNanoseconds, s.Value.ToString())), Is.EqualTo(new[]
        {
            ("a", 30UL, "1"), ("b", 30UL, "2"), ("a", 10UL, "x"), ("b", 10UL, ""),
        }));
    }

    [TestCase(2)]
    [TestCase(3)]
    public void Decode_Synchro_IntervalsAreTheGapsAndAFurtherOneIsNotUsed(int intervals)
    {
        var packet = new SynchroDataPacket
        {
            DataFormat = Inline("knock"),
            StartTime = 100,
            Intervals = { new uint[] { 7, 30, uint.MaxValue }.Take(intervals) },
            Columns = { Doubles(1, 2, 3) },
        };

        Assert.That(_decoder.Decode(packet).Select(s => s.TimestampNanoseconds), Is.EqualTo(new[] { 100UL, 107UL, 137UL }));
    }

    [Test]
    public void Decode_SynchroOfOneSampleOrNone_NeedsNoIntervals()
    {
        var one = new SynchroDataPacket { DataFormat = Inline("a"), StartTime = 5, Columns = { Doubles(1) } };
        var none = new SynchroDataPacket { DataFormat = Inline("a"), StartTime = 5, Columns = { Doubles() } };

        Assert.Multiple(() =>
        {
            Assert.That(_decoder.Decode(one).Single().TimestampNanoseconds, Is.EqualTo(5));
            Assert.That(_decoder.Decode(none), Is.Empty);
        });
    }

    [Test]
    public void Decode_EveryKindAndStatus_IsKept()
    {
        var packet = new PeriodicDataPacket
        {
            DataFormat = Inline("d", "i", "b", "s"),
            Columns =
            {
                new SampleColumn { DoubleSamples = new() { Samples = { new DoubleSample { Value = double.NaN, Status = DataStatus.Error } } } },
                new SampleColumn { Int32Samples = new() { Samples = { new Int32Sample { Value = int.MinValue, Status = DataStatus.Missing } } } },
                new SampleColumn { BoolSamples = new() { Samples = { new BoolSample { Value = true } } } },
                new SampleColumn { StringSamples = new() { Samples = { new StringSample { Value = "Race", Status = DataStatus.Valid } } } },
            },
        };

        Assert.That(_decoder.Decode(packet), Is.EqualTo(new[]
        {
            new Sample("d", 0, SampleValue.Of(double.NaN), DataStatus.Error),
            new Sample("i", 0, SampleValue.Of(int.MinValue), DataStatus.Missing),
            new Sample("b", 0, SampleValue.Of(true), DataStatus.Unspecified),
            new Sample("s", 0, SampleValue.Of("Race"), DataStatus.Valid),
        }));
    }

    [Test]
    public void Decode_Packet_GoesByItsType()
    {
        var periodic = Packed("PeriodicData", new PeriodicDataPacket { DataFormat = Inline("a"), Columns = { Doubles(1, 2) } });
        var row = Packed("RowData", new RowDataPacket { DataFormat = Inline("a"), Timestamps = { 3 }, Rows = { Row(1) } });
        var synchro = Packed("SynchroData", new SynchroDataPacket { DataFormat = Inline("a"), Intervals = { 4 }, Columns = { Doubles(1, 2) } });
        var marker = Packed("Marker", new MarkerPacket { Label = "Lap 1" });

        Assert.Multiple(() =>
        {
            Assert.That(_decoder.Decode(periodic).Count(), Is.EqualTo(2));
            Assert.That(_decoder.Decode(row).Single().TimestampNanoseconds, Is.EqualTo(3));
            Assert.That(_decoder.Decode(synchro).Last().TimestampNanoseconds, Is.EqualTo(4));
            Assert.That(_decoder.Decode(marker), Is.Empty);
        });
    }

    [Test]
    public void Decode_LastTimeThatFits_IsDecoded()
    {
        var packet = new PeriodicDataPacket { DataFormat = Inline("a"), StartTime = ulong.MaxValue - 1, Interval = 1, Columns = { Doubles(1, 2) } };

        Assert.That(_decoder.Decode(packet).Last().TimestampNanoseconds, Is.EqualTo(ulong.MaxValue));
    }

    private static IEnumerable<TestCaseData> Malformed()
    {
        yield return Case("no format", "PeriodicData", new PeriodicDataPacket(), "the packet names no data format");
        yield return Case("empty format", "RowData", new RowDataPacket { DataFormat = new() }, "the packet names no data format");
        yield return Case("unknown id", "SynchroData", new SynchroDataPacket { DataFormat = ById(99) }, "unknown data format 99");
        yield return Case("id without parameters", "RowData", new RowDataPacket { DataFormat = ById(8) }, "unknown data format 8");
        yield return Case("periodic columns", "PeriodicData", new PeriodicDataPacket { DataFormat = ById(7), Columns = { Doubles(1) } },
            "1 columns for the 2 parameters of its data format");
        yield return Case("synchro columns", "SynchroData", new SynchroDataPacket { DataFormat = Inline("a"), Columns = { Doubles(1), Doubles(1) } },
            "2 columns for the 1 parameters of its data format");
        yield return Case("synchro intervals", "SynchroData", new SynchroDataPacket { DataFormat = Inline("a"), Intervals = { 1 }, Columns = { Doubles(1, 2, 3) } },
            "column 0 (a) has 3 samples, which takes 2 intervals; there are 1");
        yield return Case("rows and timestamps", "RowData", new RowDataPacket { DataFormat = Inline("a"), Timestamps = { 1, 2 }, Rows = { Row(1) } },
            "1 rows with 2 timestamps");
        yield return Case("short row", "RowData", new RowDataPacket { DataFormat = ById(7), Timestamps = { 1, 2 }, Rows = { Row(1, 2), Row(1) } },
            "row 1 has 1 samples for the 2 parameters of its data format");
        yield return Case("row without samples", "RowData", new RowDataPacket { DataFormat = Inline("a"), Timestamps = { 1 }, Rows = { new SampleRow() } },
            "row 0 has 0 samples for the 1 parameters of its data format");
        yield return Case("periodic time", "PeriodicData",
            new PeriodicDataPacket { DataFormat = Inline("a"), StartTime = ulong.MaxValue, Interval = 1, Columns = { Doubles(1, 2) } },
            "start_time 18446744073709551615 and its intervals exceed 64 bits of nanoseconds");
        yield return Case("synchro time", "SynchroData",
            new SynchroDataPacket { DataFormat = Inline("a"), StartTime = ulong.MaxValue, Intervals = { 1 }, Columns = { Doubles(1, 2) } },
            "start_time 18446744073709551615 and its intervals exceed 64 bits of nanoseconds");

        static TestCaseData Case(string name, string type, IMessage content, string reason) =>
            new TestCaseData(Packed(type, content), reason).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Malformed))]
    public void TryDecode_Malformed_SaysWhy(Packet packet, string expected)
    {
        var decoded = _decoder.TryDecode(packet, out var samples, out var reason);

        Assert.Multiple(() =>
        {
            Assert.That(decoded, Is.False);
            Assert.That(samples, Is.Null);
            Assert.That(reason, Is.EqualTo(expected));
            Assert.That(() => _decoder.Decode(packet), Throws.TypeOf<MalformedPacketException>().With.Message.EqualTo(expected));
        });
    }

    [Test]
    public void TryDecode_ContentThatIsNoMessage_SaysWhichType()
    {
        var json = new Packet { Type = "PeriodicData", Content = ByteString.CopyFromUtf8("{\"vCar\": 12}") };

        Assert.That(_decoder.TryDecode(json, out _, out var reason), Is.False);
        Assert.That(reason, Does.StartWith("the content of a packet of type PeriodicData is not such a message"));
    }

    [Test]
    public void TryDecode_GoodPacket_GivesItsSamples()
    {
        var packet = Packed("RowData", new RowDataPacket { DataFormat = ById(7), Timestamps = { 1 }, Rows = { Row(1, 2) } });

        Assert.That(_decoder.TryDecode(packet, out var samples, out var reason), Is.True);
        Assert.That((samples!.Count(), reason), Is.EqualTo((2, (string?)null)));
    }

    [Test]
    public void SampleValue_ReadsAsWhatItIs()
    {
        Assert.Multiple(() =>
        {
            Assert.That(SampleValue.Of(-3).ToDouble(), Is.EqualTo(-3.0));
            Assert.That(SampleValue.Of(true).ToDouble(), Is.EqualTo(1.0));
            Assert.That(SampleValue.Of(0.1).ToString(), Is.EqualTo("0.1"));
            Assert.That(SampleValue.Of("x").IsNumeric, Is.False);
            Assert.That(SampleValue.Of(1), Is.Not.EqualTo(SampleValue.Of(true)));
            Assert.That(SampleValue.Of(-0.0), Is.EqualTo(SampleValue.Of(0.0)));
            Assert.That(SampleValue.Of(-0.0).GetHashCode(), Is.EqualTo(SampleValue.Of(0.0).GetHashCode()));
            Assert.That(SampleValue.Of(double.NaN), Is.EqualTo(SampleValue.Of(0.0 / double.NaN)));
            Assert.That(SampleValue.Of("xy"), Is.EqualTo(SampleValue.Of(string.Concat("x", "y"))).And.Not.EqualTo(SampleValue.Of("x")));
            Assert.That(default(SampleValue), Is.EqualTo(SampleValue.Of(0.0)));
            Assert.That(() => SampleValue.Of("x").ToDouble(), Throws.InvalidOperationException.With.Message.EqualTo("a sample of kind Text (x) is not a number"));
            Assert.That(() => SampleValue.Of(1.0).ToInt32(), Throws.InvalidOperationException);
            Assert.That(() => SampleValue.Of(1).ToBoolean(), Throws.InvalidOperationException);
        });
    }

    private static Sample Valid(string parameter, ulong timestamp, SampleValue value) => new(parameter, timestamp, value, DataStatus.Valid);

    private static SampleDataFormat ById(ulong id) => new() { DataFormatIdentifier = id };

    private static SampleDataFormat Inline(params string[] parameters) => new() { ParameterIdentifiers = new() { ParameterIdentifiers = { parameters } } };

    private static SampleColumn Doubles(params double[] values) =>
        new() { DoubleSamples = new() { Samples = { values.Select(v => new DoubleSample { Value = v, Status = DataStatus.Valid }) } } };

    private static SampleColumn Ints(params int[] values) =>
        new() { Int32Samples = new() { Samples = { values.Select(v => new Int32Sample { Value = v, Status = DataStatus.Valid }) } } };

    private static SampleRow Row(params double[] values) =>
        new() { DoubleSamples = new() { Samples = { values.Select(v => new DoubleSample { Value = v, Status = DataStatus.Valid }) } } };

    private static Packet Packed(string type, IMessage content) => new() { Type = type, SessionKey = "s", Content = content.ToByteString() };
}
