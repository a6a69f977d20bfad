using Google.Protobuf;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;

// A Stream API inside this process. Its packets are in a durable log in ./stream-api-data, and still there when you run it again.
StreamingApiClient.Initialise(new StreamingApiConfiguration());

var sessions = StreamingApiClient.GetSessionManagementClient();
var session = sessions.CreateSession(new() { DataSource = "Car", Identifier = "Quick start" });

// Three samples of the car's speed, 10 ms apart. The packet names its session itself.
var speeds = new PeriodicDataPacket
{
    DataFormat = new() { ParameterIdentifiers = new() { ParameterIdentifiers = { "vCar" } } },
    StartTime = (ulong)DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() * 1_000_000,
    Interval = 10_000_000,
    Columns = { new SampleColumn { DoubleSamples = new() { Samples = { Speed(71.3), Speed(72.1), Speed(72.8) } } } },
};
var packet = new Packet { Type = "PeriodicData", SessionKey = session.SessionKey, Content = speeds.ToByteString() };
StreamingApiClient.GetPacketWriterClient().WriteDataPacket(new() { Detail = new() { DataSource = "Car", Stream = "Chassis", Message = packet } });

// Read it back. A read stays open for what is still to come; this one takes the first packet and leaves.
var connections = StreamingApiClient.GetConnectionManagerClient();
var connection = connections.NewConnection(new() { Details = new() { DataSource = "Car", SessionKey = session.SessionKey } }).Connection;
using (var read = StreamingApiClient.GetPacketReaderClient().ReadPackets(new() { Connection = connection }))
{
    await read.ResponseStream.MoveNext(CancellationToken.None);
    var decoder = new SampleDecoder(_ => null); // Nothing to look up: the packet carries its parameters.
    foreach (var sample in decoder.Decode(read.ResponseStream.Current.Response[0].Packet))
        Console.WriteLine($"{sample.TimestampNanoseconds} {sample.Parameter} = {sample.Value} {sample.Status}");
}

connections.CloseConnection(new() { Connection = connection });
sessions.EndSession(new() { DataSource = "Car", SessionKey = session.SessionKey });
foreach (var key in sessions.GetCurrentSessions(new() { DataSource = "Car" }).SessionKeys) Console.WriteLine($"session {key}");
StreamingApiClient.Shutdown();

static DoubleSample Speed(double value) => new() { Value = value, Status = DataStatus.Valid };
