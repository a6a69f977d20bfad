using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;
using System.Text.RegularExpressions;
using MA.Streaming.IntegrationTests.Samples;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>A program that runs tests in another language against a server, and writes a JSON object a line: test, outcome, message.</summary>
internal sealed partial class ForeignTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(150);

    private readonly ConcurrentDictionary<string, (string Outcome, string Message)> _results = new();
    private string _rest = "";

    /// <summary>Where eng/install-clients puts what it does not install into the system.</summary>
    public static string Cache { get; } = Path.Combine(
        Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache
            ? cache
            : Path.Combine(Environment.GetEnvironmentVariable("HOME") is { Length: > 0 } home ? home : "/tmp", ".cache"),
        "ma-streaming",
        "clients");

    public static string Folder(string language) => Path.Combine(SampleProgram.Root, "clients", language);

    /// <summary>The lines of the given files that name a test, by the group "name".</summary>
    public static IEnumerable<string> NamesIn(string folder, string files, Regex test) =>
        Directory.EnumerateFiles(folder, files).Order(StringComparer.Ordinal).SelectMany(File.ReadLines)
            .Select(line => test.Match(line)).Where(match => match.Success).Select(match => match.Groups["name"].Value);

    /// <summary>Runs a command and returns what it wrote; an exit code other than 0 throws with it.</summary>
    public static async Task<string> RunAsync(ProcessStartInfo start)
    {
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using var process = Process.Start(start)!;
        var result = await SampleProgram.FinishAsync(process);
        return result.ExitCode == 0
            ? result.Output
            : throw new InvalidOperationException($"{start.FileName} ended with {result.ExitCode}:\n{result.Output}\n{result.Errors}");
    }

    /// <summary>True when a command can be started and ends with 0.</summary>
    public static async Task<bool> WorksAsync(ProcessStartInfo start)
    {
        try
        {
            await RunAsync(start);
            return true;
        }
        catch (Exception exception) when (exception is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    /// <summary>Runs the program and keeps the results.</summary>
    public async Task RunTestsAsync(ProcessStartInfo start)
    {
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var lines = ReadResultsAsync(process.StandardOutput);
        try
        {
            await process.WaitForExitAsync().WaitAsync(Deadline);
        }
        catch (TimeoutException)
        {
            process.Kill(entireProcessTree: true);
        }

        _rest = $"exit code {(process.HasExited ? process.ExitCode : "none")}\n{await lines}\n{await errors}";
    }

    /// <summary>Fails unless the program reported that this test passed.</summary>
    public void AssertPassed(string test)
    {
        if (!_results.TryGetValue(test, out var result)) Assert.Fail($"no result for {test}; {_rest}");
        if (result.Outcome != "passed") Assert.Fail($"{result.Outcome}: {result.Message}\n{_rest}");
    }

    private async Task<string> ReadResultsAsync(StreamReader output)
    {
        var rest = new List<string>();
        while (await output.ReadLineAsync() is { } line)
        {
            if (!ResultLine().IsMatch(line))
            {
                rest.Add(line);
                continue;
            }

            var result = JsonDocument.Parse(line).RootElement;
            var name = result.GetProperty("test").GetString()!;
            _results[name[(name.LastIndexOf('.') + 1)..]] = (result.GetProperty("outcome").GetString()!, result.GetProperty("message").GetString()!);
        }

        return string.Join('\n', rest);
    }

    [GeneratedRegex("""^\{"test": ?""")]
    private static partial Regex ResultLine();
}
