using MA.Streaming.IntegrationTests.Samples;

namespace MA.Streaming.IntegrationTests.Clients;

/// <summary>The packages of the clients in Python and Node, and the version that both have unless another is asked for.</summary>
internal static class ClientPackages
{
    public const string NodeVersion = "3.0.0-alpha.1";
    public const string PythonVersion = "3.0.0a1";

    public static string Script { get; } = Path.Combine(SampleProgram.Root, "eng", "pack-clients");
}
