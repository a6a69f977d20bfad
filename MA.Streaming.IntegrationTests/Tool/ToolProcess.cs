using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using MA.Streaming.IntegrationTests.Samples;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>The <c>streamapi</c> program as a child process, in a folder of its own, without the environment's settings for it.</summary>
internal sealed class ToolProcess : IDisposable
{
    private readonly Process _process;
    private readonly List<string> _lines = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SemaphoreSlim _newLine = new(0);
    private int _open = 2;

    private ToolProcess(ProcessStartInfo start)
    {
        _process = Process.Start(start)!;
        _process.OutputDataReceived += (_, line) => Take(line.Data);
        _process.ErrorDataReceived += (_, line) => Take(line.Data);
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public static string Program { get; } = Path.Combine(
        SampleProgram.Root,
        "MA.Streaming.Tool",
        typeof(ToolProcess).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().First(a => a.Key == "SampleOutput").Value!,
        "streamapi.dll");

    /// <summary>Debug or Release, as this run was built.</summary>
    public static string Configuration => Path.GetFileName(Path.GetDirectoryName(Path.GetDirectoryName(Program)!)!);

    public int Id => _process.Id;

    public string Output
    {
        get
        {
            lock (_lines) return string.Join('\n', _lines);
        }
    }

    public static ToolProcess Start(string folder, string[] arguments, Dictionary<string, string>? environment = null) => Start("dotnet", [Program, .. arguments], folder, environment);

    public static ToolProcess Start(string program, string[] arguments, string folder, Dictionary<string, string>? environment = null)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        string[] settings = ["CONFIG_PATH", "AUTO_START", "PROMETHEUS_METRIC_PORT", "BIND_ADDRESS", "PORT"];
        foreach (var setting in settings) start.Environment.Remove(setting);
        foreach (var (name, value) in environment ?? []) start.Environment[name] = value;
        return new ToolProcess(start);
    }

    /// <summary>Runs to the end.</summary>
    public static async Task<(int ExitCode, string Output)> RunAsync(string folder, CancellationToken limit, params string[] arguments)
    {
        using var process = Start(folder, arguments);
        return (await process.EndAsync(limit), process.Output);
    }

    /// <summary>Waits for the line that a pattern matches, and gives its first group.</summary>
    public async Task<string> SaysAsync(string pattern, CancellationToken limit)
    {
        while (true)
        {
            if (Regex.Match(Output, pattern) is { Success: true } match) return match.Groups[1].Value;
            if (_ended.Task.IsCompleted) throw new InvalidOperationException($"it ended with {_process.ExitCode} and never said '{pattern}':\n{Output}");
            try
            {
                await _newLine.WaitAsync(limit);
            }
            catch (OperationCanceledException)
            {
                throw new TimeoutException($"it never said '{pattern}':\n{Output}");
            }
        }
    }

    public Task<string> GrpcAddressAsync(CancellationToken limit) => SaysAsync(@"Serving gRPC at (\S+)", limit);

    public Task<string> MetricsAddressAsync(CancellationToken limit) => SaysAsync(@"Serving metrics and health at (\S+)", limit);

    public void Signal(PosixSignal signal)
    {
        using var kill = Process.Start("sh", ["-c", $"kill -{(signal == PosixSignal.SIGINT ? "INT" : "TERM")} {_process.Id}"]);
        kill.WaitForExit();
        if (kill.ExitCode != 0) throw new InvalidOperationException($"the signal could not be sent to {_process.Id}");
    }

    /// <summary>Waits for the end and gives the exit code.</summary>
    public async Task<int> EndAsync(CancellationToken limit)
    {
        try
        {
            await _process.WaitForExitAsync(limit);
            return _process.ExitCode;
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"it did not end:\n{Output}");
        }
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }

    private void Take(string? line)
    {
        if (line is null)
        {
            if (Interlocked.Decrement(ref _open) == 0) _ended.TrySetResult();
        }
        else
        {
            lock (_lines) _lines.Add(line);
        }

        _newLine.Release();
    }
}
