using Confluent.Kafka;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Broker.Kafka;

/// <summary>
/// The memberships of reads in Kafka's groups. Each has a consumer and a thread, which join the group, keep its heartbeat and commit;
/// records come to the read as to every other one, from the tail and the catch-up consumers that all reads share.
/// </summary>
internal sealed class KafkaGroups(KafkaBrokerOptions options, KafkaClients clients, Func<string, bool> exists, TimeProvider clock, ILogger logger) : IAsyncDisposable
{
    /// <summary>How long the end of the broker waits for members to leave.</summary>
    private static readonly TimeSpan LeavingMax = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private readonly HashSet<KafkaGroupRead> _reads = [];
    private bool _isStopping;

    /// <exception cref="BrokerException">Full: as many as allowed are open.</exception>
    public GroupMember Join(string group)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isStopping, typeof(KafkaBroker));

            // Those that leave have a thread still, but are nobody's read any more: they count only where they pile up.
            var leaving = _reads.Count(read => read.IsStopping);
            var open = _reads.Count - leaving;
            if (open >= options.GroupReadsMax || leaving >= options.GroupReadsMax)
            {
                throw new BrokerException(
                    BrokerError.Full, $"{open} reads of consumer groups are open on this server and {leaving} are leaving theirs, as many as it takes; close one, read without a group, or use another server");
            }

            var read = new KafkaGroupRead(group, clients, exists, Ended, clock, logger);
            _reads.Add(read);
            read.Start();
            return read.Membership;
        }
    }

    public async ValueTask DisposeAsync()
    {
        KafkaGroupRead[] reads;
        lock (_gate)
        {
            _isStopping = true;
            reads = [.. _reads];
        }

        foreach (var read in reads) read.Membership.Fail(new ObjectDisposedException(nameof(KafkaBroker)));
        var left = Task.WhenAll(reads.Select(read => read.StopAsync()));
        await Task.WhenAny(left, Task.Delay(LeavingMax, clock)).ConfigureAwait(false);
    }

    private void Ended(KafkaGroupRead read)
    {
        lock (_gate) _reads.Remove(read);
    }
}

/// <summary>One read's membership in a group of Kafka's.</summary>
internal sealed class KafkaGroupRead
{
    /// <summary>How long a group has to take a member in: it may have to wait for one that died.</summary>
    private static readonly TimeSpan JoiningMax = TimeSpan.FromSeconds(30);

    /// <summary>How long partitions that pass on wait for a reader to be done with them: all the group waits with them.</summary>
    private static readonly TimeSpan HandoverMax = TimeSpan.FromSeconds(5);

    /// <summary>How long a read that ends waits for its member to leave; the member does so in any case.</summary>
    private static readonly TimeSpan LeavingMax = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan PollTime = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(5);

    private readonly string _group;
    private readonly KafkaClients _clients;
    private readonly Func<string, bool> _exists;
    private readonly Action<KafkaGroupRead> _ended;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly object _gate = new();
    private readonly TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<Confluent.Kafka.TopicPartition> _toPause = [];
    private readonly HashSet<string> _subscribed = new(StringComparer.Ordinal);
    private readonly List<Position> _unstored = [];
    private HashSet<string>? _wanted;
    private IConsumer<Ignore, Ignore> _consumer = null!;
    private volatile bool _isStopping;
    private bool _hasJoined;

    public KafkaGroupRead(
        string group, KafkaClients clients, Func<string, bool> exists, Action<KafkaGroupRead> ended, TimeProvider clock, ILogger logger)
    {
        (_group, _clients, _exists, _ended, _clock, _logger) = (group, clients, exists, ended, clock, logger);
        Membership = new GroupMember(
            wanted => Volatile.Write(ref _wanted, [.. wanted.Select(source => source.Topic)]),
            async () => await Task.WhenAny(StopAsync(), Task.Delay(LeavingMax, clock)).ConfigureAwait(false));
    }

    public GroupMember Membership { get; }

    /// <summary>Its read has ended; it leaves its group.</summary>
    public bool IsStopping => _isStopping;

    public void Start() => new Thread(Loop) { IsBackground = true, Name = "stream-api kafka group" }.Start();

    /// <summary>Completes when the consumer has committed, left and is gone.</summary>
    public Task StopAsync()
    {
        _isStopping = true;
        Wake();
        return _left.Task;
    }

    private void Loop()
    {
        try
        {
            _consumer = _clients.Member(_group, Assigned, Revoked, Lost, error => _logger.GroupTroubled(_group, $"positions were not committed: {KafkaErrors.Words(error)}"));
            try
            {
                Serve();
                Store();
                CommitLast();
                _consumer.Close();
            }
            finally
            {
                _consumer.Dispose();
            }
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            _logger.LoopFailed(exception, "kafka group");
            Membership.Fail(new BrokerException(BrokerError.Unavailable, $"group '{_group}' cannot be read: {exception.Message}", exception));
        }
        finally
        {
            _ended(this);
            _left.TrySetResult();
        }
    }

    private void Serve()
    {
        var began = _clock.GetTimestamp();
        while (!_isStopping)
        {
            Subscribe();
            Store();
            try
            {
                // Events of the group; a record that came before its partition was paused is another consumer's to bring.
                _consumer.Consume(PollTime);
            }
            catch (ConsumeException exception) when (KafkaErrors.KindOf(exception.Error.Code) == BrokerError.Denied || exception.Error.IsFatal)
            {
                Membership.Fail(KafkaErrors.From(exception.Error, $"reading as a member of group '{_group}' at Kafka {_clients.Servers}", exception));
                return;
            }
            catch (ConsumeException exception)
            {
                _logger.GroupTroubled(_group, KafkaErrors.Words(exception.Error)); // It goes on by itself.
            }

            PauseGained();
            if (_hasJoined || _clock.GetElapsedTime(began) < JoiningMax) continue;
            var reason = _clients.Complaint is { } complaint ? KafkaErrors.Words(complaint) : "no answer";
            Membership.Fail(new BrokerException(BrokerError.Unavailable, $"group '{_group}' was not joined within {JoiningMax.TotalSeconds:F0} s: {reason}"));
            return;
        }
    }

    // Those that exist: what does not is asked for again and again, and complained of.
    private void Subscribe()
    {
        if (Volatile.Read(ref _wanted) is not { } wanted) return;
        var missing = wanted.Where(topic => !_subscribed.Contains(topic) && _exists(topic)).ToList();
        var isLess = !_subscribed.IsSubsetOf(wanted);
        if (missing.Count > 0 || isLess)
        {
            _subscribed.IntersectWith(wanted);
            _subscribed.UnionWith(missing);
            if (_subscribed.Count > 0) _consumer.Subscribe(_subscribed);
            else _consumer.Unsubscribe();
        }

        // With nothing to share yet there is nothing to wait for.
        if (_subscribed.Count > 0 || _hasJoined) return;
        _hasJoined = true;
        Membership.Assign([]);
    }

    private void Store()
    {
        _unstored.AddRange(Membership.TakeHandedOver());
        foreach (var (source, next) in _unstored)
        {
            try
            {
                _consumer.StoreOffset(new TopicPartitionOffset(source.Topic, source.Partition, next));
            }
            catch (KafkaException exception)
            {
                // It is another member's by now, or will be.
                _logger.GroupTroubled(_group, $"the position {next} of {source} is not kept: {KafkaErrors.Words(exception.Error)}");
            }
        }

        _unstored.Clear();
    }

    // Close commits once. A coordinator that is sharing the partitions out refuses that, and the next member would begin where this one began.
    private void CommitLast()
    {
        var began = _clock.GetTimestamp();
        while (true)
        {
            try
            {
                _consumer.Commit();
                return;
            }
            catch (KafkaException exception) when (exception.Error.Code == ErrorCode.Local_NoOffset)
            {
                return; // Nothing was handed over that is not committed.
            }
            catch (KafkaException exception) when (exception.Error.Code == ErrorCode.RebalanceInProgress && _clock.GetElapsedTime(began) < AnswerTime)
            {
                Poll(); // The sharing goes on inside, and ends.
            }
            catch (KafkaException exception)
            {
                _logger.GroupTroubled(_group, $"the last positions are not committed: {KafkaErrors.Words(exception.Error)}");
                return;
            }
        }
    }

    private void Poll()
    {
        try
        {
            _consumer.Consume(PollTime);
            PauseGained();
        }
        catch (ConsumeException exception)
        {
            _logger.GroupTroubled(_group, KafkaErrors.Words(exception.Error));
        }
    }

    // Stands still until something is so; false when it was not in time.
    private bool StandStill(TimeSpan atMost, Func<bool> isSo)
    {
        var began = _clock.GetTimestamp();
        lock (_gate)
        {
            while (!isSo())
            {
                var left = atMost - _clock.GetElapsedTime(began);
                if (left <= TimeSpan.Zero || !Monitor.Wait(_gate, left)) return isSo();
            }

            return true;
        }
    }

    private void Wake()
    {
        lock (_gate) Monitor.PulseAll(_gate);
    }

    private void PauseGained()
    {
        if (_toPause.Count == 0) return;
        _consumer.Pause(_toPause);
        _toPause.Clear();
    }

    // The three run inside of Consume and Close, on this thread.
    private IEnumerable<TopicPartitionOffset> Assigned(List<Confluent.Kafka.TopicPartition> partitions)
    {
        List<TopicPartitionOffset> committed = [];
        while (partitions.Count > 0 && !_isStopping)
        {
            try
            {
                committed = _consumer.Committed(partitions, AnswerTime);
                break;
            }
            catch (KafkaException exception)
            {
                // To begin without knowing where would lose or repeat: the coordinator will answer.
                _logger.GroupTroubled(_group, $"its positions are not known yet: {KafkaErrors.Words(exception.Error)}");
                StandStill(PollTime, () => _isStopping);
            }
        }

        _hasJoined = true;
        _toPause.AddRange(partitions);
        if (!_isStopping)
        {
            Membership.Assign(committed.Select(offset =>
                new GroupPosition(new TopicPartition(offset.Topic, offset.Partition.Value), offset.Offset.IsSpecial ? null : offset.Offset.Value)));
        }

        return partitions.Select(partition => new TopicPartitionOffset(partition, Offset.End));
    }

    private void Revoked(List<TopicPartitionOffset> partitions)
    {
        var sources = SourcesOf(partitions);
        var isDone = Membership.RevokeAsync(sources);
        _ = isDone.ContinueWith(_ => Wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        if (!StandStill(HandoverMax, () => isDone.IsCompleted))
            _logger.GroupTroubled(_group, $"a reader was not done with {sources.Count} partitions after {HandoverMax.TotalSeconds:F0} s; they pass on, and what it delivers of them meanwhile may be delivered again");
        Store();
        Membership.Remove(sources);
        _toPause.RemoveAll(partition => sources.Contains(new TopicPartition(partition.Topic, partition.Partition.Value)));
    }

    private void Lost(List<TopicPartitionOffset> partitions)
    {
        var sources = SourcesOf(partitions);
        _logger.GroupTroubled(_group, $"this member was away for too long and lost {sources.Count} partitions");
        Membership.Remove(sources);
        _ = Membership.RevokeAsync(sources);
    }

    private static List<TopicPartition> SourcesOf(List<TopicPartitionOffset> partitions) =>
        [.. partitions.Select(offset => new TopicPartition(offset.Topic, offset.Partition.Value))];
}
