using System.Diagnostics;
using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.OpenData;

namespace Telemetry.Live;

/// <summary>How one reader fared.</summary>
/// <param name="Plan">What it read.</param>
/// <param name="Written">Packets written that it had to get.</param>
/// <param name="Read">Packets it got.</param>
/// <param name="Bytes">Bytes of their contents.</param>
/// <param name="Latency">From write call to reader; empty where that means nothing.</param>
/// <param name="Differences">What is not as it must be, in words.</param>
public sealed record ReaderOutcome(
    ReaderPlan Plan, long Written, long Read, long Bytes, LatencyHistogram Latency, IReadOnlyList<string> Differences);

/// <summary>A session that the broker keeps, of this run or an earlier one.</summary>
public sealed record KeptSession(string Key, string Identifier, DateTimeOffset Created, DateTimeOffset? Ended, bool IsOfThisRun);

/// <summary>How the whole run fared.</summary>
public sealed record RunOutcome(
    TimeSpan Took,
    TimeSpan Played,
    bool StoppedEarly,
    IReadOnlyList<ReaderOutcome> Readers,
    IReadOnlyList<string> OtherDifferences,
    IReadOnlyList<KeptSession> Sessions)
{
    public bool IsAsWritten => OtherDifferences.Count == 0 && Readers.All(r => r.Differences.Count == 0);
}

/// <summary>
/// One session from its creation to its end: the readers open before the first packet is written, follow it live, and are held
/// against the account afterwards.
/// </summary>
public sealed class LiveRun : IAsyncDisposable
{
    private readonly ApiClients _api;
    private readonly WriteTimes _writeTimes = new();
    private readonly List<LiveReader> _readers = [];
    private readonly Stopwatch _clock = new();
    private readonly double? _speed;
    private Publisher? _publisher;
    private long _essentialsOffset;

    public LiveRun(ApiClients api, ITelemetrySource source, double? speed)
    {
        _api = api;
        _speed = speed;
        Source = source;
        Watcher = new CarWatcher(source, api.Formats);
        Plans =
        [
            new("everything", "all packets", ReadKind.Packets),
            new("speeds", $"parameters {string.Join(' ', source.SpeedPatterns)}", ReadKind.Data)
            {
                IncludeParameters = source.SpeedPatterns,
                ExcludeEvents = ["."],
            },
            new("events", "events and markers", ReadKind.Data) { ExcludeParameters = ["."], IncludeMarkers = true },
            new("one stream", $"stream {source.Streams[0]}", ReadKind.Packets) { Streams = [source.Streams[0]] },
            new("essentials", "once more at the end", ReadKind.Essentials),
        ];
    }

    /// <summary>How long a reader that got nothing new waits for what it must still get.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(10);

    public ITelemetrySource Source { get; }

    /// <summary>Where the packets are kept.</summary>
    public string Broker { get; init; } = "the broker";

    public CarWatcher Watcher { get; }

    public IReadOnlyList<ReaderPlan> Plans { get; }

    public string SpeedText => _speed is { } x ? $"{x:0.##}×" : "max";

    /// <summary>Time since the first packet was written.</summary>
    public TimeSpan Elapsed => _clock.Elapsed;

    /// <summary>How far the source's clock is.</summary>
    public TimeSpan Played => _publisher?.Clock ?? TimeSpan.Zero;

    public Counters Written => _publisher?.Written ?? new Counters();

    /// <summary>Every parameter's definition, as a reader got it from the essentials.</summary>
    public IReadOnlyDictionary<string, ParameterDefinition> Definitions { get; private set; } = new Dictionary<string, ParameterDefinition>();

    /// <summary>The live readers and how far they are.</summary>
    public IReadOnlyList<(ReaderPlan Plan, Counters Read, LatencyHistogram Latency)> Readers
    {
        get
        {
            lock (_readers) return [.. _readers.Select(r => (r.Plan, r.Read, r.Latency))];
        }
    }

    /// <summary>Writes and reads the session. Asked to stop, it ends early, but ends: what was written is still compared.</summary>
    public async Task<RunOutcome> RunAsync(CancellationToken stop)
    {
        var created = await _api.Sessions.CreateSessionAsync(
            new CreateSessionRequest
            {
                DataSource = Source.DataSource,
                Identifier = Source.SessionIdentifier,
                Type = "Session",
                Version = 1,
                UtcOffset = Duration.FromTimeSpan(TimeSpan.Zero),
                CreationTime = Timestamp.FromDateTimeOffset(Source.Start),
                Details = { Source.SessionDetails.ToDictionary() },
            },
            cancellationToken: stop);
        if (!created.Success) throw new RpcException(new Status(StatusCode.Internal, "CreateSession answered success = false"));
        var sessionKey = created.SessionKey;
        var info = await _api.Sessions.GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = sessionKey }, cancellationToken: stop);
        _essentialsOffset = info.EssentialsOffset;
        var publisher = _publisher = new Publisher(_api, Source, sessionKey, Plans, _writeTimes);
        try
        {
            var formats = await DataFormats.RegisterAsync(_api.Formats, Source, stop);
            foreach (var plan in Plans.Where(p => p.Kind != ReadKind.Essentials)) await OpenAsync(plan, sessionKey, stop);
            if (_speed is null) publisher.WaitFor(_readers);

            _clock.Start();
            await publisher.WriteAsync(Essential("Configuration", Source.Configuration), stop);
            await publisher.WriteAsync(Essential("Metadata", Metadata()), stop);
            Definitions = await ReadDefinitionsAsync(sessionKey, stop);
            await publisher.PlayAsync(formats, new Pace(_speed), stop);
        }
        finally
        {
            // Whatever happened: the session does not stay open.
            var end = new EndSessionRequest
            {
                DataSource = Source.DataSource,
                SessionKey = sessionKey,
                TerminationTime = Timestamp.FromDateTimeOffset(Source.Start + publisher.Clock),
            };
            await _api.Sessions.EndSessionAsync(end, cancellationToken: CancellationToken.None);
        }

        var outcomes = await CompareAsync(publisher, sessionKey);
        _clock.Stop();
        return new(_clock.Elapsed, publisher.Clock, stop.IsCancellationRequested, outcomes, await OtherDifferencesAsync(sessionKey), await SessionsAsync(sessionKey));
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var reader in _readers)
        {
            try
            {
                await reader.CloseAsync();
            }
            catch (Exception failure) when (failure is RpcException or TimeoutException or OperationCanceledException)
            {
                // It was told of when the readers were compared, or the run failed for a reason that is being told.
            }

            reader.Dispose();
        }

        _publisher?.Dispose();
    }

    private async Task<LiveReader> OpenAsync(ReaderPlan plan, string sessionKey, CancellationToken cancellationToken)
    {
        var reader = new LiveReader(plan, _api, _writeTimes, plan.Name == "everything" ? Watcher : null);
        lock (_readers) _readers.Add(reader);
        await reader.OpenAsync(Source.DataSource, sessionKey, _essentialsOffset, cancellationToken);
        return reader;
    }

    // As any newcomer would: the essentials say what the parameters are.
    private async Task<IReadOnlyDictionary<string, ParameterDefinition>> ReadDefinitionsAsync(string sessionKey, CancellationToken cancellationToken)
    {
        var details = new ConnectionDetails { DataSource = Source.DataSource, SessionKey = sessionKey, EssentialsOffset = _essentialsOffset };
        var answer = await _api.Connections.NewConnectionAsync(new() { Details = details }, cancellationToken: cancellationToken);
        var definitions = new Dictionary<string, ParameterDefinition>();
        using (var call = _api.Reader.ReadEssentials(new() { Connection = answer.Connection }, cancellationToken: cancellationToken))
        {
            await foreach (var packet in call.ResponseStream.ReadAllAsync(cancellationToken).SelectMany(r => r.Response.Select(p => p.Packet)))
            {
                if (packet.Type != "Configuration") continue;
                foreach (var definition in ConfigurationPacket.Parser.ParseFrom(packet.Content).ParameterDefinitions)
                    definitions[definition.Identifier] = definition;
            }
        }

        await _api.Connections.CloseConnectionAsync(new() { Connection = answer.Connection }, cancellationToken: cancellationToken);
        return definitions;
    }

    private async Task<IReadOnlyList<ReaderOutcome>> CompareAsync(Publisher publisher, string sessionKey)
    {
        foreach (var plan in Plans.Where(p => p.Kind == ReadKind.Essentials)) await OpenAsync(plan, sessionKey, CancellationToken.None);
        var outcomes = new List<ReaderOutcome>();
        foreach (var reader in _readers)
        {
            var differences = new List<string>();
            try
            {
                await reader.FinishAsync(publisher.ExpectedPackets(reader.Plan), Patience);
            }
            catch (RpcException ended)
            {
                differences.Add($"the read ended with {ended.StatusCode}: {ended.Status.Detail}");
            }
            catch (TimeoutException late)
            {
                differences.Add(late.Message);
            }

            differences.AddRange(Tally.Differences(publisher.Expected(reader.Plan), reader.Got()));
            outcomes.Add(new(
                reader.Plan,
                publisher.ExpectedPackets(reader.Plan),
                reader.Read.Packets,
                reader.Read.Bytes,
                reader.Plan.Kind == ReadKind.Essentials ? new LatencyHistogram() : reader.Latency,
                differences));
        }

        return outcomes;
    }

    private async Task<IReadOnlyList<string>> OtherDifferencesAsync(string sessionKey)
    {
        var differences = new List<string>();
        var everything = _readers.Single(r => r.Plan.Name == "everything");
        if (Watcher.Undecodable is { } reason) differences.Add($"samples: {reason}");
        if (everything.Read.Samples != Written.Samples) differences.Add($"samples: {Written.Samples} written, {everything.Read.Samples} decoded");
        var info = await _api.Sessions.GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = sessionKey });
        if (!info.Success) differences.Add("session: GetSessionInfo does not know it");
        if (!info.IsComplete) differences.Add("session: ended, but GetSessionInfo says it is not complete");
        if (info.Identifier != Source.SessionIdentifier)
            differences.Add($"session: identifier is '{info.Identifier}', not '{Source.SessionIdentifier}'");
        return differences;
    }

    private async Task<IReadOnlyList<KeptSession>> SessionsAsync(string own)
    {
        var answer = await _api.Sessions.GetCurrentSessionsAsync(new GetCurrentSessionsRequest { DataSource = Source.DataSource });
        var sessions = new List<KeptSession>(answer.SessionKeys.Count);
        foreach (var key in answer.SessionKeys)
        {
            var info = await _api.Sessions.GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = key });
            sessions.Add(new(key, info.Identifier, info.CreationTime.ToDateTimeOffset(), info.TerminationTime?.ToDateTimeOffset(), key == own));
        }

        return sessions;
    }

    private static TelemetryPacket Essential(string type, IMessage content) =>
        new("", type, content.ToByteString(), TimeSpan.Zero, [], IsEssential: true);

    private MetadataPacket Metadata()
    {
        var metadata = new MetadataPacket();
        foreach (var (name, value) in Source.SessionDetails) metadata.Metadata[name] = Any.Pack(new StringValue { Value = value });
        return metadata;
    }
}
