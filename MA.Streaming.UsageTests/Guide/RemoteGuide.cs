using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using MA.Streaming.Proto.Client.Remote;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class RemoteGuide
{
    [Test]
    public async Task Run()
    {
        var options = StreamingApiServerOptions.From(new StreamingApiConfiguration(brokerUrl: "memory:", streamApiPort: 0));
        options.PrometheusMetricPort = 0;
        await using var server = new StreamingApiServer(options);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await server.StartAsync(limit.Token);
        Assert.That(await RunAsync(new Uri(server.Addresses.Single()).Authority).WithDeadline(30), Is.Not.Empty);
    }

    // <guide>
    private static async Task<string> RunAsync(string address)
    {
        // "host:port", or "https://host:port" for TLS. Of several addresses with commas between them the first one that works is used.
        using var api = RemoteStreamingApi.Connect(address);
        var created = await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car44", Identifier = "FP1" });
        return created.SessionKey;
    }
    // </guide>
}
