using System.Diagnostics;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>Real brokers that a test starts, breaks and mends, by the script that STREAM_API_TEST_KAFKA_SCRIPT names; see its help.</summary>
internal sealed class KafkaCluster : IAsyncDisposable
{
    public const string Variable = "STREAM_API_TEST_KAFKA_SCRIPT";

    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(120);
    private readonly string _script;
    private readonly DirectoryInfo _directory;

    private KafkaCluster(string script, DirectoryInfo directory) => (_script, _directory) = (script, directory);

    /// <summary>The addresses of the plain listeners.</summary>
    public string Servers { get; private set; } = "";

    /// <summary>The addresses of the listeners with TLS and users.</summary>
    public string SecureServers { get; private set; } = "";

    public string CertificateOfAuthority => Path.Combine(_directory.FullName, "ca.pem");

    public static async Task<KafkaCluster> StartAsync(int brokers, params string[] options)
    {
        if (Environment.GetEnvironmentVariable(Variable) is not { Length: > 0 } script || !File.Exists(script))
        {
            Assert.Ignore($"no Kafka to break: {Variable} does not name the script that starts and stops brokers");
            throw new UnreachableException();
        }

        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await StartOnceAsync(script, brokers, options);
            }
            catch (InvalidOperationException exception) when (attempt < 3 && LooksEnded(exception))
            {
                TestContext.Out.WriteLine($"attempt {attempt}: {exception.Message}");
            }
        }
    }

    /// <summary>stop, kill, pause, resume or start.</summary>
    public async Task BrokerAsync(int number, string action)
    {
        try
        {
            await RunAsync(["broker", _directory.FullName, $"{number}", action]);
        }
        catch (InvalidOperationException exception) when (action == "start" && LooksEnded(exception))
        {
            await StartedAsync(number, exception);
        }
    }

    /// <summary>One of Kafka's own tools.</summary>
    public Task<string> ToolAsync(string name, params string[] arguments) => RunAsync(["tool", _directory.FullName, name, .. arguments]);

    public async ValueTask DisposeAsync()
    {
        if (File.Exists(Path.Combine(_directory.FullName, "settings"))) await RunAsync(["stop", _directory.FullName]);
        _directory.Delete(recursive: true);
    }

    // On a busy machine the script looks for its broker before the process has become one, and takes it for dead.
    private static bool LooksEnded(InvalidOperationException exception) => exception.Message.Contains("ended while starting", StringComparison.Ordinal);

    private static async Task<KafkaCluster> StartOnceAsync(string script, int brokers, string[] options)
    {
        // Below the ports that are given out for outgoing connections.
        var port = 20_000 + (40 * Random.Shared.Next(250));
        var cluster = new KafkaCluster(script, Directory.CreateTempSubdirectory("stream-api-kafka-"));
        try
        {
            cluster.Servers = (await cluster.RunAsync(["start", cluster._directory.FullName, "--brokers", $"{brokers}", "--port", $"{port}", "--heap", "384m", .. options])).Trim();
            if (options.Contains("--secure")) cluster.SecureServers = (await cluster.RunAsync(["env", cluster._directory.FullName, "secure"])).Trim();
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    private async Task StartedAsync(int number, InvalidOperationException failure)
    {
        var folder = Path.Combine(_directory.FullName, $"{number}");
        var process = Path.Combine("/proc", (await File.ReadAllTextAsync(Path.Combine(folder, "pid"))).Trim());
        using var deadline = new CancellationTokenSource(Deadline);
        await Until.TrueAsync(
            async () => Directory.Exists(process)
                ? (await File.ReadAllTextAsync(Path.Combine(folder, "server.log"), deadline.Token)).Contains("Kafka Server started", StringComparison.Ordinal)
                : throw failure,
            deadline.Token);
    }

    private async Task<string> RunAsync(string[] arguments)
    {
        var start = new ProcessStartInfo(_script, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start)!;
        using var deadline = new CancellationTokenSource(Deadline);
        var output = process.StandardOutput.ReadToEndAsync(deadline.Token);
        var errors = process.StandardError.ReadToEndAsync(deadline.Token);
        await process.WaitForExitAsync(deadline.Token);
        return process.ExitCode == 0 ? await output : throw new InvalidOperationException($"{string.Join(' ', arguments)}: {await errors}{await output}");
    }
}
