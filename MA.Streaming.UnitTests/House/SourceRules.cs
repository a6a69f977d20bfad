using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>The house rules that need the text: what a file may mention, how folders are called, which project may know which.</summary>
[TestFixture]
internal sealed partial class SourceRules
{
    /// <summary>The files that may know Grpc.Core: where rpcs arrive, where statuses are made, the in-process channel and the clients.</summary>
    private static readonly (string Folder, string[] Names)[] MayKnowGrpc =
    [
        ("MA.Streaming.Core", ["*Endpoint.cs", "Errors.cs"]),
        ("MA.Streaming.Proto.Client.Local", ["InProcess*.cs", "*Client.cs", "LocalStreamingApi.cs"]),
        ("MA.Streaming.Proto.Client.Remote", ["*"]),
        ("MA.Streaming.Server", ["*"]),
        ("MA.Streaming.Tool", ["*"]),
        ("MA.Streaming.Proto", ["*"]),
    ];

    /// <summary>Who may see the internals of a product assembly. Samples and integration tests use what customers have.</summary>
    private static readonly HashSet<string> MaySeeInternals = new(StringComparer.Ordinal)
    {
        "MA.Streaming.UnitTests", "MA.Streaming.Benchmarks", "MA.Streaming.Proto.Client.Local", "MA.Streaming.Server", "streamapi",
        "DynamicProxyGenAssembly2",
    };

    /// <summary>The test code that may wait for a time, and why.</summary>
    private static readonly Dictionary<string, string> MayWait = new(StringComparer.Ordinal)
    {
        ["Until.cs"] = "it is the poll loop",
        ["Proxy.cs"] = "silence lasts",
        ["PrefixedBroker.cs"] = "it stands in for a product's loop",
        ["KafkaFaultTests.cs"] = "a fault lasts for a time",
        ["KestrelTests.cs"] = "a client stays silent longer than keepalive allows",
        ["EmbeddedBrokerFailureTests.cs"] = "seconds of its clock pass while the loops of the log run in real time",
        ["ScaleTests.cs"] = "a consumer pauses between two batches",
    };

    private static readonly HashSet<string> PatternFolders = new(
        ["Handlers", "Mappers", "Factories", "Services", "Helpers", "Abstractions"], StringComparer.OrdinalIgnoreCase);

    // Put together here, so that this file does not name them.
    private static readonly Regex MachinePath = new($"(^|[^A-Za-z0-9_.])/({string.Join('|', "work", "root", "home")})/", RegexOptions.Multiline);

    private static readonly Regex RegistryHost = new(string.Join('|', new[]
    {
        ("api.nuget", "org"), ("www.nuget", "org/api"), ("registry.npmjs", "org"), ("registry.yarnpkg", "com"), ("deb.debian", "org"),
        ("security.debian", "org"), ("archive.ubuntu", "com"), ("files.pythonhosted", "org"), ("pypi", "org/simple"), ("proxy.golang", "org"),
    }.Select(host => Regex.Escape($"{host.Item1}.{host.Item2}"))));

    [Test]
    public void GrpcCore_ProductCode_OnlyAtTheEdges() => Assert.That(SourceTree.ProductCode.SelectMany(GrpcInside), Is.Empty);

    [TestCase("MA.Streaming.Core/Sessions/SessionCatalog.cs", "using Grpc.Core;", 1)]
    [TestCase("MA.Streaming.Core/Sessions/SessionCatalog.cs", "throw new Grpc.Core.RpcException(default);", 1)]
    [TestCase("MA.Streaming.Core/Usings.cs", "global using Grpc.Core;", 1)]
    [TestCase("MA.Streaming.Core/Sessions/SessionCatalog.cs", "// statuses of Grpc.Core are made elsewhere", 0)]
    [TestCase("MA.Streaming.Core/Sessions/SessionManagementEndpoint.cs", "using Grpc.Core;", 0)]
    [TestCase("MA.Streaming.Broker.Kafka/KafkaBroker.cs", "using Grpc.Net.Client;", 1)]
    [TestCase("MA.Streaming.Proto.Client.Local/InProcessCall.cs", "using Grpc.Core;", 0)]
    public void GrpcInside_Line_IsFoundWhereItMayNotBe(string path, string line, int violations) =>
        Assert.That(GrpcInside(new SourceText(path, line)).ToArray(), Has.Length.EqualTo(violations));

    [Test]
    public void Instruments_Each_HasAUnit()
    {
        Assert.That(SourceTree.ProductCode.SelectMany(file => Instruments().Matches(file.Text)), Is.Not.Empty);
        Assert.That(SourceTree.ProductCode.SelectMany(WithoutUnit), Is.Empty);
    }

    [TestCase("""meter.CreateCounter<long>("a", "{packet}", "Packets, (all).")""", 0)]
    [TestCase("""meter.CreateCounter<long>("a")""", 1)]
    [TestCase("""meter.CreateCounter<long>("a", "", "No unit.")""", 1)]
    [TestCase("""meter.CreateCounter<long>("a", description: "No unit.")""", 1)]
    [TestCase("""meter.CreateHistogram<double>("a", description: "Good.", unit: "s")""", 0)]
    [TestCase("""meter.CreateObservableGauge("a", () => Measure(x, "y"), "By", "Bytes.")""", 0)]
    [TestCase("""meter.CreateObservableGauge("a", () => Measure(x, "y"), description: "Bytes.")""", 1)]
    public void WithoutUnit_Call_IsFoundWithoutOne(string call, int violations) =>
        Assert.That(WithoutUnit(new SourceText("Telemetry.cs", call)).ToArray(), Has.Length.EqualTo(violations));

    [Test]
    public void Folders_Each_IsNamedAfterAThing() => Assert.That(NamedAfterPatterns(SourceTree.Folders), Is.Empty);

    [Test]
    public void NamedAfterPatterns_PatternFolder_IsFound() => Assert.That(
        NamedAfterPatterns(["MA.Streaming.Core/Sessions", "MA.Streaming.Core/Handlers"]), Is.EqualTo(new[] { "MA.Streaming.Core/Handlers" }));

    [Test]
    public void Projects_References_PointOneWay() => Assert.That(
        Projects().SelectMany(project => BadReferences(project.Path, project.Text)), Is.Empty);

    [TestCase("MA.Streaming.Core/MA.Streaming.Core.csproj", "MA.Streaming.Broker.Embedded", 1)]
    [TestCase("MA.Streaming.Core/MA.Streaming.Core.csproj", "MA.Streaming.Proto", 0)]
    [TestCase("MA.Streaming.Broker.Kafka/MA.Streaming.Broker.Kafka.csproj", "MA.Streaming.Broker.Embedded", 1)]
    [TestCase("MA.Streaming.Proto.Client.Local/MA.Streaming.Proto.Client.Local.csproj", "MA.Streaming.Server", 1)]
    [TestCase("MA.Streaming.Proto.Client.Remote/MA.Streaming.Proto.Client.Remote.csproj", "MA.Streaming.Core", 0)]
    [TestCase("MA.Streaming.Proto.Client.Remote/MA.Streaming.Proto.Client.Remote.csproj", "MA.Streaming.Proto.Client.Local", 1)]
    [TestCase("MA.Streaming.Tool/MA.Streaming.Tool.csproj", "MA.Streaming.Server", 0)]
    [TestCase("samples/Telemetry/Telemetry.csproj", "MA.Streaming.Core", 0)]
    [TestCase("samples/Telemetry/Telemetry.csproj", "MA.Streaming.UnitTests", 1)]
    [TestCase("samples/Telemetry/Telemetry.csproj", "MA.Streaming.TestSupport", 1)]
    [TestCase("MA.Streaming.UsageTests/MA.Streaming.UsageTests.csproj", "MA.Streaming.TestSupport", 0)]
    public void BadReferences_Project_IsFoundWhereItMayNotBe(string path, string reference, int violations)
    {
        var project = $"""<Project><ItemGroup><ProjectReference Include="../{reference}/{reference}.csproj" /></ItemGroup></Project>""";
        Assert.That(BadReferences(path, project).ToArray(), Has.Length.EqualTo(violations));
    }

    [Test]
    public void Projects_Each_IsInTheSolution() => Assert.That(
        ProjectsMissingFrom(SourceTree.Read("MA.Streaming.sln").Text, Projects().Select(project => project.Path)), Is.Empty);

    [Test]
    public void ProjectsMissingFrom_ProjectThatNobodyAdded_IsFound() => Assert.That(
        ProjectsMissingFrom(""" = "A", "src\A.csproj", """, ["src/A.csproj", "src/B.csproj"]),
        Is.EqualTo(new[] { "src/B.csproj" }));

    [Test]
    public void Internals_SeenByFewOnly() => Assert.That(
        Projects().Concat(SourceTree.ProductCode).SelectMany(InternalsShown), Is.Empty);

    [TestCase("""<InternalsVisibleTo Include="MA.Streaming.UnitTests" />""", 0)]
    [TestCase("""<InternalsVisibleTo Include="Telemetry" />""", 1)]
    [TestCase("""[assembly: InternalsVisibleTo("MA.Streaming.IntegrationTests")]""", 1)]
    public void InternalsShown_ToASample_IsFound(string line, int violations) =>
        Assert.That(InternalsShown(new SourceText("A.cs", line)).ToArray(), Has.Length.EqualTo(violations));

    [Test]
    public void Samples_UseNoReflectionOnInternals() => Assert.That(
        SourceTree.Files.Where(path => path.StartsWith("samples/", StringComparison.Ordinal) && path.EndsWith(".cs", StringComparison.Ordinal))
            .Select(SourceTree.Read).SelectMany(ReachesInside),
        Is.Empty);

    [Test]
    public void ReachesInside_NonPublicReflection_IsFound() => Assert.That(
        ReachesInside(new SourceText("Program.cs", "type.GetField(\"_log\", BindingFlags.NonPublic)")), Has.Exactly(1).Items);

    [Test]
    public void Files_Each_NamesNoMachineAndNoRegistry() => Assert.That(
        SourceTree.Files.Select(SourceTree.ReadText).OfType<SourceText>().SelectMany(MachineNames), Is.Empty);

    [TestCase("work", 1)]
    [TestCase("root", 1)]
    [TestCase("home", 1)]
    [TestCase("workshop", 0)]
    public void MachineNames_AbsolutePath_IsFound(string folder, int violations)
    {
        Assert.That(MachineNames(new SourceText("a.md", $"see `/{folder}/notes`")).ToArray(), Has.Length.EqualTo(violations));
        Assert.That(MachineNames(new SourceText("a.md", $"see frame/{folder}/notes")), Is.Empty);
    }

    [Test]
    public void MachineNames_RegistryHost_IsFound() => Assert.That(
        MachineNames(new SourceText("nuget.config", "https://api.nuget" + ".org/v3/index.json")), Has.Exactly(1).StartsWith("nuget.config(1)"));

    [Test]
    public void ProductCode_IsFinished() => Assert.That(SourceTree.ProductCode.SelectMany(Unfinished), Is.Empty);

    [TestCase("// TODO: later", 1)]
    [TestCase("// FIXME", 1)]
    [TestCase("throw new NotImplementedException();", 1)]
    [TestCase("var todos = 1;", 0)]
    public void Unfinished_Mark_IsFound(string line, int violations) =>
        Assert.That(Unfinished(new SourceText("A.cs", line)).ToArray(), Has.Length.EqualTo(violations));

    [Test]
    public void Tests_Each_WaitsThroughUntilAndDeadline() => Assert.That(TestCode().SelectMany(LoopsAndSleeps), Is.Empty);

    [TestCase("MA.Streaming.UnitTests/A.cs", "Assert.That(SpinWait.SpinUntil(() => x, 1), Is.True);", 1)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "while (!x) await Task.Delay(10, Limit);", 1)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "await Task.WhenAny(next, Task.Delay(50));", 1)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "Thread.Sleep(5);", 1)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "while (!x) await Task.Yield();", 1)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "await Task.Yield();", 0)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "await Task.Delay(Timeout.Infinite, token);", 0)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "var delay = Task.Delay(TimeSpan.FromMinutes(10), clock);", 0)]
    [TestCase("MA.Streaming.UnitTests/A.cs", "await Until.TrueAsync(() => x);", 0)]
    [TestCase("MA.Streaming.TestSupport/Until.cs", "else await Task.Delay(Pause);", 0)]
    public void LoopsAndSleeps_Line_IsFoundWhereItMayNotBe(string path, string line, int violations) =>
        Assert.That(LoopsAndSleeps(new SourceText(path, line)).ToArray(), Has.Length.EqualTo(violations));

    [Test]
    public void Tests_ThatReadTheWallClock_AreOfCategoryTiming() => Assert.That(TestCode().SelectMany(UntimedClocks), Is.Empty);

    [TestCase("    [Test]\n    public void A()\n    {\n        var watch = Stopwatch.StartNew();\n    }\n", 1)]
    [TestCase("    [Test]\n    [Timing]\n    public void A()\n    {\n        var watch = Stopwatch.StartNew();\n    }\n", 0)]
    [TestCase("    [Timing]\n    private void A()\n    {\n        var at = TimeProvider.System.GetTimestamp();\n    }\n\n    [Test]\n    public void B()\n    {\n        Assert.That(Stopwatch.GetElapsedTime(at), Is.LessThan(x));\n    }\n", 1)]
    [TestCase("[Timing]\ninternal sealed class B\n{\n    private void A()\n    {\n        var at = Environment.TickCount64;\n    }\n}\n", 0)]
    [TestCase("    [Test]\n    public void A()\n    {\n        var at = clock.GetTimestamp();\n    }\n", 0)]
    public void UntimedClocks_Member_IsFoundWithoutTheCategory(string text, int violations) =>
        Assert.That(UntimedClocks(new SourceText("MA.Streaming.UnitTests/A.cs", text)).ToArray(), Has.Length.EqualTo(violations));

    private static IEnumerable<SourceText> TestCode() =>
        SourceTree.Files.Where(path => path.EndsWith(".cs", StringComparison.Ordinal) && SourceTree.IsOfTests(path) && !path.Contains("/House/", StringComparison.Ordinal))
            .Select(SourceTree.Read);

    private static IEnumerable<string> LoopsAndSleeps(SourceText file) => MayWait.ContainsKey(file.Name) ? []
        : Where(file, line => SleepOrSpin().IsMatch(WithoutComment(line)) || (DelayOf().IsMatch(WithoutComment(line)) && !DelayThatIsNone().IsMatch(line)));

    /// <summary>Reads of the wall clock in a member that has the attribute neither itself nor through its class.</summary>
    private static IEnumerable<string> UntimedClocks(SourceText file)
    {
        var isTimed = false;
        var attributes = new List<string>();
        foreach (var (number, line) in file.Lines)
        {
            if (line.TrimStart().StartsWith('[')) attributes.Add(line.Trim());
            else if (MemberStart().Match(line) is { Success: true } member)
            {
                var isClass = member.Groups["indent"].Length == 0;
                if (isClass && attributes.Contains("[Timing]")) yield break;
                isTimed = attributes.Contains("[Timing]");
                attributes.Clear();
            }

            if (!isTimed && WallClock().IsMatch(WithoutComment(line))) yield return $"{file.Path}({number}): {line.Trim()}";
        }
    }

    private static SourceText[] Projects() =>
        [.. SourceTree.Files.Where(path => path.EndsWith(".csproj", StringComparison.Ordinal)).Select(SourceTree.Read)];

    private static IEnumerable<string> GrpcInside(SourceText file)
    {
        var project = file.Path.Split('/')[0];
        if (MayKnowGrpc.Any(may => may.Folder == project && may.Names.Any(name => Matches(name, file.Name)))) return [];
        return Where(file, line => GrpcName().IsMatch(WithoutComment(line)));
    }

    private static IEnumerable<string> WithoutUnit(SourceText file)
    {
        foreach (Match call in Instruments().Matches(file.Text))
        {
            var arguments = Arguments(file.Text, call.Index + call.Length);
            var place = call.Groups["observable"].Success ? 2 : 1;
            var unit = arguments.FirstOrDefault(argument => argument.StartsWith("unit:", StringComparison.Ordinal))?["unit:".Length..].Trim()
                ?? (arguments.Count > place && !NamedArgument().IsMatch(arguments[place]) ? arguments[place] : "");
            if (unit is "" or "\"\"" or "null") yield return $"{file.Path}: {call.Value}{string.Join(", ", arguments)})";
        }
    }

    /// <summary>The arguments of a call whose opening bracket ends before <paramref name="at"/>.</summary>
    private static List<string> Arguments(string text, int at)
    {
        var arguments = new List<string>();
        var current = new StringBuilder();
        var depth = 0;
        var quoted = false;
        for (; at < text.Length; at++)
        {
            var c = text[at];
            if (c == '"' && text[at - 1] != '\\') quoted = !quoted;
            if (!quoted && c is '(' or '[' or '{') depth++;
            if (!quoted && c is ')' or ']' or '}' && --depth < 0) break;
            if (!quoted && depth == 0 && c == ',')
            {
                arguments.Add(current.ToString().Trim());
                current.Clear();
                continue;
            }

            current.Append(c);
        }

        if (current.Length > 0) arguments.Add(current.ToString().Trim());
        return arguments;
    }

    private static IEnumerable<string> NamedAfterPatterns(IEnumerable<string> folders) =>
        folders.Where(folder => PatternFolders.Contains(folder[(folder.LastIndexOf('/') + 1)..]));

    private static IEnumerable<string> BadReferences(string path, string text)
    {
        var project = path.Split('/')[0];
        var isTest = SourceTree.IsOfTests(path) || project == "benchmarks";
        return from element in XDocument.Parse(text).Descendants()
               where element.Name.LocalName == "ProjectReference"
               let reference = ((string?)element.Attribute("Include") ?? "").Replace('\\', '/').Split('/')[^1].Replace(".csproj", "", StringComparison.Ordinal)
               where !MayReference(reference)
               select $"{path} references {reference}";

        bool MayReference(string reference) => reference switch
        {
            "MA.Streaming.Server" => isTest || project is "MA.Streaming.Tool",
            "MA.Streaming.Tool" => isTest,
            "MA.Streaming.TestSupport" => SourceTree.IsOfTests(path),
            _ when reference.EndsWith("Tests", StringComparison.Ordinal) => false,
            _ => project switch
            {
                "MA.Streaming.Proto" => false,
                "MA.Streaming.Core" => reference is "MA.Streaming.Proto",
                "MA.Streaming.Broker.Embedded" or "MA.Streaming.Broker.Kafka" => reference is "MA.Streaming.Core" || !IsOurs(reference),
                "MA.Streaming.Proto.Client.Remote" => reference is "MA.Streaming.Core" or "MA.Streaming.Proto" || !IsOurs(reference),
                "MA.Streaming.Proto.Client.Local" =>
                    reference is "MA.Streaming.Core" or "MA.Streaming.Proto" or "MA.Streaming.Proto.Client.Remote"
                    || reference.StartsWith("MA.Streaming.Broker.", StringComparison.Ordinal),
                "compat" => !IsOurs(reference),
                _ => true,
            },
        };

        static bool IsOurs(string reference) => reference.StartsWith("MA.", StringComparison.Ordinal);
    }

    private static IEnumerable<string> ProjectsMissingFrom(string solution, IEnumerable<string> projects) =>
        projects.Where(path => !solution.Contains($"\"{path.Replace('/', '\\')}\"", StringComparison.Ordinal));

    private static IEnumerable<string> InternalsShown(SourceText file) =>
        from Match match in InternalsVisibleTo().Matches(file.Text)
        where !MaySeeInternals.Contains(match.Groups["who"].Value)
        select $"{file.Path}: {match.Value}";

    private static IEnumerable<string> ReachesInside(SourceText file) =>
        Where(file, line => line.Contains("BindingFlags.NonPublic", StringComparison.Ordinal) || line.Contains("UnsafeAccessor", StringComparison.Ordinal)
            || line.Contains("IgnoresAccessChecksTo", StringComparison.Ordinal));

    private static IEnumerable<string> MachineNames(SourceText file) =>
        Where(file, line => MachinePath.IsMatch(line) || RegistryHost.IsMatch(line));

    private static IEnumerable<string> Unfinished(SourceText file) => Where(file, line => UnfinishedMark().IsMatch(line));

    private static IEnumerable<string> Where(SourceText file, Predicate<string> bad) =>
        file.Lines.Where(line => bad(line.Line)).Select(line => $"{file.Path}({line.Number}): {line.Line.Trim()}");

    private static bool Matches(string pattern, string name) =>
        Regex.IsMatch(name, $"^{Regex.Escape(pattern).Replace("\\*", ".*", StringComparison.Ordinal)}$");

    private static string WithoutComment(string line) => line.Split("//")[0];

    [GeneratedRegex(@"\bGrpc\.(Core|Net|AspNetCore)\b")]
    private static partial Regex GrpcName();

    [GeneratedRegex(@"\.Create(?<observable>Observable)?(Counter|UpDownCounter|Histogram|Gauge)(<[^(]*>)?\(")]
    private static partial Regex Instruments();

    [GeneratedRegex(@"^\w+\s*:[^:]")]
    private static partial Regex NamedArgument();

    [GeneratedRegex("""InternalsVisibleTo(\s+Include=|\()"(?<who>[^",]+)""")]
    private static partial Regex InternalsVisibleTo();

    [GeneratedRegex(@"\bSpinWait\.|\bThread\.(Sleep|Yield)\(|\bwhile\b.*\bTask\.Yield\(")]
    private static partial Regex SleepOrSpin();

    [GeneratedRegex(@"\bTask\.Delay\(")]
    private static partial Regex DelayOf();

    // For ever, or on a clock that the test moves.
    [GeneratedRegex(@"\bTask\.Delay\((Timeout\.Infinite|.*,\s*_?clock\b)")]
    private static partial Regex DelayThatIsNone();

    [GeneratedRegex(@"^(?<indent> {0,4})(public|private|protected|internal|file|static)\b")]
    private static partial Regex MemberStart();

    [GeneratedRegex(@"\bStopwatch\.(StartNew|GetTimestamp|GetElapsedTime)|\bnew Stopwatch\b|\bTimeProvider\.System\.Get(Timestamp|ElapsedTime)|\bTickCount")]
    private static partial Regex WallClock();

    [GeneratedRegex(@"\b(TODO|FIXME|NotImplementedException)\b")]
    private static partial Regex UnfinishedMark();
}
