using System.Runtime.InteropServices;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Core.Packets;

/// <summary>Appends prepared packets in the order of the calls and counts them. An essential packet is appended twice: to the essentials of
/// its data source, then to its stream.</summary>
/// <param name="broker">The broker.</param>
/// <param name="unary">Bounds the packets of unary calls.</param>
/// <param name="telemetry">Counts packets.</param>
/// <param name="written">Is called after a packet became durable, on any thread; must be short.</param>
internal sealed class PacketAppender(IBroker broker, UnaryWrites unary, Telemetry telemetry, Action<PreparedPacket>? written = null)
{
    /// <summary>Appends prepared packets of a client stream, in order. Every append is issued, and in the window, before this returns.</summary>
    public void Append(List<PreparedPacket> packets, WriteWindow window)
    {
        for (ReadOnlySpan<PreparedPacket> rest = CollectionsMarshal.AsSpan(packets); !rest.IsEmpty;) rest = rest[AppendRun(rest, window)..];
    }

    /// <summary>Appends a prepared packet. Every append is issued before this returns.</summary>
    public ValueTask AppendAsync(in PreparedPacket packet)
    {
        telemetry.DataPublished(packet.Stream.Tags, 1);
        var append = AppendAsync(packet, out var isDurable);
        if (isDurable) telemetry.DataRouted(packet.Stream.Tags, 1, packet.Record.Bytes);
        return append;
    }

    /// <summary>Appends the packet of a unary call. Waits for the broker while the bytes of all waiting calls stay bounded, and no longer than
    /// the write timeout. After a cancellation the outcome of the packet is unknown.</summary>
    public ValueTask WriteAsync(in PreparedPacket packet, CancellationToken cancellationToken)
    {
        var reserved = unary.Reserve(packet.Record);
        ValueTask append;
        try
        {
            append = AppendAsync(packet);
        }
        catch (ObjectDisposedException)
        {
            append = ValueTask.FromException(Errors.ShuttingDown());
        }

        if (append.IsCompletedSuccessfully)
        {
            unary.Release(reserved);
            return default;
        }

        return unary.WaitAsync(append.AsTask(), reserved, packet.Stream.Name, packet.Stream.Appender, cancellationToken);
    }

    /// <summary>Completes when both copies of an essential packet are durable and returns the place of the essentials copy. A failure says
    /// which copy is durable.</summary>
    public static async ValueTask<Appended> EssentialPairAsync(
        StreamTarget essentials, ValueTask<Appended> essentialsCopy, StreamTarget stream, ValueTask<Appended> streamCopy)
    {
        Exception? essentialsError = null, streamError = null;
        var appended = default(Appended);
        try
        {
            appended = await essentialsCopy.ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            essentialsError = exception;
            essentials.Appender.Failed(exception);
        }

        try
        {
            await streamCopy.ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            streamError = exception;
            stream.Appender.Failed(exception);
        }

        if (essentialsError is null && streamError is null) return appended;
        var (topic, target) = (essentials.Placement.Target.Topic, stream.Placement.Target);
        var doing = (essentialsError, streamError) switch
        {
            (null, _) => $"writing an essential packet: durable in {topic}, but not in {target}",
            (_, null) => $"writing an essential packet: durable in {target}, but not in {topic}",
            _ => $"writing an essential packet to {topic} and {target}",
        };
        throw Errors.From(essentialsError ?? streamError!, doing);
    }

    // Appends the first packets as far as they belong to one stream. Their labels are the same, so they are counted together: counting a
    // packet costs more than appending it to memory.
    private int AppendRun(ReadOnlySpan<PreparedPacket> packets, WriteWindow window)
    {
        var stream = packets[0].Stream;
        var (count, durable, bytes) = (0, 0, 0L);
        try
        {
            while (count < packets.Length && packets[count].Stream == stream)
            {
                ref readonly var packet = ref packets[count++];
                var append = AppendAsync(packet, out var isDurable);
                window.Add(append, packet.Record.Bytes);
                if (!isDurable) continue;
                durable++;
                bytes += packet.Record.Bytes;
            }
        }
        finally
        {
            telemetry.DataPublished(stream.Tags, count);
            if (durable > 0) telemetry.DataRouted(stream.Tags, durable, bytes);
        }

        return count;
    }

    // Where isDurable comes back true, the caller counts the packet as durable.
    private ValueTask AppendAsync(in PreparedPacket packet, out bool isDurable)
    {
        isDurable = false;
        if (packet.Essentials is { } essentials)
        {
            var first = AppendAsync(essentials, packet.Record);
            var second = AppendAsync(packet.Stream, packet.Record);
            return CompletePairAsync(first, second, packet);
        }

        var append = AppendAsync(packet.Stream, packet.Record);
        isDurable = append.IsCompletedSuccessfully;
        if (!isDurable) return CompleteAsync(append, packet);
        written?.Invoke(packet);
        return default;
    }

    private ValueTask<Appended> AppendAsync(StreamTarget target, in RecordData record) =>
        target.Appender.IsReady
            ? broker.AppendAsync(target.Placement.Target, record, CancellationToken.None)
            : target.Appender.AppendAsync(target.Placement.Target, record);

    private async ValueTask CompleteAsync(ValueTask<Appended> append, PreparedPacket packet)
    {
        try
        {
            await append.ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            packet.Stream.Appender.Failed(exception);
            throw Errors.From(exception, $"writing to {packet.Stream.Placement.Target}");
        }

        BecameDurable(packet);
    }

    private async ValueTask CompletePairAsync(ValueTask<Appended> first, ValueTask<Appended> second, PreparedPacket packet)
    {
        await EssentialPairAsync(packet.Essentials!, first, packet.Stream, second).ConfigureAwait(false);
        BecameDurable(packet);
    }

    private void BecameDurable(in PreparedPacket packet)
    {
        telemetry.DataRouted(packet.Stream.Tags, 1, packet.Record.Bytes);
        written?.Invoke(packet);
    }
}
