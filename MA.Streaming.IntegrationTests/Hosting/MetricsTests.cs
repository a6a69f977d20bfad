using System.Diagnostics;
using System.Net;
using System.Text.RegularExpressions;
using MA.Streaming.IntegrationTests.Samples;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>What a dashboard finds: the documented names, with values that are true, in a form that Prometheus's own tool accepts.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed partial class MetricsTests
{
    /// <summary>The documented names and those that dashboards use.</summary>
    private static readonly string[] Documented =
    [
        "stream_api_connections_total", "stream_api_packets_routed_total", "stream_api_sessions_active", "stream_api_data_formats_registered",
        "stream_api_data_packets_published_total", "stream_api_data_packets_routed_total", "stream_api_data_packets_routed_bytes_total",
        "stream_api_info_packets_published_total", "stream_api_info_packets_routed_total", "stream_api_info_packets_routed_bytes_total",
        "stream_api_sessions_total", "stream_api_data_formats_total", "stream_api_data_packets_read_total", "stream_api_data_packets_delivered_total",
        "stream_api_essential_packets_read_total", "stream_api_essential_packets_delivered_total",
    ];

    /// <summary>Gauges whose given names end in what is for counters.</summary>
    private static readonly string[] GivenNames = ["stream_api_connections_total", "stream_api_sessions_total", "stream_api_data_formats_total"];

    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void StartLimit() => _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));

    [TearDown]
    public void StopLimit() => _limit.Dispose();

    [Test]
    public async Task Metrics_BeforeAnyTraffic_HaveTheNamesWithoutLabels()
    {
        await using var server = await NetworkServer.StartAsync(Limit);
        var text = await server.Diagnostics.GetStringAsync("/metrics", Limit);
        foreach (var name in Documented.Take(4)) Assert.That(text, Does.Contain($"\n{name} 0\n"));
        foreach (var name in Documented) Assert.That(text, Does.Contain($"# TYPE {name} "));
        Assert.That(text, Does.Contain("\nstream_api_ready 1\n"));
    }

    [Test]
    public async Task Metrics_AfterTraffic_CountWhatHappened()
    {
        await using var server = await NetworkServer.StartAsync(Limit);
        await TrafficAsync(server);
        var response = await server.Diagnostics.GetAsync("/metrics", Limit);
        Assert.That(response.Content.Headers.ContentType!.ToString(), Is.EqualTo("text/plain; version=0.0.4; charset=utf-8"));
        var lines = (await response.Content.ReadAsStringAsync(Limit)).Split('\n');

        string[] expected =
        [
            "stream_api_connections_total 1",
            "stream_api_sessions_active 1",
            "stream_api_sessions_total{data_source=\"Car\"} 1",
            "stream_api_data_formats_registered 1",
            "stream_api_data_formats_total{data_source=\"Car\"} 1",
            "stream_api_data_packets_published_total{data_source=\"Car\",stream=\"Chassis\"} 3",
            "stream_api_data_packets_routed_total{data_source=\"Car\",stream=\"Chassis\"} 3",
            "stream_api_data_packets_delivered_total{data_source=\"Car\",stream=\"Chassis\"} 3",
            "stream_api_info_packets_published_total{data_source=\"\"} 1",
            "stream_api_reads_open 1",
            "stream_api_rpc_duration_seconds_count{method=\"/ma.streaming.api.v1.PacketWriterService/WriteDataPacket\",status=\"OK\"} 3",
            "stream_api_rpc_duration_seconds_count{method=\"/ma.streaming.api.v1.ConnectionManagerService/NewConnection\",status=\"InvalidArgument\"} 1",
        ];
        foreach (var line in expected) Assert.That(lines, Does.Contain(line));
        Assert.That(lines.Single(line => line.StartsWith("stream_api_data_packets_routed_bytes_total{", StringComparison.Ordinal)), Does.Match(" [1-9][0-9]+$"));
        AssertHistogramsAreWhole(lines);
    }

    [Test]
    public async Task Metrics_UnderPromtool_HaveNothingToComplainOfButGivenNames()
    {
        var promtool = FindPromtool();
        if (promtool is null) Assert.Ignore("promtool is not here: it comes with Debian's package prometheus");
        await using var server = await NetworkServer.StartAsync(Limit);
        await TrafficAsync(server);
        var text = await server.Diagnostics.GetStringAsync("/metrics", Limit);

        var start = new ProcessStartInfo(promtool!, ["check", "metrics"]) { RedirectStandardInput = true, RedirectStandardError = true, RedirectStandardOutput = true };
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync(Limit);
        var output = process.StandardOutput.ReadToEndAsync(Limit);
        await process.StandardInput.WriteAsync(text.AsMemory(), Limit);
        process.StandardInput.Close();
        await process.WaitForExitAsync(Limit);

        var complaints = (await errors + await output).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.That(complaints, Is.EquivalentTo(GivenNames.Select(name => $"{name} non-counter metrics should not have \"_total\" suffix")));
        Assert.That(process.ExitCode, Is.EqualTo(3), "parsed, and only those complaints");
    }

    [Test]
    public async Task Metrics_EnableMetricsOff_AreNotFoundAndHealthIsServed()
    {
        await using var server = await NetworkServer.StartAsync(Limit, options => options.EnableMetrics = false);
        Assert.That((await server.Diagnostics.GetAsync("/metrics", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.NotFound));
        Assert.That((await server.Diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
    }

    [Test]
    public async Task Metrics_WithoutSessionManagement_StillHaveTheNames()
    {
        await using var server = await NetworkServer.StartAsync(Limit, options => options.IntegrateSessionManagement = false);
        Assert.That(await server.Diagnostics.GetStringAsync("/metrics", Limit), Does.Contain("\nstream_api_sessions_active 0\n"));
    }

    private static void AssertHistogramsAreWhole(string[] lines)
    {
        var series = lines.Select(line => Bucket().Match(line)).Where(match => match.Success)
            .GroupBy(match => match.Groups["labels"].Value, match => (UpTo: match.Groups["le"].Value, Count: long.Parse(match.Groups["count"].Value)));
        foreach (var buckets in series)
        {
            var counts = buckets.Select(bucket => bucket.Count).ToArray();
            Assert.That(counts, Is.Ordered, buckets.Key);
            Assert.That(buckets.Last().UpTo, Is.EqualTo("+Inf"));
            Assert.That(lines, Does.Contain($"stream_api_rpc_duration_seconds_count{{{buckets.Key}}} {counts[^1]}"));
        }
    }

    private static string? FindPromtool() =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Append(Path.Combine(SampleProgram.Root, "artifacts", "tools"))
            .Select(folder => Path.Combine(folder, "promtool")).FirstOrDefault(File.Exists);

    private async Task TrafficAsync(NetworkServer server)
    {
        await server.Sessions.CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: Limit);
        for (ulong i = 0; i < 3; i++)
        {
            await server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "Chassis", DataPackets.Periodic(i, "vCar")) }, cancellationToken: Limit);
        }

        await server.Writer.WriteInfoPacketAsync(new() { Message = TextPacket("x"), Type = API.InfoType.SystemStatus }, cancellationToken: Limit);
        await FailureOfAsync(async () => await server.Connections.NewConnectionAsync(new(), cancellationToken: Limit));
        var connection = (await server.Connections.NewConnectionAsync(
            new() { Details = new() { DataSource = "Car", Streams = { "Chassis" }, ExcludeMainStream = true } }, cancellationToken: Limit)).Connection;
        var read = server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        for (var i = 0; i < 3; i++) Assert.That(await read.ResponseStream.MoveNext(Limit), Is.True);

        // The format is registered after the packet was acknowledged, and the first reader of a gauge may be early.
        await Until.TrueAsync(
            async () => await server.Diagnostics.GetStringAsync("/metrics", Limit) is var text
                && text.Contains("stream_api_data_formats_registered 1\n", StringComparison.Ordinal)
                && text.Contains("stream_api_data_packets_delivered_total{data_source=\"Car\",stream=\"Chassis\"} 3\n", StringComparison.Ordinal),
            Limit);
    }

    [GeneratedRegex("^stream_api_rpc_duration_seconds_bucket\\{(?<labels>.*),le=\"(?<le>[^\"]+)\"\\} (?<count>\\d+)$")]
    private static partial Regex Bucket();
}
