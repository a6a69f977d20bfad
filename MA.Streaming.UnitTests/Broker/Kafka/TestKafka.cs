using Confluent.Kafka;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Kafka;

/// <summary>The Kafka to test against; where there is none, tests that need it are skipped and say why.</summary>
internal static class TestKafka
{
    public const string Variable = "STREAM_API_TEST_KAFKA";

    /// <summary>The addresses of a real Kafka. The broker there is shared: topics have names of their own.</summary>
    public static string Servers
    {
        get
        {
            if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } servers) return servers;
            Assert.Ignore($"no Kafka to test against: {Variable} is not set to its host:port");
            return "";
        }
    }

    public static IAdminClient Admin(string servers) => new AdminClientBuilder(new AdminClientConfig { BootstrapServers = servers }).Build();
}
