namespace MA.Streaming.Core.Packets;

/// <summary>
/// The appends of one client stream that are on their way, bounded in bytes and settled in order, so that <see cref="Durable"/> counts
/// the packets from the stream's start that are durable without a gap.
/// </summary>
internal sealed class WriteWindow(int bytesMax)
{
    /// <summary>The cost of an append on its way beside its bytes, so that packets without bytes are bounded too.</summary>
    private const int OverheadBytes = 128;

    private readonly Queue<(Task Append, int Bytes)> _open = new();
    private long _bytes;
    private Exception? _failure;

    /// <summary>Packets from the start of the stream that are durable without a gap.</summary>
    public long Durable { get; private set; }

    /// <summary>Takes an append that was issued.</summary>
    public void Add(ValueTask append, int bytes)
    {
        if (_open.Count == 0 && _failure is null && append.IsCompletedSuccessfully)
        {
            Durable++;
            return;
        }

        _open.Enqueue((append.AsTask(), bytes + OverheadBytes));
        _bytes += bytes + OverheadBytes;
    }

    /// <summary>Settles the appends that have ended, and waits while more bytes than allowed are on their way. Throws the first failure, after the
    /// last append has ended.</summary>
    public ValueTask MakeRoomAsync(CancellationToken cancellationToken) => _open.Count == 0 ? default : SettleAsync(bytesMax, cancellationToken);

    /// <summary>Waits until everything is settled. Throws the first failure, after the last append has ended.</summary>
    public ValueTask DrainAsync() => SettleAsync(0, CancellationToken.None);

    private async ValueTask SettleAsync(int bytesLeft, CancellationToken cancellationToken)
    {
        while (_open.TryPeek(out var oldest) && (_bytes > bytesLeft || oldest.Append.IsCompleted || _failure is not null))
        {
            if (!oldest.Append.IsCompleted)
            {
                await oldest.Append.WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                if (!oldest.Append.IsCompleted) throw new OperationCanceledException(cancellationToken);
            }

            _open.Dequeue();
            _bytes -= oldest.Bytes;
            if (oldest.Append.IsCompletedSuccessfully)
            {
                if (_failure is null) Durable++;
            }
            else
            {
                _failure ??= oldest.Append.Exception?.InnerException ?? new OperationCanceledException();
            }
        }

        if (_failure is not null) throw _failure;
    }
}
