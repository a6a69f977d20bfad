using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using MA.Streaming.Broker.Embedded;
using NUnit.Framework;
using Win32Exception = System.ComponentModel.Win32Exception;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>Real processes killed while they write, and a real file system that loses power: what was acknowledged is there, once, in order.</summary>
public sealed class CrashTests
{
    private string _directory = "";

    [SetUp]
    public void SetUp() => _directory = Directory.CreateTempSubdirectory("stream-api-").FullName;

    [TearDown]
    public void TearDown() => Directory.Delete(_directory, recursive: true);

    [Test]
    public Task ProcessKilledUnderLoad_SomeTimes_HasEverythingAcknowledgedOnce() => KillAsync("log", 8);

    /// <summary>How often: parameter Kills.</summary>
    [Test]
    [Category("Long")]
    public async Task ProcessKilledUnderLoad_ManyTimes_HasEverythingAcknowledgedOnce()
    {
        for (var left = TestContext.Parameters.Get("Kills", 1000); left > 0; left -= 25) await KillAsync($"log-{left}", Math.Min(25, left));
    }

    [Test]
    public Task FileSystemLosesPowerUnderLoad_SomeTimes_HasEverythingAcknowledgedOnce() => LosePowerAsync(4);

    /// <summary>How often: parameter PowerLosses.</summary>
    [Test]
    [Category("Long")]
    public Task FileSystemLosesPowerUnderLoad_ManyTimes_HasEverythingAcknowledgedOnce() => LosePowerAsync(TestContext.Parameters.Get("PowerLosses", 200));

    private async Task KillAsync(string name, int times)
    {
        var written = new WrittenRecords();
        var directory = Path.Combine(_directory, name);
        for (var round = 0; round < times; round++)
        {
            using var process = WritingProcess.Start(directory);
            await process.ReachAsync(200 + (round % 6 * 450));
            written.Died(await process.KillAsync());
            await using var broker = await EmbeddedBroker.OpenAsync(WritingProcess.Options(directory));
            await written.VerifyAsync(broker, string.Create(CultureInfo.InvariantCulture, $"round {round}"));
        }
    }

    private async Task LosePowerAsync(int times)
    {
        using var disk = LoopDisk.Create(_directory);
        var written = new WrittenRecords();
        for (var round = 0; round < times; round++)
        {
            var directory = Path.Combine(disk.Mount(), "log");
            using (var process = WritingProcess.Start(directory))
            {
                await process.ReachAsync(200 + (round % 6 * 450));
                disk.LosePower();
                written.Died(await process.KillAsync());
            }

            disk.Unmount();
            disk.Mount();
            await using (var broker = await EmbeddedBroker.OpenAsync(WritingProcess.Options(directory)))
                await written.VerifyAsync(broker, string.Create(CultureInfo.InvariantCulture, $"round {round}"));
            disk.Unmount();
        }
    }

    /// <summary>An ext4 file system in a file, which loses what it has not flushed when told to. Needs a Linux that lets this process mount.</summary>
    private sealed class LoopDisk : IDisposable
    {
        private const uint Shutdown = 0x8004_587D;
        private const uint WithoutFlush = 2;
        private const string MountPrefix = "stream-api-mounted-";

        private readonly string _image;
        private readonly string _mountPoint;
        private bool _isMounted;

        private LoopDisk(string directory)
        {
            _image = Path.Combine(directory, "disk");
            _mountPoint = Path.Combine(directory, string.Create(CultureInfo.InvariantCulture, $"{MountPrefix}{Environment.ProcessId}"));
            Directory.CreateDirectory(_mountPoint);
        }

        /// <summary>Ignores the test, with the reason, where the machine does not allow it.</summary>
        public static LoopDisk Create(string directory)
        {
            if (!OperatingSystem.IsLinux()) Assert.Ignore("ext4 on a loop device is for Linux only");
            if (!Environment.IsPrivilegedProcess) Assert.Ignore("this process may not mount: it is not root");
            if (!File.Exists("/dev/loop-control")) Assert.Ignore("this machine has no loop devices");
            RemoveThoseOfTheDead();
            var disk = new LoopDisk(directory);
            try
            {
                using (var image = File.OpenHandle(disk._image, FileMode.CreateNew, FileAccess.Write)) RandomAccess.SetLength(image, 256 << 20);
                if (Run("mkfs.ext4", "-q", "-F", disk._image) is { } problem) Assert.Ignore($"mkfs.ext4 does not work here: {problem}");
                if (Run("mount", "-o", "loop", disk._image, disk._mountPoint) is { } refusal) Assert.Ignore($"this machine mounts no loop device: {refusal}");
                disk._isMounted = true;
                try
                {
                    disk.LosePower();
                }
                catch (Win32Exception exception)
                {
                    Assert.Ignore($"this machine's ext4 cannot be shut down: {exception.Message}");
                }

                disk.Unmount();
                return disk;
            }
            catch
            {
                disk.Dispose();
                throw;
            }
        }

        public string Mount()
        {
            Assert.That(Run("mount", "-o", "loop", _image, _mountPoint), Is.Null);
            _isMounted = true;
            return _mountPoint;
        }

        /// <summary>From here on nothing reaches the disk: neither what is written nor what was and is not flushed.</summary>
        public void LosePower()
        {
            var directory = OpenPath(_mountPoint, 0x80000);
            if (directory < 0) throw new Win32Exception(Marshal.GetLastPInvokeError());
            try
            {
                var how = WithoutFlush;
                if (Control(directory, Shutdown, ref how) < 0) throw new Win32Exception(Marshal.GetLastPInvokeError());
            }
            finally
            {
                _ = Close(directory);
            }
        }

        public void Unmount()
        {
            Assert.That(Run("umount", _mountPoint), Is.Null);
            _isMounted = false;
        }

        public void Dispose()
        {
            // What still has files open goes when they are closed.
            if (_isMounted && Run("umount", _mountPoint) is not null) Run("umount", "-l", _mountPoint);
        }

        /// <summary>A test run that was killed could not unmount what it had mounted.</summary>
        private static void RemoveThoseOfTheDead()
        {
            foreach (var path in File.ReadLines("/proc/mounts").Select(line => line.Split(' ')[1]).ToList())
            {
                var name = Path.GetFileName(path);
                if (!name.StartsWith(MountPrefix, StringComparison.Ordinal) || Directory.Exists($"/proc/{name[MountPrefix.Length..]}")) continue;
                if (Run("umount", path) is null) Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
            }
        }

        /// <summary>Null when it went well; otherwise what it said.</summary>
        private static string? Run(string program, params string[] arguments)
        {
            try
            {
                using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
                var said = process.StandardError.ReadToEnd();
                if (!process.WaitForExit(30_000)) throw new TimeoutException($"{program} was not done within 30 s");
                return process.ExitCode == 0 ? null : said.Trim();
            }
            catch (Win32Exception exception)
            {
                return exception.Message;
            }
        }

        [DllImport("libc", EntryPoint = "open", SetLastError = true)]
        private static extern int OpenPath([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);

        [DllImport("libc", EntryPoint = "ioctl", SetLastError = true)]
        private static extern int Control(int file, nuint request, ref uint how);

        [DllImport("libc", EntryPoint = "close", SetLastError = true)]
        private static extern int Close(int file);
    }
}
