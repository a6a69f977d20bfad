using System.Globalization;
using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// The number below which a key generator that starts again must give none, in a file of its own: format version, number, CRC-32 of both.
/// A new one replaces the old one in one step, so that whatever happens one of them is whole.
/// </summary>
internal sealed class KeyFloor(ILogFiles files) : IDisposable
{
    private const string Name = "floor";
    private const string NewName = "floor.new";
    private const string Version = "1";
    private readonly Lock _gate = new();
    private bool _isDisposed;

    /// <summary>Takes over a directory, which is made if need be.</summary>
    /// <exception cref="IOException">It is another key generator's, or cannot be used.</exception>
    public static KeyFloor Open(string directory)
    {
        try
        {
            return new KeyFloor(new OsLogFiles(directory));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new IOException(
                $"the key generator cannot use the directory {Path.GetFullPath(directory)}: another key generator has it, or it cannot be written: {exception.Message}",
                exception);
        }
    }

    /// <summary>The floor; 0 when there was none yet.</summary>
    /// <exception cref="IOException">It cannot be read, or is damaged.</exception>
    public long Read()
    {
        using var file = files.Open(Name, create: false);
        if (file is null) return 0;
        var bytes = new byte[Math.Min(file.Length, 100)];
        var text = Encoding.ASCII.GetString(bytes, 0, file.Read(0, bytes));
        return text.TrimEnd('\n').Split(' ') is [Version, var number, _]
            && long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var floor)
            && text == TextOf(floor)
            ? floor
            : throw new IOException(
                $"the file '{Name}' of the key generator is damaged or of a later version. Without it numbers may come again that were given before: "
                    + "restore it, or delete it if nobody keeps such numbers");
    }

    /// <summary>Makes a floor durable.</summary>
    /// <exception cref="IOException">It is not.</exception>
    public void Write(long floor)
    {
        // Not after disposal: the directory may be another's by then, whose floor is higher.
        using var alone = _gate.EnterScope();
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        using (var file = files.Open(NewName, create: true)!)
        {
            var bytes = Encoding.ASCII.GetBytes(TextOf(floor));
            file.SetLength(bytes.Length);
            file.Write(0, bytes);
            file.Flush();
        }

        files.Replace(NewName, Name);
        files.FlushDirectory("");
    }

    public void Dispose()
    {
        using var alone = _gate.EnterScope();
        _isDisposed = true;
        files.Dispose();
    }

    private static string TextOf(long floor)
    {
        var text = $"{Version} {floor.ToString(CultureInfo.InvariantCulture)}";
        return $"{text} {KeyPlacement.Crc32(Encoding.ASCII.GetBytes(text)):x8}\n";
    }
}
