using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>The program sends metrics and traces to the collector that the environment names.</summary>
[Parallelizable(ParallelScope.Self)]
[Platform(Exclude = "Win", Reason = "signals are those of Unix")]
internal sealed class OtlpTests
{
    private const string Metrics = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    private const string Traces = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    private const string Trace = "0af7651916cd43dd8448eb211c80319c";

    [Test]
    public async Task Serve_WithACollector_SendsAMetricAndASpanOfTheEngine()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        using var folder = new TemporaryFolder();
        var received = new ConcurrentQueue<(string Path, byte[] Body)>();
        await using var collector = await RawServer.StartAsync(
            async context =>
            {
                using var body = new MemoryStream();
                await context.Request.Body.CopyToAsync(body);
                received.Enqueue((context.Request.Path, body.ToArray()));
                await RawServer.Message(context, []);
            },
            limit.Token);
        var environment = new Dictionary<string, string> { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = $"http://{collector.Address}", ["OTEL_RESOURCE_ATTRIBUTES"] = "deployment=pit", ["OTEL_METRIC_EXPORT_INTERVAL"] = "500" };
        using var process = ToolProcess.Start(folder.Path, ["serve", "--broker", "memory:", "--port", "0", "--metric-port", "0"], environment);
        using var channel = GrpcChannel.ForAddress(await process.GrpcAddressAsync(limit.Token));
        Assert.That(await process.SaysAsync("Metrics and traces go to the collector (.*)", limit.Token), Is.EqualTo($"http://{collector.Address}"));
        await new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(
            new() { Detail = Detail("Car", "", TextPacket("x")) }, new Metadata { { "traceparent", $"00-{Trace}-b7ad6b7169203331-01" } }, cancellationToken: limit.Token);

        // A gauge comes with the next interval, the span at the latest with the stop.
        await Until.TrueAsync(() => Task.FromResult(MetricsOf(received).Contains("stream_api_ready")), limit.Token);
        process.Signal(PosixSignal.SIGTERM);
        Assert.That(await process.EndAsync(limit.Token), Is.Zero, process.Output);

        var spans = Messages(received, Traces).SelectMany(request => Fields(request, 1, 2, 2)).ToArray();
        var write = spans.Single(span => Text(span, 5) == "ma.streaming.api.v1.PacketWriterService/WriteDataPacket");
        Assert.That(Convert.ToHexStringLower(Fields(write, 1).Single().Span), Is.EqualTo(Trace));
        Assert.That(Convert.ToHexStringLower(Fields(write, 4).Single().Span), Is.EqualTo("b7ad6b7169203331"), "its parent is the caller's span");
        Assert.That(MetricsOf(received), Does.Contain("stream_api_data_packets_published_total"));
        var attributes = Messages(received, Traces).SelectMany(request => Fields(request, 1, 1, 1)).Select(attribute => (Text(attribute, 1), Text(Fields(attribute, 2).Single(), 1)));
        Assert.That(attributes, Does.Contain(("service.name", "streamapi")).And.Contain(("deployment", "pit")));
    }

    [Test]
    public async Task Serve_CollectorThatIsNoAddress_IsRefused()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        using var folder = new TemporaryFolder();
        using var process = ToolProcess.Start(
            folder.Path, ["serve", "--broker", "memory:", "--port", "0", "--metric-port", "0"], new Dictionary<string, string> { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "collector:4317" });
        Assert.That(await process.EndAsync(limit.Token), Is.EqualTo(3), process.Output);
        Assert.That(process.Output, Does.Contain("OTEL_EXPORTER_OTLP_ENDPOINT").And.Contain("'collector:4317'").And.Contain("http://host:port"));
    }

    private static IEnumerable<string> MetricsOf(IEnumerable<(string Path, byte[] Body)> received) =>
        Messages(received, Metrics).SelectMany(request => Fields(request, 1, 2, 2)).Select(metric => Text(metric, 1));

    // A gRPC message has five bytes in front.
    private static IEnumerable<ByteString> Messages(IEnumerable<(string Path, byte[] Body)> received, string path) =>
        received.Where(request => request.Path == path).Select(request => ByteString.CopyFrom(request.Body.AsSpan(5)));

    private static string Text(ByteString message, int field) => Fields(message, field).SingleOrDefault(ByteString.Empty).ToStringUtf8();

    /// <summary>What stands in a field, in a field of that, and so on.</summary>
    private static IEnumerable<ByteString> Fields(ByteString message, params int[] path)
    {
        var input = message.CreateCodedInput();
        var found = new List<ByteString>();
        while (input.ReadTag() is var tag and not 0)
        {
            if (WireFormat.GetTagFieldNumber(tag) == path[0] && WireFormat.GetTagWireType(tag) == WireFormat.WireType.LengthDelimited) found.Add(input.ReadBytes());
            else input.SkipLastField();
        }

        return path.Length == 1 ? found : found.SelectMany(inner => Fields(inner, path[1..]));
    }
}
