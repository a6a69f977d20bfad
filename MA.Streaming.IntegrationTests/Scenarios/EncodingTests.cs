using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Scenarios;

/// <summary>Where it can, the port gives packets to the log as they came: nothing but its speed may tell. Requests as no generated client
/// writes them have the status and the records of the message that protobuf reads from them.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
public sealed class EncodingTests
{
    private static readonly Marshaller<byte[]> Bytes = Marshallers.Create<byte[]>(bytes => bytes, bytes => bytes);

    private static readonly byte[] Text = TextPacket("x", "run").ToByteArray();

    private static readonly Dictionary<string, byte[]> Requests = new()
    {
        ["plain"] = Request(Text),
        ["numbered by its producer"] = Request(new Packet { Type = "T", ProducerId = 0, Sequence = 7 }.ToByteArray()),
        ["essential"] = Request(TextPacket("x", essential: true).ToByteArray()),
        ["another stream"] = [.. Request(Text), .. Request(Text, stream: "new"), .. Request(Text)],
        ["unknown field"] = Request([.. Text, 0xA0, 0x38, 7]),
        ["unknown field in front"] = Request([0xA0, 0x38, 7, .. Text]),
        ["unknown field of the request"] = [.. Request(Text), 0x10, 1],
        ["fields twice and in another order"] = Request([0x28, 1, .. Text, 0x28, 2]),
        ["defaults that are said"] = Request([0x0A, 0, 0x18, 0, 0x22, 0, 0x28, 0]),
        ["essential as two"] = Request([0x18, 2]),
        ["varints longer than they have to be"] = Request([0x0A, 0x81, 0, (byte)'T', 0x28, 0x85, 0x80, 0]),
        ["a packet in two halves"] = Field(1, [.. Field(1, Text), .. Field(1, [0x28, 9]), .. Field(2, "A"u8)]),
        ["group"] = Request([0xA3, 0x38, 0x08, 1, 0xA4, 0x38]),
        ["nothing"] = [],
        ["no packet"] = Field(1, Field(2, "A"u8)),
        ["a name that is not allowed, behind a plain packet"] = [.. Request(Text), .. Request(Text, "no t")],
        ["a packet that is too large"] = Request(new Packet { Content = ByteString.CopyFrom(new byte[3_700_000]) }.ToByteArray()),
        ["text that is no UTF-8"] = Request([0x0A, 1, 0xFF]),
        ["cut"] = Request(Text)[..^1],
        ["a name that is not allowed, and cut"] = [.. Request(Text, "no t"), 0x0A, 9],
        ["a group that does not end"] = Request([0xA3, 0x38]),
    };

    public static IEnumerable<string> Names => Requests.Keys;

    [TestCaseSource(nameof(Names))]
    public async Task WriteDataPackets_AnyEncoding_IsTheMessageThatItEncodes(string name)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var before = Request(TextPacket("before").ToByteArray());
        var network = await OutcomeAsync(Transport.Kestrel, server => WriteAsync(server, [before, Requests[name]], limit.Token), limit.Token);
        var inProcess = await OutcomeAsync(
            Transport.InProcess,
            async server =>
            {
                if (MessageOf(Requests[name]) is { } message) return await WriteAsync(server, [MessageOf(before)!, message], limit.Token);
                await WriteAsync(server, [MessageOf(before)!], limit.Token);
                return "Internal 'the packets could not be written', durable 1"; // No message reaches the service.
            },
            limit.Token);

        Assert.That(network, Is.EqualTo(inProcess));
    }

    private static async Task<string[]> OutcomeAsync(Transport transport, Func<StreamServer, Task<string>> write, CancellationToken token)
    {
        await using var broker = new MemoryBroker();
        var configuration = new StreamingApiConfiguration(StreamCreationStrategy.TopicBased, "memory:");
        await using var server = await StreamServer.StartAsync(transport, configuration, broker, null, token);
        var outcome = new List<string> { await write(server) };
        foreach (var topic in new[] { "A", "A.new", "A_essential" })
        {
            foreach (var record in await broker.StoredAsync(new(topic, 0), token)) outcome.Add($"{topic} '{record.Key}' {Convert.ToHexString(record.Value!)}");
        }

        return [.. outcome];
    }

    private static Task<string> WriteAsync(StreamServer server, WriteDataPacketsRequest[] requests, CancellationToken token) =>
        StatusOfAsync(server.Writer.WriteDataPackets(cancellationToken: token), requests, token);

    private static Task<string> WriteAsync(StreamServer server, byte[][] requests, CancellationToken token)
    {
        var method = new Method<byte[], byte[]>(
            MethodType.ClientStreaming, PacketWriterService.Descriptor.FullName, nameof(PacketWriterService.PacketWriterServiceClient.WriteDataPackets), Bytes, Bytes);
        return StatusOfAsync(server.Invoker.AsyncClientStreamingCall(method, null, new CallOptions(cancellationToken: token)), requests, token);
    }

    private static async Task<string> StatusOfAsync<TRequest, TResponse>(
        AsyncClientStreamingCall<TRequest, TResponse> call, TRequest[] requests, CancellationToken token)
    {
        using (call)
        {
            try
            {
                foreach (var request in requests) await call.RequestStream.WriteAsync(request, token);
                await call.RequestStream.CompleteAsync();
            }
            catch (Exception exception) when (exception is RpcException or InvalidOperationException)
            {
                // The call has ended already: its response says why.
            }

            try
            {
                await call.ResponseAsync.WaitAsync(token);
                return "OK";
            }
            catch (RpcException exception)
            {
                return $"{exception.StatusCode} '{exception.Status.Detail}', durable {exception.Trailers.GetValue("durable-packets")}";
            }
        }
    }

    private static WriteDataPacketsRequest? MessageOf(byte[] request)
    {
        try
        {
            return WriteDataPacketsRequest.Parser.ParseFrom(request);
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }

    private static byte[] Request(byte[] packet, string dataSource = "A", string stream = "") =>
        Field(1, [.. Field(1, packet), .. new DataPacketDetails { DataSource = dataSource, Stream = stream }.ToByteArray()]);

    private static byte[] Field(int field, ReadOnlySpan<byte> value)
    {
        using var stream = new MemoryStream();
        using (var output = new CodedOutputStream(stream, leaveOpen: true))
        {
            output.WriteTag(field, WireFormat.WireType.LengthDelimited);
            output.WriteBytes(ByteString.CopyFrom(value));
        }

        return stream.ToArray();
    }
}
