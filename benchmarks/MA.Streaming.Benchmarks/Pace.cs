using System.Diagnostics;
using System.Runtime.InteropServices;

namespace MA.Streaming.Benchmarks;

/// <summary>Waits between writes at a steady rate.</summary>
internal static partial class Pace
{
    /// <summary>
    /// Until a time of <see cref="Stopwatch"/>. On Linux the thread sleeps, to some 60 µs, so that its core is free for what is
    /// measured; elsewhere, where a sleep may be longer than many pauses, it waits busily.
    /// </summary>
    public static void Until(long due)
    {
        if (!OperatingSystem.IsLinux())
        {
            Busily(due);
            return;
        }

        // Stopwatch counts nanoseconds of this very clock.
        const int monotonic = 1, absolute = 1;
        var time = new Time(due / Stopwatch.Frequency, due % Stopwatch.Frequency);
        while (Stopwatch.GetTimestamp() < due) _ = Sleep(monotonic, absolute, in time, 0);
    }

    /// <summary>The same with a core kept busy, as a program does that does something else besides.</summary>
    public static void Busily(long due)
    {
        while (Stopwatch.GetTimestamp() < due) Thread.Yield();
    }

    [LibraryImport("libc", EntryPoint = "clock_nanosleep")]
    private static partial int Sleep(int clock, int flags, in Time due, nint left);

    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct Time(long Seconds, long Nanoseconds);
}
