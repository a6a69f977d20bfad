using Google.Protobuf.Collections;
using Grpc.Core;
using MA.Streaming.API;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>A read that is positioned: its headers have come.</summary>
internal abstract class OpenRead(Connection connection, CancellationToken token) : IDisposable
{
    private readonly Queue<PacketResponse> _packets = new();

    public Connection Connection { get; } = connection;

    /// <summary>How many packets each response taken so far had.</summary>
    public List<int> ResponseSizes { get; } = [];

    public static async Task<OpenRead> OpenAsync<T>(
        Connection connection, AsyncServerStreamingCall<T> call, Func<T, RepeatedField<PacketResponse>> packetsOf, CancellationToken token)
    {
        try
        {
            await call.ResponseHeadersAsync.WaitAsync(token);
            return new OpenRead<T>(connection, call, packetsOf, token);
        }
        catch
        {
            call.Dispose();
            throw;
        }
    }

    public async Task<PacketResponse> NextAsync() =>
        await FillAsync() ? _packets.Dequeue() : throw new EndOfStreamException("the read has ended");

    public async Task<IReadOnlyList<PacketResponse>> TakeAsync(int count)
    {
        var packets = new List<PacketResponse>();
        while (packets.Count < count) packets.Add(await NextAsync());
        return packets;
    }

    /// <summary>The texts of the next packets.</summary>
    public async Task<IReadOnlyList<string>> TextsAsync(int count) =>
        [.. (await TakeAsync(count)).Select(p => p.Packet.Content.ToStringUtf8())];

    /// <summary>Everything up to an end with OK; another end throws.</summary>
    public async Task<IReadOnlyList<PacketResponse>> ToEndAsync()
    {
        var packets = new List<PacketResponse>();
        await ToEndAsync(packets.Add);
        return packets;
    }

    /// <summary>Shows each packet up to an end with OK; another end throws.</summary>
    public async Task ToEndAsync(Action<PacketResponse> show)
    {
        while (await FillAsync()) show(_packets.Dequeue());
    }

    public abstract void Dispose();

    protected abstract Task<RepeatedField<PacketResponse>?> NextResponseAsync(CancellationToken token);

    private async Task<bool> FillAsync()
    {
        if (_packets.Count > 0) return true;
        if (await NextResponseAsync(token) is not { } response) return false;
        ResponseSizes.Add(response.Count);
        foreach (var packet in response) _packets.Enqueue(packet);
        return _packets.Count > 0 ? true : throw new InvalidDataException("an empty response");
    }
}

/// <summary>A read of one of the three kinds.</summary>
internal sealed class OpenRead<T>(
    Connection connection, AsyncServerStreamingCall<T> call, Func<T, RepeatedField<PacketResponse>> packetsOf, CancellationToken token)
    : OpenRead(connection, token)
{
    public override void Dispose() => call.Dispose();

    protected override async Task<RepeatedField<PacketResponse>?> NextResponseAsync(CancellationToken token) =>
        await call.ResponseStream.MoveNext(token) ? packetsOf(call.ResponseStream.Current) : null;
}
