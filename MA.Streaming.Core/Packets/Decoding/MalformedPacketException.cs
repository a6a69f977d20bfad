namespace MA.Streaming.Core.Packets;

/// <summary>A packet whose samples cannot be told apart: the message says what does not fit.</summary>
public sealed class MalformedPacketException : Exception
{
    /// <summary>Without a reason; prefer the others.</summary>
    public MalformedPacketException()
    {
    }

    /// <summary>With the reason.</summary>
    /// <param name="message">What does not fit, in terms of the packet's fields.</param>
    public MalformedPacketException(string message)
        : base(message)
    {
    }

    /// <summary>With the reason and what led to it.</summary>
    /// <param name="message">What does not fit, in terms of the packet's fields.</param>
    /// <param name="innerException">What led to it.</param>
    public MalformedPacketException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
