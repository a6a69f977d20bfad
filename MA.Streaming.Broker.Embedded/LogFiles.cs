using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace MA.Streaming.Broker.Embedded;

/// <summary>The disk has no room for what was asked.</summary>
internal sealed class DiskFullException(string message, Exception? innerException = null) : IOException(message, innerException);

/// <summary>
/// The files of one log: the seam under which a test puts a disk that loses power. Paths are relative to the log's directory, with
/// '/' between names. Failures are <see cref="IOException"/>; nothing is durable before the flush that covers it returned.
/// </summary>
internal interface ILogFiles : IDisposable
{
    /// <summary>Names of the files and directories in a directory; none when it does not exist.</summary>
    IReadOnlyList<string> List(string directory);

    /// <summary>Makes the directory and those above it, where they do not exist.</summary>
    void CreateDirectory(string directory);

    /// <summary>Opens a file; null when it does not exist and shall not be created.</summary>
    LogFile? Open(string path, bool create);

    /// <summary>Removes a file; nothing happens when it does not exist.</summary>
    void Delete(string path);

    /// <summary>Gives a file the name of another, which it replaces in one step.</summary>
    void Replace(string from, string to);

    /// <summary>Makes the names in a directory durable: what was created, renamed and deleted in it.</summary>
    void FlushDirectory(string directory);

    /// <summary><see cref="FlushAll"/> works here.</summary>
    bool CanFlushAll { get; }

    /// <summary>Makes everything written durable at once, also to files that are closed, and all names.</summary>
    void FlushAll();

    /// <summary>Bytes that may still be written.</summary>
    long FreeBytes { get; }
}

/// <summary>An open file of a log. Reads and writes name their position and may run on any thread.</summary>
internal abstract class LogFile : IDisposable
{
    public abstract long Length { get; }

    /// <summary>Reads until the span is full or the file ends; returns how much.</summary>
    public abstract int Read(long position, Span<byte> to);

    public abstract void Write(long position, ReadOnlySpan<byte> bytes);

    public abstract void SetLength(long length);

    /// <summary>Makes content and length durable. After a failure nobody knows what of it is.</summary>
    public abstract void Flush();

    public abstract void Dispose();
}

/// <summary>
/// Files of the operating system. Flushing is ours, with its result checked, because the framework's ignores some errors. Linux:
/// fdatasync, syncfs; macOS: F_FULLFSYNC; Windows: FlushFileBuffers, and directories need no flush.
/// </summary>
internal sealed partial class OsLogFiles : ILogFiles
{
    private readonly string _root;
    private readonly SafeFileHandle? _lock;
    private readonly FileAccess _access;
    private readonly SafeFileHandle? _rootHandle;

    /// <summary>Opens the directory, makes it if need be, and owns it until disposal.</summary>
    /// <exception cref="IOException">Another process, or another broker of this one, owns it.</exception>
    public OsLogFiles(string directory)
        : this(directory, FileAccess.ReadWrite)
    {
        const int lockExclusive = 2;
        const int lockNonBlocking = 4;
        if (File.Exists(_root)) throw new IOException($"{_root} is a file; a log needs a directory");
        try
        {
            CreateRoot();
        }
        catch (IOException exception) when (exception is not DiskFullException)
        {
            throw new IOException($"the directory {_root} does not exist and cannot be made: {exception.Message}", exception);
        }

        try
        {
            // On Unix this takes a lock (flock) that ends with the process, however it ends.
            _lock = File.OpenHandle(Path.Combine(_root, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException exception) when (IsInUse(exception))
        {
            throw InUse(exception);
        }
        catch (IOException exception) when (IsDiskFull(exception))
        {
            throw new DiskFullException(exception.Message, exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new IOException(
                $"this process may not write to the directory {_root} ({exception.Message}). Give its user the right to, or choose another directory", exception);
        }

        // The framework takes no lock where System.IO.DisableFileLocking says so. Ours may not be switched off.
        if (!OperatingSystem.IsWindows() && FLock(_lock, lockExclusive | lockNonBlocking) < 0 && Marshal.GetLastPInvokeError() == WouldBlock)
        {
            _lock.Dispose();
            throw InUse(null);
        }

        if (!OperatingSystem.IsWindows()) _rootHandle = OpenDirectory(_root);
    }

    private OsLogFiles(string directory, FileAccess access) => (_root, _access) = (Path.GetFullPath(directory), access);

    /// <inheritdoc/>
    /// <remarks>Where the system does not say, there is enough: the write itself tells.</remarks>
    public long FreeBytes
    {
        get
        {
            try
            {
                return new DriveInfo(_root).AvailableFreeSpace;
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                return long.MaxValue;
            }
        }
    }

    /// <summary>The same files for one who only looks, without owning them.</summary>
    public static OsLogFiles ForReading(string directory) => new(directory, FileAccess.Read);

    public IReadOnlyList<string> List(string directory)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(Full(directory)).Select(path => Path.GetFileName(path))];
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    public void CreateDirectory(string directory)
    {
        var path = Full(directory);
        Checked(path, () => Directory.CreateDirectory(path));
    }

    public LogFile? Open(string path, bool create)
    {
        var full = Full(path);
        try
        {
            var handle = File.OpenHandle(full, create ? FileMode.OpenOrCreate : FileMode.Open, _access, FileShare.ReadWrite | FileShare.Delete);
            return new OsLogFile(full, handle);
        }
        catch (Exception exception) when (!create && exception is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (IOException exception) when (IsDiskFull(exception))
        {
            throw new DiskFullException(exception.Message, exception);
        }
        catch (UnauthorizedAccessException exception)
        {
            throw new IOException(exception.Message, exception);
        }
    }

    public void Delete(string path)
    {
        try
        {
            Checked(path, () => File.Delete(Full(path)));
        }
        catch (DirectoryNotFoundException)
        {
            // Then it is not there.
        }
    }

    public void Replace(string from, string to) => Checked(to, () => File.Move(Full(from), Full(to), overwrite: true));

    public void FlushDirectory(string directory) => FlushDirectoryAt(Full(directory));

    public bool CanFlushAll => OperatingSystem.IsLinux();

    public void FlushAll() => Check(SyncFs(_rootHandle!), _root, "syncfs");

    public void Dispose()
    {
        _rootHandle?.Dispose();
        _lock?.Dispose();
    }

    /// <summary>The log's directory and those above it are durable when this returns.</summary>
    private void CreateRoot()
    {
        var missing = new Stack<string>();
        for (var path = _root; path is not null && !Directory.Exists(path); path = Path.GetDirectoryName(path)) missing.Push(path);
        while (missing.TryPop(out var path))
        {
            Checked(path, () => Directory.CreateDirectory(path));
            FlushDirectoryAt(Path.GetDirectoryName(path)!);
        }
    }

    private static int WouldBlock => OperatingSystem.IsMacOS() ? 35 : 11;

    private static bool IsInUse(IOException exception) =>
        OperatingSystem.IsWindows() ? (exception.HResult & 0xFFFF) is 0x20 or 0x21 : exception.HResult == WouldBlock;

    private IOException InUse(Exception? cause) => new(
        $"the directory {_root} is in use by another process, or by another broker of this one: one process owns a log. "
            + "Run a server on that directory and use the remote client, or choose another directory",
        cause);

    private static void FlushDirectoryAt(string path)
    {
        if (OperatingSystem.IsWindows()) return;
        using var handle = OpenDirectory(path);
        Check(FSync(handle), path, "fsync");
    }

    private static SafeFileHandle OpenDirectory(string path)
    {
        // O_RDONLY | O_CLOEXEC
        var handle = OpenPath(path, OperatingSystem.IsLinux() ? 0x80000 : 0x1000000);
        return handle.IsInvalid ? throw LastError(path, "open") : handle;
    }

    private static void Checked(string path, Action act)
    {
        try
        {
            act();
        }
        catch (IOException exception) when (IsDiskFull(exception))
        {
            throw new DiskFullException($"{path}: {exception.Message}", exception);
        }
        catch (UnauthorizedAccessException exception)
        {
            throw new IOException($"{path}: {exception.Message}", exception);
        }
    }

    private static bool IsDiskFull(IOException exception) =>
        OperatingSystem.IsWindows() ? (exception.HResult & 0xFFFF) is 0x70 or 0x27 : exception.HResult is 28 or 122 or 69;

    private static void Check(int result, string path, string call)
    {
        if (result < 0) throw LastError(path, call);
    }

    private static IOException LastError(string path, string call)
    {
        var error = Marshal.GetLastPInvokeError();
        var message = $"{call} of {path} failed: {new Win32Exception(error).Message} ({error})";
        return error is 28 or 122 ? new DiskFullException(message) : new IOException(message);
    }

    private string Full(string path) => path.Length == 0 ? _root : Path.Combine(_root, path);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FDataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "syncfs", SetLastError = true)]
    private static partial int SyncFs(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int FCntl(SafeFileHandle file, int command);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int FLock(SafeFileHandle file, int operation);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle OpenPath(string path, int flags);

    [LibraryImport("kernel32", EntryPoint = "FlushFileBuffers", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool FlushFileBuffers(SafeFileHandle file);

    private sealed class OsLogFile(string path, SafeFileHandle handle) : LogFile
    {
        public override long Length => RandomAccess.GetLength(handle);

        public override int Read(long position, Span<byte> to)
        {
            var total = 0;
            while (total < to.Length && RandomAccess.Read(handle, to[total..], position + total) is var read and > 0) total += read;
            return total;
        }

        public override void Write(long position, ReadOnlySpan<byte> bytes)
        {
            try
            {
                RandomAccess.Write(handle, bytes, position);
            }
            catch (IOException exception) when (IsDiskFull(exception))
            {
                throw new DiskFullException(exception.Message, exception);
            }
        }

        public override void SetLength(long length) => Checked(path, () => RandomAccess.SetLength(handle, length));

        public override void Flush()
        {
            const int fullSync = 51;
            if (OperatingSystem.IsWindows())
            {
                if (!FlushFileBuffers(handle)) throw LastError(path, "FlushFileBuffers");
            }
            else
            {
                Check(OperatingSystem.IsMacOS() ? FCntl(handle, fullSync) : FDataSync(handle), path, "flush");
            }
        }

        public override void Dispose() => handle.Dispose();
    }
}
