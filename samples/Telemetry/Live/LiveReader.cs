using System.Diagnostics;
using Grpc.Core;
using MA.Streaming.API;

namespace Telemetry.Live;

/// <summary>Follows the session with one read of its own, and keeps the account of what came.</summary>
internal sealed class LiveReader : IDisposable
{
    private const long FromHereOn = -1;

    private static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Stragglers = TimeSpan.FromMilliseconds(150);

    private readonly ApiClients _api;
    private readonly WriteTimes _writeTimes;
    private readonly CarWatcher? _watcher;
    private readonly Tally _got = new();
    private readonly CancellationTokenSource _abandon = new();
    private Connection? _connection;
    private Task _reading = Task.CompletedTask;

    /// <param name="plan">What to read.</param>
    /// <param name="api">Where from.</param>
    /// <param name="writeTimes">When packets were written.</param>
    /// <param name="watcher">Looks at every packet, or null.</param>
    public LiveReader(ReaderPlan plan, ApiClients api, WriteTimes writeTimes, CarWatcher? watcher)
    {
        Plan = plan;
        _api = api;
        _writeTimes = writeTimes;
        _watcher = watcher;
    }

    public ReaderPlan Plan { get; }

    public Counters Read { get; } = new();

    public LatencyHistogram Latency { get; } = new();

    /// <summary>False once its read has ended, for whatever reason.</summary>
    public bool IsReading => !_reading.IsCompleted;

    /// <summary>Opens connection and read; completes when the read stands where it will start: at the end of what earlier sessions
    /// wrote, or, for essentials, where the session's begin.</summary>
    public async Task OpenAsync(string dataSource, string sessionKey, long essentialsOffset, CancellationToken cancellationToken)
    {
        var details = new ConnectionDetails
        {
            DataSource = dataSource,
            SessionKey = sessionKey,
            Streams = { Plan.Streams },
            StreamOffsets = { Plan.Streams.Select(_ => FromHereOn) },
            MainOffset = FromHereOn,
            EssentialsOffset = essentialsOffset,
            ExcludeMainStream = Plan.Streams.Count > 0,
        };
        var answer = await _api.Connections.NewConnectionAsync(new NewConnectionRequest { Details = details }, cancellationToken: cancellationToken);
        _connection = answer.Connection;
        switch (Plan.Kind)
        {
            case ReadKind.Packets:
                var packets = _api.Reader.ReadPackets(new() { Connection = _connection }, cancellationToken: _abandon.Token);
                await packets.ResponseHeadersAsync.WaitAsync(cancellationToken);
                _reading = FollowAsync(packets, r => r.Response);
                break;
            case ReadKind.Data:
                var data = _api.Reader.ReadDataPackets(new() { Request = Plan.ToRequest(_connection) }, cancellationToken: _abandon.Token);
                await data.ResponseHeadersAsync.WaitAsync(cancellationToken);
                _reading = FollowAsync(data, r => r.Response);
                break;
            default:
                var essentials = _api.Reader.ReadEssentials(new() { Connection = _connection }, cancellationToken: _abandon.Token);
                _reading = FollowAsync(essentials, r => r.Response);
                await _reading.WaitAsync(cancellationToken);
                break;
        }
    }

    /// <summary>Waits until so many packets have come, or none has for so long; then ends the read as readers do: by closing
    /// its connection. Packets too many would still have come.</summary>
    public async Task FinishAsync(long expectedPackets, TimeSpan patience)
    {
        var (seen, since) = (Read.Packets, Stopwatch.StartNew());
        while (Read.Packets < expectedPackets && !_reading.IsCompleted && since.Elapsed < patience)
        {
            await Task.WhenAny(_reading, Task.Delay(5));
            if (Read.Packets == seen) continue;
            seen = Read.Packets;
            since.Restart();
        }

        if (Plan.Kind != ReadKind.Essentials) await Task.Delay(Stragglers);
        await CloseAsync();
    }

    /// <summary>Closes the connection, if it is open, and waits for the read to end.</summary>
    public async Task CloseAsync()
    {
        if (_connection is not { } connection) return;
        _connection = null;
        await _api.Connections.CloseConnectionAsync(new CloseConnectionRequest { Connection = connection });
        try
        {
            await _reading.WaitAsync(CloseTimeout);
        }
        catch (TimeoutException)
        {
            await _abandon.CancelAsync();
            throw new TimeoutException($"reader {Plan.Name}: its read did not end within {CloseTimeout.TotalSeconds} s of CloseConnection");
        }
    }

    public IReadOnlyDictionary<string, StreamTally> Got() => _got.Close();

    public void Dispose()
    {
        _abandon.Cancel();
        _abandon.Dispose();
        _got.Dispose();
    }

    private async Task FollowAsync<T>(AsyncServerStreamingCall<T> call, Func<T, IEnumerable<PacketResponse>> packets)
    {
        using (call)
        {
            while (await call.ResponseStream.MoveNext(CancellationToken.None))
            {
                foreach (var response in packets(call.ResponseStream.Current)) Take(response);
            }
        }
    }

    private void Take(PacketResponse response)
    {
        if (_writeTimes.TryGetAge(response.Packet.Id, out var age)) Latency.Record(age);
        _got.Add(response.Stream, response.Packet);
        var samples = _watcher?.Watch(response.Packet) ?? 0;
        Read.Add(samples, response.Packet.Content.Length);
    }
}
