using System.Collections.Concurrent;
using System.Security.Cryptography;
using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Connections;

/// <summary>A reader's standing request. Its details never change; reads on it end when it closes.</summary>
internal sealed class Connection : IDisposable
{
    private readonly CancellationTokenSource _closed = new();
    private readonly TimeProvider _clock;
    private int _reads;
    private long _lastUsed;

    public Connection(long id, ConnectionDetails details, TimeProvider clock)
    {
        Id = id;
        Details = details;
        _clock = clock;
        _lastUsed = clock.GetTimestamp();
        Closed = _closed.Token;
    }

    public long Id { get; }

    public ConnectionDetails Details { get; }

    /// <summary>Cancelled when it is closed.</summary>
    public CancellationToken Closed { get; }

    public int Reads => Volatile.Read(ref _reads);

    /// <summary>How long it has had neither an open read nor an rpc.</summary>
    public TimeSpan Idle => Reads > 0 ? TimeSpan.Zero : _clock.GetElapsedTime(Volatile.Read(ref _lastUsed));

    public void Touch() => Volatile.Write(ref _lastUsed, _clock.GetTimestamp());

    /// <summary>Counts a read until the result is disposed.</summary>
    public Read OpenRead()
    {
        Interlocked.Increment(ref _reads);
        return new Read(this);
    }

    // The source is not disposed: reads may still link to its token, and it holds nothing once cancelled.
    public void Dispose() => _closed.Cancel();

    internal readonly struct Read(Connection connection) : IDisposable
    {
        public void Dispose()
        {
            connection.Touch();
            Interlocked.Decrement(ref connection._reads);
        }
    }
}

/// <summary>The open connections, by ids that cannot be guessed.</summary>
internal sealed class ConnectionTable : IAsyncDisposable
{
    private const long IdMax = (1L << 53) - 1; // Generated JavaScript keeps every digit up to here.

    private readonly ConcurrentDictionary<long, Connection> _connections = new();
    private readonly StreamingApiLimits _limits;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly TimeSpan _idleTimeout;
    private readonly OwnedLoop? _expiry;

    public ConnectionTable(StreamingApiLimits limits, TimeSpan idleTimeout, TimeProvider clock, ILogger logger)
    {
        _limits = limits;
        _clock = clock;
        _logger = logger;
        _idleTimeout = idleTimeout;
        if (idleTimeout <= TimeSpan.Zero) return;
        var period = TimeSpan.FromTicks(Math.Clamp(idleTimeout.Ticks / 4, TimeSpan.TicksPerMillisecond * 10, TimeSpan.TicksPerMinute));
        _expiry = OwnedLoop.Every(period, clock, CloseIdleAsync);
    }

    public int Count => _connections.Count;

    public int Reads => _connections.Values.Sum(c => c.Reads);

    /// <summary>Opens a connection with details that have been checked.</summary>
    public Connection Open(ConnectionDetails details)
    {
        if (_connections.Count >= _limits.ConnectionsMax)
        {
            throw Errors.ResourceExhausted($"{_connections.Count} connections are open; allowed are {_limits.ConnectionsMax}; close those not used");
        }

        while (true)
        {
            var connection = new Connection(RandomId(), details, _clock);
            if (_connections.TryAdd(connection.Id, connection)) return connection;
            connection.Dispose();
        }
    }

    public Connection? Find(long id)
    {
        if (!_connections.TryGetValue(id, out var connection)) return null;
        connection.Touch();
        return connection;
    }

    /// <summary>Closes a connection and ends its reads, without waiting for them. False when there is none.</summary>
    public bool Close(long id)
    {
        if (!_connections.TryRemove(id, out var connection)) return false;

        // Reads are told inline, and none of them waits for anything on its way out.
        connection.Dispose();
        return true;
    }

    public async ValueTask DisposeAsync()
    {
        if (_expiry is not null) await _expiry.DisposeAsync().ConfigureAwait(false);
        foreach (var id in _connections.Keys) Close(id);
    }

    private static long RandomId()
    {
        Span<byte> bytes = stackalloc byte[8];
        while (true)
        {
            RandomNumberGenerator.Fill(bytes);
            var id = BitConverter.ToInt64(bytes) & IdMax;
            if (id > 0) return id;
        }
    }

    private Task CloseIdleAsync(CancellationToken stop)
    {
        foreach (var connection in _connections.Values)
        {
            if (connection.Idle < _idleTimeout || !Close(connection.Id)) continue;
            _logger.ConnectionIdle(connection.Id, connection.Details.DataSource, _idleTimeout);
        }

        return Task.CompletedTask;
    }
}
