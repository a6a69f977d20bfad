using Grpc.Core;
using MA.Streaming.KeyGenerator;

namespace MA.Streaming.Core.Keys;

/// <summary>The unique key generator service.</summary>
internal sealed class KeyGeneratorEndpoint(IKeyGenerator keys) : UniqueKeyGeneratorService.UniqueKeyGeneratorServiceBase
{
    /// <inheritdoc/>
    public override async Task<GenerateUniqueKeyResponse> GenerateUniqueKey(GenerateUniqueKeyRequest request, ServerCallContext context)
    {
        try
        {
            return request.Type switch
            {
                KeyType.String => new() { StringKey = await keys.NextStringAsync(context.CancellationToken).ConfigureAwait(false) },
                KeyType.Ulong => new() { UlongKey = await keys.NextNumberAsync(context.CancellationToken).ConfigureAwait(false) },
                _ => throw Errors.InvalidArgument($"type is {(int)request.Type}; allowed are 1 (KEY_TYPE_ULONG) and 2 (KEY_TYPE_STRING)"),
            };
        }
        catch (KeyGeneratorException exception)
        {
            throw Errors.From(exception, "no key");
        }
        catch (ObjectDisposedException)
        {
            throw Errors.ShuttingDown();
        }
    }
}
