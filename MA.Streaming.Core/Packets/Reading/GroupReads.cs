using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Packets;

/// <summary>Reads of consumer groups: joins a group and takes up what it assigns.</summary>
internal sealed class GroupReads(IBroker broker, ReadPlanner planner, TimeProvider clock, ILogger logger)
{
    /// <summary>Joins the group of a connection and plans the read of its first assignment.</summary>
    public async Task<ReadPlan> JoinAsync(ConnectionDetails details, CancellationToken cancellationToken)
    {
        GroupPlan? plan = null;
        try
        {
            plan = new GroupPlan(details, await broker.JoinGroupAsync(details.ConsumerGroup, cancellationToken).ConfigureAwait(false));
            foreach (var (source, start) in planner.Sources(details)) plan.Wanted.TryAdd(source, start);
            plan.Member.Want(plan.Wanted.Keys);
            var assigned = Wanted(plan, await plan.Member.NextAssignmentAsync(cancellationToken).ConfigureAwait(false));
            var gained = new PacketsPlan(details);
            await planner.PlaceAsync(gained, Gained(plan, assigned), cancellationToken).ConfigureAwait(false);
            Adopt(plan, assigned, gained);
            return plan;
        }
        catch (Exception exception)
        {
            if (plan is not null) await plan.DisposeAsync().ConfigureAwait(false);
            if (Errors.IsBrokerFailure(exception)) throw Failed(details, exception);
            throw;
        }
    }

    /// <summary>Asks for a share of the partitions that have appeared; the group starts at their first record.</summary>
    public void WantNewSources(GroupPlan plan)
    {
        var isNew = false;
        foreach (var (source, start) in planner.Sources(plan.Details)) isNew |= plan.Wanted.TryAdd(source, start with { Offset = 0 });
        if (isNew) plan.Member.Want(plan.Wanted.Keys);
    }

    /// <summary>True when the assignment has changed; otherwise the signal comes when it changes.</summary>
    public static bool HasNewAssignment(GroupPlan plan, GrowthSignal changed, CancellationToken cancellationToken)
    {
        plan.NextAssignment ??= NextAssignment(plan.Member, changed, cancellationToken);
        return plan.NextAssignment.IsCompleted;
    }

    /// <summary>Reads the partitions of the new assignment from now on, and no others. Rides out faults of the broker.</summary>
    public async Task AdoptAsync(GroupPlan plan, CancellationToken cancellationToken)
    {
        try
        {
            var assigned = Wanted(plan, await plan.NextAssignment!.ConfigureAwait(false));
            plan.NextAssignment = null;
            var starts = Gained(plan, assigned);
            var gained = new PacketsPlan(plan.Details);
            var backoff = new Backoff();
            while (true)
            {
                try
                {
                    await planner.PlaceAsync(gained, starts, cancellationToken).ConfigureAwait(false);
                    break;
                }
                catch (BrokerException exception) when (exception.IsTransient)
                {
                    var delay = backoff.Next();
                    logger.ReadInterrupted(plan.Details.DataSource, delay, exception);
                    await Task.Delay(delay, clock, cancellationToken).ConfigureAwait(false);
                }
            }

            Adopt(plan, assigned, gained);
        }
        catch (Exception exception) when (Errors.IsBrokerFailure(exception))
        {
            throw Failed(plan.Details, exception);
        }
    }

    private static Exception Failed(ConnectionDetails details, Exception exception) =>
        Errors.From(exception, $"reading {details.DataSource} as a member of group '{details.ConsumerGroup}'");

    // The signal comes when the task is complete, not before: the read that it wakes looks at the task.
    private static Task<IReadOnlyList<GroupPosition>> NextAssignment(GroupMember member, GrowthSignal changed, CancellationToken cancellationToken)
    {
        var next = member.NextAssignmentAsync(cancellationToken).AsTask();
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

    // A group may assign partitions that only other members want.
    private static Dictionary<TopicPartition, long?> Wanted(GroupPlan plan, IReadOnlyList<GroupPosition> assigned) =>
        assigned.Where(position => plan.Wanted.ContainsKey(position.Source)).ToDictionary(position => position.Source, position => position.Offset);

    private static Dictionary<TopicPartition, ReadStart> Gained(GroupPlan plan, Dictionary<TopicPartition, long?> assigned) =>
        assigned.Where(next => !plan.Positions.TryGetValue(next.Key, out var position) || !position.IsAssigned).ToDictionary(
            next => next.Key, next => plan.Wanted[next.Key] with { Offset = next.Value ?? plan.Wanted[next.Key].Offset });

    private void Adopt(GroupPlan plan, Dictionary<TopicPartition, long?> assigned, ReadPlan gained)
    {
        foreach (var (source, position) in plan.Positions) position.IsAssigned = position.IsAssigned && assigned.ContainsKey(source);
        foreach (var (source, position) in gained.Positions)
        {
            if (assigned[source] is { } committed)
            {
                // A new leader may not know yet how far its log reaches. The group must not get again what it already had.
                if (position.Next > committed)
                    logger.GroupOvertaken(plan.Details.ConsumerGroup, source.Topic, source.Partition, committed, position.Next);
                position.Next = Math.Max(position.Next, committed);
            }

            // This read may have had the partition before. The member in between may have left without a commit.
            if (plan.Positions.TryGetValue(source, out var before)) position.Next = Math.Max(position.Next, before.Next);
            plan.Positions[source] = position;

            // From here on the group has a position in the partition: the next reader of it begins where this read does.
            plan.Member.HandedOver(source, position.Next);
        }
    }
}
