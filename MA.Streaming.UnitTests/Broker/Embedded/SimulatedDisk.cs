using MA.Streaming.Broker.Embedded;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>The machine lost power: nothing more is written, nothing more is read.</summary>
internal sealed class PowerLossException : Exception;

/// <summary>What the log asks of a disk; a test may fail any of it.</summary>
internal enum DiskCall
{
    Open,
    Create,
    Read,
    Write,
    SetLength,
    Flush,
    FlushAll,
    FlushDirectory,
    CreateDirectory,
    Delete,
    Replace,
}

/// <summary>
/// A disk in memory that keeps of what was not flushed whatever it likes: each sector of a file holds any one of the contents it
/// had since the last flush of the file, the file has any of its lengths since then, and each name in a directory that was not
/// flushed stands for any file it stood for since. A flush that fails counts as done for the system, as on Linux: what it should have
/// made durable is read as if it were there, and a later flush does not write it; only what is written again has another chance.
/// All choices come from one seed, so a run repeats exactly.
/// </summary>
internal sealed class SimulatedDisk(int seed)
{
    private const int SectorBytes = 512;
    private readonly Lock _gate = new();
    private readonly Random _random = new(seed);
    private readonly Dictionary<string, Entries> _directories = new(StringComparer.Ordinal) { [""] = new Entries() };

    // Directories whose name in the one above is not durable.
    private readonly HashSet<string> _newDirectories = new(StringComparer.Ordinal);
    private int _generation;

    /// <summary>Calls that change something until the power goes; negative: it stays.</summary>
    public int CallsUntilPowerLoss { get; set; } = -1;

    /// <summary>May fail a call: the exception it returns is thrown instead of the call, or, for writes, after a part of it.</summary>
    public Func<DiskCall, string, Exception?>? Fault { get; set; }

    /// <summary>Runs before each call, and may keep it waiting; the others go on.</summary>
    public Action<DiskCall, string>? Before { get; set; }

    /// <summary>Runs once, in the middle of the next calls: what another thread might do between two of them.</summary>
    public (int Calls, Action Act)? Meanwhile { get; set; }

    /// <summary>Who calls has threads of its own, which take the loss of power for a failure of the disk.</summary>
    public bool HasThreads { get; init; }

    public long FreeBytes { get; set; } = long.MaxValue;

    public int Changes { get; private set; }

    /// <summary>A view of the disk as one boot of the machine has it; useless after the next power loss.</summary>
    public ILogFiles Boot() => new Files(this, _generation);

    /// <summary>The power goes and comes back: what was not flushed is settled, at random.</summary>
    public void LosePower()
    {
        using var scope = _gate.EnterScope();
        _generation++;
        CallsUntilPowerLoss = -1;
        foreach (var path in _newDirectories.Order(StringComparer.Ordinal).Where(_ => _random.Next(2) == 0).ToList())
        {
            foreach (var lost in _directories.Keys.Where(other => other == path || other.StartsWith($"{path}/", StringComparison.Ordinal)).ToList()) _directories.Remove(lost);
        }

        _newDirectories.Clear();
        foreach (var directory in _directories.Values) directory.Settle(_random);
        foreach (var inode in _directories.Values.SelectMany(directory => directory.Names.Values).Distinct()) inode.Settle(_random);
    }

    /// <summary>The process dies, the machine does not: everything written stays.</summary>
    public void Kill() => _generation++;

    /// <summary>The names of all files, with their directories.</summary>
    public IEnumerable<string> Paths =>
        _directories.SelectMany(directory => directory.Value.Names.Keys.Select(name => directory.Key.Length == 0 ? name : $"{directory.Key}/{name}")).Order(StringComparer.Ordinal);

    /// <summary>The content of a file, to damage it.</summary>
    public byte[] Content(string path) => Find(path)!.Content[..(int)Find(path)!.Length];

    public void SetContent(string path, byte[] content)
    {
        var inode = Find(path)!;
        (inode.Content, inode.Length) = ([.. content], content.Length);
    }

    /// <summary>Another disk with the same content, all of it durable.</summary>
    public SimulatedDisk Copy()
    {
        var copy = new SimulatedDisk(seed);
        foreach (var (path, directory) in _directories)
        {
            var entries = copy._directories[path] = new Entries();
            foreach (var (name, inode) in directory.Names) entries.Names[name] = new Inode { Content = [.. inode.Content], Length = inode.Length };
        }

        return copy;
    }

    private static (string Directory, string Name) Split(string path)
    {
        var at = path.LastIndexOf('/');
        return at < 0 ? ("", path) : (path[..at], path[(at + 1)..]);
    }

    private Inode? Find(string path)
    {
        var (directory, name) = Split(path);
        return _directories.TryGetValue(directory, out var entries) ? entries.Names.GetValueOrDefault(name) : null;
    }

    /// <summary>Before each call: the power may go, the call may fail.</summary>
    private Exception? Call(DiskCall call, string path, int generation)
    {
        if (generation != _generation) throw HasThreads ? new IOException("the power is gone") : new PowerLossException();
        if (Meanwhile is { } other)
        {
            Meanwhile = other.Calls > 0 ? other with { Calls = other.Calls - 1 } : null;
            if (other.Calls == 0) other.Act();
            if (generation != _generation) throw HasThreads ? new IOException("the power is gone") : new PowerLossException();
        }

        if (call is not (DiskCall.Open or DiskCall.Read))
        {
            Changes++;
            if (CallsUntilPowerLoss > 0 && --CallsUntilPowerLoss == 0) _generation++;
        }

        return Fault?.Invoke(call, path);
    }

    private sealed class Inode
    {
        private readonly Dictionary<long, List<byte[]>> _sectors = [];
        private readonly List<long> _lengths = [];

        // What the disk has of sectors whose flush failed.
        private readonly Dictionary<long, byte[]> _given = [];

        public byte[] Content { get; set; } = [];

        public long Length { get; set; }

        public void Write(long position, ReadOnlySpan<byte> bytes)
        {
            for (var sector = position / SectorBytes; sector * SectorBytes < position + bytes.Length; sector++)
            {
                if (!_sectors.TryGetValue(sector, out var versions)) _sectors[sector] = versions = [];
                versions.Add(_given.Remove(sector, out var given) ? given : Sector(sector));
            }

            SetLength(Math.Max(Length, position + bytes.Length));
            bytes.CopyTo(Content.AsSpan((int)position));
        }

        public void SetLength(long length)
        {
            if (length == Length) return;
            _lengths.Add(Length);
            if (length > Content.Length)
            {
                var content = Content;
                Array.Resize(ref content, (int)Math.Max(length, content.Length * 2L));
                Content = content;
            }

            if (length < Length) Content.AsSpan((int)length, (int)(Length - length)).Clear();
            Length = length;
        }

        public void Flush()
        {
            _sectors.Clear();
            _lengths.Clear();
        }

        public void FailFlush(Random random)
        {
            foreach (var (sector, versions) in _sectors)
            {
                var choice = random.Next(versions.Count + 1);
                if (choice < versions.Count) _given[sector] = versions[choice];
            }

            _sectors.Clear();
        }

        public void Settle(Random random)
        {
            foreach (var (sector, given) in _given)
            {
                var at = (int)(sector * SectorBytes);
                if (at < Content.Length) given.AsSpan(0, Math.Min(given.Length, Content.Length - at)).CopyTo(Content.AsSpan(at));
            }

            _given.Clear();

            // Sometimes all of it made it, sometimes nothing, mostly parts.
            var mode = random.Next(4);
            foreach (var (sector, versions) in _sectors)
            {
                var choice = mode switch { 0 => versions.Count, 1 => 0, _ => random.Next(versions.Count + 1) };
                if (choice == versions.Count) continue;
                var at = (int)(sector * SectorBytes);
                var old = versions[choice];
                old.AsSpan(0, Math.Min(old.Length, Content.Length - at)).CopyTo(Content.AsSpan(at));
            }

            if (_lengths.Count > 0)
            {
                var choice = mode switch { 0 => _lengths.Count, 1 => 0, _ => random.Next(_lengths.Count + 1) };
                if (choice < _lengths.Count) Length = _lengths[choice];
            }

            if (Length < Content.Length) Content.AsSpan((int)Length).Clear();
            Flush();
        }

        private byte[] Sector(long sector)
        {
            var bytes = new byte[SectorBytes];
            var at = (int)(sector * SectorBytes);
            if (at < Content.Length) Content.AsSpan(at, Math.Min(SectorBytes, Content.Length - at)).CopyTo(bytes);
            return bytes;
        }
    }

    private sealed class Entries
    {
        private readonly Dictionary<string, List<Inode?>> _before = new(StringComparer.Ordinal);

        public Dictionary<string, Inode> Names { get; } = new(StringComparer.Ordinal);

        public void Set(string name, Inode? inode)
        {
            if (!_before.TryGetValue(name, out var versions)) _before[name] = versions = [];
            versions.Add(Names.GetValueOrDefault(name));
            if (inode is null) Names.Remove(name);
            else Names[name] = inode;
        }

        public void Flush() => _before.Clear();

        public void Settle(Random random)
        {
            foreach (var (name, versions) in _before)
            {
                var choice = random.Next(versions.Count + 1);
                if (choice == versions.Count) continue;
                if (versions[choice] is { } inode) Names[name] = inode;
                else Names.Remove(name);
            }

            _before.Clear();
        }
    }

    private sealed class Files(SimulatedDisk disk, int generation) : ILogFiles
    {
        public long FreeBytes => disk.FreeBytes;

        public IReadOnlyList<string> List(string directory)
        {
            using var scope = disk._gate.EnterScope();
            Check(DiskCall.Open, directory);
            var own = disk._directories.TryGetValue(directory, out var entries) ? entries.Names.Keys : Enumerable.Empty<string>();
            var prefix = directory.Length == 0 ? "" : $"{directory}/";
            var below = disk._directories.Keys
                .Where(path => path.Length > prefix.Length && path.StartsWith(prefix, StringComparison.Ordinal) && !path[prefix.Length..].Contains('/', StringComparison.Ordinal))
                .Select(path => path[prefix.Length..]);
            return [.. own.Concat(below).Order(StringComparer.Ordinal)];
        }

        public void CreateDirectory(string directory)
        {
            disk.Before?.Invoke(DiskCall.CreateDirectory, directory);
            using var scope = disk._gate.EnterScope();
            Check(DiskCall.CreateDirectory, directory);
            for (var at = directory.IndexOf('/', StringComparison.Ordinal); ; at = directory.IndexOf('/', at + 1))
            {
                var path = at < 0 ? directory : directory[..at];
                if (disk._directories.TryAdd(path, new Entries())) disk._newDirectories.Add(path);
                if (at < 0) return;
            }
        }

        public LogFile? Open(string path, bool create)
        {
            disk.Before?.Invoke(create ? DiskCall.Create : DiskCall.Open, path);
            using var scope = disk._gate.EnterScope();
            var inode = disk.Find(path);
            Check(inode is null && create ? DiskCall.Create : DiskCall.Open, path);
            if (inode is null)
            {
                if (!create) return null;
                inode = new Inode();
                var (directory, name) = Split(path);
                if (!disk._directories.TryGetValue(directory, out var entries)) throw new IOException($"there is no directory {directory}");
                entries.Set(name, inode);
            }

            return new OpenFile(disk, generation, path, inode);
        }

        public void Delete(string path)
        {
            disk.Before?.Invoke(DiskCall.Delete, path);
            using var scope = disk._gate.EnterScope();
            Check(DiskCall.Delete, path);
            var (directory, name) = Split(path);
            if (disk.Find(path) is not null) disk._directories[directory].Set(name, null);
        }

        public void Replace(string from, string to)
        {
            disk.Before?.Invoke(DiskCall.Replace, to);
            using var scope = disk._gate.EnterScope();
            Check(DiskCall.Replace, to);
            var inode = disk.Find(from) ?? throw new IOException($"there is no file {from}");
            disk._directories[Split(to).Directory].Set(Split(to).Name, inode);
            disk._directories[Split(from).Directory].Set(Split(from).Name, null);
        }

        public void FlushDirectory(string directory)
        {
            disk.Before?.Invoke(DiskCall.FlushDirectory, directory);
            using var scope = disk._gate.EnterScope();
            Check(DiskCall.FlushDirectory, directory);
            if (disk._directories.TryGetValue(directory, out var entries)) entries.Flush();
            disk._newDirectories.RemoveWhere(path => Split(path).Directory == directory);
        }

        public bool CanFlushAll => true;

        public void FlushAll()
        {
            disk.Before?.Invoke(DiskCall.FlushAll, "");
            using var scope = disk._gate.EnterScope();
            if (disk.Call(DiskCall.FlushAll, "", generation) is { } fault)
            {
                foreach (var inode in disk._directories.Values.SelectMany(directory => directory.Names.Values).Distinct()) inode.FailFlush(disk._random);
                throw fault;
            }

            foreach (var inode in disk._directories.Values.SelectMany(directory => directory.Names.Values)) inode.Flush();
            foreach (var directory in disk._directories.Values) directory.Flush();
            disk._newDirectories.Clear();
        }

        public void Dispose()
        {
            // Nothing outlives it but the disk.
        }

        private void Check(DiskCall call, string path)
        {
            if (disk.Call(call, path, generation) is { } fault) throw fault;
        }
    }

    private sealed class OpenFile(SimulatedDisk disk, int generation, string path, Inode inode) : LogFile
    {
        public override long Length
        {
            get
            {
                using var scope = disk._gate.EnterScope();
                if (disk.Call(DiskCall.Open, path, generation) is { } fault) throw fault;
                return inode.Length;
            }
        }

        public override int Read(long position, Span<byte> to)
        {
            disk.Before?.Invoke(DiskCall.Read, path);
            using var scope = disk._gate.EnterScope();
            if (disk.Call(DiskCall.Read, path, generation) is { } fault) throw fault;
            var count = (int)Math.Clamp(inode.Length - position, 0, to.Length);
            inode.Content.AsSpan((int)Math.Min(position, inode.Content.Length), count).CopyTo(to);
            return count;
        }

        public override void Write(long position, ReadOnlySpan<byte> bytes)
        {
            disk.Before?.Invoke(DiskCall.Write, path);
            using var scope = disk._gate.EnterScope();
            if (disk.Call(DiskCall.Write, path, generation) is { } fault)
            {
                // A short write: some of it is there.
                inode.Write(position, bytes[..disk._random.Next(bytes.Length + 1)]);
                throw fault;
            }

            inode.Write(position, bytes);
        }

        public override void SetLength(long length)
        {
            disk.Before?.Invoke(DiskCall.SetLength, path);
            using var scope = disk._gate.EnterScope();
            if (disk.Call(DiskCall.SetLength, path, generation) is { } fault) throw fault;
            inode.SetLength(length);
        }

        public override void Flush()
        {
            disk.Before?.Invoke(DiskCall.Flush, path);
            using var scope = disk._gate.EnterScope();
            if (disk.Call(DiskCall.Flush, path, generation) is { } fault)
            {
                inode.FailFlush(disk._random);
                throw fault;
            }

            inode.Flush();
        }

        public override void Dispose()
        {
            // Closing changes nothing.
        }
    }
}
