using MA.Streaming.Broker.Embedded;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>Files in memory over a content that is shared and never changed; made and thrown away hundreds of thousands of times.</summary>
internal sealed class ScratchFiles(IReadOnlyDictionary<string, byte[]> content) : ILogFiles
{
    private readonly Dictionary<string, Inode> _files = content.ToDictionary(file => file.Key, file => new Inode(file.Value), StringComparer.Ordinal);

    public long FreeBytes => long.MaxValue;

    /// <summary>Some file begins with these bytes.</summary>
    public bool Holds(byte[] content) => _files.Values.Any(file => file.Content.AsSpan(0, file.Length).StartsWith(content));

    public IReadOnlyList<string> List(string directory)
    {
        var start = directory.Length == 0 ? 0 : directory.Length + 1;
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var path in _files.Keys)
        {
            if (start > 0 && !(path.StartsWith(directory, StringComparison.Ordinal) && path[start - 1] == '/')) continue;
            var end = path.IndexOf('/', start);
            names.Add(end < 0 ? path[start..] : path[start..end]);
        }

        return [.. names];
    }

    public void CreateDirectory(string directory)
    {
        // A directory is where files are.
    }

    public LogFile? Open(string path, bool create)
    {
        if (_files.TryGetValue(path, out var inode)) return new OpenFile(inode);
        return create ? new OpenFile(_files[path] = new Inode([])) : null;
    }

    public void Delete(string path) => _files.Remove(path);

    public void Replace(string from, string to)
    {
        _files.Remove(from, out var inode);
        _files[to] = inode!;
    }

    public void FlushDirectory(string directory)
    {
        // Nothing here ever loses power.
    }

    public bool CanFlushAll => true;

    public void FlushAll()
    {
        // Nothing here ever loses power.
    }

    public void Dispose()
    {
        // Nothing outlives it.
    }

    private sealed class Inode(byte[] content)
    {
        public byte[] Content { get; private set; } = content;

        public int Length { get; set; } = content.Length;

        public bool IsShared { get; set; } = true;

        public void Own(int length)
        {
            if (!IsShared && length <= Content.Length) return;
            var own = new byte[Math.Max(length, IsShared ? Content.Length : Content.Length * 2)];
            Content.AsSpan(0, Math.Min(Length, Content.Length)).CopyTo(own);
            (Content, IsShared) = (own, false);
        }
    }

    private sealed class OpenFile(Inode inode) : LogFile
    {
        public override long Length => inode.Length;

        public override int Read(long position, Span<byte> to)
        {
            var count = (int)Math.Clamp(inode.Length - position, 0, to.Length);
            if (count > 0) inode.Content.AsSpan((int)position, count).CopyTo(to);
            return count;
        }

        public override void Write(long position, ReadOnlySpan<byte> bytes)
        {
            var end = (int)position + bytes.Length;
            inode.Own(Math.Max(end, inode.Length));
            bytes.CopyTo(inode.Content.AsSpan((int)position));
            inode.Length = Math.Max(inode.Length, end);
        }

        public override void SetLength(long length)
        {
            inode.Own((int)length);
            if (length < inode.Length) inode.Content.AsSpan((int)length, inode.Length - (int)length).Clear();
            inode.Length = (int)length;
        }

        public override void Flush()
        {
            // Nothing here ever loses power.
        }

        public override void Dispose()
        {
            // Closing changes nothing.
        }
    }
}
