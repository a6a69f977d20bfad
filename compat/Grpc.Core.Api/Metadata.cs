using System.Collections;
using System.Text;

namespace Grpc.Core;

/// <summary>Headers or trailers of a call, in order; a key may occur more than once.</summary>
public sealed class Metadata : IList<Metadata.Entry>
{
    /// <summary>Ends the key of every entry whose value is binary, and of no other.</summary>
    public const string BinaryHeaderSuffix = "-bin";

    /// <summary>No entries, for ever: it refuses to be changed.</summary>
    public static readonly Metadata Empty = new(isReadOnly: true);

    private readonly List<Entry> _entries = [];

    public Metadata()
    {
    }

    private Metadata(bool isReadOnly) => IsReadOnly = isReadOnly;

    public int Count => _entries.Count;

    public bool IsReadOnly { get; }

    public Entry this[int index]
    {
        get => _entries[index];
        set => Writable()[index] = NotNull(value);
    }

    /// <summary>The last entry with this key, whatever its case; null when there is none.</summary>
    public Entry? Get(string key) => _entries.FindLast(entry => HasKey(entry, key));

    /// <summary>The text of the last entry with this key; null when there is none.</summary>
    public string? GetValue(string key) => Get(key)?.Value;

    /// <summary>The bytes of the last entry with this key; null when there is none.</summary>
    public byte[]? GetValueBytes(string key) => Get(key)?.ValueBytes;

    /// <summary>Every entry with this key, in order.</summary>
    public IEnumerable<Entry> GetAll(string key)
    {
        foreach (var entry in _entries)
        {
            if (HasKey(entry, key))
                yield return entry;
        }
    }

    public void Add(string key, string value) => Add(new Entry(key, value));

    public void Add(string key, byte[] valueBytes) => Add(new Entry(key, valueBytes));

    public void Add(Entry item) => Writable().Add(NotNull(item));

    public void Insert(int index, Entry item) => Writable().Insert(index, NotNull(item));

    public bool Remove(Entry item) => Writable().Remove(item);

    public void RemoveAt(int index) => Writable().RemoveAt(index);

    public void Clear() => Writable().Clear();

    public int IndexOf(Entry item) => _entries.IndexOf(item);

    public bool Contains(Entry item) => _entries.Contains(item);

    public void CopyTo(Entry[] array, int arrayIndex) => _entries.CopyTo(array, arrayIndex);

    public IEnumerator<Entry> GetEnumerator() => _entries.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private static bool HasKey(Entry entry, string key) => string.Equals(entry.Key, key, StringComparison.OrdinalIgnoreCase);

    private static Entry NotNull(Entry item)
    {
        ArgumentNullException.ThrowIfNull(item);
        return item;
    }

    private List<Entry> Writable() => IsReadOnly ? throw new InvalidOperationException("This metadata is read-only.") : _entries;

    /// <summary>A key in lower case and a value, text or binary. Two entries are equal only if they are the same one.</summary>
    public class Entry
    {
        private readonly string? _text;
        private readonly byte[]? _bytes;

        public Entry(string key, byte[] valueBytes)
        {
            Key = Normalize(key);
            if (!HasBinarySuffix(Key))
                throw new ArgumentException($"The key of a binary value must end in \"{BinaryHeaderSuffix}\": \"{Key}\".", nameof(key));
            ArgumentNullException.ThrowIfNull(valueBytes);
            _bytes = [.. valueBytes];
        }

        public Entry(string key, string value)
        {
            Key = Normalize(key);
            if (HasBinarySuffix(Key))
                throw new ArgumentException($"The key of a text value must not end in \"{BinaryHeaderSuffix}\": \"{Key}\".", nameof(key));
            ArgumentNullException.ThrowIfNull(value);
            _text = value;
        }

        public string Key { get; }

        public bool IsBinary => _bytes is not null;

        public string Value => _text ?? throw new InvalidOperationException($"The value of \"{Key}\" is binary.");

        /// <summary>A copy of the binary value, or the text in ASCII.</summary>
        public byte[] ValueBytes => _bytes is null ? Encoding.ASCII.GetBytes(Value) : [.. _bytes];

        public override string ToString() => IsBinary
            ? $"[Entry: key={Key}, valueBytes={Convert.ToHexString(_bytes!)}]"
            : $"[Entry: key={Key}, value={_text}]";

        private static bool HasBinarySuffix(string key) => key.EndsWith(BinaryHeaderSuffix, StringComparison.Ordinal);

        private static string Normalize(string key)
        {
            ArgumentNullException.ThrowIfNull(key);
            foreach (var character in key)
            {
                if (!char.IsAsciiLetterOrDigit(character) && character is not ('.' or '_' or '-'))
                    throw new ArgumentException($"A metadata key has ASCII letters, digits, '.', '_' and '-' only: \"{key}\".", nameof(key));
            }

            return key.ToLowerInvariant();
        }
    }
}
