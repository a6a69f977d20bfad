using MA.Streaming.TestSupport;

namespace MA.Streaming.UnitTests.Support;

/// <summary>
/// While it lives the threads of the pool are blocked, those it adds block too, and what is queued waits behind them. Tests that
/// use it do not await meanwhile.
/// </summary>
internal sealed class ExhaustedThreadPool : IDisposable
{
    // The pool adds a thread or two a second while it makes no progress; it must not run out of blockers before the test ends.
    private const int Blockers = 256;

    private readonly ManualResetEventSlim _release = new();
    private readonly CountdownEvent _left = new(Blockers);
    private int _blocked;

    public ExhaustedThreadPool()
    {
        for (var i = 0; i < Blockers; i++) ThreadPool.UnsafeQueueUserWorkItem(_ => Block(), null);
        ThreadPool.GetMinThreads(out var threads, out _);
        try
        {
            Until.True(() => Volatile.Read(ref _blocked) >= threads, seconds: 30);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _release.Set();
        if (!_left.Wait(TimeSpan.FromSeconds(30))) throw new TimeoutException("the pool did not finish the blockers");
    }

    private void Block()
    {
        Interlocked.Increment(ref _blocked);
        _release.Wait();
        _left.Signal();
    }
}
