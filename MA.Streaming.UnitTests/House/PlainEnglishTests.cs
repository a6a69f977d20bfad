using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>Pages, comments and messages say who does what.</summary>
[TestFixture]
internal sealed class PlainEnglishTests
{
    private const string Accept = "STREAM_API_ACCEPT_PLAIN";

    /// <summary>The files that still have bad forms, by name without folder, so that a move does not matter. The list may only shrink.</summary>
    private const string NotYetPlain = "MA.Streaming.UnitTests/House/NotYetPlain.txt";

    private static readonly HashSet<string> Later = [.. Entries(SourceTree.Read(NotYetPlain))];

    private static IEnumerable<SourceText> Checked => SourceTree.Files.Where(IsChecked).Select(SourceTree.Read).Concat(SourceTree.ProductCode);

    [Test]
    public void Texts_OfPagesProtoAndProduct_ArePlain() => Assert.That(
        string.Join('\n', Checked.Where(file => !Later.Contains(Entry(file))).SelectMany(PlainEnglish.Find)), Is.Empty,
        "CONTRIBUTING.md (Plain English) says how to write them");

    [Test]
    public void NotYetPlain_Entries_AreFilesThatStillHaveBadForms()
    {
        var stale = Stale(Later, Checked);
        if (Environment.GetEnvironmentVariable(Accept) == "1")
        {
            var kept = SourceTree.Read(NotYetPlain).Lines.Select(line => line.Line).Where(line => !stale.Contains(line.Trim()));
            File.WriteAllText(SourceTree.FullPath(NotYetPlain), string.Join('\n', kept));
        }

        Assert.That(stale, Is.Empty, $"clean or gone: take them off {NotYetPlain}; {Accept}=1 does that");
    }

    [TestCaseSource(typeof(BadSamples), nameof(BadSamples.Riddles))]
    public void Find_BadForm_IsFound(string sentence) => Assert.That(PlainEnglish.Find(sentence), Is.Not.Empty);

    [TestCaseSource(typeof(BadSamples), nameof(BadSamples.PlainSentences))]
    public void Find_PlainSentence_IsNotFound(string sentence) => Assert.That(PlainEnglish.Find(sentence), Is.Empty);

    [TestCase("a.md", "# What happens when you call\n\nText.", 0)]
    [TestCase("a.md", "```\nWho waits is told.\n```", 0)]
    [TestCase("a.md", "It waits. Who\nwaits is told.", 1)]
    [TestCase("a.md", "| a | Who waits is told |\n", 1)]
    [TestCase("a.md", "- **Who waits** is told.\n- It `is to` wait.", 1)]
    [TestCase("a.md", "> Who waits is told.\n", 1)]
    [TestCase("a.md", "<!-- Who waits is told. -->\nText.", 0)]
    [TestCase("a.proto", "// Who waits is told.\nmessage A {\n  // What kind of thing.\n  int32 a = 1;\n}", 2)]
    [TestCase("a.cs", "/// <summary>What a broker is.</summary>\nclass A;", 1)]
    [TestCase("a.cs", "/// <summary>A broker.</summary>\n/// <param name=\"a\">Who\n/// waits.</param>\nclass A;", 1)]
    [TestCase("a.cs", "var a = 1; // Nobody knows it but the owner.\n", 1)]
    [TestCase("a.cs", "var url = \"http://who.is\"; var c = '\"'; // It waits.\n", 0)]
    [TestCase("a.cs", "throw new Exception($\"Who waits for '{name}' is told\");", 1)]
    [TestCase("a.cs", "var text = \"\"\"\n    It is to wait.\n    \"\"\";", 1)]
    [TestCase("a.cs", "var text = @\"C:\\\"; // Who waits is told.", 1)]
    [TestCase("a.cs", "var Who = What; Call(Who is to Wait);", 0)]
    public void Find_File_SeesTextAndNoCode(string path, string text, int violations) =>
        Assert.That(PlainEnglish.Find(new SourceText(path, text)).ToArray(), Has.Length.EqualTo(violations));

    [Test]
    public void Stale_CleanOrMissingFile_IsFound() => Assert.That(
        Stale(["Bad.cs", "Clean.cs", "Gone.cs"], [new("A/Bad.cs", "// Who waits is told.\n"), new("A/Clean.cs", "// It waits.\n")]),
        Is.EqualTo(new[] { "Clean.cs", "Gone.cs" }));

    private static string[] Stale(IEnumerable<string> entries, IEnumerable<SourceText> files)
    {
        var bad = files.Where(file => PlainEnglish.Find(file).Any()).Select(Entry).ToHashSet(StringComparer.Ordinal);
        return [.. entries.Where(entry => !bad.Contains(entry)).Order(StringComparer.Ordinal)];
    }

    private static bool IsChecked(string path) =>
        path.EndsWith(".md", StringComparison.Ordinal)
        || path.EndsWith(".proto", StringComparison.Ordinal)
        || (path.EndsWith(".cs", StringComparison.Ordinal)
            && (path.StartsWith("MA.Streaming.UsageTests/Guide/", StringComparison.Ordinal) || path.StartsWith("samples/QuickStart/", StringComparison.Ordinal)));

    // Pages of the same name stand in several folders.
    private static string Entry(SourceText file) => file.Path.EndsWith(".cs", StringComparison.Ordinal) ? file.Name : file.Path;

    private static IEnumerable<string> Entries(SourceText list) =>
        list.Lines.Select(line => line.Line.Trim()).Where(line => line.Length > 0 && line[0] != '#');
}
