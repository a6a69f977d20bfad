using System.Text.RegularExpressions;
using Google.Protobuf.Reflection;
using MA.Streaming.API;
using MA.Streaming.Extensions;
using MA.Streaming.KeyGenerator;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>
/// The compiled protocol equals WireProtocol.txt, and its files are commented throughout. Who adds to the protocol adds the lines
/// that the failing test shows; a line that is missing or different is a break of every client in use.
/// </summary>
[TestFixture]
internal sealed partial class DescriptorTests
{
    private static readonly FileDescriptor[] Compiled =
        [ApiReflection.Descriptor, OpenDataReflection.Descriptor, KeyGeneratorReflection.Descriptor, ExtensionsReflection.Descriptor];

    [Test]
    public void Descriptors_AllFiles_EqualTheFrozenTable()
    {
        var frozen = Frozen();
        Assert.That(frozen, Is.Unique);
        Assert.That(Differences(frozen, [.. Compiled.SelectMany(file => Lines(file.ToProto()))]), Is.Empty);
    }

    [Test]
    public void Differences_ChangedField_NamesBothLines()
    {
        string[] frozen = ["message A", "message A: 1 string name"];
        var file = new FileDescriptorProto { MessageType = { new DescriptorProto { Name = "A" } } };
        file.MessageType[0].Field.Add(new FieldDescriptorProto
        {
            Name = "name",
            Number = 2,
            Type = FieldDescriptorProto.Types.Type.String,
            Label = FieldDescriptorProto.Types.Label.Optional,
        });

        var differences = Differences(frozen, [.. Lines(file).Where(line => line.StartsWith("message", StringComparison.Ordinal))]);

        Assert.That(differences, Does.Contain("- message A: 1 string name").And.Contain("+ message A: 2 string name"));
    }

    [Test]
    public void ProtoFiles_OnDisk_AreTheCompiledOnes()
    {
        var onDisk = ProtoFiles().Select(file => file.Path["proto/".Length..]);
        Assert.That(onDisk, Is.EquivalentTo(Compiled.Select(file => file.Name)));
    }

    [Test]
    public void ProtoFiles_EveryElement_HasAComment() => Assert.That(ProtoFiles().SelectMany(Uncommented), Is.Empty);

    [Test]
    public void ProtoFiles_EveryFile_StartsWithWhatItIsAndTheRuleForChange()
    {
        foreach (var file in ProtoFiles())
        {
            var head = file.Text[..file.Text.IndexOf("syntax", StringComparison.Ordinal)];
            Assert.That(head, Does.StartWith("// ").And.Contains("The rule for change: ").And.Contains("1001"), file.Path);
        }
    }

    [Test]
    public void Uncommented_ElementsWithoutComment_NamesEachOfThem()
    {
        const string bad = """
            // A.
            message A {
              string name = 1;
              // Said.
              map<string, int64> said = 2;
              oneof kind {
                // Said.
                string text = 3;
                uint64 number = 4; // Said.
              }
            }
            enum E {
              E_UNSPECIFIED = 0;
            }
            service S {
              rpc Do(A) returns (A);
            }
            """;
        Assert.That(
            Uncommented(new SourceText("bad.proto", bad)),
            Is.EqualTo(new[]
            {
                "bad.proto(3): string name = 1;", "bad.proto(6): oneof kind {", "bad.proto(12): enum E {", "bad.proto(13): E_UNSPECIFIED = 0;",
                "bad.proto(15): service S {", "bad.proto(16): rpc Do(A) returns (A);",
            }));
    }

    private static SourceText[] ProtoFiles() =>
        [.. SourceTree.Files.Where(path => path.StartsWith("proto/", StringComparison.Ordinal)).Select(SourceTree.Read)];

    private static IEnumerable<string> Uncommented(SourceText file)
    {
        var previous = "";
        foreach (var (number, line) in file.Lines)
        {
            var code = line.Trim();
            if (Declaration().IsMatch(code) && !previous.StartsWith("//", StringComparison.Ordinal) && !code.Contains("; //", StringComparison.Ordinal))
                yield return $"{file.Path}({number}): {code}";
            previous = code;
        }
    }

    private static string[] Frozen()
    {
        using var stream = typeof(DescriptorTests).Assembly.GetManifestResourceStream("WireProtocol.txt")
            ?? throw new InvalidOperationException("WireProtocol.txt is not embedded");
        using var reader = new StreamReader(stream);
        return [.. reader.ReadToEnd().Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0 && line[0] != '#')];
    }

    private static string Differences(string[] frozen, string[] compiled)
    {
        var missing = frozen.Except(compiled).Select(line => $"- {line}").ToArray();
        var added = compiled.Except(frozen).Select(line => $"+ {line}").ToArray();
        return missing.Length + added.Length == 0
            ? ""
            : $"The compiled protocol differs from WireProtocol.txt (-: frozen there and gone, +: not frozen):\n{string.Join('\n', missing.Concat(added))}";
    }

    private static IEnumerable<string> Lines(FileDescriptorProto file)
    {
        var name = $"file {file.Name}";
        yield return name;
        yield return $"{name}: syntax {file.Syntax}";
        yield return $"{name}: package {file.Package}";
        yield return $"{name}: csharp_namespace {file.Options?.CsharpNamespace}";
        foreach (var import in file.Dependency) yield return $"{name}: import {import}";

        foreach (var service in file.Service)
        {
            yield return $"service {Qualified(service.Name)}";
            foreach (var rpc in service.Method)
            {
                yield return $"service {Qualified(service.Name)}: rpc {rpc.Name}({Stream(rpc.ClientStreaming)}{TypeName(rpc.InputType)}) "
                    + $"returns ({Stream(rpc.ServerStreaming)}{TypeName(rpc.OutputType)})";
            }
        }

        foreach (var line in file.EnumType.SelectMany(type => EnumLines(Qualified(type.Name), type))) yield return line;
        foreach (var line in file.MessageType.SelectMany(type => MessageLines(Qualified(type.Name), type))) yield return line;

        string Qualified(string simple) => file.Package.Length == 0 ? simple : $"{file.Package}.{simple}";
        static string Stream(bool streams) => streams ? "stream " : "";
    }

    private static IEnumerable<string> EnumLines(string name, EnumDescriptorProto type) =>
        type.Value.Select(value => $"enum {name}: {value.Number} {value.Name}").Prepend($"enum {name}");

    private static IEnumerable<string> MessageLines(string name, DescriptorProto type)
    {
        yield return $"message {name}";
        foreach (var field in type.Field)
        {
            var entry = type.NestedType.FirstOrDefault(nested => nested.Options?.MapEntry == true && field.TypeName.EndsWith($".{type.Name}.{nested.Name}", StringComparison.Ordinal));
            var repeated = field.Label == FieldDescriptorProto.Types.Label.Repeated;
            var label = entry is not null ? "" : repeated ? "repeated " : field.Proto3Optional ? "optional " : "";
            var fieldType = entry is null ? FieldType(field) : $"map<{FieldType(entry.Field[0])}, {FieldType(entry.Field[1])}>";
            var oneof = field.HasOneofIndex && !field.Proto3Optional ? $" oneof {type.OneofDecl[field.OneofIndex].Name}" : "";
            var options = field.Options is null ? "" : $" options {field.Options}";
            yield return $"message {name}: {field.Number} {label}{fieldType} {field.Name}{oneof}{options}";
        }

        foreach (var line in type.EnumType.SelectMany(inner => EnumLines($"{name}.{inner.Name}", inner))) yield return line;
        foreach (var line in type.NestedType.Where(inner => inner.Options?.MapEntry != true).SelectMany(inner => MessageLines($"{name}.{inner.Name}", inner)))
            yield return line;
    }

    private static string FieldType(FieldDescriptorProto field) =>
        field.TypeName.Length > 0 ? TypeName(field.TypeName) : field.Type.ToString().ToLowerInvariant();

    private static string TypeName(string name) => name.TrimStart('.');

    [GeneratedRegex(@"^((message|enum|service|rpc|oneof)\s+\w+|((repeated|optional)\s+)?[\w.]*(<[^>]*>)?\s*\w+\s*=\s*\d+\s*(\[[^\]]*\])?;)")]
    private static partial Regex Declaration();
}
