namespace MA.Streaming.Broker.Embedded;

/// <summary>How an embedded broker keeps its log.</summary>
public sealed record EmbeddedBrokerOptions
{
    /// <summary>The log's directory; made when it does not exist. One process owns it at a time.</summary>
    public required string Directory { get; init; }

    /// <summary>What an acknowledgement survives.</summary>
    public CommitPolicy CommitPolicy { get; init; } = CommitPolicy.Durable;

    /// <summary>Bytes of key and value of the largest record.</summary>
    public int RecordBytesMax { get; init; } = 4 << 20;

    /// <summary>Bytes of a segment, after which a new one begins; retention takes whole segments.</summary>
    public int SegmentBytesMax { get; init; } = 64 << 20;

    /// <summary>Bytes of a journal file. Files are reused; as many are made as undrained bytes need.</summary>
    public int JournalFileBytes { get; init; } = 32 << 20;

    /// <summary>Bytes by which a journal file grows at once until it has been filled.</summary>
    internal int JournalZerosBytes { get; init; } = 512 << 10;

    /// <summary>Segments that are flushed one by one; more of them all at once, where the system can.</summary>
    internal int FlushEachMax { get; init; } = 16;

    /// <summary>Bytes that one flush makes durable at most, one record at least.</summary>
    public int GroupBytesMax { get; init; } = 4 << 20;

    /// <summary>Bytes in the journal that are not in segments yet, and in memory for that reason; beyond it appends wait.</summary>
    public long UndrainedBytesMax { get; init; } = 64 << 20;

    /// <summary>Bytes of all journal files in use, which bounds how long recovery takes; beyond it appends wait.</summary>
    public long JournalBytesMax { get; init; } = 1 << 30;

    /// <summary>Bytes of appends that are queued for the journal; beyond it appends wait for their turn.</summary>
    public long QueuedBytesMax { get; init; } = 256 << 20;

    /// <summary>How long appends wait while nothing moves: then they end with <see cref="Core.Broker.BrokerError.Full"/>, or with
    /// <see cref="Core.Broker.BrokerError.Unavailable"/> if it is the disk that does not answer.</summary>
    public TimeSpan FullWaitMax { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Bytes of recent records kept in memory for readers after they went into segments.</summary>
    public long TailBytesMax { get; init; } = 32 << 20;

    /// <summary>Free bytes of the disk below which appends are refused, so that what was acknowledged can still be moved.</summary>
    public long DiskReserveBytes { get; init; } = 256 << 20;

    /// <summary>Age after which records may go, a segment at a time; null: never. Topics kept for ever keep theirs.</summary>
    public TimeSpan? RetentionAge { get; init; }

    /// <summary>
    /// The system's time is right whenever the log is opened. False, the default: where it is more than a day after the newest record,
    /// age removes nothing for a day, because a clock that is wrong at start would otherwise empty the log.
    /// </summary>
    public bool TrustClock { get; init; }

    /// <summary>Bytes of a topic beyond which its oldest segments go; null: without bound. Topics kept for ever keep theirs.</summary>
    public long? RetentionBytes { get; init; }

    /// <summary>After a failed flush of the journal the log moves what it has into segments and goes on in a new file. False: it takes nothing
    /// more until it is opened again.</summary>
    public bool HealAfterFault { get; init; } = true;

    internal void Validate()
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(Directory);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(RecordBytesMax);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(GroupBytesMax);
        ArgumentOutOfRangeException.ThrowIfLessThan(SegmentBytesMax, FileHead.Bytes);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(UndrainedBytesMax);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(QueuedBytesMax);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(FullWaitMax, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(JournalBytesMax, 2L * JournalFileBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(TailBytesMax);
        ArgumentOutOfRangeException.ThrowIfNegative(DiskReserveBytes);
        var least = (long)GroupBytesMax + RecordBytesMax + FileHead.Bytes + (2 * 1024);
        if (JournalFileBytes < least) throw new ArgumentException($"JournalFileBytes must be {least} or more: the largest group must fit", nameof(JournalFileBytes));
    }
}
