using MA.Streaming.IntegrationTests.Samples;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Packages;

/// <summary>The quick start as programs that packages are tried with.</summary>
internal static class QuickStart
{
    /// <summary>Its samples, when they have been written and read back.</summary>
    public const string Speeds = @"vCar = 71\.3 Valid\n\d+ vCar = 72\.1 Valid\n\d+ vCar = 72\.8 Valid\nsession ";

    /// <summary>In process, on the broker that its first argument names. It starts with the version of Kafka's native library.</summary>
    public static string Local { get; } = Changed(
        ("new StreamingApiConfiguration()", "new StreamingApiConfiguration(brokerUrl: args[0])"),
        ("StreamingApiClient.Initialise(", "Console.WriteLine($\"librdkafka {Confluent.Kafka.Library.VersionString}\");\nStreamingApiClient.Initialise("));

    /// <summary>A client of the server that its first argument names.</summary>
    public static string Remote { get; } = Changed(
        ("using MA.Streaming.Proto.Client.Local;", "using MA.Streaming.Proto.Client.Remote;"),
        ("new StreamingApiConfiguration()", "args[0]"),
        ("StreamingApiClient.", "RemoteStreamingApiClient."));

    private static string Changed(params (string Before, string After)[] changes)
    {
        var program = File.ReadAllText(Path.Combine(SampleProgram.Root, "samples", "QuickStart", "Program.cs"));
        foreach (var (before, after) in changes)
        {
            Assert.That(program, Does.Contain(before));
            program = program.Replace(before, after, StringComparison.Ordinal);
        }

        return program;
    }
}
