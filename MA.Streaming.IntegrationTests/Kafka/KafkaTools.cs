using System.Diagnostics;
using System.Globalization;
using System.Text;
using MA.Streaming.IntegrationTests.Support;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>A record as a tool shows it.</summary>
/// <param name="Partition">Its partition.</param>
/// <param name="Offset">Its offset.</param>
/// <param name="Timestamp">Its time, in milliseconds.</param>
/// <param name="Key">Its key; null where it has none.</param>
/// <param name="Value">Its value; null where it has none.</param>
/// <param name="Headers">Its headers, in words; empty where it has none.</param>
internal sealed record SeenRecord(int Partition, long Offset, long Timestamp, string? Key, byte[]? Value, string Headers);

/// <summary>Programs of others that read and write Kafka: kcat, and Kafka's own. A test that needs one that is not there is skipped.</summary>
internal static class KafkaTools
{
    private const int Newline = '\n';
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(25);

    private static readonly Lazy<ProcessStartInfo?> FoundKcat = new(() => Kcat("", "") ?? Kcat(Path.Combine(ForeignTests.Cache, "debian"), "usr/bin/"));

    /// <summary>Every record of a topic, by kcat.</summary>
    public static async Task<List<SeenRecord>> ReadWithKcatAsync(string servers, string topic)
    {
        var output = await KcatAsync(servers, [], "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %T %K %S [%h]\n%k%s");
        var records = new List<SeenRecord>();
        for (var at = 0; at < output.Length;)
        {
            var end = Array.IndexOf(output, (byte)Newline, at);
            var head = Encoding.UTF8.GetString(output, at, end - at).Split(' ', 6);
            var (keyLength, valueLength) = (Number(head[3]), Number(head[4]));
            at = end + 1;
            var key = keyLength < 0 ? null : Encoding.UTF8.GetString(output, at, keyLength);
            at += Math.Max(0, keyLength);
            var value = valueLength < 0 ? null : output[at..(at + valueLength)];
            at += Math.Max(0, valueLength);
            records.Add(new SeenRecord(Number(head[0]), long.Parse(head[1], CultureInfo.InvariantCulture), long.Parse(head[2], CultureInfo.InvariantCulture), key, value, head[5][1..^1]));
        }

        return records;
    }

    /// <summary>Runs kcat and returns what it wrote.</summary>
    public static Task<byte[]> KcatAsync(string servers, byte[] input, params string[] arguments)
    {
        if (FoundKcat.Value is not { } kcat)
        {
            Assert.Ignore("there is no kcat; eng/install-clients installs it (Debian: apt-get install kcat)");
            throw new UnreachableException();
        }

        var start = new ProcessStartInfo(kcat.FileName, ["-b", servers, .. arguments]);
        if (kcat.Environment.TryGetValue("LD_LIBRARY_PATH", out var libraries)) start.Environment["LD_LIBRARY_PATH"] = libraries;
        return RunAsync(start, input);
    }

    /// <summary>Runs one of Kafka's own tools, by the name of its class.</summary>
    public static async Task<string> OfKafkaAsync(string tool, byte[] input, params string[] arguments)
    {
        var script = Environment.GetEnvironmentVariable(KafkaCluster.Variable);
        if (script is not { Length: > 0 } || Path.GetDirectoryName(Path.GetFullPath(script)) is not { } folder || !Directory.Exists(Path.Combine(folder, "libs")))
        {
            Assert.Ignore($"Kafka's own tools are not there: {KafkaCluster.Variable} does not name a script with their libs beside it");
            throw new UnreachableException();
        }

        string[] java = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", Path.Combine(folder, "libs", "*"), $"-Dlog4j2.configurationFile={Path.Combine(folder, "log4j2-tools.properties")}", tool];
        return Encoding.UTF8.GetString(await RunAsync(new ProcessStartInfo("java", [.. java, .. arguments]), input));
    }

    private static async Task<byte[]> RunAsync(ProcessStartInfo start, byte[] input)
    {
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using var process = Process.Start(start)!;
        using var deadline = new CancellationTokenSource(Deadline);
        try
        {
            var errors = process.StandardError.ReadToEndAsync(deadline.Token);
            using var output = new MemoryStream();
            var reading = process.StandardOutput.BaseStream.CopyToAsync(output, deadline.Token);
            await process.StandardInput.BaseStream.WriteAsync(input, deadline.Token);
            process.StandardInput.Close();
            await reading;
            await process.WaitForExitAsync(deadline.Token);
            return process.ExitCode == 0
                ? output.ToArray()
                : throw new InvalidOperationException($"{start.FileName} {string.Join(' ', start.ArgumentList)}: {await errors}{Encoding.UTF8.GetString(output.ToArray())}");
        }
        finally
        {
            if (!process.HasExited) process.Kill();
        }
    }

    // The system's, or the one that eng/install-clients has unpacked.
    private static ProcessStartInfo? Kcat(string root, string folder)
    {
        var start = new ProcessStartInfo(Path.Combine(root, folder, "kcat"), ["-V"]);
        if (root.Length > 0)
        {
            var libraries = Directory.Exists(Path.Combine(root, "usr/lib")) ? Directory.EnumerateDirectories(Path.Combine(root, "usr/lib"), "*-linux-gnu*").FirstOrDefault() : null;
            if (libraries is null) return null;
            start.Environment["LD_LIBRARY_PATH"] = libraries;
        }

        try
        {
            RunAsync(start, []).GetAwaiter().GetResult();
            return start;
        }
        catch (Exception exception) when (exception is System.ComponentModel.Win32Exception or InvalidOperationException)
        {
            return null;
        }
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
