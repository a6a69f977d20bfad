using System.Collections.Concurrent;
using Google.Protobuf;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Packets;
using MA.Streaming.OpenData;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.DataFormats;

/// <summary>The data formats of one data source, folded from its essentials topic; without a follower, those registered here.</summary>
internal sealed class DataSourceFormats : IAsyncDisposable
{
    public const string DefinitionType = "DataFormatDefinition";
    private const int UnknownMax = 10_000;

    private readonly string _dataSource;
    private readonly Telemetry _telemetry;
    private readonly ILogger _logger;
    private readonly ConcurrentDictionary<ulong, (DataFormat Format, LogPlace Place)> _byId = new();
    private readonly ConcurrentDictionary<FormatIdentity, (DataFormat Format, LogPlace Place)> _byIdentity = new();
    private readonly ConcurrentDictionary<FormatIdentity, Task<DataFormat>> _registering = new();
    private readonly ConcurrentDictionary<ulong, long> _unknown = new();
    private readonly TopicFollower? _follower;
    private int _unknownCount;

    public DataSourceFormats(string dataSource, Func<Action<int, Record>, TopicFollower>? follow, Telemetry telemetry, ILogger logger)
    {
        _dataSource = dataSource;
        _telemetry = telemetry;
        _logger = logger;
        _follower = follow?.Invoke(Fold);
    }

    public int Count => _byId.Count;

    /// <summary>The format that is handed out for an identity: the first in the log.</summary>
    public DataFormat? Find(FormatIdentity identity) => _byIdentity.TryGetValue(identity, out var known) ? known.Format : null;

    public DataFormat? Find(ulong id) => _byId.TryGetValue(id, out var known) ? known.Format : null;

    public Task LoadedAsync(CancellationToken cancellationToken) => _follower?.CaughtUp.WaitAsync(cancellationToken) ?? Task.CompletedTask;

    /// <summary>The format of an id; looks once more at what the log holds now before it says that there is none.</summary>
    public async ValueTask<DataFormat?> ResolveAsync(ulong id, CancellationToken cancellationToken)
    {
        if (Find(id) is { } known || _follower is null) return Find(id);
        await LoadedAsync(cancellationToken).ConfigureAwait(false);
        if (Find(id) is { } loaded) return loaded;

        // What is unknown now stays unknown until the topic grows.
        var durable = await _follower.CatchUpAsync(
            _unknown.TryGetValue(id, out var unknownAt) ? unknownAt : -1, cancellationToken).ConfigureAwait(false);
        if (Find(id) is { } caughtUp) return caughtUp;
        if (Interlocked.Increment(ref _unknownCount) > UnknownMax)
        {
            _unknown.Clear();
            _unknownCount = 0;
        }

        _unknown[id] = durable;
        return null;
    }

    /// <summary>Registers an identity once, however many ask at the same time.</summary>
    public async Task<DataFormat> RegisterOnceAsync(FormatIdentity identity, Func<Task<DataFormat>> register, CancellationToken cancellationToken)
    {
        var mine = new TaskCompletionSource<DataFormat>();
        var registering = _registering.GetOrAdd(identity, mine.Task);
        if (registering != mine.Task) return await registering.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            // Not cancelled with its first caller: others may be waiting for it.
            mine.SetResult(await register().ConfigureAwait(false));
        }
        catch (Exception exception)
        {
            mine.SetException(exception);
        }
        finally
        {
            _registering.TryRemove(identity, out _);
        }

        return await mine.Task.ConfigureAwait(false);
    }

    /// <summary>Waits until a definition that was appended is folded; without a follower takes it in at once.</summary>
    public async Task<DataFormat> FoldedAsync(DataFormat format, Appended appended, CancellationToken cancellationToken)
    {
        if (_follower is null) Add(format, new(appended.Timestamp, appended.Partition, appended.Offset));
        else await _follower.WaitForAsync(appended.Partition, appended.Offset, cancellationToken).ConfigureAwait(false);
        return Find(format.Identity) ?? throw Errors.Internal($"data format {format.Id} of {_dataSource} was written, but does not fold");
    }

    public ValueTask DisposeAsync() => _follower?.DisposeAsync() ?? default;

    private void Fold(int partition, Record record)
    {
        if (record.Value is not { } value || !PacketView.TryRead(value.Span, out var packet) || !packet.Type.SequenceEqual("DataFormatDefinition"u8)) return;
        DataFormatDefinitionPacket definition;
        try
        {
            definition = DataFormatDefinitionPacket.Parser.ParseFrom(packet.Content);
        }
        catch (InvalidProtocolBufferException)
        {
            _telemetry.Skipped("data format record");
            return;
        }

        var (kind, identifiers) = definition.FormatCase switch
        {
            DataFormatDefinitionPacket.FormatOneofCase.ParameterIdentifiers =>
                (DataFormatKind.Parameters, (string[])[.. definition.ParameterIdentifiers.ParameterIdentifiers]),
            DataFormatDefinitionPacket.FormatOneofCase.EventIdentifier => (DataFormatKind.Event, [definition.EventIdentifier]),
            _ => (default, []),
        };
        if (identifiers.Length == 0)
        {
            _telemetry.Skipped("data format record");
            return;
        }

        var format = new DataFormat(definition.Identifier, kind, identifiers, FormatIdentity.Of(_dataSource, kind, identifiers));
        Add(format, new(record.Timestamp, partition, record.Offset));
    }

    // One fold at a time, so that reading and then writing an entry is safe.
    private void Add(DataFormat format, LogPlace place)
    {
        if (!_byId.TryGetValue(format.Id, out var sameId)) _byId[format.Id] = (format, place);
        else if (sameId.Format.Identity != format.Identity)
        {
            _logger.FormatConflict(_dataSource, format.Id);
            if (place.CompareTo(sameId.Place) >= 0) return;
            _byId[format.Id] = (format, place);

            // What came later in the log no longer has this id.
            if (_byIdentity.TryGetValue(sameId.Format.Identity, out var displaced) && displaced.Format.Id == format.Id)
            {
                _byIdentity.TryRemove(sameId.Format.Identity, out _);
            }
        }

        if (!_byIdentity.TryGetValue(format.Identity, out var sameIdentity) || place.CompareTo(sameIdentity.Place) < 0)
        {
            _byIdentity[format.Identity] = (format, place);
        }
    }
}
