using MA.Streaming.Core;
using MA.Streaming.Core.Keys;
using MA.Streaming.KeyGenerator;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// A key generator inside this process, for a host to put behind a port, or for direct use. Its numbers increase strictly, across
/// restarts too when it has a directory.
/// </summary>
public sealed class LocalKeyGenerator : IDisposable
{
    private readonly KeyFloor? _floor;
    private readonly UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient _client;

    private LocalKeyGenerator(KeyFloor? floor, StreamApiOptions options)
    {
        _floor = floor;
        var keys = floor is null ? new Core.Keys.KeyGenerator(options.Clock) : new(options.Clock, floor.Read(), floor.Write);
        Service = new KeyGeneratorEndpoint(keys);
        var channel = new InProcessChannel(clock: options.Clock);
        channel.Bind(binder => UniqueKeyGeneratorService.BindService(binder, Service));
        _client = new(channel.CreateCallInvoker());
    }

    /// <summary>The unique key generator service.</summary>
    public UniqueKeyGeneratorService.UniqueKeyGeneratorServiceBase Service { get; }

    /// <summary>Starts a key generator.</summary>
    /// <param name="directory">Where it keeps, in a folder <c>key-generator</c> of its own, what its numbers have to stay above. Empty: nowhere;
    /// after a restart numbers may come again if the clock went back meanwhile, which a warning says.</param>
    /// <param name="options">Logging and clock.</param>
    /// <exception cref="IOException">The directory is another key generator's or cannot be used, or what it holds is damaged.</exception>
    public static LocalKeyGenerator Start(string directory, StreamApiOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(directory);
        options ??= StreamApiOptions.Default;
        if (directory.Length > 0) return Start(KeyFloor.Open(Path.Combine(directory, "key-generator")), options);
        options.LoggerFactory.CreateLogger<LocalKeyGenerator>().KeyFloorNotKept();
        return new LocalKeyGenerator(null, options);
    }

    /// <summary>A client of the service, without a network.</summary>
    public UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient GetKeyGeneratorClient() => _client;

    /// <summary>Gives the directory back.</summary>
    public void Dispose() => _floor?.Dispose();

    internal static LocalKeyGenerator Start(KeyFloor floor, StreamApiOptions options)
    {
        try
        {
            return new LocalKeyGenerator(floor, options);
        }
        catch
        {
            floor.Dispose();
            throw;
        }
    }
}
