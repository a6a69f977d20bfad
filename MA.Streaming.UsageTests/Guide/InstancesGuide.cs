using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Proto.Client.Local;
using Microsoft.Extensions.Logging;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class InstancesGuide
{
    [Test]
    public async Task Run()
    {
        var folder = Directory.CreateTempSubdirectory("stream-api-guide-");
        try
        {
            using var loggers = LoggerFactory.Create(_ => { });
            await RunAsync(folder.FullName, loggers).WithDeadline(30);
            Assert.That(Directory.Exists(Path.Combine(folder.FullName, "garage")), Is.True);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    // <guide>
    // Two Stream APIs in one process, each with its log. StreamingApiClient keeps one of these in a static class.
    private static async Task RunAsync(string folder, ILoggerFactory loggers)
    {
        var options = new StreamApiOptions { LoggerFactory = loggers };
        var durable = new StreamingApiConfiguration(brokerUrl: $"embedded:{Path.Combine(folder, "garage")}")
        {
            Embedded = new() { RetentionAge = TimeSpan.FromDays(30) },
            SessionIdleTimeout = TimeSpan.FromHours(1),
        };
        await using var garage = await LocalStreamingApi.StartAsync(durable, options);
        await using var scratch = await LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: "memory:"), options);

        await garage.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Rig" });
        await scratch.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Rig" });
    }
    // </guide>
}
