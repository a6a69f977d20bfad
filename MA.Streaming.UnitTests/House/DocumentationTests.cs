using System.Reflection;
using System.Text.RegularExpressions;
using MA.Streaming.Core.Configs;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>What the documentation shows and names is what is in the tree.</summary>
internal sealed partial class DocumentationTests
{
    private const string Accept = "STREAM_API_ACCEPT_DOCS";
    private const string Guides = "MA.Streaming.UsageTests/Guide";

    private static IEnumerable<string> Pages => SourceTree.Files.Where(path =>
        path.EndsWith(".md", StringComparison.Ordinal)
        && (!path.Contains('/', StringComparison.Ordinal) || path.StartsWith("docs/", StringComparison.Ordinal) || path.StartsWith("MA.", StringComparison.Ordinal)));

    [Test]
    public void Readme_QuickStart_IsTheSample()
    {
        var readme = SourceTree.Read("README.md").Text;
        const string begin = "<!-- quickstart: samples/QuickStart/Program.cs -->\n```csharp\n";
        var from = readme.IndexOf(begin, StringComparison.Ordinal) + begin.Length;
        var to = readme.IndexOf("\n```\n<!-- /quickstart -->", StringComparison.Ordinal);

        Assert.That(from, Is.GreaterThanOrEqualTo(begin.Length), "the README has no quick start");
        Assert.That(readme[from..to], Is.EqualTo(SourceTree.Read("samples/QuickStart/Program.cs").Text.TrimEnd()));
    }

    [TestCaseSource(nameof(Pages))]
    public void Links_InTheTree_LeadSomewhere(string document)
    {
        var folder = Path.GetDirectoryName(document)!;
        var links = Regex.Matches(SourceTree.Read(document).Text, @"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")
            .Select(link => Path.GetFullPath(Path.Combine(SourceTree.Root, folder, link.Groups[1].Value)));

        Assert.That(links.Where(path => !File.Exists(path) && !Directory.Exists(path)), Is.Empty);
    }

    [Test]
    public void Architecture_FileMap_NamesWhatIsThere()
    {
        var map = SourceTree.Read("docs/ARCHITECTURE.md").Text.Split("```")[1];
        var names = Regex.Matches(map, @"(?m)^(\S+/)").Select(line => line.Groups[1].Value).ToArray();

        Assert.That(names, Has.Length.GreaterThan(8));
        Assert.That(names.Where(name => !Directory.Exists(Path.Combine(SourceTree.Root, name))), Is.Empty);
    }

    /// <summary>C# on a page is a guide that is compiled and run, or the quick start.</summary>
    [TestCaseSource(nameof(Pages))]
    public void CSharp_OnAPage_IsCompiledAndRun(string page)
    {
        var text = SourceTree.Read(page).Text;
        var shown = GuideBlock().Replace(text, block => $"<!-- guide: {block.Groups["guide"].Value} -->\n```csharp\n{Guide(block.Groups["guide"].Value)}\n```");
        if (Environment.GetEnvironmentVariable(Accept) == "1") File.WriteAllText(SourceTree.FullPath(page), text = shown);
        var blocks = Regex.Count(text, "(?m)^```(csharp|cs|c#)\\b");
        var quickStart = page == "README.md" ? 1 : 0;

        Assert.That(text, Is.EqualTo(shown), $"{Accept}=1 puts the guides as they are now into the pages");
        Assert.That(blocks, Is.EqualTo(GuideBlock().Count(text) + quickStart), "a C# block without a guide is run by nobody");
    }

    [Test]
    public void Guides_Each_IsOnAPage()
    {
        var shown = Pages.SelectMany(page => GuideBlock().Matches(SourceTree.Read(page).Text)).Select(block => block.Groups["guide"].Value).ToHashSet();
        var guides = SourceTree.Files.Where(path => path.StartsWith($"{Guides}/", StringComparison.Ordinal) && SourceTree.Read(path).Text.Contains("// <guide>", StringComparison.Ordinal));
        Assert.That(guides.Select(Path.GetFileNameWithoutExtension).Where(guide => !shown.Contains(guide!)), Is.Empty);
    }

    [TestCase(typeof(StreamingApiConfiguration))]
    [TestCase(typeof(EmbeddedLogOptions))]
    [TestCase(typeof(KafkaOptions))]
    [TestCase(typeof(StreamingApiLimits))]
    public void Configuration_Page_HasARowForEveryKey(Type options)
    {
        var page = SourceTree.Read("docs/configuration.md").Text;
        var sections = new HashSet<string> { "Embedded", "Kafka", "Limits" };
        var keys = options.GetProperties(BindingFlags.Instance | BindingFlags.Public | BindingFlags.DeclaredOnly).Where(property => property.SetMethod is not null || options == typeof(StreamingApiConfiguration)).Select(property => property.Name);
        Assert.That(keys.Where(key => !page.Contains(sections.Contains(key) ? $"## `{key}`" : $"| `{key}` |", StringComparison.Ordinal)), Is.Empty);
    }

    [Test]
    public void ApiReference_Page_IsMadeFromTheProtoFiles()
    {
        var page = SourceTree.FullPath("docs/api-reference.md");
        var made = ApiReference.Render();
        if (Environment.GetEnvironmentVariable(Accept) == "1") File.WriteAllText(page, made);
        Assert.That(File.ReadAllText(page), Is.EqualTo(made), $"{Accept}=1 makes it anew");
        foreach (var name in new[] { "#### WriteDataPacket\n", "### message ConnectionDetails\n", "### enum InfoType\n", "| `essentials_offset` | `int64` | 6 |" })
            Assert.That(made, Does.Contain(name));
    }

    // What a reader needs: the usings, and what stands between the marks, moved to the left.
    private static string Guide(string name)
    {
        var lines = SourceTree.Read($"{Guides}/{name}.cs").Text.Split('\n');
        var usings = lines.TakeWhile(line => !line.StartsWith("namespace", StringComparison.Ordinal))
            .Where(line => line.StartsWith("using ", StringComparison.Ordinal) && !line.Contains("NUnit", StringComparison.Ordinal));
        var body = lines.SkipWhile(line => line.Trim() != "// <guide>").Skip(1).TakeWhile(line => line.Trim() != "// </guide>").ToList();
        var margin = body.Where(line => line.Length > 0).Min(line => line.Length - line.TrimStart().Length);
        return string.Join('\n', usings.Append("").Concat(body.Select(line => line.Length > 0 ? line[margin..] : line)));
    }

    [GeneratedRegex("<!-- guide: (?<guide>\\w+) -->\n```csharp\n.*?```", RegexOptions.Singleline)]
    private static partial Regex GuideBlock();
}
