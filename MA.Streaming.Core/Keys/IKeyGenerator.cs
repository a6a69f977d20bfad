namespace MA.Streaming.Core.Keys;

/// <summary>Where session keys come from, and the format ids of a deployment with a key generator. Safe to call from any thread.</summary>
public interface IKeyGenerator
{
    /// <summary>A key nobody else has: a GUID, lower case, with hyphens.</summary>
    /// <exception cref="KeyGeneratorException">There is none to be had now.</exception>
    ValueTask<string> NextStringAsync(CancellationToken cancellationToken);

    /// <summary>A number larger than every one before.</summary>
    /// <exception cref="KeyGeneratorException">There is none to be had now.</exception>
    ValueTask<ulong> NextNumberAsync(CancellationToken cancellationToken);
}

/// <summary>There is no key to be had: the key generator cannot be reached, or cannot keep its promise that no key comes twice.</summary>
/// <param name="message">Which key generator, and why.</param>
/// <param name="innerException">The failure behind it.</param>
public sealed class KeyGeneratorException(string message, Exception? innerException = null) : Exception(message, innerException);
