using System.Text;

namespace MA.Streaming.UnitTests.House;

/// <summary>The text files of the repository, found by walking up from the test assembly; what .gitignore names is left out.</summary>
internal static class SourceTree
{
    public static string Root { get; } = FindRoot();

    /// <summary>Every file, by its path from the root, with forward slashes.</summary>
    public static IReadOnlyList<string> Files { get; } = [.. Walk(Root).Order(StringComparer.Ordinal)];

    /// <summary>Every folder that holds a file, by its path from the root, with forward slashes.</summary>
    public static IReadOnlyList<string> Folders { get; } = [.. Files.SelectMany(FoldersOf).Distinct().Order(StringComparer.Ordinal)];

    /// <summary>Every C# file of the projects that are the product: no tests, samples, benchmarks or stand-ins.</summary>
    public static IReadOnlyList<SourceText> ProductCode { get; } =
        [.. Files.Where(f => f.EndsWith(".cs", StringComparison.Ordinal) && IsProduct(f)).Select(Read)];

    public static string FullPath(string path) => Path.Combine(Root, path);

    public static SourceText Read(string path) => new(path, File.ReadAllText(FullPath(path)));

    /// <summary>The file's text; null for a binary file.</summary>
    public static SourceText? ReadText(string path)
    {
        var bytes = File.ReadAllBytes(FullPath(path));
        return bytes.AsSpan().Contains((byte)0) ? null : new SourceText(path, Encoding.UTF8.GetString(bytes));
    }

    /// <summary>A test project, or what they share.</summary>
    public static bool IsOfTests(string path) => path.Split('/')[0] is var project && (project.EndsWith("Tests", StringComparison.Ordinal) || project == "MA.Streaming.TestSupport");

    private static bool IsProduct(string path) =>
        path.StartsWith("MA.", StringComparison.Ordinal) && !IsOfTests(path);

    private static IEnumerable<string> FoldersOf(string path)
    {
        for (var end = path.LastIndexOf('/'); end > 0; end = path.LastIndexOf('/', end - 1)) yield return path[..end];
    }

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Directory.Build.props"))) return folder.FullName;
        }

        throw new InvalidOperationException($"no Directory.Build.props above {AppContext.BaseDirectory}");
    }

    private static IEnumerable<string> Walk(string root)
    {
        var ignored = File.ReadLines(Path.Combine(root, ".gitignore"))
            .Where(line => line.EndsWith('/')).Select(line => line.Trim('/')).Append(".git").ToHashSet(StringComparer.Ordinal);
        var folders = new Stack<string>([root]);
        while (folders.TryPop(out var folder))
        {
            foreach (var inner in Directory.EnumerateDirectories(folder))
            {
                if (!ignored.Contains(Path.GetFileName(inner))) folders.Push(inner);
            }

            foreach (var file in Directory.EnumerateFiles(folder))
            {
                if (!ignored.Contains(Path.GetFileName(file))) yield return Path.GetRelativePath(root, file).Replace('\\', '/');
            }
        }
    }
}

/// <summary>A file as a rule sees it: its path from the root and its text.</summary>
internal sealed record SourceText(string Path, string Text)
{
    public string Folder => Path.Contains('/', StringComparison.Ordinal) ? Path[..Path.LastIndexOf('/')] : "";

    public string Name => Path[(Path.LastIndexOf('/') + 1)..];

    /// <summary>Each line with its number, from 1.</summary>
    public IEnumerable<(int Number, string Line)> Lines => Text.Split('\n').Select((line, index) => (index + 1, line));
}
