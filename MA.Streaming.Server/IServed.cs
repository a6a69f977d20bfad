using Google.Protobuf.Reflection;

namespace MA.Streaming.Hosting;

/// <summary>What health, reflection and metrics are asked about: a Stream API server, or a key generator.</summary>
internal interface IServed
{
    ServerState State { get; }

    /// <summary>Cancelled when it begins to stop.</summary>
    CancellationToken Stopping { get; }

    /// <summary>The full names of its services.</summary>
    IReadOnlySet<string> Services { get; }

    /// <summary>The services that reflection describes.</summary>
    IReadOnlyList<ServiceDescriptor> Described { get; }

    /// <summary>What it has counted; null when metrics are off.</summary>
    PrometheusMetrics? Metrics { get; }

    ValueTask<ServerHealth> CheckAsync(CancellationToken cancellationToken);

    void RpcEnded(string method, string status, TimeSpan duration);
}
