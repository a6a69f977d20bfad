using MA.Streaming.Core.Configs;
using MA.Streaming.Proto.Client.Local;
using NUnit.Framework;

namespace MA.Streaming.UsageTests.Guide;

public sealed class KafkaGuide
{
    [Test]
    public async Task Run()
    {
        if (Environment.GetEnvironmentVariable("STREAM_API_TEST_KAFKA") is not { Length: > 0 } servers)
        {
            Assert.Ignore("no Kafka to test against: STREAM_API_TEST_KAFKA is not set to its host:port");
            return;
        }

        await using var api = await StartAsync(servers).WithDeadline(30);
        Assert.That((await api.GetSessionManagementClient().CreateSessionAsync(new() { DataSource = $"Car{Guid.NewGuid():N}" })).Success, Is.True);
    }

    // <guide>
    private static Task<LocalStreamingApi> StartAsync(string servers) // "kafka-1:9092,kafka-2:9092"
    {
        var configuration = new StreamingApiConfiguration(brokerUrl: servers)
        {
            Kafka = new() { ReplicationFactor = 1, DeliveryTimeout = TimeSpan.FromSeconds(20) },
        };
        return LocalStreamingApi.StartAsync(configuration);
    }
    // </guide>
}
