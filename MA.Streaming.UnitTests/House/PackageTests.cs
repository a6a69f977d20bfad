using System.Diagnostics;
using System.IO.Compression;
using System.Reflection;
using System.Xml.Linq;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>
/// What a customer gets: the packages, packed from what was built for this run. Packable projects that this run has not built (it
/// ran for this project alone) are left out; the client and what it references always are in.
/// </summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class PackageTests
{
    private const string Client = "MA.Streaming.Proto.Client.Local";
    private static readonly TimeSpan Deadline = TimeSpan.FromMinutes(3);

    private readonly Dictionary<string, Package> _packages = new(StringComparer.Ordinal);

    private sealed record Package(XElement Metadata, IReadOnlyList<string> Files)
    {
        public string? this[string name] => Child(Metadata, name)?.Value;

        public Dictionary<string, string> Dependencies => Metadata.Descendants().Where(element => element.Name.LocalName == "dependency")
            .ToDictionary(element => (string)element.Attribute("id")!, element => (string)element.Attribute("version")!, StringComparer.Ordinal);
    }

    [OneTimeSetUp]
    public async Task Pack()
    {
        var configuration = typeof(PackageTests).Assembly.GetCustomAttribute<AssemblyConfigurationAttribute>()!.Configuration;
        var folder = Directory.CreateTempSubdirectory("stream-api-packages-").FullName;
        try
        {
            foreach (var project in PackableProjects().Where(project => IsBuilt(project, configuration)))
                await PackAsync(project, configuration, folder);

            foreach (var file in Directory.EnumerateFiles(folder, "*.nupkg"))
            {
                var package = Open(file);
                _packages.Add(package["id"]!, package);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Test]
    public void Packages_OfTheClientAndWhatItReferences_AreThere() => Assert.That(
        _packages.Keys, Is.SupersetOf(new[] { Client, "MA.Streaming.Core", "MA.Streaming.Broker.Embedded", "MA.Streaming.Broker.Kafka", "MA.Streaming.Proto", "MA.Streaming.Server" }));

    [Test]
    public void Client_Dependencies_AreItsPackagesAndItsSiblings()
    {
        var client = _packages[Client];
        var version = client["version"]!;
        Assert.That(client.Dependencies, Does.ContainKey("Google.Protobuf"));
        Assert.That(client.Dependencies, Does.ContainKey("MA.Streaming.Core").WithValue(version));
        Assert.That(client.Dependencies, Does.ContainKey("MA.Streaming.Broker.Embedded").WithValue(version));
    }

    [Test]
    public void KafkaBroker_Dependencies_TakeTheNativeLibraryThroughTheClient()
    {
        var dependencies = _packages["MA.Streaming.Broker.Kafka"].Dependencies;
        Assert.That(dependencies, Does.ContainKey("Confluent.Kafka").WithValue("2.16.0"));
        Assert.That(dependencies, Does.Not.ContainKey("librdkafka.redist"));
    }

    [Test]
    public void Packages_DependenciesOfOurs_ArePackedToo()
    {
        var packable = PackableProjects().Select(Path.GetFileNameWithoutExtension).ToArray();
        foreach (var (id, package) in _packages)
            Assert.That(package.Dependencies.Keys.Where(name => name.StartsWith("MA.", StringComparison.Ordinal)), Is.SubsetOf(packable), id);
    }

    [Test]
    public void Packages_Files_AreTheLibraryWithItsDocumentation()
    {
        foreach (var (id, package) in _packages)
        {
            // The program carries the libraries that it needs.
            if (package.Files.Any(file => file.StartsWith("tools/", StringComparison.Ordinal))) continue;
            Assert.That(package.Files.Where(file => file.EndsWith(".dll", StringComparison.Ordinal)), Is.EqualTo(new[] { $"lib/net10.0/{id}.dll" }));
            Assert.That(package.Files, Does.Contain($"lib/net10.0/{id}.xml"));
        }
    }

    [Test]
    public void Packages_Metadata_SaysWhatItIsAndUnderWhichTerms()
    {
        var hasReadme = File.Exists(SourceTree.FullPath("README.md"));
        foreach (var (id, package) in _packages)
        {
            Assert.That(package["description"], Is.Not.Null.And.Not.Empty.And.Not.EqualTo("Package Description"), id);
            Assert.That(package["license"], Is.EqualTo("MIT"), id);
            Assert.That(package["authors"], Is.Not.Null.And.Not.EqualTo(id), id);
            Assert.That(package["tags"], Is.Not.Null.And.Not.Empty, id);
            if (hasReadme) Assert.That(package["readme"], Is.EqualTo("README.md"), id);
            if (hasReadme) Assert.That(package.Files, Does.Contain("README.md"), id);
        }
    }

    [Test]
    public void ProtocolPackage_Files_IncludeTheProtocol() => Assert.That(
        _packages["MA.Streaming.Proto"].Files, Does.Contain("proto/ma/streaming/api/v1/api.proto").And.Contain("proto/ma/streaming/open_data/v1/open_data.proto"));

    private static string[] PackableProjects() =>
    [
        .. SourceTree.Files.Where(path => path.EndsWith(".csproj", StringComparison.Ordinal) && path.StartsWith("MA.", StringComparison.Ordinal)
            && XDocument.Parse(SourceTree.Read(path).Text).Descendants().Any(element => element.Name.LocalName == "IsPackable" && element.Value == "true")),
    ];

    private static bool IsBuilt(string project, string configuration) => File.Exists(SourceTree.FullPath(
        $"{Path.GetDirectoryName(project)}/bin/{configuration}/net10.0/{AssemblyNameOf(project)}.dll"));

    private static string AssemblyNameOf(string project) =>
        XDocument.Parse(SourceTree.Read(project).Text).Descendants().FirstOrDefault(element => element.Name.LocalName == "AssemblyName")?.Value
        ?? Path.GetFileNameWithoutExtension(project);

    private static async Task PackAsync(string project, string configuration, string folder)
    {
        var start = new ProcessStartInfo("dotnet", ["pack", project, "--no-build", "--nologo", "-v", "q", "-c", configuration, "-o", folder])
        {
            WorkingDirectory = SourceTree.Root,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };

        // What the test host was started with is not for another build.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToArray())
            start.Environment.Remove(name);
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";

        using var process = Process.Start(start)!;
        using var deadline = new CancellationTokenSource(Deadline);
        var output = process.StandardOutput.ReadToEndAsync(deadline.Token);
        var errors = process.StandardError.ReadToEndAsync(deadline.Token);
        try
        {
            await process.WaitForExitAsync(deadline.Token);
            Assert.That(process.ExitCode, Is.Zero, $"dotnet pack {project}:\n{await output}{await errors}");
        }
        finally
        {
            if (!process.HasExited) process.Kill(entireProcessTree: true);
        }
    }

    private static Package Open(string file)
    {
        using var archive = ZipFile.OpenRead(file);
        using var nuspec = archive.Entries.Single(entry => entry.FullName.EndsWith(".nuspec", StringComparison.Ordinal)).Open();
        return new Package(Child(XDocument.Load(nuspec).Root!, "metadata")!, [.. archive.Entries.Select(entry => entry.FullName)]);
    }

    private static XElement? Child(XElement parent, string name) => parent.Elements().FirstOrDefault(element => element.Name.LocalName == name);
}
