#pragma warning disable RS0030 // A program looks at its console.
using System.Runtime.InteropServices;

namespace MA.Streaming.Tool;

/// <summary>
/// Ends a command whose output nobody reads any more, as in <c>streamapi tail Car | head -1</c>. The console of .NET ignores a closed pipe, so
/// a thread of its own waits for the end of the reader.
/// </summary>
internal static partial class ClosedOutput
{
    private const int StandardOutput = 1;
    private const short Error = 0x8;
    private const short HangUp = 0x10;

    /// <summary>From here on the process ends with exit code 0 as soon as its output is closed. Does nothing where the output is no pipe.</summary>
    public static void EndsTheProcess()
    {
        if (OperatingSystem.IsWindows() || !Console.IsOutputRedirected) return;
        new Thread(Wait) { IsBackground = true, Name = "stream-api output" }.Start();
    }

    private static void Wait()
    {
        // No event is asked for: the call returns when the reader has gone, or when a signal interrupts it.
        while (true)
        {
            var poll = new PollFor { Descriptor = StandardOutput };
            if (Poll(ref poll, 1, -1) > 0)
            {
                if ((poll.Happened & (Error | HangUp)) != 0) Environment.Exit(ExitCode.Done);
                return;
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(ref PollFor descriptor, nuint count, int milliseconds);

    [StructLayout(LayoutKind.Sequential)]
    private struct PollFor
    {
        public int Descriptor;
        public short Asked;
        public short Happened;
    }
}
