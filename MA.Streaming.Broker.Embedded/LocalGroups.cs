using System.Text;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Broker.Embedded;

/// <summary>
/// The groups of a broker that lives in one process. Who is a member, and which partition is whose, is known in memory and ends with the
/// process; positions are records of a topic of their own that is kept for ever. A record says where its group is in some partitions; the
/// furthest offset of a partition holds. When many records have come together, one of all positions replaces them.
/// </summary>
internal sealed class LocalGroups(IBroker broker, Action<TopicPartition, long> trim, TimeProvider clock, ILogger logger)
{
    /// <summary>Where the positions are. No data source can have this name.</summary>
    public const string Topic = "__group_positions";

    private const byte FormatVersion = 1;
    private const int RecordsMax = 10_000;
    private const int PositionsARecord = 1_000;

    private static readonly TopicPartition Source = new(Topic, 0);
    private static readonly TimeSpan CommitPeriod = TimeSpan.FromMilliseconds(500);

    /// <summary>How long a partition waits for a member that is to be done with it. After that the next one begins at what was handed over.</summary>
    private static readonly TimeSpan HandoverMax = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, Group> _groups = new(StringComparer.Ordinal);
    private Task? _loading;
    private Task _committing = Task.CompletedTask;
    private bool _isLooping;
    private long _records;
    private long _compacted;

    /// <summary>The port's <see cref="IBroker.JoinGroupAsync"/>.</summary>
    public async ValueTask<GroupMember> JoinAsync(string name, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        await LoadAsync(cancellationToken).ConfigureAwait(false);
        Member member = null!;
        member = new Member(new GroupMember(wanted => Want(name, member, wanted), () => LeaveAsync(name, member)));
        lock (_gate)
        {
            GroupOf(name).Members.Add(member);
            if (!_isLooping)
            {
                _isLooping = true;
                _ = CommitFromTimeToTimeAsync();
            }
        }

        return member.Membership;
    }

    /// <summary>The broker is going: its members learn of it.</summary>
    public void End()
    {
        lock (_gate)
        {
            foreach (var member in _groups.Values.SelectMany(group => group.Members)) member.Membership.Fail(new ObjectDisposedException(broker.GetType().Name));
        }
    }

    private Group GroupOf(string name)
    {
        if (!_groups.TryGetValue(name, out var group)) _groups[name] = group = new Group();
        return group;
    }

    private void Want(string name, Member member, IReadOnlyCollection<TopicPartition> partitions)
    {
        lock (_gate)
        {
            if (member.HasJoined && member.Wanted.SetEquals(partitions)) return;
            member.Wanted = [.. partitions];
            if (!member.HasJoined) member.Membership.Assign([]);
            member.HasJoined = true;
            Share(name);
        }
    }

    private async ValueTask LeaveAsync(string name, Member member)
    {
        lock (_gate)
        {
            var group = GroupOf(name);
            group.Take(member);
            group.Members.Remove(member);
            foreach (var source in member.Owned) group.Owners.Remove(source);
            member.Membership.Remove(member.Owned);
            member.Owned.Clear();
            Share(name);
        }

        await CommitAsync().ConfigureAwait(false);
    }

    /// <summary>Shares the partitions out anew, moving no more of them than needed; what is to move is first given up by who has it.</summary>
    private void Share(string name)
    {
        var group = GroupOf(name);
        var goal = group.Goal();
        foreach (var member in group.Members)
        {
            List<TopicPartition> lost = [.. member.Owned.Where(source => !member.Leaving.Contains(source) && goal.GetValueOrDefault(source) != member)];
            if (lost.Count == 0) continue;
            member.Leaving.UnionWith(lost);
            _ = PassOnAsync(name, member, lost, member.Membership.RevokeAsync(lost));
        }

        foreach (var member in group.Members)
        {
            List<TopicPartition> gained = [.. goal.Where(shared => shared.Value == member && !group.Owners.ContainsKey(shared.Key)).Select(shared => shared.Key)];
            if (gained.Count > 0) Give(group, member, gained);
        }
    }

    private static void Give(Group group, Member member, List<TopicPartition> gained)
    {
        foreach (var source in gained)
        {
            group.Owners[source] = member;
            member.Owned.Add(source);
        }

        member.Membership.Assign(gained.Select(source => new GroupPosition(source, group.Positions.TryGetValue(source, out var next) ? next : null)));
    }

    private async Task PassOnAsync(string name, Member member, List<TopicPartition> lost, Task isDone)
    {
        try
        {
            await isDone.WaitAsync(HandoverMax, clock).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            logger.HandoverTimedOut(name, lost.Count, HandoverMax);
        }

        lock (_gate)
        {
            var group = GroupOf(name);
            group.Take(member);
            member.Membership.Remove(lost);
            foreach (var source in lost)
            {
                member.Leaving.Remove(source);
                if (member.Owned.Remove(source)) group.Owners.Remove(source);
            }

            Share(name);
        }
    }

    private async Task CommitFromTimeToTimeAsync()
    {
        using var timer = new PeriodicTimer(CommitPeriod, clock);
        while (await timer.WaitForNextTickAsync().ConfigureAwait(false))
        {
            await CommitAsync().ConfigureAwait(false);
            lock (_gate)
            {
                if (_groups.Values.Any(group => group.Members.Count > 0 || group.Changed.Count > 0)) continue;
                _isLooping = false;
                return;
            }
        }
    }

    // One after the other: who leaves waits for those before, whose positions its own may be among.
    private Task CommitAsync()
    {
        lock (_gate) return _committing = CommitAfterAsync(_committing);
    }

    private async Task CommitAfterAsync(Task before)
    {
        await before.ConfigureAwait(ConfigureAwaitOptions.ForceYielding | ConfigureAwaitOptions.SuppressThrowing);
        List<(Group Group, string Name, Position[] Positions)> changes = [];
        lock (_gate)
        {
            foreach (var (name, group) in _groups)
            {
                foreach (var member in group.Members) group.Take(member);
                foreach (var positions in group.Changed.Chunk(PositionsARecord))
                    changes.Add((group, name, [.. positions.Select(source => new Position(source, group.Positions[source]))]));
                group.Changed.Clear();
            }
        }

        foreach (var (group, name, positions) in changes)
        {
            try
            {
                await AppendAsync(name, positions).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is BrokerException or ObjectDisposedException)
            {
                lock (_gate)
                {
                    // A broker that is gone takes them no more; one that is full may.
                    if (exception is BrokerException) group.Changed.UnionWith(positions.Select(position => position.Source));
                    else foreach (var each in _groups.Values) each.Changed.Clear();
                }

                logger.CommitFailed(name, exception);
            }
        }

        if (changes.Count > 0 && _records > Math.Max(RecordsMax, 2 * _compacted)) await CompactAsync().ConfigureAwait(false);
    }

    private async Task<Appended> AppendAsync(string name, Position[] positions)
    {
        await broker.EnsureTopicAsync(new TopicSpec(Topic, 1, KeepForever: true), CancellationToken.None).ConfigureAwait(false);
        var appended = await broker.AppendAsync(Source, new RecordData(Encoding.UTF8.GetBytes(name), Encode(positions)), CancellationToken.None).ConfigureAwait(false);
        _records++;
        return appended;
    }

    // What is written anew is durable before what it replaces goes.
    private async Task CompactAsync()
    {
        (string Name, Position[] Positions)[] all;
        lock (_gate)
        {
            all = [.. _groups.SelectMany(group => group.Value.Positions.Chunk(PositionsARecord)
                .Select(positions => (group.Key, positions.Select(position => new Position(position.Key, position.Value)).ToArray())))];
        }

        try
        {
            long? first = null;
            foreach (var (name, positions) in all)
            {
                var appended = await AppendAsync(name, positions).ConfigureAwait(false);
                first ??= appended.Offset;
            }

            if (first is { } low) trim(Source, low);
            _records = _compacted = all.Length;
        }
        catch (Exception exception) when (exception is BrokerException or ObjectDisposedException or IOException)
        {
            logger.CommitFailed(Topic, exception);
        }
    }

    private async Task LoadAsync(CancellationToken cancellationToken)
    {
        Task loading;
        lock (_gate)
        {
            if (_loading is null or { IsFaulted: true }) _loading = Task.Run(ReadAsync, CancellationToken.None);
            loading = _loading;
        }

        await loading.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task ReadAsync()
    {
        var request = new ReadRequest([new Position(Source, 0)], 1 << 20, ToHighWatermark: true);
        var read = new Dictionary<string, Group>(StringComparer.Ordinal);
        var records = 0L;
        await foreach (var batch in broker.ReadAsync(request, CancellationToken.None).ConfigureAwait(false))
        {
            // Positions that are damaged are older ones then: records come again, none is left out.
            if (batch.Missing is { Reason: MissingReason.Damage } missing) logger.PositionsDamaged(Topic, missing.From, missing.To);
            foreach (var record in batch.Records)
            {
                records++;
                var name = Encoding.UTF8.GetString(record.Key.GetValueOrDefault().Span);
                if (!read.TryGetValue(name, out var group)) read[name] = group = new Group();
                foreach (var (source, next) in Decode(record)) group.Positions[source] = Math.Max(next, group.Positions.GetValueOrDefault(source));
            }
        }

        lock (_gate)
        {
            foreach (var (name, group) in read) _groups.TryAdd(name, group);
        }

        _records = records;
    }

    private static byte[] Encode(Position[] positions)
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes, Encoding.UTF8);
        writer.Write(FormatVersion);
        writer.Write7BitEncodedInt(positions.Length);
        foreach (var (source, next) in positions)
        {
            writer.Write(source.Topic);
            writer.Write7BitEncodedInt(source.Partition);
            writer.Write7BitEncodedInt64(next);
        }

        return bytes.ToArray();
    }

    private static List<Position> Decode(Record record)
    {
        using var reader = new BinaryReader(new MemoryStream(record.Value.GetValueOrDefault().ToArray()), Encoding.UTF8);
        try
        {
            if (reader.ReadByte() is not FormatVersion and var version)
                throw new BrokerException(BrokerError.Corrupt, $"the positions of groups in '{Topic}' are of format {version} at offset {record.Offset}; this program knows {FormatVersion}");
            var positions = new List<Position>();
            for (var count = reader.Read7BitEncodedInt(); count > 0; count--)
                positions.Add(new Position(new TopicPartition(reader.ReadString(), reader.Read7BitEncodedInt()), reader.Read7BitEncodedInt64()));
            return positions;
        }
        catch (Exception exception) when (exception is EndOfStreamException or FormatException)
        {
            throw new BrokerException(BrokerError.Corrupt, $"the positions of groups in '{Topic}' cannot be read at offset {record.Offset}: {exception.Message}", exception);
        }
    }

    private sealed class Group
    {
        public List<Member> Members { get; } = [];

        public Dictionary<TopicPartition, Member> Owners { get; } = [];

        public Dictionary<TopicPartition, long> Positions { get; } = [];

        /// <summary>Partitions whose position is not yet a record.</summary>
        public HashSet<TopicPartition> Changed { get; } = [];

        public void Take(Member member)
        {
            foreach (var (source, next) in member.Membership.TakeHandedOver())
            {
                if (Positions.TryGetValue(source, out var known) && known >= next) continue;
                Positions[source] = next;
                Changed.Add(source);
            }
        }

        /// <summary>Who is to have which partition: each stays where it is, unless that leaves somebody with two less than another one who wants
        /// the same.</summary>
        public Dictionary<TopicPartition, Member> Goal()
        {
            var goal = new Dictionary<TopicPartition, Member>();
            var load = Members.ToDictionary(member => member, _ => 0);
            var wanted = new Dictionary<TopicPartition, List<Member>>();
            foreach (var member in Members)
            {
                foreach (var source in member.Wanted)
                {
                    if (!wanted.TryGetValue(source, out var by)) wanted[source] = by = [];
                    by.Add(member);
                }
            }

            foreach (var (source, owner) in Owners)
            {
                if (!load.ContainsKey(owner) || !owner.Wanted.Contains(source)) continue;
                goal[source] = owner;
                load[owner]++;
            }

            foreach (var source in wanted.Keys.Where(source => !goal.ContainsKey(source)).OrderBy(source => source.Topic, StringComparer.Ordinal).ThenBy(source => source.Partition))
            {
                var least = wanted[source].MinBy(member => load[member])!;
                goal[source] = least;
                load[least]++;
            }

            for (var isMoving = true; isMoving;)
            {
                isMoving = false;
                foreach (var (source, by) in wanted)
                {
                    var (owner, least) = (goal[source], by.MinBy(member => load[member])!);
                    if (load[owner] < load[least] + 2) continue;
                    goal[source] = least;
                    (load[owner], load[least], isMoving) = (load[owner] - 1, load[least] + 1, true);
                }
            }

            return goal;
        }
    }

    private sealed class Member(GroupMember membership)
    {
        public GroupMember Membership { get; } = membership;

        public HashSet<TopicPartition> Wanted { get; set; } = [];

        public HashSet<TopicPartition> Owned { get; } = [];

        /// <summary>Of those owned the ones it was told to be done with.</summary>
        public HashSet<TopicPartition> Leaving { get; } = [];

        public bool HasJoined { get; set; }
    }
}
