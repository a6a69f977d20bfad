using Google.Protobuf.Reflection;
using Grpc.Reflection;

namespace MA.Streaming.Hosting;

/// <summary>Reflection under its present name. A type of ours, so that an application's own registration of the base type stays its own.</summary>
internal sealed class ReflectionEndpoint(IEnumerable<ServiceDescriptor> services) : ReflectionV1ServiceImpl(services);

/// <summary>Reflection under its older name.</summary>
internal sealed class ReflectionAlphaEndpoint(IEnumerable<ServiceDescriptor> services) : ReflectionServiceImpl(services);
