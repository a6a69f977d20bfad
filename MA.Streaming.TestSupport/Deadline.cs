using System.Runtime.CompilerServices;

namespace MA.Streaming.TestSupport;

/// <summary>No test waits for ever: what is awaited gets a deadline, and the failure says what it was.</summary>
public static class Deadline
{
    public const int DefaultSeconds = 10;

    public static async Task WithDeadline(
        this Task task, int seconds = DefaultSeconds, [CallerArgumentExpression(nameof(task))] string what = "")
    {
        try
        {
            await task.WaitAsync(TimeSpan.FromSeconds(seconds));
        }
        catch (TimeoutException) when (!task.IsCompleted)
        {
            throw Missed(what, seconds);
        }
    }

    public static async Task<T> WithDeadline<T>(
        this Task<T> task, int seconds = DefaultSeconds, [CallerArgumentExpression(nameof(task))] string what = "")
    {
        await WithDeadline((Task)task, seconds, what);
        return await task;
    }

    public static Task WithDeadline(
        this ValueTask task, int seconds = DefaultSeconds, [CallerArgumentExpression(nameof(task))] string what = "") =>
        task.AsTask().WithDeadline(seconds, what);

    public static Task<T> WithDeadline<T>(
        this ValueTask<T> task, int seconds = DefaultSeconds, [CallerArgumentExpression(nameof(task))] string what = "") =>
        task.AsTask().WithDeadline(seconds, what);

    /// <summary>For tests that may not await, because the thread pool is exhausted or the thread matters.</summary>
    public static void WaitWithDeadline(
        this ManualResetEventSlim signal, int seconds = DefaultSeconds, [CallerArgumentExpression(nameof(signal))] string what = "")
    {
        if (!signal.Wait(TimeSpan.FromSeconds(seconds))) throw Missed(what, seconds);
    }

    /// <inheritdoc cref="WaitWithDeadline(ManualResetEventSlim, int, string)"/>
    public static void JoinWithDeadline(
        this Thread thread, int seconds = DefaultSeconds, [CallerArgumentExpression(nameof(thread))] string what = "")
    {
        if (!thread.Join(TimeSpan.FromSeconds(seconds))) throw Missed(what, seconds);
    }

    private static TimeoutException Missed(string what, int seconds) => new($"'{what}' was not done within {seconds} s");
}
