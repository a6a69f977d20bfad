using System.Reflection;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Logging;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.House;

/// <summary>
/// What may know what, and what things are called, checked on the compiled product. Each rule is a function that lists violations;
/// beside it stands a test that the rule finds the bad sample it is made for. SourceRules has the rules that need the text.
/// </summary>
[TestFixture]
internal sealed partial class HouseRules
{
    private const string Core = "MA.Streaming.Core";

    /// <summary>The product assemblies that this project references, and so the ones these rules see.</summary>
    private static readonly Assembly[] Product =
        [.. new[] { Core, "MA.Streaming.Broker.Embedded", "MA.Streaming.Broker.Kafka", "MA.Streaming.Proto.Client.Remote", "MA.Streaming.Proto.Client.Local", "MA.Streaming.Server" }.Select(name => Assembly.Load(new AssemblyName(name)))];

    private static readonly Type[] ProductTypes = [.. Product.SelectMany(TypeUse.WrittenTypes)];

    /// <summary>What each assembly may not reference; a name covers the names that start with it and a dot.</summary>
    private static readonly (string Assembly, string[] Never)[] ForbiddenReferences =
    [
        (Core,
        [
            "Confluent", "Microsoft.AspNetCore", "Grpc.Net.Client", "Grpc.AspNetCore", "MA.Streaming.Broker", "MA.Streaming.Proto.Client",
            "MA.Streaming.Server", "MA.Streaming.Tool",
        ]),
        ("MA.Streaming.Broker.Embedded",
        [
            "Confluent", "Microsoft.AspNetCore", "Grpc", "Google.Protobuf", "MA.Streaming.Proto", "MA.Streaming.Broker", "MA.Streaming.Server",
            "MA.Streaming.Tool",
        ]),
        ("MA.Streaming.Broker.Kafka",
        [
            "Microsoft.AspNetCore", "Grpc", "Google.Protobuf", "MA.Streaming.Proto", "MA.Streaming.Broker", "MA.Streaming.Server", "MA.Streaming.Tool",
        ]),
        ("MA.Streaming.Proto.Client.Remote",
        [
            "Confluent", "Microsoft.AspNetCore", "Grpc.AspNetCore", "MA.Streaming.Broker", "MA.Streaming.Proto.Client", "MA.Streaming.Server",
            "MA.Streaming.Tool",
        ]),
        ("MA.Streaming.Proto.Client.Local", ["Confluent", "Microsoft.AspNetCore", "Grpc.AspNetCore", "MA.Streaming.Server", "MA.Streaming.Tool"]),
        ("MA.Streaming.Server", ["Confluent", "MA.Streaming.Tool"]),
    ];

    /// <summary>Interfaces that stand with one implementation or none of ours: seams, and the interfaces that customers compile against.</summary>
    private static readonly HashSet<string> Seams = new(StringComparer.Ordinal)
    {
        "IBroker", "ILogFiles", "IKeyGenerator", "IStreamingApiConfiguration", "IKafkaBrokerAvailabilityChecker",
        "ICancellationTokenSourceProvider", "ILoggingDirectoryProvider", "IServer",

        // The filter of a read needs data formats, but Packets does not know DataFormats, which reads packets itself.
        "IFormatLookup",
    };

    private static readonly HashSet<string> BannedWords = new(
        ["Dto", "Mapper", "Repository", "Helper", "Factory", "Impl", "Util", "Dtos", "Mappers", "Repositories", "Helpers", "Factories", "Utils"],
        StringComparer.OrdinalIgnoreCase);

    private static readonly HashSet<string> FileTypes = new(StringComparer.Ordinal)
    {
        "File", "FileInfo", "FileStream", "FileSystemInfo", "FileSystemWatcher", "Directory", "DirectoryInfo", "DriveInfo", "RandomAccess",
        "StreamWriter",
    };

    [Test]
    public void References_BetweenAssemblies_PointOneWay()
    {
        var references = Product.Select(assembly =>
            (assembly.GetName().Name!, assembly.GetReferencedAssemblies().Select(reference => reference.Name!).ToArray()));
        Assert.That(BadReferences(references), Is.Empty);
    }

    [Test]
    public void BadReferences_CoreThatKnowsAnAdapter_IsFound() => Assert.That(
        BadReferences([(Core, ["System.Runtime", "Confluent.Kafka", "MA.Streaming.Broker.Embedded", "MA.Streaming.Proto"])]),
        Is.EqualTo(new[] { $"{Core} references Confluent.Kafka", $"{Core} references MA.Streaming.Broker.Embedded" }));

    [Test]
    public void Core_AnyType_OpensNoFiles() => Assert.That(
        TypeUse.Find(AllTypes(Core), _ => true, IsFileType), Is.Empty);

    [TestCase("MA.Streaming.Broker.Embedded")]
    [TestCase("MA.Streaming.Broker.Kafka")]
    public void Adapters_AnyType_CarryBytes(string adapter) => Assert.That(TypeUse.Find(AllTypes(adapter), _ => true, IsOfTheProtocol), Is.Empty);

    [Test]
    public void Core_BrokerFolder_KnowsNoOtherFolder() => Assert.That(
        TypeUse.Find(AllTypes(Core), type => IsIn(type, $"{Core}.Broker"), IsBeyondTheBrokerFolder), Is.Empty);

    [Test]
    public void Core_SessionsAndDataFormats_DoNotKnowEachOther()
    {
        Assert.That(TypeUse.Find(AllTypes(Core), type => IsIn(type, $"{Core}.Sessions"), type => IsIn(type, $"{Core}.DataFormats")), Is.Empty);
        Assert.That(TypeUse.Find(AllTypes(Core), type => IsIn(type, $"{Core}.DataFormats"), type => IsIn(type, $"{Core}.Sessions")), Is.Empty);
    }

    [Test]
    public void Core_Packets_DoNotKnowDataFormats() => Assert.That(
        TypeUse.Find(AllTypes(Core), type => IsIn(type, $"{Core}.Packets"), type => IsIn(type, $"{Core}.DataFormats")), Is.Empty);

    [Test]
    public void Find_UseInASignatureInAClosureAndInAnIterator_IsFound()
    {
        var types = typeof(BadSamples).Assembly.GetTypes().Where(type => TypeUse.Outermost(type) == typeof(BadSamples)).ToArray();
        Assert.That(
            TypeUse.Find(types, type => type.FullName!.Contains("OpensFiles", StringComparison.Ordinal), IsFileType),
            Is.EqualTo(new[]
            {
                $"{typeof(BadSamples).FullName} uses System.IO.Directory", $"{typeof(BadSamples).FullName} uses System.IO.File",
                $"{typeof(BadSamples).FullName} uses System.IO.FileInfo",
            }));
        Assert.That(TypeUse.Find(types, type => type.Name == "ParsesPackets", IsOfTheProtocol), Has.Exactly(1).Contains("MA.Streaming.OpenData.Packet"));
    }

    [Test]
    public void Interfaces_Each_HasTwoImplementationsOrIsASeam() => Assert.That(LonelyInterfaces(ProductTypes), Is.Empty);

    [Test]
    public void LonelyInterfaces_OneImplementation_IsFound()
    {
        Type[] types = [typeof(BadSamples.ILonely), typeof(BadSamples.OnlyOne), typeof(BadSamples.IShared), typeof(BadSamples.First), typeof(BadSamples.Second)];
        Assert.That(LonelyInterfaces(types), Is.EqualTo(new[] { typeof(BadSamples.ILonely).FullName }));
    }

    [Test]
    public void Classes_Each_IsSealedStaticAbstractOrDerivedFrom() => Assert.That(OpenClasses(ProductTypes), Is.Empty);

    [Test]
    public void OpenClasses_NeitherSealedNorDerivedFrom_IsFound() => Assert.That(
        OpenClasses([typeof(BadSamples.Open), typeof(BadSamples.Base), typeof(BadSamples.Derived), typeof(BadSamples)]),
        Is.EqualTo(new[] { typeof(BadSamples.Open).FullName }));

    [Test]
    public void Names_OfTypesAndPublicMembers_SayWhatTheThingIs() => Assert.That(BadNames(ProductTypes), Is.Empty);

    [Test]
    public void BadNames_PatternInAName_IsFound() => Assert.That(
        BadNames([typeof(BadSamples.PacketDtoMapper), typeof(BadSamples.Second)]),
        Is.EqualTo(new[] { typeof(BadSamples.PacketDtoMapper).FullName, $"{typeof(BadSamples.Second).FullName}.GetFactory" }));

    [Test]
    public void LogEvents_EventIds_AreUnique()
    {
        var events = LogEvents(Product.SelectMany(assembly => assembly.GetTypes())).ToArray();
        Assert.That(events, Is.Not.Empty);
        Assert.That(SharedEventIds(events), Is.Empty);
    }

    [Test]
    public void SharedEventIds_TwoEventsOfOneNumber_AreFound()
    {
        var events = LogEvents([typeof(BadSamples.Log), typeof(BadSamples.OtherLog)]).ToArray();
        Assert.That(SharedEventIds(events), Is.EqualTo(new[] { "7: BadSamples.Log.One, BadSamples.OtherLog.Two" }));
    }

    private static IEnumerable<string> BadReferences(IEnumerable<(string Assembly, string[] References)> assemblies) =>
        from assembly in assemblies
        from rule in ForbiddenReferences
        where rule.Assembly == assembly.Assembly
        from reference in assembly.References
        where reference != assembly.Assembly
            && rule.Never.Any(never => reference == never || reference.StartsWith($"{never}.", StringComparison.Ordinal))
        select $"{assembly.Assembly} references {reference}";

    private static IEnumerable<string> LonelyInterfaces(IReadOnlyCollection<Type> types) =>
        from type in types
        where type.IsInterface && !Seams.Contains(type.Name)
        where types.Count(other => !other.IsInterface && Implements(other, type)) < 2
        select type.FullName;

    private static bool Implements(Type type, Type contract) =>
        type.GetInterfaces().Any(face => face == contract || (face.IsGenericType && face.GetGenericTypeDefinition() == contract));

    private static IEnumerable<string> OpenClasses(IReadOnlyCollection<Type> types) =>
        from type in types
        where type is { IsClass: true, IsSealed: false, IsAbstract: false }
        where !types.Any(other => other.BaseType is { } parent && (parent.IsGenericType ? parent.GetGenericTypeDefinition() : parent) == type)
        select type.FullName;

    private static IEnumerable<string> BadNames(IEnumerable<Type> types)
    {
        foreach (var type in types)
        {
            if (IsBadName(type.Name)) yield return type.FullName!;
            var members = type.GetMembers(BindingFlags.DeclaredOnly | BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static);
            foreach (var member in members.Where(member => member is not Type and not MethodInfo { IsSpecialName: true }))
            {
                if (IsBadName(member.Name) && !IsLoggerFactory(member)) yield return $"{type.FullName}.{member.Name}";
            }
        }

        static bool IsBadName(string name) => Words().Matches(name).Any(word => BannedWords.Contains(word.Value));

        // The logging framework's own ILoggerFactory may be handed around under its name.
        static bool IsLoggerFactory(MemberInfo member) =>
            typeof(ILoggerFactory).IsAssignableFrom((member as PropertyInfo)?.PropertyType ?? (member as FieldInfo)?.FieldType ?? (member as MethodInfo)?.ReturnType);
    }

    private static IEnumerable<(int Id, string Name)> LogEvents(IEnumerable<Type> types) =>
        from type in types
        from method in type.GetMethods(BindingFlags.DeclaredOnly | BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic)
        let attribute = method.GetCustomAttribute<LoggerMessageAttribute>()
        where attribute is not null
        select (attribute.EventId, $"{type.FullName![((type.Namespace?.Length ?? -1) + 1)..].Replace('+', '.')}.{method.Name}");

    private static IEnumerable<string> SharedEventIds(IEnumerable<(int Id, string Name)> events) =>
        from log in events
        group log.Name by log.Id into same
        where same.Count() > 1
        select $"{same.Key}: {string.Join(", ", same.Order(StringComparer.Ordinal))}";

    /// <summary>Also what the compiler made of closures and iterators.</summary>
    private static Type[] AllTypes(string assembly) => Product.Single(one => one.GetName().Name == assembly).GetTypes();

    private static bool IsIn(Type type, string ns) =>
        TypeUse.Outermost(type).Namespace is { } own && (own == ns || own.StartsWith($"{ns}.", StringComparison.Ordinal));

    private static bool IsFileType(Type type) =>
        (type.Namespace == "System.IO" && FileTypes.Contains(type.Name)) || IsIn(type, "System.IO.MemoryMappedFiles") || type.Name == "SafeFileHandle";

    private static bool IsOfTheProtocol(Type type) =>
        IsIn(type, "MA.Streaming.API") || IsIn(type, "MA.Streaming.OpenData") || IsIn(type, "Google.Protobuf") || IsIn(type, "Grpc");

    // Internal holds loops, backoff and the like, which know nothing of the domain.
    private static bool IsBeyondTheBrokerFolder(Type type) =>
        IsOfTheProtocol(type)
        || type.FullName == $"{Core}.Errors"
        || (TypeUse.Outermost(type).Namespace is { } own && own.StartsWith($"{Core}.", StringComparison.Ordinal)
            && !IsIn(type, $"{Core}.Broker") && !IsIn(type, $"{Core}.Internal"));

    [GeneratedRegex("[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")]
    private static partial Regex Words();
}
