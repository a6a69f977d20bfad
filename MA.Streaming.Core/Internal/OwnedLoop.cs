namespace MA.Streaming.Core.Internal;

/// <summary>A loop with an owner: started once, stopped by its token, its end awaited on disposal.</summary>
internal sealed class OwnedLoop : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;

    /// <summary>Runs <paramref name="loop"/> from now on, here until it first waits; an <see cref="OperationCanceledException"/> after the
    /// stop is its normal end.</summary>
    public OwnedLoop(Func<CancellationToken, Task> loop) => _loop = loop(_stop.Token);

    /// <summary>A loop that does something again and again, with a pause between.</summary>
    public static OwnedLoop Every(TimeSpan period, TimeProvider clock, Func<CancellationToken, Task> action) =>
        new(async token =>
        {
            using var timer = new PeriodicTimer(period, clock);
            while (await timer.WaitForNextTickAsync(token).ConfigureAwait(false)) await action(token).ConfigureAwait(false);
        });

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        try
        {
            await _loop.ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // Asked to stop: not an error.
        }

        _stop.Dispose();
    }
}
