using System.Diagnostics;
using System.Runtime.InteropServices;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.IntegrationTests.Samples;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>What goes into the image, run as the image runs it: the published program, as a user without rights, from a folder that is not his.</summary>
[Parallelizable(ParallelScope.Self)]
[Platform(Include = "Linux", Reason = "the image is Linux")]
internal sealed class PublishedTests
{
    private const string Nobody = "65534";

    [Test]
    public async Task Published_AsAnUnprivilegedUser_ServesAndKeepsItsLog()
    {
        if (Environment.UserName != "root") Assert.Ignore("only root can become another user");
        if (!File.Exists("/usr/bin/setpriv")) Assert.Ignore("setpriv (util-linux) is not here");
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        using var folder = new TemporaryFolder();
        var app = Path.Combine(folder.Path, "app");
        await RunAsync(SampleProgram.Root, "dotnet", ["publish", "MA.Streaming.Tool/MA.Streaming.Tool.csproj", "-c", ToolProcess.Configuration, "--no-build", "-v", "q", "-o", app], limit.Token);
        Assert.That(File.Exists(Path.Combine(app, "streamapi.dll")), Is.True);
        await RunAsync(folder.Path, "sh", ["-c", $"mkdir app/stream-api-data && chown {Nobody}:{Nobody} app/stream-api-data && chmod 755 . && chmod -R go-w,go+rX app"], limit.Token);

        string[] asNobody = [$"--reuid={Nobody}", $"--regid={Nobody}", "--clear-groups", "--no-new-privs", "dotnet", "streamapi.dll"];
        Dictionary<string, string> environment = new() { ["HOME"] = "/", ["BIND_ADDRESS"] = "127.0.0.1", ["PROMETHEUS_METRIC_PORT"] = "0", ["DOTNET_EnableDiagnostics"] = "0" };
        using (var server = ToolProcess.Start("/usr/bin/setpriv", [.. asNobody, "serve", "--port", "0"], app, environment))
        {
            using var channel = GrpcChannel.ForAddress(await server.GrpcAddressAsync(limit.Token));
            await new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(
                new() { Detail = Detail("Car", "", TextPacket("x")) }, cancellationToken: limit.Token);
            Assert.That(await File.ReadAllTextAsync($"/proc/{server.Id}/status", limit.Token), Does.Match($"Uid:\\s+{Nobody}\\s"));
            server.Signal(PosixSignal.SIGTERM);
            Assert.That(await server.EndAsync(limit.Token), Is.Zero, server.Output);
        }

        using var doctor = ToolProcess.Start("/usr/bin/setpriv", [.. asNobody, "doctor", "--port", "0"], app, environment);
        Assert.That(await doctor.EndAsync(limit.Token), Is.Zero, doctor.Output);
        Assert.That(doctor.Output, Does.Contain("1 topics, 1 records"));

        // Where he may not write, doctor says so, and the server does not start on it.
        using var barred = ToolProcess.Start("/usr/bin/setpriv", [.. asNobody, "doctor", "--port", "0", "--data", "elsewhere"], app, environment);
        Assert.That(await barred.EndAsync(limit.Token), Is.EqualTo(1), barred.Output);
        Assert.That(barred.Output, Does.Contain("cannot be written").And.Contain("--data"));
    }

    private static async Task RunAsync(string folder, string program, string[] arguments, CancellationToken limit)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray()) start.Environment.Remove(name);
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync(limit);
        var errors = process.StandardError.ReadToEndAsync(limit);
        await process.WaitForExitAsync(limit);
        Assert.That(process.ExitCode, Is.Zero, $"{await output}{await errors}");
    }
}
