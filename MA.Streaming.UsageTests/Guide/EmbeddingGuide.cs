using MA.Streaming.Core.Configs;
using MA.Streaming.Proto.Client.Local;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class EmbeddingGuide
{
    [Test]
    public async Task Run() => Assert.That(await RunAsync("memory:").WithDeadline(30), Is.Not.Empty);

    // <guide>
    private static async Task<string> RunAsync(string brokerUrl)
    {
        await using var api = await LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: brokerUrl));
        var created = await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = "Car44", Identifier = "FP1" });
        return created.SessionKey;
    }
    // </guide>
}
