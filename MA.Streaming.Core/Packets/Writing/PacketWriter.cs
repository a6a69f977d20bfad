using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using Google.Protobuf;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;

namespace MA.Streaming.Core.Packets;

/// <summary>A stream packets are written to: where it is, and what is kept for the next packet.</summary>
internal sealed class StreamTarget(string dataSource, Placement placement, TopicAppender appender, Telemetry.StreamTags tags)
{
    public string DataSource { get; } = dataSource;

    public Placement Placement { get; } = placement;

    /// <summary>Topic and partition, for messages.</summary>
    public string Name { get; } = placement.Target.ToString();

    public TopicAppender Appender { get; } = appender;

    public Telemetry.StreamTags Tags { get; } = tags;
}

/// <summary>A packet that is valid, encoded and placed: only the append is left to do.</summary>
internal readonly record struct PreparedPacket(StreamTarget Stream, StreamTarget? Essentials, string SessionKey, RecordData Record)
{
    /// <summary>The encoded packet.</summary>
    public ReadOnlyMemory<byte> Value => Record.Value.GetValueOrDefault();
}

/// <summary>Validates, encodes once, places and appends packets. What it has accepted is in the broker's hands, in the order of the calls.</summary>
internal sealed class PacketWriter(
    IBroker broker, TopicLayout layout, TopicDirectory directory, StreamingApiLimits limits, Telemetry telemetry, TimeProvider clock)
{
    private const int KeysMax = 4_096;

    /// <summary>Packets of one stream that come in one message share an array up to here: fewer and larger objects are much less work for
    /// the garbage collector, while the last of them that is still in use holds little that is not.</summary>
    private const int SharedBytesMax = 4 << 10;

    /// <summary>What a call that waits costs beside its packet's bytes, so that packets without any are bounded too.</summary>
    private const int WaitingBytes = 256;

    private readonly ConcurrentDictionary<string, TopicAppender> _appenders = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<(string DataSource, string Stream), StreamTarget> _streams = new();
    private readonly ConcurrentDictionary<string, StreamTarget> _essentials = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, byte[]> _keys = new(StringComparer.Ordinal);
    private readonly int _packetBytesMax = Math.Min(limits.PacketBytesMax, broker.Info.RecordBytesMax);
    private long _pendingBytes;
    private long _pendingPackets;

    /// <summary>Bytes of unary writes that wait for the broker.</summary>
    public long PendingBytes => Volatile.Read(ref _pendingBytes);

    /// <summary>Unary writes that wait for the broker.</summary>
    public long PendingPackets => Volatile.Read(ref _pendingPackets);

    /// <summary>Called, briefly and on any thread, after a data packet became durable.</summary>
    public Action<PreparedPacket>? Written { get; set; }

    /// <summary>Checks and encodes a packet for its stream. Nothing of the message is used afterwards.</summary>
    public PreparedPacket Prepare(DataPacketDetails? detail)
    {
        if (detail is null) throw Errors.InvalidArgument("detail is missing: it needs a data_source and a message");
        if (detail.Message is not { } packet) throw Errors.InvalidArgument($"detail.message is missing (data_source '{detail.DataSource}')");
        var stream = _streams.TryGetValue((detail.DataSource, detail.Stream), out var known) ? known : AddStream(detail.DataSource, detail.Stream);
        var essentials = packet.IsEssential ? EssentialsOf(detail.DataSource) : null;
        var sessionKey = detail.SessionKey.Length > 0 ? detail.SessionKey : packet.SessionKey;
        return new(stream, essentials, sessionKey, Encode(packet, sessionKey));
    }

    /// <summary>
    /// Prepares the packets of an encoded WriteDataPacketsRequest as they stand in it; nothing of its memory is used afterwards. False, with
    /// some of them prepared, for what is anything but plain: a mistake, an unusual encoding, the first packet of a stream. That is for
    /// <see cref="Prepare"/>, packet by packet, to decide on.
    /// </summary>
    public bool TryPrepare(ReadOnlyMemory<byte> request, List<PreparedPacket> packets)
    {
        // The packets of a request are mostly of one stream and one session.
        StreamTarget? target = null;
        ReadOnlySpan<byte> dataSource = default, stream = default;
        var (sessionKey, key) = ("", Array.Empty<byte>());
        var reader = new WireReader(request.Span);
        while (!reader.IsAtEnd)
        {
            if (!DetailView.TryRead(ref reader, out var detail) || detail.Packet.Length > _packetBytesMax) return false;
            if (target is null || !detail.Stream.SequenceEqual(stream) || !detail.DataSource.SequenceEqual(dataSource))
            {
                dataSource = detail.DataSource;
                stream = detail.Stream;
                if (!_streams.TryGetValue((Encoding.UTF8.GetString(dataSource), Encoding.UTF8.GetString(stream)), out target)) return false;
            }

            StreamTarget? essentials = null;
            if (detail.IsEssential && !_essentials.TryGetValue(target.DataSource, out essentials)) return false;
            if (!detail.SessionKey.SequenceEqual(key))
            {
                sessionKey = Encoding.UTF8.GetString(detail.SessionKey);
                key = KeyOf(sessionKey);
            }

            request.Span.Overlaps(detail.Packet, out var at);
            packets.Add(new(target, essentials, sessionKey, new RecordData(key, request.Slice(at, detail.Packet.Length))));
        }

        CopyBytes(CollectionsMarshal.AsSpan(packets));
        return true;
    }

    /// <summary>Checks and encodes an info packet.</summary>
    public RecordData PrepareInfo(Packet? packet, InfoType type, out string topic)
    {
        if (packet is null) throw Errors.InvalidArgument("message is missing");
        topic = type switch
        {
            InfoType.Unspecified or InfoType.SessionInfo => TopicLayout.SessionInfo,
            InfoType.SystemStatus => TopicLayout.SystemStatus,
            _ => throw Errors.InvalidArgument(
                $"type {(int)type} is not an InfoType; allowed are 0 (unspecified: session info), 1 (session info) and 2 (system status)"),
        };
        return Encode(packet, packet.SessionKey);
    }

    /// <summary>Appends prepared packets of a client stream, in order. Every append is issued, and in the window, before this returns.</summary>
    public void Append(List<PreparedPacket> packets, WriteWindow window)
    {
        for (ReadOnlySpan<PreparedPacket> rest = CollectionsMarshal.AsSpan(packets); !rest.IsEmpty;) rest = rest[AppendRun(rest, window)..];
    }

    /// <summary>Appends a prepared packet; an essential one twice, essentials first. Both appends are issued before this returns.</summary>
    public ValueTask AppendAsync(in PreparedPacket packet)
    {
        telemetry.DataPublished(packet.Stream.Tags, 1);
        var append = AppendAsync(packet, out var isDurable);
        if (isDurable) telemetry.DataRouted(packet.Stream.Tags, 1, packet.Record.Bytes);
        return append;
    }

    // The packets that come first and are of one stream. Their labels are the same, so they are counted together: counting one costs
    // more than appending it to memory.
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

    // Who is told that the packet is durable already counts it.
    private ValueTask AppendAsync(in PreparedPacket packet, out bool isDurable)
    {
        isDurable = false;
        if (packet.Essentials is { } essentials)
        {
            var first = essentials.Appender.AppendAsync(essentials.Placement.Target, packet.Record);
            var second = packet.Stream.Appender.AppendAsync(packet.Stream.Placement.Target, packet.Record);
            return CompleteTwinsAsync(first, second, packet);
        }

        var append = packet.Stream.Appender.AppendAsync(packet.Stream.Placement.Target, packet.Record);
        isDurable = append.IsCompletedSuccessfully;
        if (!isDurable) return CompleteAsync(append, packet);
        Written?.Invoke(packet);
        return default;
    }

    /// <summary>
    /// Appends a packet of a unary call: waits for the broker while the bytes of all that wait stay bounded, and no longer than the
    /// write timeout. A cancelled wait leaves the packet's outcome unknown.
    /// </summary>
    public ValueTask WriteAsync(in PreparedPacket packet, CancellationToken cancellationToken)
    {
        var bytes = packet.Record.Bytes + WaitingBytes;
        Reserve(bytes);
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
            Release(bytes);
            return default;
        }

        return WaitAsync(append.AsTask(), bytes, packet.Stream.Name, packet.Stream.Appender, cancellationToken);
    }

    /// <summary>Appends an info packet of a unary call.</summary>
    public ValueTask WriteInfoAsync(string topic, RecordData record, CancellationToken cancellationToken)
    {
        var bytes = record.Bytes + WaitingBytes;
        Reserve(bytes);
        return WaitAsync(AppendInfoAsync(topic, record), bytes, topic, AppenderOf(TopicLayout.PlaceSystem(topic).Topic), cancellationToken);
    }

    /// <summary>Appends an info packet.</summary>
    public async Task AppendInfoAsync(string topic, RecordData record)
    {
        var tags = telemetry.TagsOf("", "");
        telemetry.InfoPublished(tags);
        await AppendSystemAsync(topic, record).ConfigureAwait(false);
        telemetry.InfoRouted(tags, record.Bytes);
    }

    /// <summary>Appends a record to a system topic, by key, and says where it stands.</summary>
    public async Task<Appended> AppendSystemAsync(string topic, RecordData record)
    {
        var placement = TopicLayout.PlaceSystem(topic);
        var appender = AppenderOf(placement.Topic);
        try
        {
            return await appender.AppendAsync(placement.Target, record).ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsOfBroker(exception))
        {
            Failed(appender, exception);
            throw Errors.From(exception, $"writing to {topic}");
        }
    }

    /// <summary>Appends a packet of the engine's own to the essentials and the main stream of a data source, with the empty key, and
    /// says where the essentials copy stands.</summary>
    public async Task<Appended> AppendEssentialAsync(string dataSource, Packet packet)
    {
        var essentials = EssentialsOf(dataSource);
        var main = _streams.TryGetValue((dataSource, ""), out var known) ? known : AddStream(dataSource, "");
        var record = Encode(packet, "");
        var first = essentials.Appender.AppendAsync(essentials.Placement.Target, record);
        var second = main.Appender.AppendAsync(main.Placement.Target, record);
        var prepared = new PreparedPacket(main, essentials, "", record);
        return await InTimeAsync(TwinsAsync(first, second, prepared).AsTask(), essentials.Placement.Topic).ConfigureAwait(false);
    }

    /// <summary>An append of a call that is no stream: waits no longer than the write timeout. Timed out, its outcome is unknown.</summary>
    public async Task<Appended> InTimeAsync(Task<Appended> append, TopicSpec target)
    {
        await ((Task)append).WaitAsync(limits.WriteTimeout, clock).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (append.IsCompleted) return await append.ConfigureAwait(false);
        _ = append.ContinueWith(
            static done => done.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default); // Its caller is gone.
        throw await TimedOutAsync(target.Name, AppenderOf(target)).ConfigureAwait(false);
    }

    /// <summary>Encodes a packet of the engine's own.</summary>
    public RecordData Encode(Packet packet, string key)
    {
        var size = packet.CalculateSize();
        if (size > _packetBytesMax)
        {
            throw Errors.InvalidArgument(
                $"the packet (type '{packet.Type}') has {size} bytes; allowed are {_packetBytesMax}");
        }

        var bytes = GC.AllocateUninitializedArray<byte>(size);
        packet.WriteTo(bytes.AsSpan());
        return new RecordData(KeyOf(key), bytes);
    }

    /// <summary>Throws when packets may not be written to this data source.</summary>
    public void CheckDataSource(string dataSource)
    {
        if (layout.DataSourceError(dataSource) is { } error) throw Errors.InvalidArgument(error);
    }

    // From the memory of a request to their own.
    private static void CopyBytes(Span<PreparedPacket> packets)
    {
        while (!packets.IsEmpty)
        {
            var (count, bytes) = (1, packets[0].Value.Length);
            while (count < packets.Length && packets[count].Stream == packets[0].Stream && bytes + packets[count].Value.Length <= SharedBytesMax)
                bytes += packets[count++].Value.Length;
            Memory<byte> rest = GC.AllocateUninitializedArray<byte>(bytes);
            foreach (ref var packet in packets[..count])
            {
                var value = rest[..packet.Value.Length];
                packet.Value.CopyTo(value);
                packet = packet with { Record = packet.Record with { Value = value } };
                rest = rest[value.Length..];
            }

            packets = packets[count..];
        }
    }

    private StreamTarget AddStream(string dataSource, string stream)
    {
        if ((layout.DataSourceError(dataSource) ?? layout.StreamError(dataSource, stream)) is { } error) throw Errors.InvalidArgument(error);
        var placement = layout.PlaceStream(dataSource, stream);
        var target = new StreamTarget(dataSource, placement, AppenderOf(placement.Topic), telemetry.TagsOf(dataSource, stream));
        return _streams.GetOrAdd((dataSource, stream), target);
    }

    private StreamTarget EssentialsOf(string dataSource)
    {
        if (_essentials.TryGetValue(dataSource, out var known)) return known;
        if (TopicLayout.EssentialsError(dataSource) is { } error) throw Errors.InvalidArgument(error);
        var placement = layout.PlaceEssential(dataSource);
        var target = new StreamTarget(dataSource, placement, AppenderOf(placement.Topic), telemetry.TagsOf(dataSource, ""));
        return _essentials.GetOrAdd(dataSource, target);
    }

    private TopicAppender AppenderOf(TopicSpec topic) =>
        _appenders.TryGetValue(topic.Name, out var known)
            ? known
            : _appenders.GetOrAdd(topic.Name, new TopicAppender(broker, directory, topic, limits.WriteTimeout, clock));

    // The bytes of a key are shared by all its records; a full cache only costs the next keys an array each.
    private byte[] KeyOf(string key)
    {
        if (key.Length == 0) return [];
        if (_keys.TryGetValue(key, out var bytes)) return bytes;
        bytes = Encoding.UTF8.GetBytes(key);
        if (_keys.Count < KeysMax) _keys.TryAdd(key, bytes);
        else _keys.Clear();
        return bytes;
    }

    private void Reserve(int bytes)
    {
        Interlocked.Increment(ref _pendingPackets);
        var pending = Interlocked.Add(ref _pendingBytes, bytes);
        if (pending <= limits.PendingBytesMax || pending == bytes) return;
        Release(bytes);
        throw Errors.ResourceExhausted(
            $"{pending - bytes} bytes of unary writes wait for the broker already; allowed are {limits.PendingBytesMax}; write slower, or by a client stream");
    }

    private void Release(int bytes)
    {
        Interlocked.Decrement(ref _pendingPackets);
        Interlocked.Add(ref _pendingBytes, -bytes);
    }

    private async ValueTask WaitAsync(Task append, int bytes, string target, TopicAppender appender, CancellationToken cancellationToken)
    {
        await append.WaitAsync(limits.WriteTimeout, clock, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (append.IsCompleted)
        {
            Release(bytes);
            await append.ConfigureAwait(false);
            return;
        }

        // The broker still has it: its bytes are pending until it is done with it.
        ReleaseWhenDone(append, bytes);
        cancellationToken.ThrowIfCancellationRequested();
        throw await TimedOutAsync(target, appender).ConfigureAwait(false);
    }

    private void ReleaseWhenDone(Task append, int bytes) =>
        append.ContinueWith(
            done =>
            {
                _ = done.Exception; // Its caller is gone.
                Release(bytes);
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);

    private async Task<Exception> TimedOutAsync(string target, TopicAppender appender)
    {
        if (appender.Trouble is { } trouble) return Errors.From(trouble, $"writing to {target}");
        BrokerHealth health;
        try
        {
            health = await broker.CheckAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsOfBroker(exception))
        {
            health = new BrokerHealth(IsHealthy: false, exception.Message);
        }

        var message = $"writing to {target}: not durable after {limits.WriteTimeout.TotalSeconds} s; the broker says: {health.Detail}";
        return health.IsHealthy ? Errors.ResourceExhausted(message) : Errors.Unavailable(message);
    }

    private static void Failed(TopicAppender appender, Exception exception)
    {
        if (exception is BrokerException { Error: BrokerError.NoSuchTopic }) appender.TopicIsGone();
    }

    private void Count(in PreparedPacket packet)
    {
        telemetry.DataRouted(packet.Stream.Tags, 1, packet.Record.Bytes);
        Written?.Invoke(packet);
    }

    private async ValueTask CompleteAsync(ValueTask<Appended> append, PreparedPacket packet)
    {
        try
        {
            await append.ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsOfBroker(exception))
        {
            Failed(packet.Stream.Appender, exception);
            throw Errors.From(exception, $"writing to {packet.Stream.Placement.Target}");
        }

        Count(packet);
    }

    private async ValueTask CompleteTwinsAsync(ValueTask<Appended> first, ValueTask<Appended> second, PreparedPacket packet)
    {
        await TwinsAsync(first, second, packet).ConfigureAwait(false);
        Count(packet);
    }

    private static async ValueTask<Appended> TwinsAsync(ValueTask<Appended> first, ValueTask<Appended> second, PreparedPacket packet)
    {
        Exception? essentialsError = null, streamError = null;
        var appended = default(Appended);
        try
        {
            appended = await first.ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsOfBroker(exception))
        {
            essentialsError = exception;
            Failed(packet.Essentials!.Appender, exception);
        }

        try
        {
            await second.ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsOfBroker(exception))
        {
            streamError = exception;
            Failed(packet.Stream.Appender, exception);
        }

        var (essentials, stream) = (packet.Essentials!.Placement.Target.Topic, packet.Stream.Placement.Target);
        if (essentialsError is null && streamError is null) return appended;
        var doing = (essentialsError, streamError) switch
        {
            (null, _) => $"writing an essential packet: durable in {essentials}, but not in {stream}",
            (_, null) => $"writing an essential packet: durable in {stream}, but not in {essentials}",
            _ => $"writing an essential packet to {essentials} and {stream}",
        };
        throw Errors.From(essentialsError ?? streamError!, doing);
    }
}
