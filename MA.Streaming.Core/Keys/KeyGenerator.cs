namespace MA.Streaming.Core.Keys;

/// <summary>
/// Keys of this process: random GUIDs; numbers that are UTC ticks (100 ns) and strictly increasing. With <paramref name="reserve"/> they
/// increase across restarts too: it makes a floor durable, a minute ahead of the numbers given, and the next start begins at that floor.
/// </summary>
/// <param name="clock">The clock; it may stand still and go back.</param>
/// <param name="floor">No number below this one is given.</param>
/// <param name="reserve">Makes a new floor durable; what it throws means that no number is given.</param>
internal sealed class KeyGenerator(TimeProvider clock, long floor = 0, Action<long>? reserve = null) : IKeyGenerator
{
    public static readonly TimeSpan ReservedAhead = TimeSpan.FromMinutes(1);

    private readonly Lock _gate = new();
    private long _last = floor - 1;
    private long _reserved = reserve is null ? long.MaxValue : floor;
    private Task? _reserving;

    public ValueTask<string> NextStringAsync(CancellationToken cancellationToken) => new(Guid.NewGuid().ToString("D"));

    public ValueTask<ulong> NextNumberAsync(CancellationToken cancellationToken) =>
        TryNext(out var number) ? new(number) : new(NextReservedAsync(cancellationToken));

    /// <summary>The next number, unless it is not reserved yet.</summary>
    private bool TryNext(out ulong number)
    {
        while (true)
        {
            var last = Volatile.Read(ref _last);
            var next = Math.Max(last + 1, clock.GetUtcNow().UtcTicks);
            number = (ulong)next;
            if (next >= Volatile.Read(ref _reserved)) return false;
            if (Interlocked.CompareExchange(ref _last, next, last) == last) return true;
        }
    }

    private async Task<ulong> NextReservedAsync(CancellationToken cancellationToken)
    {
        // Again, because others may take a whole minute's numbers, or the clock may jump, in between.
        ulong number;
        while (!TryNext(out number)) await ReserveAsync((long)number).WaitAsync(cancellationToken).ConfigureAwait(false);
        return number;
    }

    private Task ReserveAsync(long number)
    {
        lock (_gate)
        {
            if (_reserving is not { IsCompleted: false }) _reserving = Task.Run(() => Reserve(number + ReservedAhead.Ticks));
            return _reserving;
        }
    }

    private void Reserve(long next)
    {
        if (next <= Volatile.Read(ref _reserved)) return;
        try
        {
            reserve!(next);
        }
        catch (IOException exception)
        {
            throw new KeyGeneratorException($"numbers could not be reserved: {exception.Message}", exception);
        }

        Volatile.Write(ref _reserved, next);
    }
}
