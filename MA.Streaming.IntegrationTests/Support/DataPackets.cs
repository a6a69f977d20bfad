using Google.Protobuf;
using MA.Streaming.OpenData;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>Data and event packets with their formats; the id of a packet tells it apart.</summary>
internal static class DataPackets
{
    public static Packet Periodic(ulong id, params string[] parameters) =>
        Of("PeriodicData", id, new PeriodicDataPacket { DataFormat = Inline(parameters), Interval = 1_000, Columns = { Samples } });

    public static Packet Row(ulong id, params string[] parameters) =>
        Of("RowData", id, new RowDataPacket { DataFormat = Inline(parameters), Timestamps = { 1, 2 } });

    public static Packet Synchro(ulong id, params string[] parameters) =>
        Of("SynchroData", id, new SynchroDataPacket { DataFormat = Inline(parameters), Intervals = { 1, 2 } });

    public static Packet PeriodicById(ulong id, ulong format) =>
        Of("PeriodicData", id, new PeriodicDataPacket { DataFormat = new SampleDataFormat { DataFormatIdentifier = format }, Columns = { Samples } });

    public static Packet Event(ulong id, string identifier) =>
        Of("Event", id, new EventPacket { DataFormat = new EventDataFormat { EventIdentifier = identifier }, Timestamp = 5 });

    public static Packet EventById(ulong id, ulong format) =>
        Of("Event", id, new EventPacket { DataFormat = new EventDataFormat { DataFormatIdentifier = format }, Timestamp = 5 });

    public static Packet Marker(ulong id) => Of("Marker", id, new MarkerPacket { Label = "Lap 1" });

    public static Packet Raw(ulong id, string type, byte[] content) => new() { Type = type, Id = id, Content = ByteString.CopyFrom(content) };

    public static Packet Json(ulong id, string json, string type = "PeriodicData") => new() { Type = type, Id = id, Content = ByteString.CopyFromUtf8(json) };

    private static SampleColumn Samples => new() { DoubleSamples = new DoubleSampleList { Samples = { new DoubleSample { Value = 1.5, Status = DataStatus.Valid } } } };

    private static SampleDataFormat Inline(string[] parameters) => new() { ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { parameters } } };

    private static Packet Of(string type, ulong id, IMessage content) => new() { Type = type, Id = id, Content = content.ToByteString() };
}
