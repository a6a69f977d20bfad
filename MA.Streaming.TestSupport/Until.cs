using System.Runtime.CompilerServices;

namespace MA.Streaming.TestSupport;

/// <summary>
/// Waits for a fact that can only be asked for. Every poll loop of a test is one of these. Each ends: after its seconds, or with the
/// token that limits the test.
/// </summary>
public static class Until
{
    // The first questions come at once, for most facts come true soon.
    private const int QuickQuestions = 20;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    public static Task TrueAsync(
        Func<bool> isSo, int seconds = Deadline.DefaultSeconds, [CallerArgumentExpression(nameof(isSo))] string what = "") =>
        TrueAsync(() => Task.FromResult(isSo()), seconds, what);

    public static Task TrueAsync(
        Func<Task<bool>> isSo, int seconds = Deadline.DefaultSeconds, [CallerArgumentExpression(nameof(isSo))] string what = "") =>
        LimitedAsync(limit => TrueAsync(isSo, limit, what), seconds, what);

    public static Task TrueAsync(Func<bool> isSo, CancellationToken limit, [CallerArgumentExpression(nameof(isSo))] string what = "") =>
        TrueAsync(() => Task.FromResult(isSo()), limit, what);

    public static async Task TrueAsync(Func<Task<bool>> isSo, CancellationToken limit, [CallerArgumentExpression(nameof(isSo))] string what = "")
    {
        for (var questions = 1; !await isSo(); questions++)
        {
            if (limit.IsCancellationRequested) throw new TimeoutException($"'{what}' did not come true in time");
            if (questions < QuickQuestions) await Task.Yield();
            else await Task.Delay(Pause, CancellationToken.None);
        }
    }

    /// <summary>Acts, again and again, until the task is done, and fails as the task does.</summary>
    public static Task DoneAsync(
        Task task, Func<Task> act, int seconds = Deadline.DefaultSeconds, [CallerArgumentExpression(nameof(task))] string what = "") =>
        LimitedAsync(limit => DoneAsync(task, act, limit, what), seconds, what);

    /// <inheritdoc cref="DoneAsync(Task, Func{Task}, int, string)"/>
    public static async Task DoneAsync(Task task, Func<Task> act, CancellationToken limit, [CallerArgumentExpression(nameof(task))] string what = "")
    {
        while (!task.IsCompleted)
        {
            if (limit.IsCancellationRequested) throw new TimeoutException($"'{what}' was not done in time");
            await act();
            await Task.WhenAny(task, Task.Delay(Pause, CancellationToken.None));
        }

        await task;
    }

    /// <summary>Acts until that succeeds. A failure that does not pass ends it.</summary>
    public static Task SucceedsAsync<T>(
        Func<Task> act, Func<T, bool> passes, int seconds = Deadline.DefaultSeconds, [CallerArgumentExpression(nameof(act))] string what = "")
        where T : Exception =>
        LimitedAsync(limit => SucceedsAsync(act, passes, limit, what), seconds, what);

    /// <inheritdoc cref="SucceedsAsync{T}(Func{Task}, Func{T, bool}, int, string)"/>
    public static Task SucceedsAsync<T>(
        Func<Task> act, Func<T, bool> passes, CancellationToken limit, [CallerArgumentExpression(nameof(act))] string what = "")
        where T : Exception =>
        TrueAsync(
            async () =>
            {
                try
                {
                    await act();
                    return true;
                }
                catch (T exception) when (passes(exception))
                {
                    return false;
                }
            },
            limit,
            what);

    /// <summary>For tests that may not await, because the thread pool is exhausted.</summary>
    public static void True(Func<bool> isSo, int seconds = Deadline.DefaultSeconds, [CallerArgumentExpression(nameof(isSo))] string what = "")
    {
        if (!SpinWait.SpinUntil(isSo, TimeSpan.FromSeconds(seconds))) throw new TimeoutException($"'{what}' did not come true within {seconds} s");
    }

    private static async Task LimitedAsync(Func<CancellationToken, Task> wait, int seconds, string what)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));

        // The question itself may hang.
        await wait(limit.Token).WithDeadline(seconds + 1, what);
    }
}
