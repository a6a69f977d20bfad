using System.Globalization;
using System.Reflection;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Compat;

/// <summary>The public surface of the two assemblies equals a frozen table, so that nobody drops or changes a member.</summary>
public sealed class PublicSurfaceTests
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly NullabilityInfoContext Nullability = new();

    [TestCase("Grpc.Core.Api")]
    [TestCase("Grpc.Net.Common")]
    public void Surface_OfTheAssembly_EqualsTheFrozenTable(string assembly)
    {
        var actual = Surface(Assembly.Load(assembly)).Order(StringComparer.Ordinal).ToArray();
        var frozen = Frozen(assembly + ".surface.txt");

        Assert.That(actual.Except(frozen), Is.Empty, "not in the table");
        Assert.That(frozen.Except(actual), Is.Empty, "in the table only");
        Assert.That(actual, Is.EqualTo(frozen));
    }

    [TestCase("Grpc.Core.Api", 62)]
    [TestCase("Grpc.Net.Common", 5)]
    public void Surface_OfTheAssembly_HasAsManyTypesAsTheGenuineOne(string assembly, int types)
    {
        Assert.That(Assembly.Load(assembly).GetTypes().Count(type => type.IsVisible), Is.EqualTo(types));
    }

    private static string[] Frozen(string name)
    {
        using var stream = typeof(PublicSurfaceTests).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    /// <summary>A line for each type, <c>name (kind) bases constraints</c>, and for each member, <c>name :: signature</c>.</summary>
    private static IEnumerable<string> Surface(Assembly assembly)
    {
        foreach (var type in assembly.GetTypes().Where(type => type.IsVisible))
        {
            yield return $"{Name(type)} ({Kind(type)}){Bases(type)}{Constraints(type.GetGenericArguments())}";
            if (type.IsSubclassOf(typeof(Delegate)))
            {
                yield return $"{Name(type)} :: {Signature(type.GetMethod("Invoke")!)}";
                continue;
            }

            foreach (var member in type.GetMembers(Declared).Select(Describe).OfType<string>())
                yield return $"{Name(type)} :: {member}";
        }
    }

    private static string? Describe(MemberInfo member) => member switch
    {
        FieldInfo field when IsVisible(field.Attributes) && !field.IsSpecialName => $"{field.Name} : {Name(field.FieldType)}{Storage(field)}",
        ConstructorInfo constructor when IsVisible(constructor) => $"{Access(constructor)}new({Parameters(constructor)})",
        MethodInfo method when IsVisible(method) => Access(method) + Modifiers(method) + Signature(method),
        _ => null,
    };

    private static string Storage(FieldInfo field)
    {
        if (field.DeclaringType!.IsEnum)
            return string.Create(CultureInfo.InvariantCulture, $" = {Convert.ToInt64(field.GetRawConstantValue(), CultureInfo.InvariantCulture)}");
        return field.IsLiteral ? " const" : field.IsInitOnly ? " static readonly" : "";
    }

    private static bool IsVisible(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    private static bool IsVisible(FieldAttributes attributes) =>
        (attributes & FieldAttributes.FieldAccessMask) is FieldAttributes.Public or FieldAttributes.Family or FieldAttributes.FamORAssem;

    private static string Access(MethodBase method) => method.IsPublic ? "" : "protected ";

    private static string Modifiers(MethodInfo method)
    {
        if (method.IsStatic)
            return "static ";
        if (!method.IsVirtual || method.IsFinal)
            return "";
        return method.GetBaseDefinition() != method ? "override " : method.IsAbstract ? "abstract " : "virtual ";
    }

    private static string Signature(MethodInfo method)
    {
        var arguments = method.GetGenericArguments();
        var generic = arguments.Length == 0 ? "" : $"<{string.Join(", ", arguments.Select(Name))}>";
        return $"{method.Name}{generic}({Parameters(method)}) : {Name(Nullability.Create(method.ReturnParameter))}{Constraints(arguments)}";
    }

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter)
    {
        var spread = parameter.IsDefined(typeof(ParamArrayAttribute)) ? "params " : "";
        var value = parameter.HasDefaultValue ? $" = {parameter.RawDefaultValue ?? "default"}" : "";
        return $"{spread}{Name(Nullability.Create(parameter))} {parameter.Name}{value}";
    }

    private static string Kind(Type type) => type switch
    {
        { IsEnum: true } => "enum",
        { IsValueType: true } => "struct",
        { IsInterface: true } => "interface",
        { IsAbstract: true, IsSealed: true } => "static class",
        { IsAbstract: true } => "abstract class",
        { IsSealed: true } => type.IsSubclassOf(typeof(Delegate)) ? "delegate" : "sealed class",
        _ => "class",
    };

    private static string Bases(Type type)
    {
        if (type.IsEnum || type.IsSubclassOf(typeof(Delegate)))
            return "";
        var bases = type.GetInterfaces().Select(Name).Order(StringComparer.Ordinal).ToList();
        if (type.BaseType is { } parent && parent != typeof(object) && parent != typeof(ValueType))
            bases.Insert(0, Name(parent));
        return bases.Count == 0 ? "" : " : " + string.Join(", ", bases);
    }

    private static string Constraints(Type[] parameters) =>
        string.Concat(parameters.Where(parameter => parameter.IsGenericParameter).Select(Constraint));

    private static string Constraint(Type parameter)
    {
        var attributes = parameter.GenericParameterAttributes;
        var constraints = parameter.GetGenericParameterConstraints().Select(Name).ToList();
        if (attributes.HasFlag(GenericParameterAttributes.ReferenceTypeConstraint))
            constraints.Insert(0, "class");
        var variance = (attributes & GenericParameterAttributes.VarianceMask) switch
        {
            GenericParameterAttributes.Covariant => $" out {parameter.Name}",
            GenericParameterAttributes.Contravariant => $" in {parameter.Name}",
            _ => "",
        };
        return variance + (constraints.Count == 0 ? "" : $" where {parameter.Name} : {string.Join(", ", constraints)}");
    }

    private static string Name(Type type)
    {
        if (type.IsGenericParameter)
            return type.Name;
        var arguments = type.GetGenericArguments();
        return arguments.Length == 0 ? SimpleName(type) : $"{SimpleName(type)}<{string.Join(", ", arguments.Select(Name))}>";
    }

    private static string Name(NullabilityInfo info)
    {
        var type = info.Type;
        if (type.IsGenericParameter)
            return type.Name;
        var mark = info.ReadState == NullabilityState.Nullable ? "?" : "";
        if (Nullable.GetUnderlyingType(type) is { } underlying)
            return Name(underlying) + mark;
        if (info.ElementType is { } element)
            return $"{Name(element)}[]{mark}";
        return info.GenericTypeArguments is { Length: > 0 } arguments
            ? $"{SimpleName(type)}<{string.Join(", ", arguments.Select(Name))}>{mark}"
            : SimpleName(type) + mark;
    }

    private static string SimpleName(Type type)
    {
        var simple = type.Name.Split('`')[0];
        var outer = type.DeclaringType is { } declaring ? SimpleName(declaring) : type.Namespace!;
        return outer.Split('.')[0] == nameof(System) ? simple : $"{outer}.{simple}";
    }
}
