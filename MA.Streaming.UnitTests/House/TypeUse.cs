using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace MA.Streaming.UnitTests.House;

/// <summary>
/// Which types a type uses: in its declaration, the signatures of its members, and the instructions of its methods. What only the
/// compiler sees (constants, nameof) leaves no trace.
/// </summary>
internal static class TypeUse
{
    private const BindingFlags Declared =
        BindingFlags.DeclaredOnly | BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

    private static readonly Dictionary<short, OpCode> OpCodesByValue = typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static)
        .Select(field => (OpCode)field.GetValue(null)!).ToDictionary(code => code.Value);

    /// <summary>The types of an assembly that people wrote: closures, state machines and the like count as their outermost type.</summary>
    public static IEnumerable<Type> WrittenTypes(Assembly assembly) => assembly.GetTypes().Where(IsWritten);

    public static bool IsWritten(Type type)
    {
        for (var outer = type; outer is not null; outer = outer.DeclaringType)
        {
            if (outer.Name.Contains('<', StringComparison.Ordinal) || outer.IsDefined(typeof(CompilerGeneratedAttribute), inherit: false)) return false;
            if (outer.Namespace is "Microsoft.CodeAnalysis" or "System.Runtime.CompilerServices") return false;
        }

        return true;
    }

    /// <summary>Lines "A uses B" for each written type that the first predicate picks and each type it uses that the second picks.</summary>
    public static IEnumerable<string> Find(IEnumerable<Type> types, Predicate<Type> from, Predicate<Type> used) =>
        types.Where(type => from(type))
            .SelectMany(type => Of(type).Where(other => used(other)).Select(other => $"{Outermost(type).FullName} uses {other.FullName}"))
            .Distinct().Order(StringComparer.Ordinal);

    public static Type Outermost(Type type)
    {
        while (type.DeclaringType is { } outer) type = outer;
        return type;
    }

    public static IReadOnlySet<Type> Of(Type type)
    {
        var found = new HashSet<Type>();
        Add(type.BaseType);
        foreach (var implemented in type.GetInterfaces()) Add(implemented);
        foreach (var attribute in type.GetCustomAttributesData()) Add(attribute.AttributeType);
        foreach (var field in type.GetFields(Declared)) Add(field.FieldType);
        foreach (var method in type.GetMethods(Declared))
        {
            Add(method.ReturnType);
            AddMethod(method);
        }

        foreach (var constructor in type.GetConstructors(Declared)) AddMethod(constructor);
        return found;

        void Add(Type? other)
        {
            while (other is not null && other.HasElementType) other = other.GetElementType();
            if (other is null || other.IsGenericParameter) return;
            if (other.IsGenericType)
            {
                foreach (var argument in other.GetGenericArguments()) Add(argument);
                other = other.GetGenericTypeDefinition();
            }

            if (found.Add(other)) Add(other.DeclaringType);
        }

        void AddMethod(MethodBase method)
        {
            foreach (var parameter in method.GetParameters()) Add(parameter.ParameterType);
            if (method.GetMethodBody() is not { } body) return;
            foreach (var local in body.LocalVariables) Add(local.LocalType);
            foreach (var clause in body.ExceptionHandlingClauses)
            {
                if (clause.Flags == ExceptionHandlingClauseOptions.Clause) Add(clause.CatchType);
            }

            foreach (var member in Members(method, body.GetILAsByteArray() ?? []))
            {
                Add(member as Type ?? member.DeclaringType);
                if (member is MethodInfo { IsGenericMethod: true } generic)
                {
                    foreach (var argument in generic.GetGenericArguments()) Add(argument);
                }
            }
        }
    }

    private static IEnumerable<MemberInfo> Members(MethodBase method, byte[] code)
    {
        var typeArguments = method.DeclaringType is { IsGenericType: true } type ? type.GetGenericArguments() : null;
        var methodArguments = method.IsGenericMethod ? method.GetGenericArguments() : null;
        for (var at = 0; at < code.Length;)
        {
            short value = code[at++];
            if (value == 0xFE) value = (short)(0xFE00 | code[at++]);
            var operand = OpCodesByValue[value].OperandType;
            switch (operand)
            {
                case OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok or OperandType.InlineType:
                    var token = BitConverter.ToInt32(code, at);
                    at += 4;
                    if (method.Module.ResolveMember(token, typeArguments, methodArguments) is { } member) yield return member;
                    break;
                case OperandType.InlineSwitch:
                    at += 4 + 4 * BitConverter.ToInt32(code, at);
                    break;
                default:
                    at += SizeOf(operand);
                    break;
            }
        }
    }

    private static int SizeOf(OperandType operand) => operand switch
    {
        OperandType.InlineNone => 0,
        OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
        OperandType.InlineVar => 2,
        OperandType.InlineI8 or OperandType.InlineR => 8,
        _ => 4,
    };
}
