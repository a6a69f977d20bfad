namespace MA.Streaming.Core.Broker;

/// <summary>A partition that a member of a group is to read, and how far the group is in it.</summary>
/// <param name="Source">The partition.</param>
/// <param name="Offset">The offset to read next; null where the group has never begun with this partition.</param>
public readonly record struct GroupPosition(TopicPartition Source, long? Offset);

/// <summary>
/// A reader's membership in a group. The reader's side: say what is wanted, ask for assignments, read the assigned partitions as any
/// reader does, say what was handed over, leave by disposal. The broker's side (<see cref="Assign"/>, <see cref="RevokeAsync"/>,
/// <see cref="Remove"/>, <see cref="TakeHandedOver"/>, <see cref="Fail"/>) shares the partitions out and keeps the positions: what was
/// handed over is committed every second at least, before the partition passes to another member, and when the member leaves; nothing
/// else is ever committed. Each side may be used from any thread; assignments are asked for one at a time.
/// </summary>
public sealed class GroupMember : IAsyncDisposable
{
    private readonly Action<IReadOnlyCollection<TopicPartition>> _wanted;
    private readonly Func<ValueTask> _leave;
    private readonly Lock _gate = new();
    private readonly Dictionary<TopicPartition, Holding> _held = [];
    private readonly List<(long Version, TaskCompletionSource Left)> _revocations = [];
    private HashSet<TopicPartition> _given = [];
    private TaskCompletionSource? _changed;
    private long _version;
    private long _givenVersion;
    private Exception? _failure;
    private bool _isLeaving;

    /// <summary>A member whose broker is told what the reader wants, and that it leaves.</summary>
    /// <param name="wanted">Is told, on the reader's thread, the partitions that the reader wants from now on. Short.</param>
    /// <param name="leave">Completes when the member is no member any more and what it handed over is committed.</param>
    public GroupMember(Action<IReadOnlyCollection<TopicPartition>> wanted, Func<ValueTask> leave) => (_wanted, _leave) = (wanted, leave);

    /// <summary>Says which partitions the reader wants a share of, in place of those it wanted before; also ones that do not exist yet.</summary>
    public void Want(IReadOnlyCollection<TopicPartition> partitions) => _wanted(partitions);

    /// <summary>
    /// The partitions that are this member's from now on: the first one when it has joined, each later one when it changes. To ask says
    /// that the reader is done with the partitions that are not in the assignment it was given last: it reads them no more, and what it
    /// will ever hand over of them is handed over. It may be assigned partitions that it does not want; it leaves those alone.
    /// </summary>
    /// <exception cref="BrokerException">The group cannot be joined, or not be stayed in.</exception>
    /// <exception cref="ObjectDisposedException">The broker, or this member, is gone.</exception>
    public async ValueTask<IReadOnlyList<GroupPosition>> NextAssignmentAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            Task changed;
            List<TaskCompletionSource>? left = null;
            IReadOnlyList<GroupPosition>? assignment = null;
            lock (_gate)
            {
                for (var i = _revocations.Count - 1; i >= 0; i--)
                {
                    if (_revocations[i].Version > _givenVersion) continue;
                    (left ??= []).Add(_revocations[i].Left);
                    _revocations.RemoveAt(i);
                }

                ObjectDisposedException.ThrowIf(_isLeaving, this);
                if (_failure is not null) throw Again(_failure);
                if (_version > _givenVersion)
                {
                    _givenVersion = _version;
                    assignment = [.. _held.Where(held => !held.Value.IsRevoked).Select(held => new GroupPosition(held.Key, held.Value.Next))];
                    _given = [.. assignment.Select(position => position.Source)];
                }

                changed = (_changed ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
            }

            left?.ForEach(revocation => revocation.TrySetResult());
            if (assignment is not null) return assignment;
            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Says that everything of a partition before this offset was handed over, or is none of the reader's. Nothing happens where the
    /// partition is not this member's any more, or where the group is as far already.</summary>
    public void HandedOver(TopicPartition source, long next)
    {
        lock (_gate)
        {
            if (!_held.TryGetValue(source, out var held) || held.Next >= next) return;
            (held.Next, held.IsChanged) = (next, true);
        }
    }

    /// <summary>Leaves the group; what was handed over is committed, the partitions pass to the others.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            if (_isLeaving) return;
            _isLeaving = true;
        }

        Wake();
        await _leave().ConfigureAwait(false);
    }

    /// <summary>The broker's side: the member has these partitions too. Also with none: it has joined.</summary>
    public void Assign(IEnumerable<GroupPosition> gained)
    {
        lock (_gate)
        {
            _version++;
            foreach (var (source, offset) in gained) _held[source] = new Holding { Next = offset };
        }

        Wake();
    }

    /// <summary>The broker's side: the member is to be done with these partitions. Completes when it is, or has left. Until they are
    /// removed it may hand over of them.</summary>
    public Task RevokeAsync(IEnumerable<TopicPartition> lost)
    {
        Task done = Task.CompletedTask;
        lock (_gate)
        {
            _version++;
            var isGiven = false;
            foreach (var source in lost)
            {
                if (_held.TryGetValue(source, out var held)) held.IsRevoked = true;
                isGiven |= _given.Contains(source);
            }

            if (isGiven && !_isLeaving && _failure is null)
            {
                var left = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                _revocations.Add((_version, left));
                done = left.Task;
            }
        }

        Wake();
        return done;
    }

    /// <summary>The broker's side: the partitions are not this member's any more; what it says of them no longer counts.</summary>
    public void Remove(IEnumerable<TopicPartition> lost)
    {
        lock (_gate)
        {
            foreach (var source in lost) _held.Remove(source);
        }
    }

    /// <summary>The broker's side: what has been handed over since this was asked last.</summary>
    public IReadOnlyList<Position> TakeHandedOver()
    {
        List<Position>? taken = null;
        lock (_gate)
        {
            foreach (var (source, held) in _held)
            {
                if (!held.IsChanged) continue;
                held.IsChanged = false;
                (taken ??= []).Add(new Position(source, held.Next!.Value));
            }
        }

        return taken ?? (IReadOnlyList<Position>)[];
    }

    /// <summary>The broker's side: membership ends with this failure; the reader learns of it when it asks for the next assignment.</summary>
    public void Fail(Exception failure)
    {
        lock (_gate) _failure ??= failure;
        Wake();
    }

    private static Exception Again(Exception failure) => failure is BrokerException broker
        ? new BrokerException(broker.Error, broker.Message, broker)
        : failure;

    private void Wake()
    {
        TaskCompletionSource? changed;
        List<TaskCompletionSource>? left = null;
        lock (_gate)
        {
            (changed, _changed) = (_changed, null);
            if (_isLeaving || _failure is not null)
            {
                // Nobody reads any more who could be waited for.
                left = [.. _revocations.Select(revocation => revocation.Left)];
                _revocations.Clear();
            }
        }

        changed?.TrySetResult();
        left?.ForEach(revocation => revocation.TrySetResult());
    }

    private sealed class Holding
    {
        public long? Next { get; set; }

        public bool IsChanged { get; set; }

        public bool IsRevoked { get; set; }
    }
}
