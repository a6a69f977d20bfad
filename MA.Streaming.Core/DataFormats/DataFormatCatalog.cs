using System.Collections.Concurrent;
using System.IO.Hashing;
using System.Threading.Channels;
using Google.Protobuf;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Internal;
using MA.Streaming.Core.Keys;
using MA.Streaming.Core.Packets;
using MA.Streaming.Core.Records;
using MA.Streaming.OpenData;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.DataFormats;

/// <summary>
/// The data formats of every data source that was asked for. A data source is loaded when it is first asked for, in the background of
/// everything else; a new format is a record in its essentials topic, and what is handed out is what that topic folds to.
/// </summary>
internal sealed class DataFormatCatalog : IFormatLookup, IAsyncDisposable
{
    private const int ObservedMax = 1_024;
    private const int ObservedListsMax = 10_000;

    private readonly Func<string, DataSourceFormats> _open;
    private readonly IBroker _broker;
    private readonly TopicDirectory _directory;
    private readonly EngineRecords _records;

    // Where the ids of new formats come from; null: from their content.
    private readonly IKeyGenerator? _ids;
    private readonly ILogger _logger;
    private readonly ConcurrentDictionary<string, Lazy<DataSourceFormats>> _dataSources = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<(string DataSource, DataFormatKind Kind, ulong Fingerprint), byte[]> _observed = new();
    private readonly Channel<InlineFormat> _toRegister =
        Channel.CreateBounded<InlineFormat>(new BoundedChannelOptions(ObservedMax) { SingleReader = true });

    private readonly OwnedLoop _registering;

    public DataFormatCatalog(
        IBroker broker,
        TopicDirectory directory,
        EngineRecords records,
        IKeyGenerator? ids,
        bool integrate,
        Telemetry telemetry,
        TimeProvider clock,
        ILogger logger)
    {
        _broker = broker;
        _directory = directory;
        _records = records;
        _ids = ids;
        _logger = logger;
        _open = dataSource => new DataSourceFormats(
            dataSource,
            integrate
                ? fold => new TopicFollower(broker, directory, TopicLayout.EssentialsTopic(dataSource), fold, logger, clock)
                : null,
            telemetry,
            logger);
        telemetry.ObserveDataFormats(
            () => Loaded().Sum(d => d.Value), Loaded);
        _registering = new OwnedLoop(RegisterObservedAsync);
    }

    /// <summary>The id of an identity, registered when it is new.</summary>
    public async Task<ulong> GetOrRegisterAsync(
        string dataSource, DataFormatKind kind, IReadOnlyList<string> identifiers, CancellationToken cancellationToken)
    {
        _records.CheckDataSource(dataSource);
        var formats = Of(dataSource);
        var identity = FormatIdentity.Of(dataSource, kind, identifiers);
        if (formats.Find(identity) is { } known) return known.Id;
        await GuardAsync(formats.LoadedAsync(cancellationToken), dataSource).ConfigureAwait(false);
        if (formats.Find(identity) is { } loaded) return loaded.Id;
        var format = await GuardAsync(
            formats.RegisterOnceAsync(identity, () => RegisterAsync(formats, dataSource, new(identity.ContentId, kind, identifiers, identity)), cancellationToken),
            dataSource).ConfigureAwait(false);
        return format.Id;
    }

    /// <summary>The identifiers of a format, or null when the log of the data source defines no such id.</summary>
    public async ValueTask<IReadOnlyList<string>?> ResolveAsync(
        string dataSource, ulong id, DataFormatKind kind, CancellationToken cancellationToken)
    {
        // A data source without essentials has no formats, and asking for them must not make anything.
        if (!_dataSources.ContainsKey(dataSource) && !await GuardAsync(HasEssentialsAsync(dataSource, cancellationToken), dataSource).ConfigureAwait(false))
        {
            return null;
        }

        var formats = Of(dataSource);
        var format = formats.Find(id);
        format ??= await GuardAsync(formats.ResolveAsync(id, cancellationToken).AsTask(), dataSource).ConfigureAwait(false);
        return format?.Kind == kind ? format.Identifiers : null;
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<string>?> FindParametersAsync(string dataSource, ulong id, CancellationToken cancellationToken) =>
        ResolveAsync(dataSource, id, DataFormatKind.Parameters, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<string>?> FindEventAsync(string dataSource, ulong id, CancellationToken cancellationToken) =>
        ResolveAsync(dataSource, id, DataFormatKind.Event, cancellationToken);

    /// <summary>Registers, later and in the background, the identifiers that a packet carries inline. Called for every packet that became
    /// durable, so it is cheap for identifiers that it has seen.</summary>
    public void Observe(string dataSource, ReadOnlySpan<byte> packet)
    {
        if (!PacketView.TryRead(packet, out var view)) return;
        var isEvent = view.Type.SequenceEqual("Event"u8);
        if (!isEvent && !view.Type.EndsWith("Data"u8)) return;
        if (!isEvent && !(view.Type.SequenceEqual("PeriodicData"u8) || view.Type.SequenceEqual("RowData"u8) || view.Type.SequenceEqual("SynchroData"u8))) return;
        var format = FormatView.Of(view.Content);
        if (format.Kind != FormatKind.Inline || format.Inline.IsEmpty) return;
        var kind = isEvent ? DataFormatKind.Event : DataFormatKind.Parameters;
        var key = (dataSource, kind, XxHash3.HashToUInt64(format.Inline));
        if (_observed.TryGetValue(key, out var seen) && format.Inline.SequenceEqual(seen)) return;
        var inline = format.Inline.ToArray();
        if (_observed.Count >= ObservedListsMax) _observed.Clear();

        // Full: the next packet of this format brings it again.
        if (_toRegister.Writer.TryWrite(new(dataSource, kind, inline))) _observed[key] = inline;
    }

    public async ValueTask DisposeAsync()
    {
        _toRegister.Writer.TryComplete();
        await _registering.DisposeAsync().ConfigureAwait(false);
        foreach (var formats in _dataSources.Values) await formats.Value.DisposeAsync().ConfigureAwait(false);
    }

    private async Task<bool> HasEssentialsAsync(string dataSource, CancellationToken cancellationToken)
    {
        var topic = TopicLayout.EssentialsTopic(dataSource);
        var partitions = Math.Max(1, _directory.PartitionsOf(topic));
        var marks = await _broker.GetWatermarksAsync(
            [.. Enumerable.Range(0, partitions).Select(p => new TopicPartition(topic, p))], cancellationToken).ConfigureAwait(false);
        return marks.Any(mark => mark.High > 0);
    }

    private DataSourceFormats Of(string dataSource) =>
        _dataSources.GetOrAdd(dataSource, name => new Lazy<DataSourceFormats>(() => _open(name))).Value;

    private IEnumerable<KeyValuePair<string, int>> Loaded() =>
        _dataSources.Where(d => d.Value.IsValueCreated).Select(d => KeyValuePair.Create(d.Key, d.Value.Value.Count));

    private async Task<DataFormat> RegisterAsync(DataSourceFormats formats, string dataSource, DataFormat format)
    {
        if (formats.Find(format.Identity) is { } known) return known;
        if (_ids is not null) format = format with { Id = await NextIdAsync(_ids).ConfigureAwait(false) };
        if (formats.Find(format.Id) is { } other && other.Identity != format.Identity)
        {
            _logger.FormatConflict(dataSource, format.Id);
            throw Errors.Internal(
                $"data format id {format.Id} of {dataSource}, meant for {Shown(format.Identifiers)}, is taken by {Shown(other.Identifiers)}");
        }

        var definition = new DataFormatDefinitionPacket
        {
            Identifier = format.Id,
            Type = format.Kind == DataFormatKind.Parameters ? DataFormatType.Parameter : DataFormatType.Event,
        };
        if (format.Kind == DataFormatKind.Event) definition.EventIdentifier = format.Identifiers[0];
        else definition.ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { format.Identifiers } };
        var packet = new Packet { Type = DataSourceFormats.DefinitionType, IsEssential = true, Content = definition.ToByteString() };
        var appended = await _records.AppendFormatAsync(dataSource, packet).ConfigureAwait(false);
        return await formats.FoldedAsync(format, appended, CancellationToken.None).ConfigureAwait(false);
    }

    private static async Task<ulong> NextIdAsync(IKeyGenerator ids)
    {
        try
        {
            return await ids.NextNumberAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (KeyGeneratorException exception)
        {
            throw Errors.From(exception, "no id for the data format");
        }
    }

    private async Task RegisterObservedAsync(CancellationToken stop)
    {
        await foreach (var inline in _toRegister.Reader.ReadAllAsync(stop).ConfigureAwait(false))
        {
            try
            {
                var identifiers = inline.Identifiers();
                if (identifiers.Count > 0) await GetOrRegisterAsync(inline.DataSource, inline.Kind, identifiers, stop).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is not OperationCanceledException || !stop.IsCancellationRequested)
            {
                _observed.TryRemove((inline.DataSource, inline.Kind, XxHash3.HashToUInt64(inline.Bytes)), out _);
                _logger.AutoRegisterFailed(inline.DataSource, exception);
            }
        }
    }

    private static async Task GuardAsync(Task task, string dataSource)
    {
        try
        {
            await task.ConfigureAwait(false);
        }
        catch (BrokerException exception)
        {
            throw Errors.From(exception, $"loading the data formats of {dataSource}");
        }
        catch (ObjectDisposedException)
        {
            throw Errors.ShuttingDown();
        }
    }

    private static async Task<T> GuardAsync<T>(Task<T> task, string dataSource)
    {
        await GuardAsync((Task)task, dataSource).ConfigureAwait(false);
        return await task.ConfigureAwait(false);
    }

    private static string Shown(IReadOnlyList<string> identifiers) =>
        identifiers.Count <= 3 ? $"[{string.Join(", ", identifiers)}]" : $"[{string.Join(", ", identifiers.Take(3))}, … {identifiers.Count} in all]";

    private readonly record struct InlineFormat(string DataSource, DataFormatKind Kind, byte[] Bytes)
    {
        public IReadOnlyList<string> Identifiers() =>
            Kind == DataFormatKind.Event
                ? [System.Text.Encoding.UTF8.GetString(Bytes)]
                : ParameterList.Parser.ParseFrom(Bytes).ParameterIdentifiers;
    }
}
