namespace MA.Streaming.Core.Keys;

/// <summary>Makes session keys, and the format ids of a deployment with a key generator. Any thread may call it.</summary>
public interface IKeyGenerator
{
    /// <summary>Makes a unique key: a GUID in lower case with hyphens.</summary>
    /// <exception cref="KeyGeneratorException">The generator has none now.</exception>
    ValueTask<string> NextStringAsync(CancellationToken cancellationToken);

    /// <summary>Makes a number that is larger than every number before.</summary>
    /// <exception cref="KeyGeneratorException">The generator has none now.</exception>
    ValueTask<ulong> NextNumberAsync(CancellationToken cancellationToken);
}

/// <summary>The key generator cannot give a key: it cannot be reached, or cannot keep its promise that no key comes twice.</summary>
/// <param name="message">Names the key generator and the reason.</param>
/// <param name="innerException">The failure behind it.</param>
public sealed class KeyGeneratorException(string message, Exception? innerException = null) : Exception(message, innerException);
