using System.Globalization;

namespace MA.Streaming.Core.Packets;

/// <summary>What kind of value a sample holds.</summary>
public enum SampleKind
{
    /// <summary>A 64-bit floating point number.</summary>
    Double,

    /// <summary>A 32-bit signed number.</summary>
    Int32,

    /// <summary>True or false.</summary>
    Boolean,

    /// <summary>A text.</summary>
    Text,
}

/// <summary>The value of one sample: a number, a flag or a text, held without boxing. Two values are equal when kind and
/// content are; as with <see cref="double.Equals(double)"/>, a NaN equals a NaN and 0 equals -0.</summary>
public readonly struct SampleValue : IEquatable<SampleValue>
{
    private readonly long _bits;
    private readonly string? _text;

    private SampleValue(SampleKind kind, long bits, string? text)
    {
        Kind = kind;
        _bits = bits;
        _text = text;
    }

    /// <summary>Which of the four kinds it is. The default value is the double 0.</summary>
    public SampleKind Kind { get; }

    /// <summary>A double's value.</summary>
    /// <param name="value">The number.</param>
    public static SampleValue Of(double value) => new(SampleKind.Double, BitConverter.DoubleToInt64Bits(value), null);

    /// <summary>A number's value.</summary>
    /// <param name="value">The number.</param>
    public static SampleValue Of(int value) => new(SampleKind.Int32, value, null);

    /// <summary>A flag's value.</summary>
    /// <param name="value">The flag.</param>
    public static SampleValue Of(bool value) => new(SampleKind.Boolean, value ? 1 : 0, null);

    /// <summary>A text's value.</summary>
    /// <param name="value">The text.</param>
    public static SampleValue Of(string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        return new(SampleKind.Text, 0, value);
    }

    /// <summary>Whether it reads as a number: every kind but a text does, false as 0 and true as 1.</summary>
    public bool IsNumeric => Kind != SampleKind.Text;

    /// <summary>The number it reads as; a double, a 32-bit number and a flag do.</summary>
    /// <exception cref="InvalidOperationException">It is a text.</exception>
    public double ToDouble() => Kind switch
    {
        SampleKind.Double => BitConverter.Int64BitsToDouble(_bits),
        SampleKind.Text => throw Not("a number"),
        _ => _bits,
    };

    /// <summary>The 32-bit number it holds; nothing is converted.</summary>
    /// <exception cref="InvalidOperationException">It is of another kind.</exception>
    public int ToInt32() => Kind == SampleKind.Int32 ? (int)_bits : throw Not("a 32-bit number");

    /// <summary>The flag it holds; nothing is converted.</summary>
    /// <exception cref="InvalidOperationException">It is of another kind.</exception>
    public bool ToBoolean() => Kind == SampleKind.Boolean ? _bits != 0 : throw Not("a flag");

    /// <summary>The text of any kind of value, numbers in the invariant culture and in the shortest form that reads back the
    /// same.</summary>
    public override string ToString() => Kind switch
    {
        SampleKind.Double => BitConverter.Int64BitsToDouble(_bits).ToString("R", CultureInfo.InvariantCulture),
        SampleKind.Int32 => _bits.ToString(CultureInfo.InvariantCulture),
        SampleKind.Boolean => _bits != 0 ? "true" : "false",
        _ => _text!,
    };

    /// <inheritdoc/>
    public bool Equals(SampleValue other) => Kind == other.Kind && Kind switch
    {
        SampleKind.Double => ToDouble().Equals(other.ToDouble()),
        SampleKind.Text => string.Equals(_text, other._text, StringComparison.Ordinal),
        _ => _bits == other._bits,
    };

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is SampleValue other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Kind switch
    {
        SampleKind.Double => ToDouble().GetHashCode(),
        SampleKind.Text => _text!.GetHashCode(StringComparison.Ordinal),
        _ => HashCode.Combine(Kind, _bits),
    };

    /// <summary>Same kind and same content.</summary>
    /// <param name="left">One value.</param>
    /// <param name="right">The other.</param>
    public static bool operator ==(SampleValue left, SampleValue right) => left.Equals(right);

    /// <summary>Another kind or another content.</summary>
    /// <param name="left">One value.</param>
    /// <param name="right">The other.</param>
    public static bool operator !=(SampleValue left, SampleValue right) => !left.Equals(right);

    private InvalidOperationException Not(string wanted) => new($"a sample of kind {Kind} ({this}) is not {wanted}");
}
