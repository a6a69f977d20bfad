using Google.Protobuf;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

/// <summary>The code that the guides under docs/ show, between the guide marks of each file, compiled and run. A test of the house rules
/// holds the pages against these files.</summary>
public abstract class GuideFixture
{
    private CancellationTokenSource _deadline = null!;

    protected LocalStreamingApi Api { get; private set; } = null!;

    protected CancellationToken Token => _deadline.Token;

    [SetUp]
    public async Task Start()
    {
        _deadline = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        Api = await LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: "memory:")).WithDeadline(30);
    }

    [TearDown]
    public async Task Stop()
    {
        await Api.DisposeAsync();
        _deadline.Dispose();
    }

    /// <summary>Reads until so many packets have come, and a little longer by closing the connection.</summary>
    protected async Task<int> CountAsync(string dataSource, int least)
    {
        var opened = await Api.GetConnectionManagerClient().NewConnectionAsync(new() { Details = new() { DataSource = dataSource } });
        using var read = Api.GetPacketReaderClient().ReadPackets(new() { Connection = opened.Connection }, cancellationToken: Token);
        var count = 0;
        while (count < least && await read.ResponseStream.MoveNext(Token)) count += read.ResponseStream.Current.Response.Count;
        return count;
    }

    /// <summary>Writes packets of three samples a parameter.</summary>
    protected async Task WriteSamplesAsync(string dataSource, string stream, string[] parameters, int samples = 3, int packets = 1)
    {
        var content = new PeriodicDataPacket { DataFormat = new() { ParameterIdentifiers = new() { ParameterIdentifiers = { parameters } } }, Interval = 1_000_000 };
        foreach (var _ in parameters)
        {
            content.Columns.Add(new SampleColumn
            {
                DoubleSamples = new() { Samples = { Enumerable.Range(0, samples).Select(i => new DoubleSample { Value = i, Status = DataStatus.Valid }) } },
            });
        }

        var packet = new Packet { Type = "PeriodicData", Content = content.ToByteString() };
        for (var i = 0; i < packets; i++)
        {
            await Api.GetPacketWriterClient()
                .WriteDataPacketAsync(new() { Detail = new() { DataSource = dataSource, Stream = stream, Message = packet } }, cancellationToken: Token);
        }
    }
}
