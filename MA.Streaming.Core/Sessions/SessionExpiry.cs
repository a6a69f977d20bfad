using System.Collections.Concurrent;
using System.Globalization;
using MA.Streaming.Core.Internal;
using MA.Streaming.OpenData;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Sessions;

/// <summary>
/// Ends sessions to which nothing was written for a time. On a log of its own it ends any session; on a shared one those that this
/// server created. The time starts anew with the server.
/// </summary>
internal sealed class SessionExpiry : IAsyncDisposable
{
    public const string EndedByDetail = "ended_by";

    private readonly SessionCatalog _catalog;
    private readonly TimeSpan _timeout;
    private readonly bool _ownsAll;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly ConcurrentDictionary<string, long> _lastWrites = new(StringComparer.Ordinal);
    private readonly OwnedLoop _loop;

    public SessionExpiry(SessionCatalog catalog, TimeSpan timeout, bool ownsAll, TimeProvider clock, ILogger logger)
    {
        _catalog = catalog;
        _timeout = timeout;
        _ownsAll = ownsAll;
        _clock = clock;
        _logger = logger;
        var period = TimeSpan.FromTicks(Math.Clamp(timeout.Ticks / 4, TimeSpan.TicksPerMillisecond * 10, TimeSpan.TicksPerMinute));
        _loop = OwnedLoop.Every(period, clock, EndIdleAsync);
    }

    /// <summary>A session was created here.</summary>
    public void Created(string key) => _lastWrites[key] = _clock.GetTimestamp();

    /// <summary>Something was written to a session.</summary>
    public void Touch(string key)
    {
        if (_lastWrites.ContainsKey(key)) _lastWrites[key] = _clock.GetTimestamp();
    }

    public ValueTask DisposeAsync() => _loop.DisposeAsync();

    private async Task EndIdleAsync(CancellationToken stop)
    {
        if (_ownsAll)
        {
            foreach (var session in _catalog.Active()) _lastWrites.TryAdd(session.Key, _clock.GetTimestamp());
        }

        foreach (var (key, lastWrite) in _lastWrites)
        {
            if (_catalog.Find(key) is { IsComplete: true })
            {
                _lastWrites.TryRemove(key, out _);
                continue;
            }

            if (_clock.GetElapsedTime(lastWrite) >= _timeout) await EndAsync(key, stop).ConfigureAwait(false);
        }
    }

    private async Task EndAsync(string key, CancellationToken stop)
    {
        try
        {
            var reason = string.Create(CultureInfo.InvariantCulture, $"idle timeout: nothing was written for {_timeout}");
            await _catalog.UpdateAsync(key, _ => new SessionInfoPacket { Details = { [EndedByDetail] = reason } }, stop).ConfigureAwait(false);
            if (await _catalog.EndAsync(key, null, stop).ConfigureAwait(false) is not { } session) return;
            _lastWrites.TryRemove(key, out _);
            _logger.SessionIdle(key, session.DataSource, _timeout);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            _logger.SessionIdleEndFailed(key, exception);
        }
    }
}
