using MA.Streaming.Hosting;
using MA.Streaming.Proto.Client.Remote;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class HostingGuide
{
    [Test]
    public async Task Run()
    {
        using var host = Build("memory:", port: 0, metricPort: 0);
        await host.StartAsync().WithDeadline(30);
        var server = host.Services.GetRequiredService<StreamingApiServer>();
        using (var api = RemoteStreamingApi.Connect(new Uri(server.Addresses.Single()).Authority))
            Assert.That((await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car44" })).Success, Is.True);
        await host.StopAsync().WithDeadline(30);
    }

    // <guide>
    // Works in any host: the server starts and stops with it. In an ASP.NET Core application app.MapStreamingApi() serves the rpcs on the
    // application's port instead, and app.MapStreamingApiDiagnostics() its metrics and health.
    private static IHost Build(string brokerUrl, int port = 13579, int metricPort = 10010)
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Services.AddStreamingApi(options =>
        {
            options.BrokerUrl = brokerUrl;
            options.StreamApiPort = port;
            options.PrometheusMetricPort = metricPort;
            options.BatchingResponses = true;
        });
        return builder.Build();
    }
    // </guide>
}
