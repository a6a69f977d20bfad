namespace MA.Streaming.Hosting;

/// <summary>The state of a server.</summary>
public enum ServerState
{
    /// <summary>Not started, or AutoStart is false.</summary>
    Idle,

    /// <summary>Connects to its broker, or reads what it needs from it.</summary>
    Starting,

    /// <summary>Serves.</summary>
    Ready,

    /// <summary>Finishes the accepted calls.</summary>
    Draining,

    /// <summary>Ended.</summary>
    Stopped,

    /// <summary>Cannot start, and another try would not help.</summary>
    Failed,
}

/// <summary>The answer to the question whether a server can be used now.</summary>
/// <param name="IsReady">True if the broker is reachable, caught up and writable.</param>
/// <param name="State">The state of the server.</param>
/// <param name="Detail">The reason why it is not ready, or a note about the broker.</param>
public sealed record ServerHealth(bool IsReady, ServerState State, string Detail);
