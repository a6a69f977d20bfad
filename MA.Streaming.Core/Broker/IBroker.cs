namespace MA.Streaming.Core.Broker;

/// <summary>
/// The one port of the engine: topics of partitions, each partition an ordered, durable log. All members may be called from
/// any thread at the same time. Failures are <see cref="BrokerException"/>; a cancelled token is
/// <see cref="OperationCanceledException"/>; after disposal every member throws <see cref="ObjectDisposedException"/> and running
/// reads and watches end with it.
/// </summary>
public interface IBroker : IAsyncDisposable
{
    /// <summary>Identity of this log, its largest record, its durability in words.</summary>
    BrokerInfo Info { get; }

    /// <summary>
    /// Makes sure the topic exists with at least this many partitions; partitions are added, never removed. KeepForever holds
    /// once any caller asked for it. Concurrent calls for one topic end in one topic.
    /// </summary>
    /// <exception cref="ArgumentException">The name or the partition count is not allowed.</exception>
    ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken);

    /// <summary>
    /// Appends one record; partition -1 places it by key (<see cref="KeyPlacement"/>). Calls made in order to one partition take
    /// offsets in that order, awaited or not. Completes when the record is durable and visible; waits while the broker is full.
    /// Takes the bytes: the caller no longer touches them. Cancelling an accepted append leaves its outcome unknown. What runs on
    /// completion may run on the broker's commit loop and must be short.
    /// </summary>
    /// <exception cref="BrokerException">NoSuchTopic, TooLarge, Full (where waiting has not helped or could not), or Unavailable.</exception>
    ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken);

    /// <summary>
    /// Every record of some partitions from given positions on, in order within each; for ever, or until each has reached the
    /// high watermark it had at the start, which is the first MoveNextAsync. A partition that does not exist is waited for (a bounded
    /// read counts it as reached). When a topic is deleted the read of its partitions ends with a <see cref="MissingRange"/>, empty if
    /// nothing was left to read; when that was all it read, the read ends. Reads no more than <see cref="ReadRequest.BytesMax"/> ahead
    /// of its consumer, and gives no partition a second turn before the others that have records had theirs.
    /// </summary>
    IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, CancellationToken cancellationToken);

    /// <summary>
    /// Makes a reader a member of a group, whose members share partitions and whose positions outlive them. Returns before the group has
    /// answered: the first assignment says that. The group is made when it is joined first; its name is any of 1 to 249 characters.
    /// </summary>
    /// <exception cref="BrokerException">Full: as many reads of groups are open as this broker takes. Unavailable: the groups cannot be reached.</exception>
    ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken);

    /// <summary>The watermarks of each partition, in the order asked. An absent one has 0, 0.</summary>
    ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken);

    /// <summary>The first offset of each whose record is not older; the high watermark where there is none.</summary>
    ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken);

    /// <summary>
    /// The topics that exist, then, in one null, the word that those were all, then each new or extended topic within a second.
    /// </summary>
    IAsyncEnumerable<TopicInfo?> WatchTopicsAsync(CancellationToken cancellationToken);

    /// <summary>Reachable and writable, and if not, why. Does not throw for a broker that is down.</summary>
    ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken);
}
