using System.Buffers;

namespace MA.Streaming.Core.Broker;

/// <summary>What a topic may be called, on every broker alike.</summary>
public static class TopicNames
{
    /// <summary>Characters of the longest name.</summary>
    public const int LengthMax = 249;

    private static readonly SearchValues<char> Allowed =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    /// <summary>Refuses a name that no topic may have.</summary>
    /// <exception cref="ArgumentException">The name is not allowed; the message names the character, or the length.</exception>
    public static void ThrowIfNotAllowed(string name)
    {
        if (WhyNot(name) is { } reason) throw new ArgumentException(reason, nameof(name));
    }

    /// <summary>Whether a topic may have this name.</summary>
    public static bool IsAllowed(string name) => WhyNot(name) is null;

    private static string? WhyNot(string name)
    {
        if (string.IsNullOrEmpty(name)) return "a topic name must not be empty";
        if (name.Length > LengthMax) return $"a topic name has at most {LengthMax} characters; this one has {name.Length}";
        if (name is "." or "..") return $"'{name}' is not allowed as a topic name";
        var at = name.AsSpan().IndexOfAnyExcept(Allowed);
        return at < 0
            ? null
            : $"the topic name '{Shown(name)}' has the character '{Shown(name[at].ToString())}' (U+{(int)name[at]:X4}) at {at}; "
                + "allowed are the letters a-z and A-Z, digits, '.', '_' and '-'";
    }

    // A message must not carry control characters into logs and terminals.
    private static string Shown(string text) => string.Create(text.Length, text, static (shown, from) =>
    {
        for (var i = 0; i < from.Length; i++) shown[i] = char.IsControl(from[i]) || char.IsSurrogate(from[i]) ? '\uFFFD' : from[i];
    });
}
