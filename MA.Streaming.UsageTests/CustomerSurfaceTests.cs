using System.Globalization;
using System.Reflection;
using Grpc.Core;
using MA.Common.Abstractions;
using MA.KeyGenerator.Proto.Client;
using MA.Streaming.Abstraction;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Routing;
using MA.Streaming.KeyGenerator;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.Proto.Client.Remote;
using NUnit.Framework;

namespace MA.Streaming.UsageTests;

/// <summary>Names, namespaces, parameters and defaults that existing programs compile against: a change here breaks them.</summary>
public sealed class CustomerSurfaceTests
{
    private const string Configuration =
        "StreamCreationStrategy? streamCreationStrategy = null, string? brokerUrl = null, IReadOnlyList<PartitionMapping>? partitionMappings = null, "
        + "int? streamApiPort = 13579, bool? integrateSessionManagement = true, bool? integrateDataFormatManagement = true, "
        + "bool? useRemoteKeyGenerator = false, string? remoteKeyGeneratorServiceAddress = \"\", bool? batchingResponses = false, "
        + "uint? initialisationTimeoutSeconds = 3";

    private static readonly string[] ConfigurationProperties =
    [
        "StreamCreationStrategy StreamCreationStrategy { get; }",
        "string BrokerUrl { get; }",
        "IReadOnlyList<PartitionMapping> PartitionMappings { get; }",
        "int StreamApiPort { get; }",
        "bool IntegrateSessionManagement { get; }",
        "bool IntegrateDataFormatManagement { get; }",
        "bool UseRemoteKeyGenerator { get; }",
        "string RemoteKeyGeneratorServiceAddress { get; }",
        "bool BatchingResponses { get; }",
        "uint InitialisationTimeoutSeconds { get; }",
    ];

    public static IEnumerable<TestCaseData> Members()
    {
        yield return Of(
            typeof(StreamingApiClient),
            "MA.Streaming.Proto.Client.Local.StreamingApiClient",
            "static bool Initialised { get; }",
            "static void Initialise(IStreamingApiConfiguration streamingApiConfiguration)",
            "static void Initialise(IStreamingApiConfiguration streamingApiConfiguration, ICancellationTokenSourceProvider cancellationTokenSourceProvider, "
                + "IKafkaBrokerAvailabilityChecker kafkaBrokerAvailabilityChecker, ILoggingDirectoryProvider loggingDirectoryProvider)",
            "static void Shutdown()",
            "static object? GetService(Type serviceType)",
            "static ConnectionManagerService.ConnectionManagerServiceClient GetConnectionManagerClient()",
            "static DataFormatManagerService.DataFormatManagerServiceClient GetDataFormatManagerClient()",
            "static PacketReaderService.PacketReaderServiceClient GetPacketReaderClient()",
            "static PacketWriterService.PacketWriterServiceClient GetPacketWriterClient()",
            "static SessionManagementService.SessionManagementServiceClient GetSessionManagementClient()");
        yield return Of(
            typeof(RemoteStreamingApiClient),
            "MA.Streaming.Proto.Client.Remote.RemoteStreamingApiClient",
            "static bool Initialised { get; }",
            "static void Initialise(string serverAddress)",
            "static void Shutdown()",
            "static ConnectionManagerService.ConnectionManagerServiceClient GetConnectionManagerClient()",
            "static DataFormatManagerService.DataFormatManagerServiceClient GetDataFormatManagerClient()",
            "static PacketReaderService.PacketReaderServiceClient GetPacketReaderClient()",
            "static PacketWriterService.PacketWriterServiceClient GetPacketWriterClient()",
            "static SessionManagementService.SessionManagementServiceClient GetSessionManagementClient()");
        yield return Of(
            typeof(KeyGeneratorClient),
            "MA.KeyGenerator.Proto.Client.KeyGeneratorClient",
            "static bool Initialised { get; }",
            "static void Initialise(string serverAddress)",
            "static void Shutdown()",
            "static UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient GetKeyGeneratorClient()");
        yield return Of(
            typeof(StreamingApiConfiguration),
            "MA.Streaming.Core.Configs.StreamingApiConfiguration",
            [$"new({Configuration})", .. ConfigurationProperties]);
        yield return Of(typeof(IStreamingApiConfiguration), "MA.Streaming.Abstraction.IStreamingApiConfiguration", ConfigurationProperties);
        yield return Of(
            typeof(PartitionMapping),
            "MA.Streaming.Abstraction.PartitionMapping",
            "new(string stream, int partition)",
            "string Stream { get; }",
            "int Partition { get; }");
        yield return Of(
            typeof(IKafkaBrokerAvailabilityChecker),
            "MA.Streaming.Abstraction.IKafkaBrokerAvailabilityChecker",
            "bool Check(string brokerUrl)",
            "Task CheckContinuously(string brokerUrl, CancellationTokenSource cancellationTokenSource)",
            "Task<bool> CheckAsync(string brokerUrl)");
        yield return Of(
            typeof(ICancellationTokenSourceProvider), "MA.Common.Abstractions.ICancellationTokenSourceProvider", "CancellationTokenSource Provide()");
        yield return Of(typeof(ILoggingDirectoryProvider), "MA.Common.Abstractions.ILoggingDirectoryProvider", "string Provide()");
        yield return Of(
            typeof(CancellationTokenSourceProvider),
            "MA.Streaming.Core.Routing.CancellationTokenSourceProvider",
            "new()",
            "CancellationTokenSource Provide()");
        yield return Of(
            typeof(LoggingDirectoryProvider), "MA.Streaming.Core.LoggingDirectoryProvider", "new(string loggingDirectory)", "string Provide()");
        yield return Of(
            typeof(TimeAndSizeWindowBatchProcessor<>),
            "MA.Streaming.Core.TimeAndSizeWindowBatchProcessor`1",
            "new(Func<IReadOnlyList<T>, Task> processAction, CancellationTokenSource cancellationTokenSource, int batchSize = 15000, int timeWindowSize = 1)",
            "void Add(T item)");
    }

    [TestCaseSource(nameof(Members))]
    public void Members_OfACustomerType_AreWhatProgramsCompileAgainst(Type type, string name, string[] members)
    {
        Assert.That(type.FullName, Is.EqualTo(name));
        Assert.That(type.IsPublic, "is public");
        Assert.That(Shape.Of(type), Is.SupersetOf(members));
    }

    [Test]
    public void Interfaces_CustomersImplement_HaveNothingBeside()
    {
        Assert.That(Shape.Of(typeof(IStreamingApiConfiguration)), Is.EquivalentTo(ConfigurationProperties));
        Assert.That(Shape.Of(typeof(ICancellationTokenSourceProvider)), Has.Count.EqualTo(1));
        Assert.That(Shape.Of(typeof(ILoggingDirectoryProvider)), Has.Count.EqualTo(1));

        // What was added has a body: who implemented the interface before still does.
        var abstractOnes = typeof(IKafkaBrokerAvailabilityChecker).GetMethods().Where(m => m.IsAbstract).Select(m => m.Name);
        Assert.That(abstractOnes, Is.EquivalentTo(["Check", "CheckContinuously"]));
    }

    [Test]
    public void StreamingApiConfiguration_Constructors_AreThisOne() =>
        Assert.That(Shape.Of(typeof(StreamingApiConfiguration)).Where(m => m.StartsWith("new(", StringComparison.Ordinal)), Is.EqualTo([$"new({Configuration})"]));

    [Test]
    public void Types_CustomersHandOver_ImplementTheirInterfaces()
    {
        Assert.That(typeof(StreamingApiConfiguration).IsAssignableTo(typeof(IStreamingApiConfiguration)), "is a IStreamingApiConfiguration");
        Assert.That(typeof(CancellationTokenSourceProvider).IsAssignableTo(typeof(ICancellationTokenSourceProvider)), "is a ICancellationTokenSourceProvider");
        Assert.That(typeof(LoggingDirectoryProvider).IsAssignableTo(typeof(ILoggingDirectoryProvider)), "is a ILoggingDirectoryProvider");
        Assert.That(typeof(StreamingApiClient) is { IsAbstract: true, IsSealed: true }, "StreamingApiClient is static");
    }

    [Test]
    public void StreamCreationStrategy_Values_AreFrozen()
    {
        Assert.That(typeof(StreamCreationStrategy).FullName, Is.EqualTo("MA.Streaming.Abstraction.StreamCreationStrategy"));
        Assert.That(Enum.GetValues<StreamCreationStrategy>().ToDictionary(v => v.ToString(), v => (int)v), Is.EqualTo(
            new Dictionary<string, int> { ["PartitionBased"] = 1, ["TopicBased"] = 2 }));
    }

    [Test]
    public void GeneratedCode_Namespaces_AreTheOnesOfTheProtocol()
    {
        Assert.That(typeof(WriteDataPacketRequest).Namespace, Is.EqualTo("MA.Streaming.API"));
        Assert.That(typeof(Packet).Namespace, Is.EqualTo("MA.Streaming.OpenData"));
        Assert.That(typeof(UniqueKeyGeneratorService).Namespace, Is.EqualTo("MA.Streaming.KeyGenerator"));
        Assert.That(typeof(PacketWriterService.PacketWriterServiceClient).IsAssignableTo(typeof(ClientBase)), "is a ClientBase");
        Assert.That(typeof(PacketReaderService.PacketReaderServiceBase).IsAbstract);
    }

    private static TestCaseData Of(Type type, string name, params string[] members) =>
        new TestCaseData(type, name, members).SetArgDisplayNames(name);

    /// <summary>The public members a type declares, written as C# has them.</summary>
    private static class Shape
    {
        private static readonly NullabilityInfoContext Nullability = new();

        public static IReadOnlyList<string> Of(Type type)
        {
            const BindingFlags All = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
            return
            [
                .. type.GetConstructors().Select(c => $"new({Parameters(c)})"),
                .. type.GetProperties(All).Where(p => p.GetMethod is { IsPublic: true }).Select(Property),
                .. type.GetMethods(All).Where(m => !m.IsSpecialName).Select(m => $"{Static(m)}{Return(m)} {m.Name}({Parameters(m)})"),
            ];
        }

        private static string Property(PropertyInfo property) =>
            $"{Static(property.GetMethod!)}{Name(property.PropertyType)} {property.Name} {{ get; {(property.SetMethod is null ? "" : "set; ")}}}";

        private static string Static(MethodInfo method) => method.IsStatic ? "static " : "";

        private static string Return(MethodInfo method) => Name(method.ReturnType) + Mark(method.ReturnType, Nullability.Create(method.ReturnParameter).ReadState);

        private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

        private static string Parameter(ParameterInfo parameter)
        {
            var type = Name(parameter.ParameterType);
            if (!parameter.ParameterType.IsGenericParameter) type += Mark(parameter.ParameterType, Nullability.Create(parameter).ReadState);
            return parameter.HasDefaultValue ? $"{type} {parameter.Name} = {Value(parameter.DefaultValue)}" : $"{type} {parameter.Name}";
        }

        private static string Mark(Type type, NullabilityState state) => !type.IsValueType && state == NullabilityState.Nullable ? "?" : "";

        private static string Value(object? value) => value switch
        {
            null => "null",
            string text => $"\"{text}\"",
            bool flag => flag ? "true" : "false",
            _ => Convert.ToString(value, CultureInfo.InvariantCulture)!,
        };

        private static string Name(Type type)
        {
            if (Nullable.GetUnderlyingType(type) is { } value) return Name(value) + "?";
            var outer = type is { IsNested: true, IsGenericParameter: false } ? Name(type.DeclaringType!) + "." : "";
            if (type.IsGenericType) return $"{outer}{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>";
            if (type == typeof(void)) return "void";
            return type.IsEnum ? outer + type.Name : Type.GetTypeCode(type) switch
            {
                TypeCode.Boolean => "bool",
                TypeCode.Int32 => "int",
                TypeCode.UInt32 => "uint",
                TypeCode.String => "string",
                _ => type == typeof(object) ? "object" : outer + type.Name,
            };
        }
    }
}
