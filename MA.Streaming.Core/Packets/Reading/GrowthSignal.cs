namespace MA.Streaming.Core.Packets;

/// <summary>Tells a read to look for new partitions by cancelling its current round. A signal that comes between two rounds is not lost:
/// each round looks before it reads.</summary>
internal sealed class GrowthSignal : IDisposable
{
    private readonly Lock _gate = new();
    private CancellationTokenSource? _round;
    private bool _disposed;

    /// <summary>Begins a round: the result is cancelled by the next signal or by the token.</summary>
    public CancellationTokenSource LinkTo(CancellationToken cancellationToken)
    {
        lock (_gate) return _round = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
    }

    public void Set()
    {
        CancellationTokenSource? round;
        lock (_gate)
        {
            if (_disposed || _round is null) return;
            round = _round;
            _round = null;
        }

        try
        {
            // On the thread pool: the current thread is creating a topic and must not run the reads that start anew.
            _ = round.CancelAsync();
        }
        catch (ObjectDisposedException)
        {
            // The round has ended meanwhile, and the next one looks before it reads.
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            _round = null;
        }
    }
}
