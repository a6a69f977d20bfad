using System.Text;
using System.Text.RegularExpressions;

namespace MA.Streaming.UnitTests.House;

/// <summary>Finds the forms of English that readers stumble over, in sentences. A question may begin with "Who" or "What".</summary>
internal static partial class PlainEnglish
{
    private static readonly (Regex Form, string Advice)[] Forms =
    [
        (SubjectClause(), "say who does what: the subject is a noun"),
        (SubjectClauseInside(), "say who does what: the subject is a noun"),
        (IsTo(), "say what happens, or 'must'"),
        (OfOnesOwn(), "say 'its' or 'own' before the noun"),
        (NobodyBut(), "say 'only'"),
        (InfinitiveSubject(), "say who does what"),
    ];

    /// <summary>Each bad form of a file, with its line and advice.</summary>
    public static IEnumerable<string> Find(SourceText file) => file.Name switch
    {
        _ when file.Path.EndsWith(".md", StringComparison.Ordinal) => Find(file.Path, MarkdownTexts(file)),
        _ when file.Path.EndsWith(".proto", StringComparison.Ordinal) => Find(file.Path, CommentTexts(file, line => line.TrimStart().StartsWith("//", StringComparison.Ordinal))),
        _ => Find(file.Path, CSharpTexts(file)),
    };

    /// <summary>The bad forms of one sentence or several.</summary>
    public static IEnumerable<string> Find(string text) => Find("text", [(1, text)]);

    private static IEnumerable<string> Find(string path, IEnumerable<(int Line, string Text)> texts) =>
        from text in texts
        from sentence in Sentences(text.Text)
        where !sentence.EndsWith('?')
        from form in Forms
        where form.Form.IsMatch(sentence)
        select $"{path}({text.Line}): \"{sentence}\": {form.Advice}";

    // A sentence ends with a full stop, a question mark or an exclamation mark before a space or at the end; so does a label with a colon
    // before a capital letter.
    private static IEnumerable<string> Sentences(string text) =>
        SentenceEnd().Split(Spaces().Replace(text, " ").Trim()).Select(sentence => sentence.Trim()).Where(sentence => sentence.Length > 0);

    /// <summary>Paragraphs, items and cells of a page. Code, headings, links' addresses and comments are left out.</summary>
    private static IEnumerable<(int Line, string Text)> MarkdownTexts(SourceText file)
    {
        var paragraph = new StringBuilder();
        var (start, isCode, isComment) = (0, false, false);
        foreach (var (number, raw) in file.Lines.Append((int.MaxValue, "")))
        {
            var line = raw.Trim();
            if (line.StartsWith("```", StringComparison.Ordinal)) isCode = !isCode;
            isComment |= line.StartsWith("<!--", StringComparison.Ordinal);
            var isText = !isCode && !isComment && line.Length > 0 && !line.StartsWith("```", StringComparison.Ordinal) && line[0] != '#' && line != "---";
            isComment &= !line.Contains("-->", StringComparison.Ordinal);
            if (paragraph.Length > 0 && (!isText || line[0] == '|' || Item().IsMatch(line)))
            {
                yield return (start, Plain(paragraph.ToString()));
                paragraph.Clear();
            }

            if (!isText) continue;
            if (line[0] == '|')
            {
                foreach (var cell in line.Split('|')) yield return (number, Plain(cell));
                continue;
            }

            if (paragraph.Length == 0) start = number;
            paragraph.Append(Item().Replace(line, "")).Append(' ');
        }

        static string Plain(string text) => Emphasis().Replace(Link().Replace(Code().Replace(text, "X"), "$1"), "");
    }

    // Comments that follow one another are one text, with a break where an XML element begins or ends.
    private static IEnumerable<(int Line, string Text)> CommentTexts(SourceText file, Func<string, bool> isComment)
    {
        var text = new StringBuilder();
        var start = 0;
        foreach (var (number, line) in file.Lines.Append((int.MaxValue, "")))
        {
            if (isComment(line))
            {
                if (text.Length == 0) start = number;
                text.Append(line.TrimStart().TrimStart('/')).Append('\n');
                continue;
            }

            if (text.Length == 0) continue;
            foreach (var paragraph in XmlBlock().Split(text.ToString().Replace("\n\n", "</para>", StringComparison.Ordinal)))
                yield return (start, XmlInline().Replace(Code().Replace(XmlWord().Replace(paragraph, "X"), "X"), ""));
            text.Clear();
        }
    }

    /// <summary>Comments of a C# file, and its string literals: messages are among them.</summary>
    private static IEnumerable<(int Line, string Text)> CSharpTexts(SourceText file)
    {
        var comments = new Dictionary<int, string>();
        var literals = new List<(int, string)>();
        Scan(file.Text, (line, comment) => comments[line] = comment, (line, literal) => literals.Add((line, literal)));
        var lines = file.Lines.Select(line => (line.Number, comments.GetValueOrDefault(line.Number, "")));
        var onlyComments = new SourceText(file.Path, string.Join('\n', lines.Select(line => line.Item2)));
        return CommentTexts(onlyComments, line => line.Length > 0).Concat(literals.Where(literal => literal.Item2.Contains(' ', StringComparison.Ordinal)));
    }

    // Enough of C#'s grammar to tell comments and literals from code. Holes of interpolated strings count as text: they are code, and have
    // none of the forms.
    private static void Scan(string text, Action<int, string> onComment, Action<int, string> onLiteral)
    {
        var line = 1;
        for (var at = 0; at < text.Length; at++)
        {
            if (text[at] == '\n') line++;
            else if (text[at] == '\'')
            {
                at += at + 1 < text.Length && text[at + 1] == '\\' ? 2 : 1;
                while (at < text.Length && text[at] != '\'' && text[at] != '\n') at++;
                if (at < text.Length && text[at] == '\n') line++;
            }
            else if (text.AsSpan(at).StartsWith("//"))
            {
                var end = text.IndexOf('\n', at);
                if (end < 0) end = text.Length;
                onComment(line, text[at..end]);
                at = end - 1;
            }
            else if (text[at] == '"')
            {
                var isVerbatim = at > 0 && (text[at - 1] == '@' || (text[at - 1] == '$' && at > 1 && text[at - 2] == '@'));
                var quotes = 1;
                while (at + quotes < text.Length && text[at + quotes] == '"') quotes++;
                var (from, end) = quotes >= 3 && !isVerbatim ? Raw(quotes) : quotes == 2 ? (at + 1, at + 1) : Quoted(isVerbatim);
                onLiteral(line, text[from..end]);
                line += text.AsSpan(from, end - from).Count('\n');
                at = quotes >= 3 && !isVerbatim ? end + quotes - 1 : end;

                (int, int) Raw(int length)
                {
                    var close = text.IndexOf(new string('"', length), at + length, StringComparison.Ordinal);
                    return (at + length, close < 0 ? text.Length : close);
                }

                (int, int) Quoted(bool verbatim)
                {
                    var close = at + 1;
                    while (close < text.Length && (text[close] != '"' || (verbatim && close + 1 < text.Length && text[close + 1] == '"')))
                        close += text[close] == '"' || (!verbatim && text[close] == '\\') ? 2 : 1;
                    return (at + 1, Math.Min(close, text.Length));
                }
            }
        }
    }

    [GeneratedRegex(@"^[""'(*_]*(Who|Whoever|Whose|What|Whatever|Which|The one (that|who|which)|Of what|Of those|Those who) (?!if\b|about\b)[a-z]")]
    private static partial Regex SubjectClause();

    [GeneratedRegex(@"(; (who|whoever|whose|what|whatever) |: (who|whoever) |\b(so|because|but|while|until|than) (who|whoever) )(?!if\b)[a-z]", RegexOptions.IgnoreCase)]
    private static partial Regex SubjectClauseInside();

    [GeneratedRegex(@"\b(is|are|was|were) to (?!(?:the|a|an|this|that|these|those|it|its|them|their|you|your|us|our|me|each|every|all|some|any|one|two|three|either|both|no)\b)[a-z]{2,}\b")]
    private static partial Regex IsTo();

    [GeneratedRegex(@"\bof (one's|its|their|our|your|my|his|her|somebody's|theirs) own\b", RegexOptions.IgnoreCase)]
    private static partial Regex OfOnesOwn();

    [GeneratedRegex(@"\b(nobody|nothing|none|nowhere|no one)( \w+){0,4} but\b", RegexOptions.IgnoreCase)]
    private static partial Regex NobodyBut();

    [GeneratedRegex(@"^To [a-z]+( [\w'-]+){0,8}? (is|are|means|says|costs)\b")]
    private static partial Regex InfinitiveSubject();

    [GeneratedRegex(@"(?<=[.!?][""')*]*) +(?=\S)|(?<=:) +(?=[A-Z][a-z]* [a-z])")]
    private static partial Regex SentenceEnd();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();

    [GeneratedRegex(@"^(?:[-*] |\d+\. |> ?)+")]
    private static partial Regex Item();

    [GeneratedRegex("`[^`]*`")]
    private static partial Regex Code();

    [GeneratedRegex(@"\[([^\]]*)\]\([^)]*\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"\*\*|(?<!\w)[*_](?=\w)|(?<=[\w.])[*_](?!\w)")]
    private static partial Regex Emphasis();

    [GeneratedRegex(@"</?(?:summary|param|returns|remarks|para|exception|content|typeparam|value|example|item|list|description)\b[^>]*>")]
    private static partial Regex XmlBlock();

    [GeneratedRegex(@"<(?:see|seealso|paramref|typeparamref|inheritdoc)\b[^>]*/>|<c>.*?</c>", RegexOptions.Singleline)]
    private static partial Regex XmlWord();

    [GeneratedRegex(@"</?\w+[^>]*>")]
    private static partial Regex XmlInline();
}
