namespace MA.Streaming.UsageTests;

/// <summary>Every wait of a test ends: a fact that does not come true in time fails the test instead of hanging it.</summary>
internal static class Deadline
{
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static CancellationTokenSource Source() => new(Limit);

    public static Task InTime(this Task task) => task.WaitAsync(Limit);

    public static Task<T> InTime<T>(this Task<T> task) => task.WaitAsync(Limit);
}
