namespace MA.Streaming.Hosting;

/// <summary>Where a server is in its life.</summary>
public enum ServerState
{
    /// <summary>Not started, or kept from starting.</summary>
    Idle,

    /// <summary>Looking for its broker, or catching up with it.</summary>
    Starting,

    /// <summary>Serving.</summary>
    Ready,

    /// <summary>Finishing what it had accepted.</summary>
    Draining,

    /// <summary>Ended.</summary>
    Stopped,

    /// <summary>It cannot start, and trying again would not help.</summary>
    Failed,
}

/// <summary>Whether a server can be used now.</summary>
/// <param name="IsReady">Broker reachable, caught up, writable.</param>
/// <param name="State">Where it is in its life.</param>
/// <param name="Detail">Why it is not ready, or a word on the broker.</param>
public sealed record ServerHealth(bool IsReady, ServerState State, string Detail);
