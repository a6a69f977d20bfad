using Google.Protobuf;
using Google.Protobuf.Reflection;
using Grpc.Core;
using MA.Streaming.Hosting.Wire.ReflectionV1;
using Alpha = MA.Streaming.Hosting.Wire.ReflectionV1Alpha;

namespace MA.Streaming.Hosting;

/// <summary>What reflection knows: the services of a server, the files they are declared in, and what each file declares.</summary>
internal sealed class ReflectionCatalog
{
    private readonly Dictionary<string, FileDescriptor> _files = new(StringComparer.Ordinal);
    private readonly Dictionary<string, FileDescriptor> _symbols = new(StringComparer.Ordinal);
    private readonly string[] _services;

    public ReflectionCatalog(IEnumerable<ServiceDescriptor> services)
    {
        var all = services.ToArray();
        foreach (var service in all) Add(service.File);
        _services = [.. all.Select(service => service.FullName).Order(StringComparer.Ordinal)];
    }

    public ServerReflectionResponse Answer(ServerReflectionRequest request)
    {
        var response = new ServerReflectionResponse { ValidHost = request.Host, OriginalRequest = request };
        switch (request.MessageRequestCase)
        {
            case ServerReflectionRequest.MessageRequestOneofCase.ListServices:
                response.ListServicesResponse = new ListServiceResponse();
                foreach (var service in _services) response.ListServicesResponse.Service.Add(new ServiceResponse { Name = service });
                break;
            case ServerReflectionRequest.MessageRequestOneofCase.FileByFilename:
                Give(response, _files.GetValueOrDefault(request.FileByFilename), $"file '{request.FileByFilename}'");
                break;
            case ServerReflectionRequest.MessageRequestOneofCase.FileContainingSymbol:
                Give(response, _symbols.GetValueOrDefault(request.FileContainingSymbol), $"symbol '{request.FileContainingSymbol}'");
                break;
            case ServerReflectionRequest.MessageRequestOneofCase.AllExtensionNumbersOfType:
                // Messages of proto3 have no extensions.
                if (_symbols.ContainsKey(request.AllExtensionNumbersOfType))
                {
                    response.AllExtensionNumbersResponse = new ExtensionNumberResponse { BaseTypeName = request.AllExtensionNumbersOfType };
                }
                else
                {
                    response.ErrorResponse = NotFound($"message '{request.AllExtensionNumbersOfType}'");
                }

                break;
            case ServerReflectionRequest.MessageRequestOneofCase.FileContainingExtension:
                var extension = request.FileContainingExtension;
                response.ErrorResponse = NotFound($"extension {extension.ExtensionNumber} of '{extension.ContainingType}'");
                break;
            default:
                response.ErrorResponse = new ErrorResponse { ErrorCode = (int)StatusCode.InvalidArgument, ErrorMessage = "the request asks for nothing" };
                break;
        }

        return response;
    }

    private static void Give(ServerReflectionResponse response, FileDescriptor? file, string what)
    {
        if (file is null)
        {
            response.ErrorResponse = NotFound(what);
            return;
        }

        var files = new List<FileDescriptor>();
        Collect(file);
        response.FileDescriptorResponse = new FileDescriptorResponse { FileDescriptorProto = { files.Select(one => one.SerializedData) } };

        void Collect(FileDescriptor one)
        {
            if (files.Contains(one)) return;
            files.Add(one);
            foreach (var imported in one.Dependencies) Collect(imported);
        }
    }

    private static ErrorResponse NotFound(string what) => new() { ErrorCode = (int)StatusCode.NotFound, ErrorMessage = $"{what} is not served here" };

    private void Add(FileDescriptor file)
    {
        if (!_files.TryAdd(file.Name, file)) return;
        foreach (var service in file.Services)
        {
            _symbols.TryAdd(service.FullName, file);
            foreach (var method in service.Methods) _symbols.TryAdd(method.FullName, file);
        }

        foreach (var message in file.MessageTypes) Add(message);
        foreach (var type in file.EnumTypes) Add(type);
        foreach (var imported in file.Dependencies) Add(imported);
    }

    private void Add(MessageDescriptor message)
    {
        _symbols.TryAdd(message.FullName, message.File);
        foreach (var field in message.Fields.InDeclarationOrder()) _symbols.TryAdd(field.FullName, message.File);
        foreach (var choice in message.Oneofs) _symbols.TryAdd(choice.FullName, message.File);
        foreach (var nested in message.NestedTypes) Add(nested);
        foreach (var nested in message.EnumTypes) Add(nested);
    }

    // The values of an enum are named beside it, not inside.
    private void Add(EnumDescriptor type)
    {
        _symbols.TryAdd(type.FullName, type.File);
        var outside = type.FullName[..(type.FullName.LastIndexOf('.') + 1)];
        foreach (var value in type.Values) _symbols.TryAdd(outside + value.Name, type.File);
    }
}

/// <summary>Reflection under its present name.</summary>
internal sealed class ReflectionEndpoint(IServed server) : ServerReflection.ServerReflectionBase
{
    public override async Task ServerReflectionInfo(
        IAsyncStreamReader<ServerReflectionRequest> requestStream, IServerStreamWriter<ServerReflectionResponse> responseStream, ServerCallContext context)
    {
        while (await requestStream.MoveNext(context.CancellationToken).ConfigureAwait(false))
        {
            await responseStream.WriteAsync(server.Catalog.Answer(requestStream.Current), context.CancellationToken).ConfigureAwait(false);
        }
    }
}

/// <summary>Reflection under its older name. The messages have the same bytes.</summary>
internal sealed class ReflectionAlphaEndpoint(IServed server) : Alpha.ServerReflection.ServerReflectionBase
{
    public override async Task ServerReflectionInfo(
        IAsyncStreamReader<Alpha.ServerReflectionRequest> requestStream,
        IServerStreamWriter<Alpha.ServerReflectionResponse> responseStream,
        ServerCallContext context)
    {
        while (await requestStream.MoveNext(context.CancellationToken).ConfigureAwait(false))
        {
            var response = server.Catalog.Answer(ServerReflectionRequest.Parser.ParseFrom(requestStream.Current.ToByteString()));
            await responseStream.WriteAsync(
                Alpha.ServerReflectionResponse.Parser.ParseFrom(response.ToByteString()), context.CancellationToken).ConfigureAwait(false);
        }
    }
}
