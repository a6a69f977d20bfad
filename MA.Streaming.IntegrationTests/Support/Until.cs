namespace MA.Streaming.IntegrationTests.Support;

/// <summary>Waits for a fact that can only be asked for.</summary>
internal static class Until
{
    public static async Task TrueAsync(Func<Task<bool>> isSo, CancellationToken limit)
    {
        while (!await isSo()) await Task.Delay(TimeSpan.FromMilliseconds(20), limit);
    }
}
