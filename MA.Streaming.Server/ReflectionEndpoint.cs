using Grpc.Reflection;

namespace MA.Streaming.Hosting;

/// <summary>Reflection under its present name. A type of our own, so that a host's registration of the package's type stays as it is.</summary>
internal sealed class ReflectionEndpoint(IServerStatus server) : ReflectionV1ServiceImpl(server.Described);

/// <summary>Reflection under its older name.</summary>
internal sealed class ReflectionAlphaEndpoint(IServerStatus server) : ReflectionServiceImpl(server.Described);
