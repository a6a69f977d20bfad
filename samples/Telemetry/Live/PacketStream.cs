using System.Threading.Channels;
using MA.Streaming.API;
using MA.Streaming.OpenData;

namespace Telemetry.Live;

/// <summary>One stream's way in: a WriteDataPackets call that stays open for the whole session. Packets wait in a short queue; each
/// message takes along what is there.</summary>
internal sealed class PacketStream
{
    private const int QueuedMax = 512;
    private const int BatchPackets = 256;
    private const int BatchBytes = 512 << 10;

    private readonly string _dataSource;
    private readonly string _name;
    private readonly string _sessionKey;
    private readonly WriteTimes _writeTimes;
    private readonly Channel<Packet> _queue = Channel.CreateBounded<Packet>(QueuedMax);
    private readonly Task _loop;

    public PacketStream(
        PacketWriterService.PacketWriterServiceClient client,
        string dataSource,
        string name,
        string sessionKey,
        WriteTimes writeTimes,
        CancellationToken abandon)
    {
        _dataSource = dataSource;
        _name = name;
        _sessionKey = sessionKey;
        _writeTimes = writeTimes;
        _loop = RunAsync(client, abandon);
    }

    /// <summary>Queues a packet; waits while the queue is full.</summary>
    public ValueTask WriteAsync(Packet packet, CancellationToken cancellationToken) => _queue.Writer.WriteAsync(packet, cancellationToken);

    /// <summary>Completes when every packet is durable.</summary>
    public async Task CompleteAsync()
    {
        _queue.Writer.TryComplete();
        await _loop;
    }

    private DataPacketDetails Detail(Packet packet) => new() { DataSource = _dataSource, Stream = _name, SessionKey = _sessionKey, Message = packet };

    private async Task RunAsync(PacketWriterService.PacketWriterServiceClient client, CancellationToken abandon)
    {
        try
        {
            using var call = client.WriteDataPackets(cancellationToken: abandon);
            while (await _queue.Reader.WaitToReadAsync(abandon))
            {
                var request = new WriteDataPacketsRequest();
                var bytes = 0;
                while (request.Details.Count < BatchPackets && bytes < BatchBytes && _queue.Reader.TryRead(out var packet))
                {
                    request.Details.Add(Detail(packet));
                    bytes += packet.Content.Length;
                }

                foreach (var detail in request.Details) _writeTimes.Stamp(detail.Message.Id);
                await call.RequestStream.WriteAsync(request, abandon);
            }

            await call.RequestStream.CompleteAsync();
            await call;
        }
        catch (Exception failure)
        {
            // Whoever queues the next packet hears of it at once.
            _queue.Writer.TryComplete(failure);
            throw;
        }
    }
}
