using System.Runtime.CompilerServices;
using System.Text;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Packets;

/// <summary>Records of one stream, in order. Valid until the next is asked for.</summary>
/// <param name="Stream">The name they are delivered under.</param>
/// <param name="Source">The partition they came from.</param>
/// <param name="Records">Those that belong to the session.</param>
/// <param name="NextOffset">Nothing before it is left to deliver.</param>
internal readonly record struct StreamBatch(string Stream, TopicPartition Source, IReadOnlyList<Record> Records, long NextOffset)
{
    /// <summary>No records: everything so far is to be delivered before more is asked for, since partitions pass to other readers then.</summary>
    public bool IsHandover => Stream is null;
}

/// <summary>Where a read starts: every partition it knows of, with the stream's name its packets are delivered under.</summary>
internal sealed class ReadPlan(string dataSource, bool essentials) : IAsyncDisposable
{
    public string DataSource { get; } = dataSource;

    public bool IsEssentials { get; } = essentials;

    public Dictionary<TopicPartition, ReadPosition> Positions { get; } = [];

    /// <summary>The read's membership, where it is one of a group: then it reads what is assigned to it.</summary>
    public GroupMember? Group { get; init; }

    /// <summary>What a member wants a share of: the stream's name, and where the group starts in a partition that is new to it.</summary>
    public Dictionary<TopicPartition, (string Stream, long Start)> Wanted { get; } = [];

    public ValueTask DisposeAsync() => Group?.DisposeAsync() ?? default;
}

/// <summary>How far a read is in one partition.</summary>
internal sealed class ReadPosition(string stream, long next)
{
    public string Stream { get; } = stream;

    public long Next { get; set; } = next;

    /// <summary>Where the read ends, if it does.</summary>
    public long End { get; init; } = long.MaxValue;

    /// <summary>False where another member of the group reads it now.</summary>
    public bool IsAssigned { get; set; } = true;

    /// <summary>False until the first batch: until then retention may move the start of a read that begins at the beginning.</summary>
    public bool HasRead { get; set; }
}

/// <summary>Merges the partitions of a connection; rides out broker faults; takes up streams that appear while it reads.</summary>
internal sealed class PacketReader(
    IBroker broker, TopicLayout layout, TopicDirectory directory, StreamingApiLimits limits, Telemetry telemetry, TimeProvider clock, ILogger logger)
{
    private const long Latest = -1;

    /// <summary>Positions a read of the packets of a connection.</summary>
    public async Task<ReadPlan> PlanAsync(ConnectionDetails details, CancellationToken cancellationToken)
    {
        if (details.ConsumerGroup.Length > 0) return await JoinAsync(details, cancellationToken).ConfigureAwait(false);
        var plan = new ReadPlan(details.DataSource, essentials: false);
        var starts = new Dictionary<TopicPartition, (string Stream, long Start)>();
        foreach (var (source, stream, start) in Sources(details)) starts.TryAdd(source, (stream, start));
        await PositionAsync(plan, starts, cancellationToken).ConfigureAwait(false);
        return plan;
    }

    /// <summary>Positions a read of the essential packets of a connection.</summary>
    public async Task<ReadPlan> PlanEssentialsAsync(ConnectionDetails details, CancellationToken cancellationToken)
    {
        var plan = new ReadPlan(details.DataSource, essentials: true);
        var topic = TopicLayout.EssentialsTopic(details.DataSource);
        var starts = new Dictionary<TopicPartition, (string, long)>();
        for (var partition = 0; partition < Math.Max(1, directory.PartitionsOf(topic)); partition++)
        {
            starts[new(topic, partition)] = ("", StartIn(partition, details.EssentialsOffset));
        }

        await PositionAsync(plan, starts, cancellationToken).ConfigureAwait(false);
        return plan;
    }

    /// <summary>The records of a plan that belong to the session, for ever, or for essentials to the high watermark; for a member of a group
    /// also what moves it on without having any.</summary>
    public async IAsyncEnumerable<StreamBatch> ReadAsync(
        ConnectionDetails details, ReadPlan plan, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ReadOnlyMemory<byte> session = Encoding.UTF8.GetBytes(details.SessionKey);
        var backoff = new Backoff();
        Task<IReadOnlyList<GroupPosition>>? assignment = null;
        using var grown = new GrowthSignal();
        using var subscription = plan.IsEssentials ? null : directory.Subscribe(topic => Concerns(details, topic), grown.Set);
        while (true)
        {
            using var reading = grown.LinkTo(cancellationToken);
            if (!plan.IsEssentials) AddNewSources(details, plan);
            if (plan.Group is { } group)
            {
                assignment ??= NextAssignment(group, grown, cancellationToken);
                if (assignment.IsCompleted)
                {
                    yield return default;
                    await AdoptAsync(details, plan, assignment, isReading: true, cancellationToken).ConfigureAwait(false);
                    assignment = null;
                    continue;
                }
            }

            var request = new ReadRequest(
                [.. plan.Positions.Where(p => p.Value.IsAssigned && p.Value.Next < p.Value.End).Select(p => new Position(p.Key, p.Value.Next))], limits.ReadAheadBytes, ToHighWatermark: plan.IsEssentials);
            if (plan.IsEssentials && request.From.Count == 0) yield break;
            var batches = Read(request, reading.Token).GetAsyncEnumerator(reading.Token);
            await using var disposing = batches.ConfigureAwait(false);
            while (true)
            {
                bool more;
                try
                {
                    more = await batches.MoveNextAsync().ConfigureAwait(false);
                }
                catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
                {
                    break; // A stream appeared or a topic has grown: read on with it.
                }
                catch (BrokerException exception) when (exception.IsTransient)
                {
                    var delay = backoff.Next();
                    logger.ReadInterrupted(details.DataSource, delay, exception);
                    await Task.Delay(delay, clock, cancellationToken).ConfigureAwait(false);
                    break;
                }
                catch (BrokerException exception)
                {
                    throw Errors.From(exception, $"reading {details.DataSource}");
                }
                catch (ObjectDisposedException)
                {
                    throw Errors.ShuttingDown();
                }

                if (!more)
                {
                    if (plan.IsEssentials) yield break;
                    throw Errors.OutOfRange($"reading {details.DataSource}: its topics were deleted; nothing of them is left");
                }

                backoff.Reset();
                var batch = batches.Current;
                var position = plan.Positions[batch.Source];
                if (batch.Missing is { } missing) CheckMissing(details, position, batch, missing);
                if (batch.Records.Count > 0)
                {
                    telemetry.Read(telemetry.TagsOf(details.DataSource, position.Stream), batch.Records.Count, plan.IsEssentials);
                    var records = Before(position.End, batch.Records);
                    if (!session.IsEmpty) records = OfSession(records, session.Span);
                    if (records.Count > 0 || plan.Group is not null) yield return new StreamBatch(position.Stream, batch.Source, records, batch.NextOffset);
                }

                position.Next = batch.NextOffset;
                position.HasRead = true;
            }
        }
    }

    private async Task<ReadPlan> JoinAsync(ConnectionDetails details, CancellationToken cancellationToken)
    {
        GroupMember group;
        try
        {
            group = await broker.JoinGroupAsync(details.ConsumerGroup, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            throw Errors.From(exception, Joining(details));
        }

        var plan = new ReadPlan(details.DataSource, essentials: false) { Group = group };
        try
        {
            foreach (var (source, stream, start) in Sources(details)) plan.Wanted.TryAdd(source, (stream, start));
            group.Want(plan.Wanted.Keys);
            await AdoptAsync(details, plan, group.NextAssignmentAsync(cancellationToken).AsTask(), isReading: false, cancellationToken).ConfigureAwait(false);
            return plan;
        }
        catch
        {
            await plan.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static string Joining(ConnectionDetails details) => $"reading {details.DataSource} as a member of group '{details.ConsumerGroup}'";

    // The signal comes when the task is complete, not before: who is woken by it looks at the task.
    private static Task<IReadOnlyList<GroupPosition>> NextAssignment(GroupMember group, GrowthSignal changed, CancellationToken cancellationToken)
    {
        var next = group.NextAssignmentAsync(cancellationToken).AsTask();
        _ = next.ContinueWith(
            done =>
            {
                _ = done.Exception;
                changed.Set();
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
        return next;
    }

    // Takes up what is assigned from now on, and lets go of the rest.
    private async Task AdoptAsync(
        ConnectionDetails details, ReadPlan plan, Task<IReadOnlyList<GroupPosition>> next, bool isReading, CancellationToken cancellationToken)
    {
        IReadOnlyList<GroupPosition> assigned;
        try
        {
            assigned = await next.ConfigureAwait(false);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            throw Errors.From(exception, Joining(details));
        }

        var mine = assigned.Where(position => plan.Wanted.ContainsKey(position.Source)).ToDictionary(position => position.Source, position => position.Offset);
        foreach (var (source, position) in plan.Positions) position.IsAssigned = position.IsAssigned && mine.ContainsKey(source);
        var gained = mine.Keys.Where(source => !plan.Positions.TryGetValue(source, out var position) || !position.IsAssigned).ToList();
        var begun = new ReadPlan(plan.DataSource, essentials: false);
        var starts = gained.ToDictionary(source => source, source => (plan.Wanted[source].Stream, mine[source] ?? plan.Wanted[source].Start));
        var backoff = new Backoff();
        while (true)
        {
            try
            {
                await PlaceAsync(begun, starts, cancellationToken).ConfigureAwait(false);
                break;
            }
            catch (BrokerException exception) when (isReading && exception.IsTransient)
            {
                var delay = backoff.Next();
                logger.ReadInterrupted(details.DataSource, delay, exception);
                await Task.Delay(delay, clock, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (Errors.IsBrokerFailure(exception))
            {
                throw Errors.From(exception, Joining(details));
            }
        }

        foreach (var (source, position) in begun.Positions)
        {
            if (mine[source] is { } committed)
            {
                // A new leader may not have heard yet how far its log is known to be: what the group has had it does not get again.
                if (position.Next > committed) logger.GroupOvertaken(details.ConsumerGroup, source.Topic, source.Partition, committed, position.Next);
                position.Next = Math.Max(position.Next, committed);
            }

            // Had by this read before it passed to another member and back: that one may have left without having committed.
            if (plan.Positions.TryGetValue(source, out var before)) position.Next = Math.Max(position.Next, before.Next);
            plan.Positions[source] = position;

            // From here on the group has a position there, so that whoever reads it next begins where this read does.
            plan.Group!.HandedOver(source, position.Next);
        }
    }

    // Nothing to read yet is something to wait for.
    private IAsyncEnumerable<RecordBatch> Read(ReadRequest request, CancellationToken cancellationToken) =>
        request.From.Count > 0 ? broker.ReadAsync(request, cancellationToken) : WaitAsync(cancellationToken);

    private static async IAsyncEnumerable<RecordBatch> WaitAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Delay(Timeout.Infinite, cancellationToken).ConfigureAwait(false);
        yield break;
    }

    private static long StartIn(int partition, long offset) => partition == 0 || offset <= 0 ? offset : 0;

    // A bounded read that was interrupted is taken up again by one with a later bound.
    private static IReadOnlyList<Record> Before(long end, IReadOnlyList<Record> records) =>
        records[^1].Offset < end ? records : [.. records.Where(record => record.Offset < end)];

    private static List<Record> OfSession(IReadOnlyList<Record> records, ReadOnlySpan<byte> session)
    {
        var own = new List<Record>();
        foreach (var record in records)
        {
            if (record.Key is { } key && key.Span.SequenceEqual(session)) own.Add(record);
        }

        return own;
    }

    // Every partition of a connection's streams that exists, or is listed and may come to exist; the first mention of a partition names it.
    private IEnumerable<(TopicPartition Source, string Stream, long Start)> Sources(ConnectionDetails details)
    {
        var dataSource = details.DataSource;
        var mainExists = Math.Max(1, directory.PartitionsOf(dataSource));
        if (details.Streams.Count == 0)
        {
            for (var partition = 0; partition < mainExists; partition++)
            {
                var stream = layout.FirstStreamOf(partition);
                if (partition == 0 && stream.Length == 0 && details.ExcludeMainStream) continue;
                if (!layout.IsPartitionBased && details.ExcludeMainStream) continue;
                yield return (new(dataSource, partition), stream, StartIn(partition, details.MainOffset));
            }

            if (layout.IsPartitionBased) yield break;
            foreach (var stream in directory.StreamsOf(dataSource))
            {
                var start = details.MainOffset == Latest ? Latest : 0;
                foreach (var source in PartitionsOf(TopicLayout.StreamTopic(dataSource, stream))) yield return (source, stream, start);
            }

            yield break;
        }

        for (var i = 0; i < details.Streams.Count; i++)
        {
            var stream = details.Streams[i];
            var offset = i < details.StreamOffsets.Count ? details.StreamOffsets[i] : 0;
            if (stream.Length == 0) yield return (new(dataSource, 0), "", offset);
            else if (!layout.IsPartitionBased)
            {
                foreach (var source in PartitionsOf(TopicLayout.StreamTopic(dataSource, stream)))
                {
                    yield return (source, stream, StartIn(source.Partition, offset));
                }
            }
            else if (layout.TryGetMapped(stream, out var partition))
            {
                yield return (new(dataSource, partition), stream, offset);
            }
        }

        if (!details.ExcludeMainStream) yield return (new(dataSource, 0), "", details.MainOffset);
    }

    private IEnumerable<TopicPartition> PartitionsOf(string topic)
    {
        for (var partition = 0; partition < Math.Max(1, directory.PartitionsOf(topic)); partition++) yield return new(topic, partition);
    }

    private bool Concerns(ConnectionDetails details, string topic)
    {
        if (!topic.StartsWith(details.DataSource, StringComparison.Ordinal)) return false;
        if (topic.Length == details.DataSource.Length) return true;
        if (layout.IsPartitionBased || topic[details.DataSource.Length] != '.') return false;
        return details.Streams.Count == 0 || details.Streams.Contains(topic[(details.DataSource.Length + 1)..]);
    }

    // What appears while reading is read from its beginning.
    private void AddNewSources(ConnectionDetails details, ReadPlan plan)
    {
        if (plan.Group is { } group)
        {
            var isNew = false;
            foreach (var (source, stream, _) in Sources(details)) isNew |= plan.Wanted.TryAdd(source, (stream, 0));
            if (isNew) group.Want(plan.Wanted.Keys);
            return;
        }

        foreach (var (source, stream, _) in Sources(details))
        {
            if (!plan.Positions.ContainsKey(source)) plan.Positions.Add(source, new ReadPosition(stream, 0));
        }
    }

    private async Task PositionAsync(
        ReadPlan plan, Dictionary<TopicPartition, (string Stream, long Start)> starts, CancellationToken cancellationToken)
    {
        try
        {
            await PlaceAsync(plan, starts, cancellationToken).ConfigureAwait(false);
        }
        catch (BrokerException exception)
        {
            throw Errors.From(exception, $"positioning a read of {plan.DataSource}");
        }
    }

    private async Task PlaceAsync(
        ReadPlan plan, Dictionary<TopicPartition, (string Stream, long Start)> starts, CancellationToken cancellationToken)
    {
        var sources = starts.Keys.ToList();
        var marks = sources.Count == 0 ? [] : await broker.GetWatermarksAsync(sources, cancellationToken).ConfigureAwait(false);
        for (var i = 0; i < sources.Count; i++)
        {
            var (stream, start) = starts[sources[i]];
            var next = start == Latest ? marks[i].High : Math.Clamp(start, marks[i].Low, marks[i].High);

            // Who asked for what comes from now on misses what retention takes from then on; who asked for the earliest gets what is left.
            plan.Positions.Add(sources[i], new ReadPosition(stream, next) { HasRead = start == Latest, End = plan.IsEssentials ? marks[i].High : long.MaxValue });
        }
    }

    private void CheckMissing(ConnectionDetails details, ReadPosition position, RecordBatch batch, MissingRange missing)
    {
        var name = position.Stream.Length == 0 ? $"the main stream of {details.DataSource}" : $"stream '{position.Stream}' of {details.DataSource}";
        switch (missing.Reason)
        {
            case MissingReason.Retention when position.HasRead:
                throw Errors.OutOfRange(
                    $"reading {name}: retention removed offsets {missing.From} to {missing.To - 1} of {batch.Source} before they were read; "
                    + $"what is left starts at {missing.To}");
            case MissingReason.TopicDeleted:
                throw Errors.OutOfRange(
                    $"reading {name}: topic '{batch.Source.Topic}' was deleted with its offsets from {missing.From} on; nothing of it is left");
            case MissingReason.Damage:
                // The reader goes on behind the damage: it must not stop every reader at that place for ever.
                logger.RecordsMissing(batch.Source.Topic, batch.Source.Partition, missing.From, missing.To, missing.Reason.ToString());
                telemetry.Skipped("damaged");
                break;
        }
    }

    /// <summary>Says that a read has to look for new sources; what is said between two looks counts for the next one.</summary>
    private sealed class GrowthSignal : IDisposable
    {
        private readonly Lock _gate = new();
        private CancellationTokenSource? _reading;
        private bool _disposed;

        public CancellationTokenSource LinkTo(CancellationToken cancellationToken)
        {
            lock (_gate) return _reading = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        }

        public void Set()
        {
            CancellationTokenSource? reading;
            lock (_gate)
            {
                if (_disposed || _reading is null) return;
                reading = _reading;
                _reading = null;
            }

            try
            {
                // On the thread pool: a topic is being created on this thread, and a read starting anew is none of its business.
                _ = reading.CancelAsync();
            }
            catch (ObjectDisposedException)
            {
                // It ended by itself meanwhile, and the next one looks before it reads.
            }
        }

        public void Dispose()
        {
            lock (_gate)
            {
                _disposed = true;
                _reading = null;
            }
        }
    }
}
