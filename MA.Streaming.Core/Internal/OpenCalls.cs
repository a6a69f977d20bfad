namespace MA.Streaming.Core.Internal;

/// <summary>The calls the engine is at, so that a shutdown can refuse new ones, end those that would stay open, and wait for the rest.</summary>
internal sealed class OpenCalls : IDisposable
{
    private readonly CancellationTokenSource _draining = new();
    private readonly TaskCompletionSource _empty = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _open = 1; // The shutdown's own, given up when it waits.

    public OpenCalls() => Draining = _draining.Token;

    /// <summary>Cancelled when the shutdown begins.</summary>
    public CancellationToken Draining { get; }

    public int Count => Volatile.Read(ref _open) - (Draining.IsCancellationRequested ? 0 : 1);

    /// <summary>Counts a call until the result is disposed; refuses it once the shutdown has begun.</summary>
    public Call Enter()
    {
        Interlocked.Increment(ref _open);
        var call = new Call(this);
        if (!Draining.IsCancellationRequested) return call;
        call.Dispose();
        throw Errors.ShuttingDown();
    }

    /// <summary>Begins the shutdown and waits for the open calls. False when they did not end in time.</summary>
    public async Task<bool> DrainAsync(TimeSpan timeout, TimeProvider clock)
    {
        if (!Draining.IsCancellationRequested)
        {
            await _draining.CancelAsync().ConfigureAwait(false);
            Leave();
        }

        await _empty.Task.WaitAsync(timeout, clock).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return _empty.Task.IsCompleted;
    }

    public void Dispose() => _draining.Dispose();

    private void Leave()
    {
        if (Interlocked.Decrement(ref _open) == 0) _empty.TrySetResult();
    }

    internal readonly struct Call(OpenCalls calls) : IDisposable
    {
        public void Dispose() => calls.Leave();
    }
}
