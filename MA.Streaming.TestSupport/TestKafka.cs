using NUnit.Framework;

namespace MA.Streaming.TestSupport;

/// <summary>The Kafka to test against. Without one, tests that need it are skipped and say why.</summary>
public static class TestKafka
{
    public const string Variable = "STREAM_API_TEST_KAFKA";

    /// <summary>The addresses of a real Kafka. Its broker is shared: topics have names of their own.</summary>
    public static string Servers
    {
        get
        {
            if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } servers) return servers;
            Assert.Ignore($"no Kafka to test against: {Variable} is not set to its host:port");
            return "";
        }
    }
}
