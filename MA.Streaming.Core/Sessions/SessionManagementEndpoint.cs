using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Internal;
using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Sessions;

/// <summary>The session management service. Without a catalogue (IntegrateSessionManagement = false) it answers success=false.</summary>
internal sealed class SessionManagementEndpoint(SessionCatalog? catalog, TopicLayout layout, TopicDirectory directory, OpenCalls calls, SessionExpiry? expiry)
    : SessionManagementService.SessionManagementServiceBase
{
    /// <inheritdoc/>
    public override async Task<CreateSessionResponse> CreateSession(CreateSessionRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (catalog is null) return new CreateSessionResponse();
        var session = await catalog.CreateAsync(request, context.CancellationToken).ConfigureAwait(false);
        expiry?.Created(session.Key);
        return new CreateSessionResponse
        {
            SessionKey = session.Key,
            NewSession = NewSessionPacket.Parser.ParseFrom(session.NewSession),
            Success = true,
        };
    }

    /// <inheritdoc/>
    public override async Task<EndSessionResponse> EndSession(EndSessionRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (catalog is null) return new EndSessionResponse();
        var terminationTime = request.TerminationTime;
        var session = await catalog.EndAsync(request.SessionKey, terminationTime, context.CancellationToken).ConfigureAwait(false);
        return session?.EndOfSession is not { } end
            ? new EndSessionResponse()
            : new EndSessionResponse { EndSession = EndOfSessionPacket.Parser.ParseFrom(end), Success = true };
    }

    /// <inheritdoc/>
    public override Task<GetCurrentSessionsResponse> GetCurrentSessions(GetCurrentSessionsRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        var response = new GetCurrentSessionsResponse();
        if (catalog is null) return Task.FromResult(response);
        response.Success = true;
        foreach (var session in catalog.OfDataSource(request.DataSource)) response.SessionKeys.Add(session.Key);
        return Task.FromResult(response);
    }

    /// <inheritdoc/>
    public override Task<GetSessionInfoResponse> GetSessionInfo(GetSessionInfoRequest request, ServerCallContext context)
    {
        using var call = calls.Enter();
        return Task.FromResult(catalog?.Find(request.SessionKey) is { } session ? ToResponse(session) : new GetSessionInfoResponse());
    }

    /// <inheritdoc/>
    public override Task GetSessionStartNotification(
        GetSessionStartNotificationRequest request, IServerStreamWriter<GetSessionStartNotificationResponse> responseStream, ServerCallContext context) =>
        NotifyAsync(
            request.DataSource,
            ended: false,
            (change, stop) => responseStream.WriteAsync(
                new GetSessionStartNotificationResponse { DataSource = change.DataSource, SessionKey = change.SessionKey }, stop),
            context);

    /// <inheritdoc/>
    public override Task GetSessionStopNotification(
        GetSessionStopNotificationRequest request, IServerStreamWriter<GetSessionStopNotificationResponse> responseStream, ServerCallContext context) =>
        NotifyAsync(
            request.DataSource,
            ended: true,
            (change, stop) => responseStream.WriteAsync(
                new GetSessionStopNotificationResponse { DataSource = change.DataSource, SessionKey = change.SessionKey }, stop),
            context);

    /// <inheritdoc/>
    public override async Task<UpdateSessionIdentifierResponse> UpdateSessionIdentifier(
        UpdateSessionIdentifierRequest request, ServerCallContext context)
    {
        var identifier = request.Identifier;
        return new()
        {
            Success = await UpdateAsync(
                request.SessionKey,
                _ => identifier.Length > 0 ? new SessionInfoPacket { Identifier = identifier } : null,
                context).ConfigureAwait(false),
        };
    }

    /// <inheritdoc/>
    public override async Task<AddAssociateSessionResponse> AddAssociateSession(AddAssociateSessionRequest request, ServerCallContext context)
    {
        if (request.AssociateSessionKey.Length == 0) throw Errors.InvalidArgument("associate_session_key must not be empty");
        var info = new SessionInfoPacket { AssociateSessionKeys = { request.AssociateSessionKey } };
        return new() { Success = await UpdateAsync(request.SessionKey, session => Changed(session, info), context).ConfigureAwait(false) };
    }

    /// <inheritdoc/>
    public override async Task<UpdateSessionDetailsResponse> UpdateSessionDetails(UpdateSessionDetailsRequest request, ServerCallContext context)
    {
        var info = new SessionInfoPacket { Details = { request.Details } };
        return new() { Success = await UpdateAsync(request.SessionKey, session => Changed(session, info), context).ConfigureAwait(false) };
    }

    /// <inheritdoc/>
    public override async Task<UpdateSessionInfoResponse> UpdateSessionInfo(UpdateSessionInfoRequest request, ServerCallContext context)
    {
        if (request.SessionInfo is null) throw Errors.InvalidArgument("session_info is missing");
        var info = request.SessionInfo.Clone();
        return new() { Success = await UpdateAsync(request.SessionKey, session => Changed(session, info), context).ConfigureAwait(false) };
    }

    // Only what changes is published, so that two servers' updates do not undo each other; the associates as the whole list, because
    // older servers replace theirs by it.
    private static SessionInfoPacket? Changed(Session session, SessionInfoPacket wanted)
    {
        var info = new SessionInfoPacket
        {
            Identifier = wanted.Identifier == session.Identifier ? "" : wanted.Identifier,
            Type = wanted.Type == session.Type ? "" : wanted.Type,
            Version = wanted.Version == session.Version ? 0 : wanted.Version,
        };
        var associates = Session.Union(session.AssociateSessionKeys, wanted.AssociateSessionKeys);
        if (associates.Length > session.AssociateSessionKeys.Length) info.AssociateSessionKeys.Add(associates);
        foreach (var (name, value) in wanted.Details)
        {
            if (!session.Details.TryGetValue(name, out var known) || known != value) info.Details[name] = value;
        }

        return info.CalculateSize() == 0 ? null : info;
    }

    private async Task<bool> UpdateAsync(string key, Func<Session, SessionInfoPacket?> change, ServerCallContext context)
    {
        using var call = calls.Enter();
        return catalog is not null && await catalog.UpdateAsync(key, change, context.CancellationToken).ConfigureAwait(false);
    }

    private GetSessionInfoResponse ToResponse(Session session)
    {
        var start = NewSessionPacket.Parser.ParseFrom(session.NewSession);
        var response = new GetSessionInfoResponse
        {
            DataSource = session.DataSource,
            Identifier = session.Identifier,
            Type = session.Type,
            Version = session.Version,
            IsComplete = session.IsComplete,
            MainOffset = start.TopicPartitionOffsets.TryGetValue(new TopicPartition(session.DataSource, 0).ToString(), out var main) ? main : 0,
            EssentialsOffset = start.TopicPartitionOffsets.TryGetValue(
                new TopicPartition(TopicLayout.EssentialsTopic(session.DataSource), 0).ToString(), out var essentials)
                ? essentials
                : 0,
            UtcOffset = session.UtcOffset.Clone(),
            CreationTime = session.CreationTime.Clone(),
            TerminationTime = session.TerminationTime?.Clone(),
            Success = true,
        };
        response.AssociateSessionKeys.Add(session.AssociateSessionKeys);
        response.Streams.Add(layout.IsPartitionBased ? layout.MappedStreams : directory.StreamsOf(session.DataSource));
        response.TopicPartitionOffsets.Add(start.TopicPartitionOffsets);
        foreach (var (name, value) in session.Details) response.Details.Add(name, value);
        return response;
    }

    private async Task NotifyAsync(string dataSource, bool ended, Func<SessionChange, CancellationToken, Task> write, ServerCallContext context)
    {
        using var call = calls.Enter();
        if (dataSource.Length == 0) throw Errors.InvalidArgument("data_source must not be empty");
        if (catalog is null) return;

        // Subscribed before the headers go out: who has them misses nothing.
        using var subscription = catalog.Subscribe(dataSource, ended);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, calls.Draining);
        await context.WriteResponseHeadersAsync([]).ConfigureAwait(false);
        try
        {
            await foreach (var change in subscription.Changes.ReadAllAsync(stop.Token).ConfigureAwait(false))
            {
                await write(change, stop.Token).ConfigureAwait(false); // A shutdown does not wait for a subscriber that takes nothing.
            }
        }
        catch (FeedOverflowException)
        {
            throw Errors.ResourceExhausted($"the notifications of {dataSource} were not taken in time, and some are lost; subscribe again and list the sessions");
        }
        catch (OperationCanceledException) when (calls.Draining.IsCancellationRequested && !context.CancellationToken.IsCancellationRequested)
        {
            throw Errors.ShuttingDown();
        }
    }
}
