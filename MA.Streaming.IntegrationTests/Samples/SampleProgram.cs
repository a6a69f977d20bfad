using System.Diagnostics;
using System.Reflection;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>What a program left behind.</summary>
internal sealed record ProgramResult(int ExitCode, string Output, string Errors);

/// <summary>A folder for programs to run in, which are not to meet in one log; removed with everything in it.</summary>
internal sealed class WorkingFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("stream-api-sample-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>Starts the sample programs as people do, and never waits for one for ever.</summary>
internal static class SampleProgram
{
    public static readonly TimeSpan Deadline = TimeSpan.FromSeconds(120);

    /// <summary>The folder with the solution in it.</summary>
    public static string Root { get; } = FindRoot();

    public static string SmallOval => Path.Combine(Root, "samples", "Telemetry", "logs", "small-oval");

    public static Task<ProgramResult> TelemetryAsync(params string[] arguments) => RunAsync("Telemetry", arguments);

    public static async Task<ProgramResult> RunAsync(string name, params string[] arguments)
    {
        using var folder = new WorkingFolder();
        return await RunInAsync(folder, name, arguments);
    }

    public static async Task<ProgramResult> RunInAsync(WorkingFolder folder, string name, params string[] arguments)
    {
        using var process = Start(folder, name, arguments);
        return await FinishAsync(process);
    }

    public static Process Start(WorkingFolder folder, string name, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = folder.Path };
        start.ArgumentList.Add(Path.Combine(Root, "samples", name, Output(), $"{name}.dll"));
        foreach (var argument in arguments) start.ArgumentList.Add(argument);
        return Process.Start(start)!;
    }

    /// <summary>Waits for the end; a program that misses the deadline is ended and fails the test.</summary>
    public static async Task<ProgramResult> FinishAsync(Process process)
    {
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        try
        {
            await process.WaitForExitAsync().WaitAsync(Deadline);
        }
        catch (TimeoutException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"it did not end within {Deadline.TotalSeconds} s; it wrote:\n{await output}\n{await errors}");
        }

        return new(process.ExitCode, await output, await errors);
    }

    private static string Output() => typeof(SampleProgram).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().First(a => a.Key == "SampleOutput").Value!;

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Directory.Packages.props"))) folder = folder.Parent;
        return folder?.FullName ?? throw new DirectoryNotFoundException($"no Directory.Packages.props above {AppContext.BaseDirectory}");
    }
}
