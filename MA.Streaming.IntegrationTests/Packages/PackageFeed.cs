using System.Diagnostics;
using System.Xml.Linq;
using MA.Streaming.IntegrationTests.Samples;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Packages;

/// <summary>
/// Our packages as a customer gets them: packed into a folder of their own, in a version that exists nowhere else, and restored into a
/// package cache of their own. A package of the same name from a cache or a feed of the machine cannot take their place.
/// </summary>
internal sealed class PackageFeed : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public string Version { get; } = $"3.0.0-test.{Guid.NewGuid():N}";

    /// <summary>The packages.</summary>
    public string Folder => Path.Combine(_folder.Path, "packages");

    /// <summary>Where they and everything that they need are unpacked.</summary>
    public string Cache => Path.Combine(_folder.Path, "cache");

    /// <summary>The projects that become packages.</summary>
    public static string[] PackableProjects { get; } =
    [
        .. Directory.EnumerateDirectories(SampleProgram.Root, "MA.*").SelectMany(folder => Directory.EnumerateFiles(folder, "*.csproj"))
            .Where(project => XDocument.Load(project).Descendants("IsPackable").Any(element => element.Value == "true")).Order(StringComparer.Ordinal),
    ];

    public string PathOf(string package) => Path.Combine(Folder, $"{package}.{Version}.nupkg");

    /// <summary>Packs a project of the tree.</summary>
    public Task PackAsync(string project, string[] options, CancellationToken limit) =>
        DotnetAsync(SampleProgram.Root, limit, ["pack", project, "-v", "q", "-nologo", "-o", Folder, $"-p:MinVerVersionOverride={Version}", .. options]);

    /// <summary>Makes a project that references one of the packages and nothing of the tree.</summary>
    /// <returns>Its folder.</returns>
    public string Project(string name, string package, string program, string properties = "")
    {
        _folder.File($"{name}/{name}.csproj", $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <Nullable>enable</Nullable>
                <ImplicitUsings>enable</ImplicitUsings>
                {properties}
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="{package}" Version="{Version}" />
              </ItemGroup>
            </Project>
            """);
        _folder.File($"{name}/nuget.config", $"""
            <configuration>
              <packageSources>
                <add key="the-packages-under-test" value="{Folder}" />
              </packageSources>
            </configuration>
            """);
        _folder.File($"{name}/Program.cs", program);
        return Path.Combine(_folder.Path, name);
    }

    /// <summary>Runs the dotnet command, which has to succeed.</summary>
    /// <returns>What it wrote.</returns>
    public Task<string> DotnetAsync(string folder, CancellationToken limit, params string[] arguments) => RunAsync(folder, "dotnet", limit, arguments);

    /// <summary>Runs a program, which has to succeed.</summary>
    /// <returns>What it wrote.</returns>
    public async Task<string> RunAsync(string folder, string program, CancellationToken limit, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };

        // What the test host was started with is not for another build.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray()) start.Environment.Remove(name);
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        if (folder != SampleProgram.Root) start.Environment["NUGET_PACKAGES"] = Cache;

        using var process = Process.Start(start)!;
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(limit);
            var errors = process.StandardError.ReadToEndAsync(limit);
            await process.WaitForExitAsync(limit);
            var said = await output + await errors;
            Assert.That(process.ExitCode, Is.Zero, $"{program} {string.Join(' ', arguments)}:\n{said}");
            return said;
        }
        finally
        {
            if (!process.HasExited) process.Kill(entireProcessTree: true);
        }
    }

    public void Dispose() => _folder.Dispose();
}
