using System.Text;
using System.Text.RegularExpressions;

namespace MA.Streaming.UnitTests.House;

/// <summary>The API reference, made from the comments of the .proto files: what a field means is said in one place only.</summary>
internal static partial class ApiReference
{
    private static readonly string[] Sources =
    [
        "proto/ma/streaming/api/v1/api.proto",
        "proto/ma/streaming/open_data/v1/open_data.proto",
        "proto/ma/streaming/key_generator/v1/key_generator.proto",
    ];

    /// <summary>The whole page.</summary>
    public static string Render()
    {
        var page = new StringBuilder();
        page.Append("# API reference\n\nMade from the comments of the files under [proto/](../proto/ma/streaming); change those, not this page.\n");
        foreach (var source in Sources) RenderFile(page, SourceTree.Read(source));
        return page.ToString();
    }

    private static void RenderFile(StringBuilder page, SourceText file)
    {
        var comment = new List<string>();
        string? block = null;
        var inTable = false;
        var hasPackage = false;
        foreach (var (_, raw) in file.Lines)
        {
            var line = raw.Trim();
            if (line.StartsWith("//", StringComparison.Ordinal))
            {
                comment.Add(line.Length > 3 ? line[3..] : "");
                continue;
            }

            if (line.StartsWith("syntax", StringComparison.Ordinal))
            {
                page.Append($"\n## {file.Name}\n\n{Paragraphs(comment)}\n");
                comment.Clear();
            }
            else if (!hasPackage && line.StartsWith("package", StringComparison.Ordinal))
            {
                page.Append($"\nPackage `{line["package ".Length..].TrimEnd(';')}`.\n");
                hasPackage = true;
            }
            else if (Block().Match(line) is { Success: true } opened)
            {
                block = opened.Groups["kind"].Value;
                inTable = false;
                page.Append($"\n### {block} {opened.Groups["name"].Value}\n\n{Paragraphs(comment)}\n");
            }
            else if (block == "service" && Rpc().Match(line) is { Success: true } rpc)
            {
                page.Append($"\n#### {rpc.Groups["name"].Value}\n\n`{Shape(rpc, "in")}` → `{Shape(rpc, "out")}`\n\n{Paragraphs(comment)}\n");
            }
            else if (block is "message" or "enum" && Field().Match(line) is { Success: true } field)
            {
                if (!inTable) page.Append(block == "message" ? "\n| field | type | number | |\n| --- | --- | --- | --- |\n" : "\n| value | number | |\n| --- | --- | --- |\n");
                inTable = true;
                var type = block == "message" ? $" `{field.Groups["type"].Value.Trim().Replace("|", "\\|", StringComparison.Ordinal)}` |" : "";
                page.Append($"| `{field.Groups["name"].Value}` |{type} {field.Groups["number"].Value} | {Paragraphs(comment).Replace("\n\n", "<br>", StringComparison.Ordinal)} |\n");
            }
            else if (line.Length > 0)
            {
                comment.Clear();
                continue;
            }

            if (line.Length > 0) comment.Clear();
        }

        static string Shape(Match rpc, string side) => (rpc.Groups[$"{side}s"].Success ? "stream " : "") + rpc.Groups[side].Value;
    }

    // Lines that belong together become one; an empty one parts paragraphs.
    private static string Paragraphs(List<string> lines) =>
        string.Join("\n\n", string.Join('\n', lines).Split("\n\n").Select(paragraph => paragraph.Replace('\n', ' ').Replace("|", "\\|", StringComparison.Ordinal).Trim()));

    [GeneratedRegex(@"^(?<kind>service|message|enum) (?<name>\w+) \{")]
    private static partial Regex Block();

    [GeneratedRegex(@"^rpc (?<name>\w+)\((?<ins>stream )?(?<in>[\w.]+)\) returns \((?<outs>stream )?(?<out>[\w.]+)\)")]
    private static partial Regex Rpc();

    [GeneratedRegex(@"^(?<type>(?:optional |repeated )?(?:map<[^>]+>|[\w.]+) )?(?<name>\w+) = (?<number>\d+)(?: \[[^\]]*\])?;")]
    private static partial Regex Field();
}
