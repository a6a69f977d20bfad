namespace MA.Streaming.Core.Keys;

/// <summary>Where session keys come from, and the format ids of a deployment with a key generator.</summary>
internal interface IKeyGenerator
{
    /// <summary>A key nobody else has: a GUID, lower case, with hyphens.</summary>
    ValueTask<string> NextStringAsync(CancellationToken cancellationToken);

    /// <summary>A number larger than every one before.</summary>
    ValueTask<ulong> NextNumberAsync(CancellationToken cancellationToken);
}

/// <summary>Keys of this process: random GUIDs; numbers that are UTC ticks (100 ns) and strictly increasing.</summary>
internal sealed class KeyGenerator(TimeProvider clock) : IKeyGenerator
{
    private long _last;

    public ValueTask<string> NextStringAsync(CancellationToken cancellationToken) => new(Guid.NewGuid().ToString("D"));

    public ValueTask<ulong> NextNumberAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var last = Volatile.Read(ref _last);
            var next = Math.Max(last + 1, clock.GetUtcNow().UtcTicks);
            if (Interlocked.CompareExchange(ref _last, next, last) == last) return new((ulong)next);
        }
    }
}
