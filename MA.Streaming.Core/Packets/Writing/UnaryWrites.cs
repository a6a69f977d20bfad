using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;

namespace MA.Streaming.Core.Packets;

/// <summary>The appends of calls that are no streams: bounds the bytes that wait for the broker, and how long each call waits.</summary>
internal sealed class UnaryWrites(IBroker broker, StreamingApiLimits limits, TimeProvider clock)
{
    /// <summary>The cost of a waiting call beside its packet's bytes, so that packets without bytes are bounded too.</summary>
    private const int OverheadBytes = 256;

    private long _pendingBytes;
    private long _pendingPackets;

    /// <summary>Bytes of unary writes that wait for the broker.</summary>
    public long PendingBytes => Volatile.Read(ref _pendingBytes);

    /// <summary>Unary writes that wait for the broker.</summary>
    public long PendingPackets => Volatile.Read(ref _pendingPackets);

    /// <summary>Reserves room for a record and returns its size; RESOURCE_EXHAUSTED where the waiting calls leave none. A record always
    /// finds room while no other call waits.</summary>
    public int Reserve(in RecordData record)
    {
        var bytes = record.Bytes + OverheadBytes;
        Interlocked.Increment(ref _pendingPackets);
        var pending = Interlocked.Add(ref _pendingBytes, bytes);
        if (pending <= limits.PendingBytesMax || pending == bytes) return bytes;
        Release(bytes);
        throw Errors.ResourceExhausted(
            $"{pending - bytes} bytes of unary writes wait for the broker already; allowed are {limits.PendingBytesMax}; write slower, or by a client stream");
    }

    /// <summary>Gives back what <see cref="Reserve"/> returned.</summary>
    public void Release(int reserved)
    {
        if (reserved == 0) return;
        Interlocked.Decrement(ref _pendingPackets);
        Interlocked.Add(ref _pendingBytes, -reserved);
    }

    /// <summary>Waits for an append, no longer than the write timeout, and releases what was reserved for it (0: nothing) when it ends. After
    /// a timeout or a cancellation the outcome of the append is unknown.</summary>
    public async ValueTask WaitAsync(Task append, int reserved, string target, TopicAppender appender, CancellationToken cancellationToken)
    {
        await append.WaitAsync(limits.WriteTimeout, clock, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (append.IsCompleted)
        {
            Release(reserved);
            await append.ConfigureAwait(false);
            return;
        }

        // The broker still holds the record: its bytes stay pending until the append ends.
        ReleaseWhenDone(append, reserved);
        cancellationToken.ThrowIfCancellationRequested();
        throw await TimedOutAsync(target, appender).ConfigureAwait(false);
    }

    private void ReleaseWhenDone(Task append, int reserved) =>
        append.ContinueWith(
            done =>
            {
                _ = done.Exception; // The caller has stopped waiting.
                Release(reserved);
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);

    private async Task<Exception> TimedOutAsync(string target, TopicAppender appender)
    {
        if (appender.LastCreateError is { } error) return Errors.From(error, $"writing to {target}");
        BrokerHealth health;
        try
        {
            health = await broker.CheckAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            health = new BrokerHealth(IsHealthy: false, exception.Message);
        }

        var message = $"writing to {target}: not durable after {limits.WriteTimeout.TotalSeconds} s; the broker says: {health.Detail}";
        return health.IsHealthy ? Errors.ResourceExhausted(message) : Errors.Unavailable(message);
    }
}
