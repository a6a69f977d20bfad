using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>What the documentation shows and names is what is in the tree.</summary>
internal sealed class DocumentationTests
{
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

    [TestCase("README.md")]
    [TestCase("docs/ARCHITECTURE.md")]
    [TestCase("docs/PERFORMANCE.md")]
    [TestCase("compat/README.md")]
    public void Links_InTheTree_LeadSomewhere(string document)
    {
        var folder = Path.GetDirectoryName(document)!;
        var links = System.Text.RegularExpressions.Regex.Matches(SourceTree.Read(document).Text, @"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")
            .Select(link => Path.GetFullPath(Path.Combine(SourceTree.Root, folder, link.Groups[1].Value)));

        Assert.That(links.Where(path => !File.Exists(path) && !Directory.Exists(path)), Is.Empty);
    }

    [Test]
    public void Architecture_FileMap_NamesWhatIsThere()
    {
        var map = SourceTree.Read("docs/ARCHITECTURE.md").Text.Split("```")[1];
        var names = System.Text.RegularExpressions.Regex.Matches(map, @"(?m)^(\S+/)").Select(line => line.Groups[1].Value).ToArray();

        Assert.That(names, Has.Length.GreaterThan(8));
        Assert.That(names.Where(name => !Directory.Exists(Path.Combine(SourceTree.Root, name))), Is.Empty);
    }
}
