using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.Abstraction;
using MA.Streaming.Core;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Core.Keys;
using MA.Streaming.KeyGenerator;

namespace MA.Streaming.Proto.Client.Remote;

/// <summary>Gets keys from a key generator service. If the service does not answer, there is no key: this class never makes one itself.</summary>
public sealed class RemoteKeyGenerator : IKeyGenerator, IDisposable
{
    /// <summary>How long the service may take for a key, tried again or not.</summary>
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(10);

    private readonly ServerAddress _address;
    private readonly GrpcChannel _channel;
    private readonly UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient _client;
    private readonly TimeProvider _clock;

    private RemoteKeyGenerator(ServerAddress address, RemoteStreamingApiOptions options, TimeProvider clock)
    {
        _address = address;
        _channel = ServerChannel.Open(address, options);
        _client = new(_channel);
        _clock = clock;
    }

    /// <summary>Makes a client of the key generator that a configuration names. Null if it names none. The first request for a key connects.</summary>
    /// <exception cref="ConfigurationException">RemoteKeyGeneratorServiceAddress is not an address.</exception>
    public static RemoteKeyGenerator? Of(IStreamingApiConfiguration configuration, StreamApiOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        if (!configuration.UseRemoteKeyGenerator) return null;
        options ??= StreamApiOptions.Default;
        var text = configuration.RemoteKeyGeneratorServiceAddress ?? "";
        return ServerAddress.TryParse(text, out var address, out var error)
            ? new(address, new RemoteStreamingApiOptions { LoggerFactory = options.LoggerFactory }, options.Clock)
            : throw new ConfigurationException("RemoteKeyGeneratorServiceAddress", $"'{text}' ({error})", ServerAddress.Allowed);
    }

    /// <inheritdoc/>
    public async ValueTask<string> NextStringAsync(CancellationToken cancellationToken)
    {
        var response = await AskAsync(KeyType.String, cancellationToken).ConfigureAwait(false);
        return response.StringKey.Length > 0 ? response.StringKey : throw Unusable(response);
    }

    /// <inheritdoc/>
    public async ValueTask<ulong> NextNumberAsync(CancellationToken cancellationToken)
    {
        var response = await AskAsync(KeyType.Ulong, cancellationToken).ConfigureAwait(false);
        return response.UlongKey > 0 ? response.UlongKey : throw Unusable(response);
    }

    /// <summary>Closes the channel.</summary>
    public void Dispose() => _channel.Dispose();

    private async Task<GenerateUniqueKeyResponse> AskAsync(KeyType type, CancellationToken cancellationToken)
    {
        try
        {
            var deadline = (_clock.GetUtcNow() + Timeout).UtcDateTime;
            return await _client.GenerateUniqueKeyAsync(new() { Type = type }, deadline: deadline, cancellationToken: cancellationToken).ConfigureAwait(false);
        }
        catch (RpcException exception)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw new KeyGeneratorException($"the key generator {_address} answered {exception.StatusCode}: {exception.Status.Detail}", exception);
        }
        catch (ObjectDisposedException exception)
        {
            throw new KeyGeneratorException($"the client of the key generator {_address} is closed", exception);
        }
    }

    private KeyGeneratorException Unusable(GenerateUniqueKeyResponse response) =>
        new($"the key generator {_address} answered without a key of the type asked for: {response}");
}
