namespace MA.Streaming.Core.Broker;

/// <summary>What went wrong at the broker.</summary>
public enum BrokerError
{
    /// <summary>It cannot be reached or does not answer; the call may be repeated.</summary>
    Unavailable,

    /// <summary>It has no room; the call may be repeated when there is some.</summary>
    Full,

    /// <summary>The record is larger than it takes.</summary>
    TooLarge,

    /// <summary>What it holds is damaged.</summary>
    Corrupt,

    /// <summary>The topic or partition does not exist.</summary>
    NoSuchTopic,

    /// <summary>It refuses the caller.</summary>
    Denied,

    /// <summary>It does not take a topic of this name or with these settings.</summary>
    NotAllowed,
}

/// <summary>A failure of the broker, in words fit for the caller of an rpc.</summary>
/// <param name="error">What kind of failure.</param>
/// <param name="message">The failure in words: topic, partition, sizes and limits where they matter.</param>
/// <param name="innerException">The cause, where there is one.</param>
public sealed class BrokerException(BrokerError error, string message, Exception? innerException = null)
    : Exception(message, innerException)
{
    /// <summary>What kind of failure.</summary>
    public BrokerError Error { get; } = error;

    /// <summary>True when the same call may succeed later.</summary>
    public bool IsTransient => Error is BrokerError.Unavailable or BrokerError.Full;
}
