using MA.Streaming.Core;
using MA.Streaming.Core.Keys;
using MA.Streaming.KeyGenerator;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>
/// A key generator inside this process. A host may put it behind a port, or a program may use it directly. Each number is larger than the
/// one before, also after a restart if it has a directory.
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
    /// <param name="directory">Holds the folder <c>key-generator</c>, in which it stores the number that the next ones must exceed. Empty: it
    /// stores nothing. Numbers may then come again after a restart, if the clock went back; a warning says so.</param>
    /// <param name="options">Logging and clock.</param>
    /// <exception cref="IOException">Another key generator uses the directory, it cannot be used, or its file is damaged.</exception>
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

    /// <summary>Releases the directory.</summary>
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
