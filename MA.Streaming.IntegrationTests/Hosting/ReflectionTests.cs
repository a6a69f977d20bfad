using Google.Protobuf;
using Google.Protobuf.Reflection;
using Grpc.Core;
using Grpc.Reflection.V1;
using NUnit.Framework;
using Alpha = Grpc.Reflection.V1Alpha;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>A tool that knows nothing learns the whole protocol from the server, under both names of the service.</summary>
[TestFixture(false)]
[TestFixture(true)]
[Parallelizable(ParallelScope.Self)]
internal sealed class ReflectionTests(bool alpha)
{
    private static readonly string[] Services =
    [
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", "ma.streaming.api.v1.ConnectionManagerService",
        "ma.streaming.api.v1.DataFormatManagerService", "ma.streaming.api.v1.PacketReaderService", "ma.streaming.api.v1.PacketWriterService",
        "ma.streaming.api.v1.SessionManagementService",
    ];

    private NetworkServer _server = null!;
    private CancellationTokenSource _limit = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        _server = await NetworkServer.StartAsync(_limit.Token);
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        await _server.DisposeAsync();
        _limit.Dispose();
    }

    [Test]
    public async Task ListServices_NamesEveryOne()
    {
        var response = await AskAsync(new() { ListServices = "" });
        Assert.That(response.ListServicesResponse.Service.Select(service => service.Name), Is.EquivalentTo(Services));
    }

    [Test]
    public async Task FileContainingSymbol_OfEveryService_DescribesItWhole()
    {
        foreach (var name in Services)
        {
            var response = await AskAsync(new() { FileContainingSymbol = name });
            var file = Build(response);
            var service = file.Services.Single(one => one.FullName == name);
            Assert.That(service.Methods, Is.Not.Empty);
        }
    }

    [TestCase("ma.streaming.api.v1.PacketWriterService.WriteDataPacket", "ma/streaming/api/v1/api.proto")]
    [TestCase("ma.streaming.api.v1.ConnectionDetails", "ma/streaming/api/v1/api.proto")]
    [TestCase("ma.streaming.open_data.v1.DataStatus", "ma/streaming/open_data/v1/open_data.proto")]
    [TestCase("grpc.health.v1.HealthCheckResponse.ServingStatus", "health.proto")]
    public async Task FileContainingSymbol_MessageMethodOrEnum_IsFound(string symbol, string file)
    {
        var response = await AskAsync(new() { FileContainingSymbol = symbol });
        Assert.That(FileDescriptorProto.Parser.ParseFrom(response.FileDescriptorResponse.FileDescriptorProto[0]).Name, Is.EqualTo(file));
    }

    [Test]
    public async Task FileByFilename_WithItsImports_IsGiven()
    {
        var response = await AskAsync(new() { FileByFilename = "ma/streaming/api/v1/api.proto" });
        var names = response.FileDescriptorResponse.FileDescriptorProto.Select(bytes => FileDescriptorProto.Parser.ParseFrom(bytes).Name);
        Assert.That(names, Is.SupersetOf(new[] { "ma/streaming/api/v1/api.proto", "ma/streaming/open_data/v1/open_data.proto", "google/protobuf/timestamp.proto" }));
    }

    // Fields and values of enums are in the file of their message or enum, by whose name tools ask.
    [TestCase("ma.streaming.open_data.v1.Packet.session_key")]
    [TestCase("ma.streaming.open_data.v1.DATA_STATUS_VALID")]
    public async Task FileContainingSymbol_FieldOrEnumValue_IsNotFound(string symbol)
    {
        var response = await AskAsync(new() { FileContainingSymbol = symbol });
        Assert.That((StatusCode)response.ErrorResponse.ErrorCode, Is.EqualTo(StatusCode.NotFound));
    }

    [Test]
    public async Task UnknownThings_AreRefusedAndTheStreamGoesOn()
    {
        ServerReflectionRequest[] requests =
        [
            new() { FileContainingSymbol = "no.Such" }, new() { FileByFilename = "no.proto" },
            new() { FileContainingExtension = new() { ContainingType = "ma.streaming.open_data.v1.Packet", ExtensionNumber = 7 } },
            new() { AllExtensionNumbersOfType = "ma.streaming.open_data.v1.Packet" }, new() { Host = "me" }, new() { ListServices = "" },
        ];
        var responses = await AskAllAsync(requests);
        Assert.That(responses.Take(2).Select(response => (StatusCode)response.ErrorResponse.ErrorCode), Is.All.EqualTo(StatusCode.NotFound));
        Assert.That(responses.Skip(2).Take(3).Select(response => (StatusCode)response.ErrorResponse.ErrorCode), Is.All.EqualTo(StatusCode.Unimplemented));
        Assert.That(responses[5].ListServicesResponse.Service, Has.Count.EqualTo(Services.Length));
    }

    // Files come with the one that was asked for in front; they are built from the ones without imports on.
    private static FileDescriptor Build(ServerReflectionResponse response)
    {
        var files = response.FileDescriptorResponse.FileDescriptorProto.ToDictionary(bytes => FileDescriptorProto.Parser.ParseFrom(bytes).Name);
        var sorted = new List<ByteString>();
        Add(files.Values.First());
        return FileDescriptor.BuildFromByteStrings(sorted)[^1];

        void Add(ByteString file)
        {
            foreach (var imported in FileDescriptorProto.Parser.ParseFrom(file).Dependency) Add(files[imported]);
            if (!sorted.Contains(file)) sorted.Add(file);
        }
    }

    private async Task<ServerReflectionResponse> AskAsync(ServerReflectionRequest request) => (await AskAllAsync([request]))[0];

    private async Task<ServerReflectionResponse[]> AskAllAsync(ServerReflectionRequest[] requests)
    {
        var responses = new List<ServerReflectionResponse>();
        if (alpha)
        {
            using var call = new Alpha.ServerReflection.ServerReflectionClient(_server.Channel).ServerReflectionInfo(cancellationToken: _limit.Token);
            foreach (var request in requests)
            {
                await call.RequestStream.WriteAsync(Alpha.ServerReflectionRequest.Parser.ParseFrom(request.ToByteString()), _limit.Token);
                Assert.That(await call.ResponseStream.MoveNext(_limit.Token), Is.True);
                responses.Add(ServerReflectionResponse.Parser.ParseFrom(call.ResponseStream.Current.ToByteString()));
            }

            await call.RequestStream.CompleteAsync();
        }
        else
        {
            using var call = new ServerReflection.ServerReflectionClient(_server.Channel).ServerReflectionInfo(cancellationToken: _limit.Token);
            foreach (var request in requests)
            {
                await call.RequestStream.WriteAsync(request, _limit.Token);
                Assert.That(await call.ResponseStream.MoveNext(_limit.Token), Is.True);
                responses.Add(call.ResponseStream.Current);
            }

            await call.RequestStream.CompleteAsync();
        }

        return [.. responses];
    }
}
