using System.Diagnostics;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>eng/audit on reports as "dotnet list package" writes them.</summary>
[Platform(Exclude = "Win", Reason = "it is a shell script")]
internal sealed class AuditTests
{
    private const string Advisory = "https://github.com/advisories/GHSA-5crp-9r3c-p9vr";

    private string _folder = "";

    [SetUp]
    public void Begin() => _folder = Directory.CreateTempSubdirectory("stream-api-audit-").FullName;

    [TearDown]
    public void End() => Directory.Delete(_folder, recursive: true);

    [TestCase("Critical")]
    [TestCase("High")]
    public async Task Audit_SevereAdvisory_FailsAndNamesIt(string severity)
    {
        var (exitCode, said) = await AuditAsync(Report(severity), "");
        Assert.That(exitCode, Is.EqualTo(1));
        Assert.That(said, Does.Contain($"FAILED: Newtonsoft.Json 12.0.1 has a vulnerability, {severity}: {Advisory}"));
    }

    [Test]
    public async Task Audit_ModerateAdvisory_IsPrinted()
    {
        var (exitCode, said) = await AuditAsync(Report("Moderate"), "");
        Assert.That(exitCode, Is.Zero);
        Assert.That(said, Does.Contain("Newtonsoft.Json 12.0.1").And.Not.Contain("FAILED"));
    }

    [Test]
    public async Task Audit_NoAdvisory_Passes() => Assert.That((await AuditAsync("""{ "version": 1, "projects": [ { "path": "A.csproj" } ] }""", "")).ExitCode, Is.Zero);

    [TestCase($"newtonsoft.json | {Advisory} | 2026-11-30 | the importer that needs it goes next month", 0)]
    [TestCase("Newtonsoft.Json | https://github.com/advisories/GHSA-another | 2026-11-30 | another advisory", 1)]
    [TestCase($"Another.Package | {Advisory} | 2026-11-30 | another package", 1)]
    [TestCase($"Newtonsoft.Json | {Advisory} | soon | a date has digits", 2)]
    [TestCase($"Newtonsoft.Json | {Advisory} | 2026-11-30 |", 2)]
    public async Task Audit_Exception_CoversItsPackageAndAdvisoryAlone(string exception, int expected)
    {
        var (exitCode, said) = await AuditAsync(Report("High"), $"# a comment\n\n{exception}\n");
        Assert.That(exitCode, Is.EqualTo(expected), said);
    }

    [Test]
    public async Task Audit_SomethingElseThanAReport_IsRefused() => Assert.That((await AuditAsync("error: no assets file", "")).ExitCode, Is.EqualTo(2));

    private static string Report(string severity) => $$"""
        {
          "version": 1,
          "parameters": "--vulnerable --include-transitive",
          "projects": [
            {
              "path": "A.csproj",
              "frameworks": [
                {
                  "framework": "net10.0",
                  "transitivePackages": [
                    {
                      "id": "Newtonsoft.Json",
                      "resolvedVersion": "12.0.1",
                      "vulnerabilities": [
                        {
                          "severity": "{{severity}}",
                          "advisoryurl": "{{Advisory}}"
                        }
                      ]
                    }
                  ]
                }
              ]
            }
          ]
        }
        """;

    private async Task<(int ExitCode, string Said)> AuditAsync(string report, string exceptions)
    {
        var (reportFile, exceptionsFile) = (Path.Combine(_folder, "report.json"), Path.Combine(_folder, "exceptions"));
        await File.WriteAllTextAsync(reportFile, report);
        await File.WriteAllTextAsync(exceptionsFile, exceptions);
        var start = new ProcessStartInfo("bash", [SourceTree.FullPath("eng/audit"), "--report", reportFile, "--exceptions", exceptionsFile])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var output = process.StandardOutput.ReadToEndAsync(limit.Token);
        var errors = process.StandardError.ReadToEndAsync(limit.Token);
        await process.WaitForExitAsync(limit.Token);
        return (process.ExitCode, await output + await errors);
    }
}
