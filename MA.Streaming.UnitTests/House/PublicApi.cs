using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>
/// The public surface of the libraries equals PublicAPI.txt, so that nobody changes what customers compile against unawares. Members
/// that the compiler makes for records (equality, printing, copying) are left out; protected members count.
/// </summary>
[TestFixture]
internal sealed class PublicApi
{
    private const string Accept = "STREAM_API_ACCEPT_PUBLIC_API";
    private const string Frozen = "MA.Streaming.UnitTests/House/PublicAPI.txt";
    private const BindingFlags Declared =
        BindingFlags.DeclaredOnly | BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    private static readonly string[] Libraries = ["MA.Streaming.Core", "MA.Streaming.Broker.Embedded", "MA.Streaming.Broker.Kafka", "MA.Streaming.Proto.Client.Remote", "MA.Streaming.Proto.Client.Local", "MA.Streaming.Server"];

    private static readonly Dictionary<Type, string> Keywords = new()
    {
        [typeof(void)] = "void",
        [typeof(object)] = "object",
        [typeof(string)] = "string",
        [typeof(bool)] = "bool",
        [typeof(char)] = "char",
        [typeof(byte)] = "byte",
        [typeof(sbyte)] = "sbyte",
        [typeof(short)] = "short",
        [typeof(ushort)] = "ushort",
        [typeof(int)] = "int",
        [typeof(uint)] = "uint",
        [typeof(long)] = "long",
        [typeof(ulong)] = "ulong",
        [typeof(float)] = "float",
        [typeof(double)] = "double",
        [typeof(decimal)] = "decimal",
    };

    [Test]
    public void PublicSurface_AllLibraries_EqualsPublicApiText()
    {
        string[] surface = [.. Libraries.SelectMany(name => Surface(Assembly.Load(new AssemblyName(name))))];
        var path = SourceTree.FullPath(Frozen);
        if (Environment.GetEnvironmentVariable(Accept) == "1") File.WriteAllText(path, string.Join('\n', surface) + "\n");
        Assert.That(Differences(File.ReadAllLines(path), surface), Is.Empty);
    }

    [Test]
    public void Differences_ChangedMember_NamesBothLinesAndHowToAccept()
    {
        var differences = Differences(["[A]", "A.B.Do() -> void"], ["[A]", "A.B.Do(int times) -> void"]);
        Assert.That(differences, Does.Contain("- A: A.B.Do() -> void").And.Contain("+ A: A.B.Do(int times) -> void").And.Contain($"{Accept}=1"));
    }

    [Test]
    public void Lines_SampleTypes_ShowWhatCustomersCompileAgainst()
    {
        const string name = "MA.Streaming.UnitTests.House.PublicApi.Sample";
        Assert.That(
            Lines(typeof(Sample<>)).Order(StringComparer.Ordinal),
            Is.EqualTo(new[]
            {
                $"{name}<T> [abstract class : IDisposable]",
                $"{name}<T>..ctor(T first, int size = 15000) [protected]",
                $"{name}<T>.Changed -> EventHandler [event]",
                $"{name}<T>.Dispose() -> void",
                $"{name}<T>.Find<TKey>(IReadOnlyDictionary<TKey, List<T[]>> all, out int? at, string unit = \"s\") -> Task [static] [where TKey : struct]",
                $"{name}<T>.Limit -> int [const] = 7",
                $"{name}<T>.Name {{ get; init; }} -> string [required]",
                $"{name}<T>.Run(CancellationToken token = default) -> void [abstract] [protected]",
                $"{name}<T>.Size {{ get; }} -> int [virtual]",
            }));
        Assert.That(Lines(typeof(Colour)), Is.EqualTo(new[] { $"{typeof(PublicApi).FullName}.Colour [enum : byte]", $"{typeof(PublicApi).FullName}.Colour.Red = 1" }));
        Assert.That(
            Lines(typeof(Point)).Order(StringComparer.Ordinal),
            Is.EqualTo(new[]
            {
                $"{typeof(PublicApi).FullName}.Point [readonly record struct]",
                $"{typeof(PublicApi).FullName}.Point..ctor(int X)",
                $"{typeof(PublicApi).FullName}.Point.X {{ get; init; }} -> int",
            }));
    }

    private static string Differences(string[] frozen, string[] actual)
    {
        var removed = Keyed(frozen).Except(Keyed(actual)).Select(line => $"- {line}").ToArray();
        var added = Keyed(actual).Except(Keyed(frozen)).Select(line => $"+ {line}").ToArray();
        if (removed.Length + added.Length == 0) return "";
        return $"The public surface differs from {Frozen} (-: gone, +: new):\n{string.Join('\n', removed.Concat(added))}\n"
            + $"If that is meant, run this test with the environment variable {Accept}=1, which rewrites the file, and commit it.";
    }

    /// <summary>Each line behind the name of the assembly it stands under.</summary>
    private static IEnumerable<string> Keyed(IEnumerable<string> lines)
    {
        var assembly = "";
        foreach (var line in lines.Where(line => line.Length > 0))
        {
            if (line[0] == '[') assembly = line.Trim('[', ']');
            else yield return $"{assembly}: {line}";
        }
    }

    private static IEnumerable<string> Surface(Assembly assembly) =>
        assembly.GetExportedTypes().SelectMany(Lines).Order(StringComparer.Ordinal).Prepend($"[{assembly.GetName().Name}]");

    private static IEnumerable<string> Lines(Type type)
    {
        var name = type.Namespace is { } ns ? $"{ns}.{NameOf(type)}" : NameOf(type);
        yield return $"{name} [{Describe(type)}]";
        if (typeof(Delegate).IsAssignableFrom(type))
        {
            var invoke = type.GetMethod("Invoke")!;
            yield return $"{name}({Parameters(invoke)}) -> {NameOf(invoke.ReturnType)}";
            yield break;
        }

        foreach (var field in type.GetFields(Declared).Where(field => IsShown(field) && !field.IsSpecialName))
        {
            yield return type.IsEnum
                ? $"{name}.{field.Name} = {Convert.ToString(field.GetRawConstantValue(), CultureInfo.InvariantCulture)}"
                : $"{name}.{field.Name} -> {NameOf(field.FieldType)}{Marks(FieldMarks(field))}{(field.IsLiteral ? $" = {Literal(field.GetRawConstantValue())}" : "")}";
        }

        foreach (var constructor in type.GetConstructors(Declared).Where(constructor => IsShown(constructor) && !constructor.IsStatic))
        {
            if (IsRecord(type) && constructor.GetParameters() is [var only] && only.ParameterType == type) continue;
            yield return $"{name}..ctor({Parameters(constructor)}){Marks(MethodMarks(constructor))}";
        }

        foreach (var property in type.GetProperties(Declared))
        {
            MethodInfo?[] shown = [.. new[] { property.GetMethod, property.SetMethod }.Where(accessor => accessor is not null && IsShown(accessor))];
            if (shown.Length == 0) continue;
            var index = property.GetIndexParameters() is { Length: > 0 } parameters ? $"[{string.Join(", ", parameters.Select(Parameter))}]" : "";
            var marks = MethodMarks(shown[0]!).Concat(property.IsDefined(typeof(RequiredMemberAttribute)) ? ["required"] : Array.Empty<string>());
            yield return $"{name}.{property.Name}{index} {{ {string.Concat(shown.Select(accessor => $"{Accessor(accessor!)}; "))}}} -> {NameOf(property.PropertyType)}{Marks(marks)}";
        }

        foreach (var change in type.GetEvents(Declared).Where(change => change.AddMethod is { } add && IsShown(add)))
            yield return $"{name}.{change.Name} -> {NameOf(change.EventHandlerType!)}{Marks(MethodMarks(change.AddMethod!).Prepend("event"))}";

        foreach (var method in type.GetMethods(Declared).Where(IsShownMethod))
        {
            var generic = method.IsGenericMethodDefinition ? $"<{string.Join(", ", method.GetGenericArguments().Select(NameOf))}>" : "";
            yield return $"{name}.{method.Name}{generic}({Parameters(method)}) -> {NameOf(method.ReturnType)}{Marks(MethodMarks(method))}"
                + Constraints(method.IsGenericMethodDefinition ? method.GetGenericArguments() : []);
        }
    }

    private static bool IsShownMethod(MethodInfo method) =>
        IsShown(method)
        && !method.IsDefined(typeof(CompilerGeneratedAttribute))
        && (!method.IsSpecialName || method.Name.StartsWith("op_", StringComparison.Ordinal))
        && method.GetBaseDefinition().DeclaringType != typeof(object);

    private static bool IsShown(MemberInfo member) => member switch
    {
        FieldInfo field => field.IsPublic || field.IsFamily || field.IsFamilyOrAssembly,
        MethodBase method => (method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly) && !method.Name.Contains('<', StringComparison.Ordinal)
            && !(IsRecord(method.DeclaringType!) && (method.Name is "PrintMembers" or "get_EqualityContract")),
        _ => false,
    };

    private static string Describe(Type type)
    {
        var record = IsRecord(type) ? "record " : "";
        var kind = type switch
        {
            { IsEnum: true } => "enum",
            { IsInterface: true } => "interface",
            { IsValueType: true } => $"{(type.IsDefined(typeof(IsReadOnlyAttribute)) ? "readonly " : "")}{record}struct",
            _ when typeof(Delegate).IsAssignableFrom(type) => "delegate",
            { IsAbstract: true, IsSealed: true } => "static class",
            _ => $"{(type.IsAbstract ? "abstract " : type.IsSealed ? "sealed " : "")}{(record.Length > 0 ? "record" : "class")}",
        };
        if (type.IsEnum) return $"{kind} : {NameOf(Enum.GetUnderlyingType(type))}";
        if (kind == "delegate") return kind;
        var bases = type.GetInterfaces().Except(type.BaseType?.GetInterfaces() ?? [])
            .Where(face => face.IsVisible && (record.Length == 0 || face.Name != "IEquatable`1"))
            .Select(NameOf).Order(StringComparer.Ordinal).ToList();
        if (type.BaseType is { } parent && parent != typeof(object) && parent != typeof(ValueType)) bases.Insert(0, NameOf(parent));
        return kind + (bases.Count > 0 ? $" : {string.Join(", ", bases)}" : "") + Constraints(type.GetGenericArguments());
    }

    private static bool IsRecord(Type type) =>
        type.GetMethod("<Clone>$", Declared) is not null
        || (type.IsValueType && type.GetMethod("PrintMembers", Declared) is { } print && print.IsDefined(typeof(CompilerGeneratedAttribute)));

    private static string Parameters(MethodBase method) =>
        (method.IsDefined(typeof(ExtensionAttribute)) ? "this " : "") + string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter)
    {
        var type = parameter.ParameterType;
        var direction = !type.IsByRef ? "" : parameter.IsOut ? "out " : parameter.IsIn ? "in " : "ref ";
        var many = parameter.IsDefined(typeof(ParamArrayAttribute)) ? "params " : "";
        var value = parameter.HasDefaultValue
            ? $" = {(parameter.DefaultValue is null && type.IsValueType && Nullable.GetUnderlyingType(type) is null ? "default" : Literal(parameter.DefaultValue))}"
            : "";
        return $"{many}{direction}{NameOf(type)} {parameter.Name}{value}";
    }

    private static string Accessor(MethodInfo accessor)
    {
        var verb = accessor.Name.StartsWith("get_", StringComparison.Ordinal) ? "get"
            : accessor.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit)) ? "init" : "set";
        return accessor.IsPublic ? verb : $"protected {verb}";
    }

    private static IEnumerable<string> FieldMarks(FieldInfo field)
    {
        if (field.IsLiteral) yield return "const";
        else if (field.IsStatic) yield return "static";
        if (field.IsInitOnly) yield return "readonly";
        if (!field.IsPublic) yield return "protected";
    }

    private static IEnumerable<string> MethodMarks(MethodBase method)
    {
        var inInterface = method.DeclaringType!.IsInterface;
        if (method.IsStatic) yield return "static";
        if (method.IsAbstract && !inInterface) yield return "abstract";
        else if (inInterface && !method.IsAbstract && !method.IsStatic) yield return "default";
        else if (method is MethodInfo info && info.GetBaseDefinition() != info) yield return "override";
        else if (method.IsVirtual && !method.IsFinal && !inInterface) yield return "virtual";
        if (!method.IsPublic) yield return "protected";
    }

    private static string Marks(IEnumerable<string> marks) => string.Concat(marks.Select(mark => $" [{mark}]"));

    private static string Constraints(Type[] parameters) => string.Concat(
        from parameter in parameters
        let list = ConstraintsOf(parameter).ToArray()
        where parameter.IsGenericParameter && list.Length > 0
        select $" [where {parameter.Name} : {string.Join(' ', list)}]");

    private static IEnumerable<string> ConstraintsOf(Type parameter)
    {
        if (!parameter.IsGenericParameter) yield break;
        var attributes = parameter.GenericParameterAttributes;
        if (attributes.HasFlag(GenericParameterAttributes.ReferenceTypeConstraint)) yield return "class";
        if (attributes.HasFlag(GenericParameterAttributes.NotNullableValueTypeConstraint)) yield return "struct";
        foreach (var type in parameter.GetGenericParameterConstraints().Where(type => type != typeof(ValueType))) yield return NameOf(type);
        if (attributes.HasFlag(GenericParameterAttributes.DefaultConstructorConstraint)
            && !attributes.HasFlag(GenericParameterAttributes.NotNullableValueTypeConstraint)) yield return "new()";
    }

    private static string Literal(object? value) => value switch
    {
        null => "null",
        string text => $"\"{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"",
        bool truth => truth ? "true" : "false",
        char letter => $"'{letter}'",
        _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
    };

    /// <summary>As in C#, without the namespace: of our types the line of their own has it.</summary>
    private static string NameOf(Type type)
    {
        if (type.IsByRef) return NameOf(type.GetElementType()!);
        if (type.IsArray) return $"{NameOf(type.GetElementType()!)}[{new string(',', type.GetArrayRank() - 1)}]";
        if (type.IsPointer) return $"{NameOf(type.GetElementType()!)}*";
        if (type.IsGenericParameter) return type.Name;
        if (Nullable.GetUnderlyingType(type) is { } underlying) return $"{NameOf(underlying)}?";
        if (Keywords.TryGetValue(type, out var keyword)) return keyword;

        var arguments = type.GetGenericArguments();
        var outer = type.DeclaringType is { } declaring ? $"{NameOf(declaring)}." : "";
        var own = arguments.Skip(type.DeclaringType?.GetGenericArguments().Length ?? 0).Select(NameOf).ToArray();
        var simple = type.Name.Split('`')[0];
        return $"{outer}{simple}{(own.Length > 0 ? $"<{string.Join(", ", own)}>" : "")}";
    }

    public enum Colour : byte
    {
        Red = 1,
    }

    public readonly record struct Point(int X);

    public abstract class Sample<T> : IDisposable
    {
        public const int Limit = 7;

        protected Sample(T first, int size = 15000) => Size = size + (first is null ? 1 : 0);

        public event EventHandler? Changed;

        public required string Name { get; init; }

        public virtual int Size { get; }

        public static Task Find<TKey>(IReadOnlyDictionary<TKey, List<T[]>> all, out int? at, string unit = "s")
            where TKey : struct
        {
            at = all.Count + unit.Length;
            return Task.CompletedTask;
        }

        public void Dispose()
        {
            Changed?.Invoke(this, EventArgs.Empty);
            GC.SuppressFinalize(this);
        }

        protected abstract void Run(CancellationToken token = default);
    }
}
