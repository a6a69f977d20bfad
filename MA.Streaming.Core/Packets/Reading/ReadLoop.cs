using System.Runtime.CompilerServices;
using System.Text;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Packets;

/// <summary>Reads the partitions of a plan: merges them, rides out faults of the broker, takes up new streams and assignments.</summary>
internal sealed class ReadLoop(
    IBroker broker, ReadPlanner planner, GroupReads groups, StreamingApiLimits limits, Telemetry telemetry, TimeProvider clock, ILogger logger)
{
    /// <summary>The records of a plan that belong to its session: for ever, or up to the end of a bounded read. A member of a group also gets
    /// batches without records, which move its position.</summary>
    public async IAsyncEnumerable<ReadStep> ReadAsync(ReadPlan plan, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var dataSource = plan.Details.DataSource;
        ReadOnlyMemory<byte> session = Encoding.UTF8.GetBytes(plan.Details.SessionKey);
        var backoff = new Backoff();
        using var grown = new GrowthSignal();
        using var watching = plan.IsBounded ? null : planner.Watch(plan.Details, grown.Set);
        while (true)
        {
            using var round = grown.LinkTo(cancellationToken);
            if (plan is PacketsPlan packets) planner.AddNewSources(packets);
            if (plan is GroupPlan member)
            {
                groups.WantNewSources(member);
                if (GroupReads.HasNewAssignment(member, grown, cancellationToken))
                {
                    yield return ReadStep.FlushNow;
                    await groups.AdoptAsync(member, cancellationToken).ConfigureAwait(false);
                    continue;
                }
            }

            var request = new ReadRequest(
                [.. plan.Positions.Where(p => p.Value.IsAssigned && p.Value.Next < p.Value.End).Select(p => new Position(p.Key, p.Value.Next))],
                limits.ReadAheadBytes,
                ToHighWatermark: plan.IsBounded);
            if (plan.IsBounded && request.From.Count == 0) yield break;
            var batches = Read(request, round.Token).GetAsyncEnumerator(round.Token);
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
                    break; // A stream has appeared, a topic has grown, or the group has assigned anew: the next round takes it up.
                }
                catch (BrokerException exception) when (exception.IsTransient)
                {
                    var delay = backoff.Next();
                    logger.ReadInterrupted(dataSource, delay, exception);
                    await Task.Delay(delay, clock, cancellationToken).ConfigureAwait(false);
                    break;
                }
                catch (BrokerException exception)
                {
                    throw Errors.From(exception, $"reading {dataSource}");
                }
                catch (ObjectDisposedException)
                {
                    throw Errors.ShuttingDown();
                }

                if (!more)
                {
                    if (plan.IsBounded) yield break;
                    throw Errors.OutOfRange($"reading {dataSource}: its topics were deleted; nothing of them is left");
                }

                backoff.Reset();
                var batch = batches.Current;
                var position = plan.Positions[batch.Source];
                if (batch.Missing is { } missing) CheckMissing(dataSource, position, batch, missing);
                if (batch.Records.Count > 0)
                {
                    plan.CountRead(telemetry, telemetry.TagsOf(dataSource, position.Stream), batch.Records.Count);
                    var records = Before(position.End, batch.Records);
                    if (!session.IsEmpty) records = OfSession(records, session.Span);
                    if (records.Count > 0 || plan is GroupPlan)
                        yield return new ReadStep(new StreamBatch(position.Stream, batch.Source, records, batch.NextOffset));
                }

                position.Next = batch.NextOffset;
                position.HasRead = true;
            }
        }
    }

    // A plan without partitions waits until one appears.
    private IAsyncEnumerable<RecordBatch> Read(ReadRequest request, CancellationToken cancellationToken) =>
        request.From.Count > 0 ? broker.ReadAsync(request, cancellationToken) : WaitAsync(cancellationToken);

    private static async IAsyncEnumerable<RecordBatch> WaitAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Delay(Timeout.Infinite, cancellationToken).ConfigureAwait(false);
        yield break;
    }

    // After an interruption the broker's bound is a later one than the plan's.
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

    private void CheckMissing(string dataSource, ReadPosition position, RecordBatch batch, MissingRange missing)
    {
        var name = position.Stream.Length == 0 ? $"the main stream of {dataSource}" : $"stream '{position.Stream}' of {dataSource}";
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
                // The read goes on behind the damage; otherwise every reader would stop there for ever.
                logger.RecordsMissing(batch.Source.Topic, batch.Source.Partition, missing.From, missing.To, missing.Reason.ToString());
                telemetry.Skipped("damaged");
                break;
        }
    }
}
