using System.Runtime.InteropServices;

namespace MA.Streaming.Benchmarks;

/// <summary>
/// Where the durable benchmarks put their logs and plain files: a directory of this run's own, made when it is first needed and removed
/// at the end, also when a signal ends the run. A file system in memory is refused, because its flushes cost nothing.
/// </summary>
internal sealed class RunDirectory(string? parent, bool isDry) : IAsyncDisposable
{
    private static readonly string[] InMemory = ["tmpfs", "ramfs"];

    private readonly List<PosixSignalRegistration> _signals = [];
    private Task<BigLog>? _bigLog;
    private string? _root;
    private int _made;

    /// <summary>What kind of file system it is on; null while it was not needed.</summary>
    public string? FileSystem { get; private set; }

    /// <summary>A directory that does not exist yet.</summary>
    public string New(string name) => Path.Combine(_root ??= Make(), $"{++_made:D3}-{name}");

    /// <summary>Lets the disk finish what earlier arms left it: files that were removed, pages that were not written yet.</summary>
    public void Settle()
    {
        if (_root is not null && !isDry) PlainFile.Sync();
    }

    /// <summary>The large log, made at the first call.</summary>
    public Task<BigLog> BigLogAsync() => _bigLog ??= BigLog.MakeAsync(New("big"), new Scale(isDry, this));

    public ValueTask DisposeAsync()
    {
        Remove();
        foreach (var signal in _signals) signal.Dispose();
        return ValueTask.CompletedTask;
    }

    private static bool IsInMemory(string directory) => InMemory.Contains(new DriveInfo(directory).DriveFormat, StringComparer.Ordinal);

    private string Make()
    {
        var chosen = Path.GetFullPath(parent ?? (isDry || !IsInMemory(Path.GetTempPath()) ? Path.GetTempPath() : Environment.CurrentDirectory));
        FileSystem = new DriveInfo(chosen).DriveFormat;
        if (!isDry && IsInMemory(chosen)) throw new IOException($"{chosen} is in memory ({FileSystem}); name a directory on a disk with --directory");
        var root = Path.Combine(chosen, $"stream-api-benchmarks-{Environment.ProcessId}");
        Directory.CreateDirectory(root);
        foreach (var signal in (PosixSignal[])[PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP])
            _signals.Add(PosixSignalRegistration.Create(signal, _ => Remove()));
        return root;
    }

    private void Remove()
    {
        // A broker that still runs may add a file meanwhile.
        for (var attempt = 0; attempt < 100 && _root is not null && Directory.Exists(_root); attempt++)
        {
            try
            {
                Directory.Delete(_root, recursive: true);
            }
            catch (IOException)
            {
                // Once more.
            }
        }
    }
}
