using System.Collections.Concurrent;
using System.Collections.Immutable;
using Google.Protobuf;
using Google.Protobuf.Collections;
using Google.Protobuf.WellKnownTypes;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Internal;
using MA.Streaming.Core.Keys;
using MA.Streaming.Core.Records;
using MA.Streaming.OpenData;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Sessions;

/// <summary>A session has started or ended.</summary>
internal readonly record struct SessionChange(string DataSource, string SessionKey, bool HasEnded);

/// <summary>
/// Every session, folded from the SessionInfo topic and from nothing else. What changes a session appends a record, waits until it is
/// folded, and answers from the folded state, so that servers on one broker never disagree.
/// </summary>
internal sealed class SessionCatalog : IAsyncDisposable
{
    public const string NewSessionType = "NewSession";
    public const string EndOfSessionType = "EndOfSession";
    public const string SessionInfoType = "SessionInfo";
    private const string DefaultType = "Session";

    private readonly IBroker _broker;
    private readonly EngineRecords _records;
    private readonly TopicLayout _layout;
    private readonly TopicDirectory _directory;
    private readonly IKeyGenerator _keys;
    private readonly Telemetry _telemetry;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly ConcurrentDictionary<string, Session> _sessions = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, ImmutableList<Session>> _byDataSource = new(StringComparer.Ordinal);
    private readonly ChangeFeed<SessionChange> _changes;
    private readonly TopicFollower _follower;
    private int _active;

    public SessionCatalog(
        IBroker broker,
        EngineRecords records,
        TopicLayout layout,
        TopicDirectory directory,
        IKeyGenerator keys,
        StreamingApiLimits limits,
        Telemetry telemetry,
        TimeProvider clock,
        ILogger logger)
    {
        _broker = broker;
        _records = records;
        _layout = layout;
        _directory = directory;
        _keys = keys;
        _telemetry = telemetry;
        _clock = clock;
        _logger = logger;
        _changes = new(limits.NotificationsMax);
        telemetry.ObserveSessions(
            () => Volatile.Read(ref _active), () => _byDataSource.Select(d => KeyValuePair.Create(d.Key, d.Value.Count)));
        _follower = new TopicFollower(broker, directory, TopicLayout.SessionInfo, Fold, logger, clock);
    }

    /// <summary>The follower behind it, for who waits for the start.</summary>
    public TopicFollower Follower => _follower;

    public Session? Find(string key) => _sessions.GetValueOrDefault(key);

    /// <summary>The sessions of exactly this data source, oldest first, ended ones too.</summary>
    public IReadOnlyList<Session> OfDataSource(string dataSource) => _byDataSource.GetValueOrDefault(dataSource, []);

    /// <summary>All sessions that have not ended.</summary>
    public IEnumerable<Session> Active() => _sessions.Values.Where(s => !s.IsComplete);

    /// <summary>The sessions that start or end from now on.</summary>
    public ChangeFeed<SessionChange>.Subscription Subscribe(string dataSource, bool ended) =>
        _changes.Subscribe(change => change.HasEnded == ended && change.DataSource == dataSource);

    /// <summary>Creates a session, or finds the one of the caller's key if it was created with the same content.</summary>
    public async Task<Session> CreateAsync(CreateSessionRequest request, CancellationToken cancellationToken)
    {
        var wanted = Wanted(request);
        _records.CheckDataSource(wanted.DataSource);
        var key = request.SessionKey;
        if (key.Length > 0)
        {
            await FindCaughtUpAsync(key, cancellationToken).ConfigureAwait(false);
            if (Find(key) is { } existing) return SameOrThrow(existing, wanted, request);
        }
        else
        {
            try
            {
                key = await _keys.NextStringAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (KeyGeneratorException exception)
            {
                throw Errors.From(exception, "no key for the session");
            }
        }

        var creationTime = wanted.CreationTime ?? Now();
        var info = wanted.Clone();
        info.CreationTime = creationTime;
        info.UtcOffset ??= new Duration();
        var packet = new NewSessionPacket
        {
            DataSource = wanted.DataSource,
            UtcOffset = info.UtcOffset,
            SessionInfo = info,
            CreationTime = creationTime,
        };
        await AddOffsetsAsync(packet.TopicPartitionOffsets, wanted.DataSource, cancellationToken).ConfigureAwait(false);
        var appended = await PublishAsync(NewSessionType, key, packet, cancellationToken).ConfigureAwait(false);
        var session = Find(key) ?? throw Errors.Internal($"session '{key}' was written to {TopicLayout.SessionInfo}, but its record does not fold");
        return session.Place.Partition == appended.Partition && session.Place.Offset == appended.Offset
            ? session
            : SameOrThrow(session, wanted, request);
    }

    /// <summary>Ends a session; null when there is none. Ended before: as it was ended first.</summary>
    public async Task<Session?> EndAsync(string key, Timestamp? terminationTime, CancellationToken cancellationToken)
    {
        if (await FindCaughtUpAsync(key, cancellationToken).ConfigureAwait(false) is not { } session) return null;
        if (session.IsComplete) return session;
        var packet = new EndOfSessionPacket { DataSource = session.DataSource, TerminationTime = terminationTime ?? Now() };
        await AddOffsetsAsync(packet.TopicPartitionOffsets, session.DataSource, cancellationToken).ConfigureAwait(false);
        await PublishAsync(EndOfSessionType, key, packet, cancellationToken).ConfigureAwait(false);
        return Find(key);
    }

    /// <summary>Publishes what changes; false when there is no such session. A change of nothing publishes nothing.</summary>
    public async Task<bool> UpdateAsync(string key, Func<Session, SessionInfoPacket?> change, CancellationToken cancellationToken)
    {
        if (await FindCaughtUpAsync(key, cancellationToken).ConfigureAwait(false) is not { } session) return false;
        if (change(session) is not { } info) return true;
        info.DataSource = session.DataSource;
        await PublishAsync(SessionInfoType, key, info, cancellationToken).ConfigureAwait(false);
        return true;
    }

    public ValueTask DisposeAsync() => _follower.DisposeAsync();

    /// <summary>What a request asks for: the set fields of its session_info win over its own, and defaults fill in.</summary>
    private static SessionInfoPacket Wanted(CreateSessionRequest request)
    {
        var given = request.SessionInfo ?? new SessionInfoPacket();
        var wanted = new SessionInfoPacket
        {
            DataSource = FirstSet(given.DataSource, request.DataSource, ""),
            Identifier = FirstSet(given.Identifier, request.Identifier, ""),
            Type = FirstSet(given.Type, request.Type, DefaultType),
            Version = given.Version != 0 ? given.Version : Math.Max(1, request.Version),
            UtcOffset = given.UtcOffset ?? request.UtcOffset,
            CreationTime = given.CreationTime ?? request.CreationTime,
        };
        wanted.AssociateSessionKeys.Add(
            Session.Union([], given.AssociateSessionKeys.Count > 0 ? given.AssociateSessionKeys : request.AssociateSessionKey));
        foreach (var (name, value) in request.Details) wanted.Details[name] = value;
        foreach (var (name, value) in given.Details) wanted.Details[name] = value;
        return wanted;
    }

    private static string FirstSet(string first, string second, string fallback) =>
        first.Length > 0 ? first : second.Length > 0 ? second : fallback;

    // Compared is the first request as it was recorded; later updates and the end do not count, nor does a creation time left to us.
    private static Session SameOrThrow(Session existing, SessionInfoPacket wanted, CreateSessionRequest request)
    {
        var packet = NewSessionPacket.Parser.ParseFrom(existing.NewSession);
        var recorded = packet.SessionInfo ?? new SessionInfoPacket { Type = DefaultType, Version = 1 };
        var difference =
            packet.DataSource != wanted.DataSource ? $"data_source '{packet.DataSource}', not '{wanted.DataSource}'"
            : recorded.Identifier != wanted.Identifier ? $"identifier '{recorded.Identifier}', not '{wanted.Identifier}'"
            : recorded.Type != wanted.Type ? $"type '{recorded.Type}', not '{wanted.Type}'"
            : recorded.Version != wanted.Version ? $"version {recorded.Version}, not {wanted.Version}"
            : !Equals(packet.UtcOffset ?? new Duration(), wanted.UtcOffset ?? new Duration()) ? "another utc_offset"
            : !recorded.AssociateSessionKeys.Equals(wanted.AssociateSessionKeys) ? "other associate session keys"
            : !recorded.Details.Equals(wanted.Details) ? "other details"
            : wanted.CreationTime is not null && !Equals(packet.CreationTime, wanted.CreationTime) ? "another creation_time"
            : null;
        return difference is null
            ? existing
            : throw Errors.AlreadyExists($"session_key '{request.SessionKey}' is taken by a session created with {difference}");
    }

    private Timestamp Now() => Timestamp.FromDateTimeOffset(_clock.GetUtcNow());

    private async Task<Session?> FindCaughtUpAsync(string key, CancellationToken cancellationToken)
    {
        if (key.Length == 0) return null;
        if (Find(key) is { } known) return known;

        // Another server may have written it a moment ago.
        await CatchUpAsync(cancellationToken).ConfigureAwait(false);
        return Find(key);
    }

    private async Task CatchUpAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _follower.CatchUpAsync(caughtUpAt: -1, cancellationToken).ConfigureAwait(false);
        }
        catch (BrokerException exception)
        {
            throw Errors.From(exception, $"catching up with {TopicLayout.SessionInfo}");
        }
        catch (ObjectDisposedException)
        {
            throw Errors.ShuttingDown();
        }
    }

    private async Task<Appended> PublishAsync(string type, string key, IMessage content, CancellationToken cancellationToken)
    {
        var packet = new Packet { Type = type, SessionKey = key, Content = content.ToByteString() };
        var appended = await _records.AppendSessionAsync(packet).ConfigureAwait(false);
        try
        {
            await _follower.WaitForAsync(appended.Partition, appended.Offset, cancellationToken).ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            throw Errors.ShuttingDown();
        }

        return appended;
    }

    private async Task AddOffsetsAsync(MapField<string, long> offsets, string dataSource, CancellationToken cancellationToken)
    {
        var sources = new HashSet<TopicPartition> { new(dataSource, 0), new(TopicLayout.EssentialsTopic(dataSource), 0) };
        if (_layout.IsPartitionBased)
        {
            foreach (var stream in _layout.MappedStreams) sources.Add(_layout.PlaceStream(dataSource, stream).Target);
        }
        else
        {
            foreach (var stream in _directory.StreamsOf(dataSource)) sources.Add(new(TopicLayout.StreamTopic(dataSource, stream), 0));
        }

        try
        {
            foreach (var mark in await _broker.GetWatermarksAsync([.. sources], cancellationToken).ConfigureAwait(false))
            {
                offsets[mark.Source.ToString()] = mark.High;
            }
        }
        catch (BrokerException exception)
        {
            throw Errors.From(exception, $"reading the offsets of {dataSource}");
        }
    }

    private void Fold(int partition, Record record)
    {
        Packet? packet = null;
        if (record.Value is { } value)
        {
            try
            {
                packet = Packet.Parser.ParseFrom(value.Span);
            }
            catch (InvalidProtocolBufferException)
            {
                // Not a packet; said below.
            }
        }

        var skipped = packet switch
        {
            null => "not a packet",
            _ when record.Key is not { Length: > 0 } => "it has no key",
            { SessionKey.Length: 0 } => "it names no session",
            { Type: NewSessionType } => FoldNew(packet, new(record.Timestamp, partition, record.Offset)),
            { Type: SessionInfoType } => FoldInfo(packet),
            { Type: EndOfSessionType } => FoldEnd(packet, record.Timestamp),
            _ => "its type means nothing here",
        };
        if (skipped is null) return;
        _telemetry.Skipped("session record");
        _logger.SessionRecordSkipped(partition, record.Offset, packet?.Type ?? "", skipped);
    }

    private string? FoldNew(Packet packet, LogPlace place)
    {
        if (_sessions.ContainsKey(packet.SessionKey)) return "the session is known";
        if (!TryParse(NewSessionPacket.Parser, packet.Content, out var content)) return "its content is damaged";
        var info = content.SessionInfo;
        var session = new Session
        {
            Key = packet.SessionKey,
            DataSource = content.DataSource,
            Place = place,
            NewSession = packet.Content,
            UtcOffset = content.UtcOffset ?? info?.UtcOffset ?? new Duration(),
            CreationTime = content.CreationTime ?? info?.CreationTime ?? Timestamp.FromDateTimeOffset(place.Timestamp),
        };
        if (info is not null) session = session.With(info);
        if (session.Type.Length == 0) session = session with { Type = DefaultType };
        if (session.Version == 0) session = session with { Version = 1 };
        _sessions[session.Key] = session;
        _byDataSource[session.DataSource] = Insert(OfDataSourceList(session.DataSource), session);
        Interlocked.Increment(ref _active);
        _changes.Publish(new(session.DataSource, session.Key, HasEnded: false));
        return null;
    }

    private string? FoldInfo(Packet packet)
    {
        if (!_sessions.TryGetValue(packet.SessionKey, out var session)) return "the session is unknown";
        if (!TryParse(SessionInfoPacket.Parser, packet.Content, out var info)) return "its content is damaged";
        _sessions[session.Key] = session.With(info);
        return null;
    }

    private string? FoldEnd(Packet packet, DateTimeOffset timestamp)
    {
        if (!_sessions.TryGetValue(packet.SessionKey, out var session)) return "the session is unknown";
        if (session.IsComplete) return "the session has ended";
        if (!TryParse(EndOfSessionPacket.Parser, packet.Content, out var end)) return "its content is damaged";
        _sessions[session.Key] = session with
        {
            EndOfSession = packet.Content,
            TerminationTime = end.TerminationTime ?? Timestamp.FromDateTimeOffset(timestamp),
        };
        Interlocked.Decrement(ref _active);
        _changes.Publish(new(session.DataSource, session.Key, HasEnded: true));
        return null;
    }

    private ImmutableList<Session> OfDataSourceList(string dataSource) => _byDataSource.GetValueOrDefault(dataSource, []);

    private static ImmutableList<Session> Insert(ImmutableList<Session> sessions, Session session)
    {
        var at = sessions.Count; // Records come nearly in order; several partitions may swap a few.
        while (at > 0 && sessions[at - 1].Place.CompareTo(session.Place) > 0) at--;
        return sessions.Insert(at, session);
    }

    private static bool TryParse<T>(MessageParser<T> parser, ByteString content, out T message)
        where T : IMessage<T>, new()
    {
        try
        {
            message = parser.ParseFrom(content);
            return true;
        }
        catch (InvalidProtocolBufferException)
        {
            message = new T();
            return false;
        }
    }
}
