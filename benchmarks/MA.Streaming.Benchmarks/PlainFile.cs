using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace MA.Streaming.Benchmarks;

/// <summary>What a disk does for a program that wants nothing of it but bytes: the limit of the durable benchmarks.</summary>
internal static partial class PlainFile
{
    private const int ReadBytes = 256 << 10;

    /// <summary>A growing file: each round one write and one flush.</summary>
    public static void Append(string path, int rounds, int bytes)
    {
        var round = Payload.Of(bytes);
        using (var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write))
        {
            for (var i = 0; i < rounds; i++)
            {
                RandomAccess.Write(file, round, (long)i * bytes);
                Flush(file);
            }
        }

        File.Delete(path);
    }

    /// <summary>A growing file to which records come at a steady rate: each round writes those that are due and flushes. Says how long each record took.</summary>
    public static void AppendAtARate(string path, int bytes, int recordsASecond, long[] ticks)
    {
        var records = Payload.Of(bytes * ticks.Length);
        using (var file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write))
        {
            var started = Stopwatch.GetTimestamp();
            for (var done = 0; done < ticks.Length;)
            {
                var due = (int)Math.Min(ticks.Length, 1 + ((Stopwatch.GetTimestamp() - started) * recordsASecond / Stopwatch.Frequency));
                if (due == done)
                {
                    Pace.Until(started + (done * Stopwatch.Frequency / recordsASecond));
                    continue;
                }

                RandomAccess.Write(file, records.AsSpan(done * bytes, (due - done) * bytes), (long)done * bytes);
                Flush(file);
                var now = Stopwatch.GetTimestamp();
                for (; done < due; done++) ticks[done] = now - started - (done * Stopwatch.Frequency / recordsASecond);
            }
        }

        File.Delete(path);
    }

    /// <summary>Reads files from their start to their end, until so many bytes were read; returns how many were.</summary>
    public static long Read(IReadOnlyList<string> paths, long bytes)
    {
        var buffer = GC.AllocateUninitializedArray<byte>(ReadBytes);
        var total = 0L;
        foreach (var path in paths)
        {
            using var file = File.OpenHandle(path, options: FileOptions.SequentialScan, share: FileShare.ReadWrite);
            for (var at = 0L; RandomAccess.Read(file, buffer, at) is var read and > 0; at += read)
            {
                total += read;
                if (total >= bytes) return total;
            }
        }

        return total;
    }

    /// <summary>Reads a few bytes somewhere.</summary>
    public static void ReadAt(string path, long at, int bytes)
    {
        using var file = File.OpenHandle(path, share: FileShare.ReadWrite);
        RandomAccess.Read(file, GC.AllocateUninitializedArray<byte>(bytes), at);
    }

    /// <summary>Asks the system to drop what it has of these files in memory. It may decline, and other systems than Linux are not asked.</summary>
    public static void Forget(IReadOnlyList<string> paths)
    {
        const int dontNeed = 4;
        if (!OperatingSystem.IsLinux()) return;
        foreach (var path in paths)
        {
            using var file = File.OpenHandle(path, share: FileShare.ReadWrite);
            _ = Advise(file, 0, 0, dontNeed);
        }
    }

    /// <summary>Waits until the disk has nothing left to do; other systems than Linux are not asked.</summary>
    public static void Sync()
    {
        if (OperatingSystem.IsLinux()) SyncAll();
    }

    private static void Flush(SafeFileHandle file)
    {
        if (!OperatingSystem.IsLinux()) RandomAccess.FlushToDisk(file);
        else if (FDataSync(file) < 0) throw new IOException($"fdatasync failed: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FDataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "sync")]
    private static partial void SyncAll();

    [LibraryImport("libc", EntryPoint = "posix_fadvise")]
    private static partial int Advise(SafeFileHandle file, long offset, long length, int advice);
}

/// <summary>Bytes that no file system can make smaller.</summary>
internal static class Payload
{
    public static byte[] Of(int bytes)
    {
        var payload = new byte[bytes];
        new Random(bytes).NextBytes(payload);
        return payload;
    }
}
