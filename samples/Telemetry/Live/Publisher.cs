using MA.Streaming.API;
using MA.Streaming.OpenData;

namespace Telemetry.Live;

/// <summary>Writes a source's packets at its pace, each to its stream, and keeps the account of what every reader must get.</summary>
internal sealed class Publisher : IDisposable
{
    private const long BehindBytesMax = 64 << 20;

    private readonly ApiClients _api;
    private readonly ITelemetrySource _source;
    private readonly string _sessionKey;
    private readonly WriteTimes _writeTimes;
    private readonly Dictionary<string, PacketStream> _streams = [];
    private readonly Dictionary<ReaderPlan, Tally> _expected;
    private IReadOnlyList<LiveReader> _followers = [];
    private long _clock;
    private ulong _lastId;

    public Publisher(ApiClients api, ITelemetrySource source, string sessionKey, IEnumerable<ReaderPlan> readers, WriteTimes writeTimes)
    {
        _api = api;
        _source = source;
        _sessionKey = sessionKey;
        _writeTimes = writeTimes;
        _expected = readers.ToDictionary(r => r, _ => new Tally());
    }

    public Counters Written { get; } = new();

    /// <summary>How far the source's clock is.</summary>
    public TimeSpan Clock => TimeSpan.FromTicks(Volatile.Read(ref _clock));

    /// <summary>From now on no reader is left more than 64 MiB behind.</summary>
    public void WaitFor(IReadOnlyList<LiveReader> readers) => _followers = [.. readers];

    /// <summary>Writes a packet by itself and waits until it is durable.</summary>
    public async Task WriteAsync(TelemetryPacket packet, CancellationToken cancellationToken)
    {
        var message = Number(packet);
        _writeTimes.Stamp(message.Id);
        var detail = new DataPacketDetails { DataSource = _source.DataSource, Stream = packet.Stream, SessionKey = _sessionKey, Message = message };
        await _api.Writer.WriteDataPacketAsync(new WriteDataPacketRequest { Detail = detail }, cancellationToken: cancellationToken);
    }

    /// <summary>Plays the source to its end, or until it is asked to stop; either way completes when everything it wrote is
    /// durable.</summary>
    public async Task PlayAsync(DataFormats formats, Pace pace, CancellationToken stop)
    {
        using var abandon = new CancellationTokenSource();
        try
        {
            foreach (var name in _source.Streams)
                _streams[name] = new PacketStream(_api.Writer, _source.DataSource, name, _sessionKey, _writeTimes, abandon.Token);

            foreach (var packet in _source.Play(formats))
            {
                await pace.WaitUntilAsync(packet.Due, stop);
                Volatile.Write(ref _clock, packet.Due.Ticks);
                while (_followers.Any(IsFarBehind)) await Task.Delay(1, stop);
                await _streams[packet.Stream].WriteAsync(Number(packet), CancellationToken.None);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // Asked to stop early: what was written stays written.
        }
        finally
        {
            await CompleteAsync(abandon);
        }
    }

    /// <summary>What each reader must have got.</summary>
    public IReadOnlyDictionary<string, StreamTally> Expected(ReaderPlan reader) => _expected[reader].Close();

    public long ExpectedPackets(ReaderPlan reader) => _expected[reader].Packets;

    public void Dispose()
    {
        foreach (var tally in _expected.Values) tally.Dispose();
    }

    private bool IsFarBehind(LiveReader reader) =>
        reader.IsReading && _expected[reader.Plan].Bytes - reader.Read.Bytes > BehindBytesMax;

    private Packet Number(TelemetryPacket packet)
    {
        var message = new Packet
        {
            Id = ++_lastId,
            Type = packet.Type,
            SessionKey = _sessionKey,
            IsEssential = packet.IsEssential,
            Content = packet.Content,
        };
        foreach (var (reader, tally) in _expected)
        {
            // ReadEssentials names no stream.
            if (reader.Expects(packet)) tally.Add(reader.Kind == ReadKind.Essentials ? "" : packet.Stream, message);
        }

        Written.Add(packet.Samples, packet.Content.Length);
        return message;
    }

    // One stream that failed must not leave the others open; its error is the one to report.
    private async Task CompleteAsync(CancellationTokenSource abandon)
    {
        var completions = _streams.Values.Select(s => s.CompleteAsync()).ToList();
        try
        {
            await Task.WhenAll(completions).WaitAsync(TimeSpan.FromSeconds(60));
        }
        catch
        {
            await abandon.CancelAsync();
            throw;
        }
    }
}
