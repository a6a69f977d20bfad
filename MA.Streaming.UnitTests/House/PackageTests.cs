using System.Diagnostics;
using System.IO.Compression;
using System.Reflection;
using System.Reflection.PortableExecutable;
using System.Xml.Linq;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>
/// What a customer gets: the packages of the libraries, packed from what was built for this run. The integration tests restore and run
/// them, and those of the program.
/// </summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class PackageTests
{
    private const string Client = "MA.Streaming.Proto.Client.Local";
    private const string Version = "3.0.0-test.1";
    private static readonly TimeSpan Deadline = TimeSpan.FromMinutes(3);

    private readonly Dictionary<string, Package> _packages = new(StringComparer.Ordinal);

    private sealed record Package(XElement Metadata, IReadOnlyDictionary<string, byte[]> Content)
    {
        public IEnumerable<string> Files => Content.Keys;

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
            foreach (var project in Libraries())
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
        Assert.That(version, Is.EqualTo(Version));
        Assert.That(client.Dependencies, Does.ContainKey("Google.Protobuf"));
        Assert.That(client.Dependencies, Does.ContainKey("MA.Streaming.Core").And.ContainKey("MA.Streaming.Broker.Embedded").And.ContainKey("MA.Streaming.Broker.Kafka"));
    }

    [Test]
    public void KafkaBroker_Dependencies_TakeTheNativeLibraryThroughTheClient()
    {
        var dependencies = _packages["MA.Streaming.Broker.Kafka"].Dependencies;
        Assert.That(dependencies, Does.ContainKey("Confluent.Kafka").WithValue("2.16.0"));
        Assert.That(dependencies, Does.Not.ContainKey("librdkafka.redist"));
    }

    [Test]
    public void Packages_DependenciesOfOurs_ArePackedTooAndOfThisVersionAlone()
    {
        foreach (var (id, package) in _packages)
        {
            var ours = package.Dependencies.Where(dependency => dependency.Key.StartsWith("MA.", StringComparison.Ordinal)).ToArray();
            Assert.That(ours.Select(dependency => dependency.Key), Is.SubsetOf(_packages.Keys), id);
            Assert.That(ours.Select(dependency => dependency.Value), Is.All.EqualTo($"[{Version}]"), id);
        }
    }

    [Test]
    public void Packages_ToolsOfTheBuild_AreNoDependencies()
    {
        string[] tools = ["MinVer", "Grpc.Tools", "Microsoft.NET.ILLink.Tasks", "Microsoft.CodeAnalysis.BannedApiAnalyzers", "Microsoft.CodeAnalysis.PublicApiAnalyzers"];
        foreach (var (id, package) in _packages) Assert.That(package.Dependencies.Keys.Intersect(tools), Is.Empty, id);
    }

    [Test]
    public void KafkaBroker_Files_KeepConfluentKafkaWholeInTrimmedPrograms()
    {
        var targets = _packages["MA.Streaming.Broker.Kafka"].Content["buildTransitive/MA.Streaming.Broker.Kafka.targets"];
        Assert.That(System.Text.Encoding.UTF8.GetString(targets), Does.Contain("<TrimmerRootAssembly Include=\"Confluent.Kafka\" />"));
    }

    [Test]
    public void Packages_Files_AreTheLibraryWithItsDocumentation()
    {
        foreach (var (id, package) in _packages)
        {
            Assert.That(package.Files.Where(file => file.EndsWith(".dll", StringComparison.Ordinal)), Is.EqualTo(new[] { $"lib/net10.0/{id}.dll" }));
            Assert.That(package.Files, Does.Contain($"lib/net10.0/{id}.xml"));
            Assert.That(package.Content.Values.Sum(file => file.Length), Is.LessThan(3_000_000), id);
        }
    }

    [Test]
    public void Packages_Symbols_AreInTheLibrary()
    {
        foreach (var (id, package) in _packages)
        {
            using var reader = new PEReader(new MemoryStream(package.Content[$"lib/net10.0/{id}.dll"]));
            Assert.That(reader.ReadDebugDirectory().Select(entry => entry.Type), Does.Contain(DebugDirectoryEntryType.EmbeddedPortablePdb), id);
        }
    }

    [Test]
    public void Packages_Metadata_SaysWhatItIsAndUnderWhichTerms()
    {
        var facts = XDocument.Parse(SourceTree.Read("eng/Project.props").Text).Descendants().ToLookup(element => element.Name.LocalName, element => element.Value);
        var repository = facts["RepositoryUrl"].Single();
        foreach (var (id, package) in _packages)
        {
            Assert.That(package["description"], Is.Not.Null.And.Not.Empty.And.Not.EqualTo("Package Description"), id);
            Assert.That(package["license"], Is.EqualTo("MIT"), id);
            Assert.That(package["authors"], Is.EqualTo(facts["Authors"].Single()), id);
            Assert.That(package["copyright"], Is.EqualTo(facts["Copyright"].Single()), id);
            Assert.That(package["projectUrl"], Is.EqualTo(repository), id);
            Assert.That((string?)Child(package.Metadata, "repository")?.Attribute("url"), Is.EqualTo(repository), id);
            Assert.That(package["tags"], Is.Not.Null.And.Not.Empty, id);
            Assert.That(package["releaseNotes"], Does.Contain($"{repository}/blob/main/CHANGELOG.md").And.Contain(facts["Contact"].Single()), id);
        }
    }

    [Test]
    public void Packages_ReadmeAndIcon_AreTheirOwnAndSmall()
    {
        foreach (var (id, package) in _packages)
        {
            Assert.That(package["readme"], Is.EqualTo("README.md"), id);
            Assert.That(package.Content["README.md"], Is.EqualTo(File.ReadAllBytes(SourceTree.FullPath($"{id}/README.md"))), id);
            Assert.That(package["icon"], Is.EqualTo("icon.png"), id);
            Assert.That(package.Content["icon.png"], Has.Length.LessThanOrEqualTo(10_240), id);
            Assert.That(package.Content["icon.png"].Take(4), Is.EqualTo(new byte[] { 0x89, (byte)'P', (byte)'N', (byte)'G' }), id);
        }
    }

    [Test]
    public void ProtocolPackage_Files_IncludeTheProtocol() => Assert.That(
        _packages["MA.Streaming.Proto"].Files, Does.Contain("proto/ma/streaming/api/v1/api.proto").And.Contain("proto/ma/streaming/open_data/v1/open_data.proto"));

    /// <summary>The analyzer that holds the public surface is silent about a library without these files.</summary>
    [Test]
    public void Libraries_WrittenByHand_ListTheirPublicSurface()
    {
        foreach (var project in Libraries().Where(project => Says(project, "IsProduct")))
        {
            Assert.That(SourceTree.Read($"{Path.GetDirectoryName(project)}/PublicAPI.Shipped.txt").Text, Does.StartWith("#nullable enable\n"), project);
            Assert.That(SourceTree.Read($"{Path.GetDirectoryName(project)}/PublicAPI.Unshipped.txt").Text, Does.StartWith("#nullable enable\n"), project);
        }
    }

    private static string[] Libraries() =>
    [
        .. SourceTree.Files.Where(path => path.EndsWith(".csproj", StringComparison.Ordinal) && path.StartsWith("MA.", StringComparison.Ordinal)
            && Says(path, "IsPackable") && !Says(path, "PackAsTool")),
    ];

    private static bool Says(string project, string property) =>
        XDocument.Parse(SourceTree.Read(project).Text).Descendants().Any(element => element.Name.LocalName == property && element.Value == "true");

    private static async Task PackAsync(string project, string configuration, string folder)
    {
        var start = new ProcessStartInfo("dotnet", ["pack", project, "--no-build", "--nologo", "-v", "q", "-c", configuration, "-o", folder, $"-p:MinVerVersionOverride={Version}"])
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
        var content = archive.Entries.ToDictionary(entry => entry.FullName, Read, StringComparer.Ordinal);
        using var nuspec = new MemoryStream(content.Single(entry => entry.Key.EndsWith(".nuspec", StringComparison.Ordinal)).Value);
        return new Package(Child(XDocument.Load(nuspec).Root!, "metadata")!, content);
    }

    private static byte[] Read(ZipArchiveEntry entry)
    {
        using var file = entry.Open();
        using var bytes = new MemoryStream();
        file.CopyTo(bytes);
        return bytes.ToArray();
    }

    private static XElement? Child(XElement parent, string name) => parent.Elements().FirstOrDefault(element => element.Name.LocalName == name);
}
