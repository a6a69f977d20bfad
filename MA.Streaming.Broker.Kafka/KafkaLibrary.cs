using System.Reflection;
using System.Runtime.InteropServices;
using Confluent.Kafka;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Kafka;

/// <summary>
/// Finds librdkafka, the native library of Confluent.Kafka. Its package carries several builds a system: the usual one for Linux needs
/// Red Hat's libsasl2.so.3, so on Debian and Ubuntu another build loads. Every import of the product and its tests resolves here.
/// </summary>
internal static class KafkaLibrary
{
    /// <summary>The name that imports use.</summary>
    public const string Name = "librdkafka";

    private const int OldestVersion = 0x020f0000;

    /// <summary>Advice for a library that is missing or too old.</summary>
    public const string Remedy =
        "put librdkafka 2.15 or later beside the program; the package Confluent.Kafka brings it for Linux (x64, arm64), macOS and Windows";

    /// <summary>The files that may hold the library on this system, the preferred one first.</summary>
    private static string[] Candidates { get; } =
        RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal) || RuntimeInformation.RuntimeIdentifier.StartsWith("alpine", StringComparison.Ordinal)
            ? ["alpine-librdkafka", Name]
            : [Name, "centos8-librdkafka"];

    /// <summary>Resolves <see cref="Name"/> for <see cref="NativeLibrary.SetDllImportResolver"/>; 0 for any other name, or when no build of it loads.</summary>
    public static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path)
    {
        if (name != Name) return 0;
        foreach (var candidate in Candidates)
        {
            if (NativeLibrary.TryLoad(candidate, typeof(KafkaLibrary).Assembly, path, out var library)) return library;
        }

        return 0;
    }

    /// <summary>Makes sure that the library loads and is new enough.</summary>
    /// <exception cref="BrokerException">Unavailable: it is missing or too old. The message says what to do.</exception>
    public static void Require()
    {
        try
        {
            Library.Load(null);
            if (Library.Version >= OldestVersion) return;
        }
        catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException or FileNotFoundException or TypeInitializationException or InvalidOperationException or BadImageFormatException)
        {
            throw new BrokerException(BrokerError.Unavailable, $"Kafka needs the native library {Name}, which is not there: {Remedy}", exception);
        }

        throw new BrokerException(BrokerError.Unavailable, $"Kafka needs librdkafka 2.15 or later; the one found is {Library.VersionString}: {Remedy}");
    }
}
