using System.Diagnostics;
using Grpc.AspNetCore.Server;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using Grpc.Health.V1;
using MA.Streaming.API;
using MA.Streaming.Core;
using MA.Streaming.Proto.Client.Local;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using ServiceDescription = Google.Protobuf.Reflection.ServiceDescriptor;

namespace MA.Streaming.Hosting;

/// <summary>The gRPC services of a server: what a host needs to serve them, and the limits of the connections they come over.</summary>
internal static class GrpcServices
{
    /// <summary>Two thousand reads share one channel in the field.</summary>
    private const int StreamsPerConnection = 10_000;

    /// <summary>What a client stream may have sent while its service does not read: what 100 of them hold stays below the window of their
    /// connection, or the calls beside them would stand still.</summary>
    private const int StreamWindowBytes = 256 << 10;
    private const int ConnectionWindowBytes = 64 << 20;

    private static readonly ServiceDescription[] Own =
    [
        PacketWriterService.Descriptor, PacketReaderService.Descriptor, ConnectionManagerService.Descriptor, SessionManagementService.Descriptor,
        DataFormatManagerService.Descriptor,
    ];

    /// <summary>The full names of the five services.</summary>
    public static IReadOnlySet<string> Names { get; } = Own.Select(service => service.FullName).ToHashSet(StringComparer.Ordinal);

    /// <summary>The services that reflection describes.</summary>
    public static IReadOnlyList<ServiceDescription> Described { get; } = WithHealthAndReflection(Own);

    public static IReadOnlyList<ServiceDescription> WithHealthAndReflection(IEnumerable<ServiceDescription> services) =>
        [.. services, Health.Descriptor, Grpc.Reflection.V1.ServerReflection.Descriptor, Grpc.Reflection.V1Alpha.ServerReflection.Descriptor];

    /// <summary>Opens a gRPC port with some services, health and reflection.</summary>
    public static Task<NetworkPort> OpenAsync(
        IServerStatus server,
        string key,
        string bindAddress,
        int port,
        ILoggerFactory loggers,
        Action<IServiceCollection> services,
        Func<IEndpointRouteBuilder, GrpcServiceEndpointConventionBuilder> map,
        Action<KestrelServerLimits> limits,
        CancellationToken cancellationToken) =>
        NetworkPort.OpenAsync(
            key,
            bindAddress,
            port,
            HttpProtocols.Http2,
            loggers,
            collection =>
            {
                collection.AddGrpc();
                AddHealthAndReflection(collection, _ => server);
                services(collection);
            },
            routes => Measure(new MappedEndpoints([map(routes), .. MapHealthAndReflection(routes)]), server),
            limits,
            cancellationToken);

    public static void Add(IServiceCollection services, Func<IServiceProvider, StreamingApiServer> serverOf)
    {
        var grpc = services.AddGrpc();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IServiceMethodProvider<EncodedPacketWriter>, EncodedPacketWriter.Methods>());
        Add(engine => new EncodedPacketWriter(engine.PacketWriterEndpoint));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IServiceMethodProvider<EncodedPacketReader>, EncodedPacketReader.Methods>());
        Add(engine => new EncodedPacketReader(engine.PacketReaderEndpoint));
        Add<ConnectionManagerService.ConnectionManagerServiceBase>(engine => engine.ConnectionManager);
        Add<SessionManagementService.SessionManagementServiceBase>(engine => engine.SessionManagement);
        Add<DataFormatManagerService.DataFormatManagerServiceBase>(engine => engine.DataFormatManager);

        AddHealthAndReflection(services, serverOf);

        // Asked for at each call: there is no engine before the server has caught up, and another one after a restart.
        void Add<T>(Func<StreamApi, T> pick)
            where T : class
        {
            services.AddTransient(provider => pick(serverOf(provider).Engine));
            grpc.AddServiceOptions<T>(_ => { });
            services.AddOptions<GrpcServiceOptions<T>>().Configure<IServiceProvider>((options, provider) => Configure(options, serverOf(provider).Options));
        }
    }

    public static IEndpointConventionBuilder Map(IEndpointRouteBuilder routes, StreamingApiServer server, bool healthAndReflection) => Measure(
        new MappedEndpoints(
        [
            routes.MapGrpcService<EncodedPacketWriter>(),
            routes.MapGrpcService<EncodedPacketReader>(),
            routes.MapGrpcService<ConnectionManagerService.ConnectionManagerServiceBase>(),
            routes.MapGrpcService<SessionManagementService.SessionManagementServiceBase>(),
            routes.MapGrpcService<DataFormatManagerService.DataFormatManagerServiceBase>(),
            .. healthAndReflection ? MapHealthAndReflection(routes) : [],
        ]),
        server);

    public static void SetLimits(KestrelServerLimits limits, StreamingApiServerOptions options)
    {
        // One read that nobody takes would otherwise abort the connection of all others; a peer that is gone is found by pings.
        limits.MinResponseDataRate = null;
        limits.Http2.MaxStreamsPerConnection = Math.Max(limits.Http2.MaxStreamsPerConnection, StreamsPerConnection);
        limits.Http2.InitialStreamWindowSize = StreamWindowBytes;
        limits.Http2.InitialConnectionWindowSize = ConnectionWindowBytes;
        limits.Http2.KeepAlivePingDelay = options.KeepAlivePingDelay;
        limits.Http2.KeepAlivePingTimeout = options.KeepAlivePingTimeout;
    }

    private static void AddHealthAndReflection(IServiceCollection services, Func<IServiceProvider, IServerStatus> serverOf)
    {
        services.AddTransient(provider => new HealthEndpoint(serverOf(provider)));
        services.AddSingleton(provider => new ReflectionEndpoint(serverOf(provider).Described));
        services.AddSingleton(provider => new ReflectionAlphaEndpoint(serverOf(provider).Described));
    }

    private static GrpcServiceEndpointConventionBuilder[] MapHealthAndReflection(IEndpointRouteBuilder routes) =>
        [routes.MapGrpcService<HealthEndpoint>(), routes.MapGrpcService<ReflectionEndpoint>(), routes.MapGrpcService<ReflectionAlphaEndpoint>()];

    private static void Configure(GrpcServiceOptions grpc, StreamingApiServerOptions options)
    {
        grpc.MaxReceiveMessageSize = InProcessChannel.RequestBytesMax;
        grpc.MaxSendMessageSize = null;
        grpc.EnableDetailedErrors = false;
        grpc.CompressionProviders = [new GzipProvider()];
        grpc.ResponseCompressionAlgorithm = options.ResponseCompression ? "gzip" : null;
    }

    private static MappedEndpoints Measure(MappedEndpoints endpoints, IServerStatus server)
    {
        endpoints.Add(endpoint => Measure(endpoint, server));
        return endpoints;
    }

    // Around the whole call, so that refusals of the transport count as well.
    private static void Measure(EndpointBuilder endpoint, IServerStatus server)
    {
        if (endpoint.RequestDelegate is not { } serve) return;
        if (endpoint.Metadata.OfType<GrpcMethodMetadata>().FirstOrDefault()?.Method is not { } method) return;
        endpoint.RequestDelegate = async context =>
        {
            var started = Stopwatch.GetTimestamp();
            var activity = StartActivity(context, method);
            try
            {
                await serve(context).ConfigureAwait(false);
            }
            finally
            {
                var status = StatusOf(context);
                server.RpcEnded(method.FullName, status.StatusCode.ToString(), Stopwatch.GetElapsedTime(started));
                Telemetry.EndRpc(activity, (int)status.StatusCode, status.Detail);
            }
        };
    }

    // A child of ASP.NET Core's span, else of the caller's. The span that ASP.NET Core makes for its log alone has no source: no exporter sees
    // it, and a child of it would be lost in its trace.
    private static Activity? StartActivity(HttpContext context, IMethod method)
    {
        if (!Telemetry.Activities.HasListeners()) return null;
        ActivityContext caller = default;
        if (Activity.Current is not { Source.Name.Length: > 0 })
        {
            ActivityContext.TryParse(context.Request.Headers.TraceParent, context.Request.Headers.TraceState, isRemote: true, out caller);
            Activity.Current = null;
        }

        return Telemetry.StartRpc(method.ServiceName, method.Name, ActivityKind.Server, caller);
    }

    // A call without a status was reset.
    private static Status StatusOf(HttpContext context)
    {
        var headers = context.Features.Get<IHttpResponseTrailersFeature>()?.Trailers;
        if (headers is null || !headers.ContainsKey("grpc-status")) headers = context.Response.Headers;
        return int.TryParse(headers["grpc-status"], out var code)
            ? new Status((StatusCode)code, Uri.UnescapeDataString(headers["grpc-message"].ToString()))
            : new Status(StatusCode.Cancelled, "");
    }
}
