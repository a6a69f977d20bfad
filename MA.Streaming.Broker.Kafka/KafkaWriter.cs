using System.Globalization;
using Confluent.Kafka;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Broker.Kafka;

/// <summary>One append on its way. Completes inline, on the writer's loop.</summary>
internal sealed class Append(Core.Broker.TopicPartition target, RecordData record) : TaskCompletionSource<Appended>
{
    public Core.Broker.TopicPartition Target { get; set; } = target;

    /// <summary>Its bytes, until librdkafka has them.</summary>
    public RecordData Record { get; private set; } = record;

    public int RecordBytes { get; } = record.Bytes;

    /// <summary>What it counts against the bounds: librdkafka's own administration of a record is no less than this.</summary>
    public int Cost => RecordBytes + 256;

    /// <summary>Cancels it, where it can be cancelled.</summary>
    public CancellationTokenRegistration Cancellation { get; set; }

    public void ReleaseBytes() => Record = default;
}

/// <summary>
/// The one producer and the loop that drives it. Appends go to librdkafka in the order of the calls; what is on its way is bounded in
/// bytes, and what does not fit waits in that order. Reports of deliveries come while the loop polls; the appends they are about are
/// completed after that, in order, on the loop. A producer that failed for good is replaced when the last of its appends is settled, so
/// that none of the next one's overtakes it.
/// </summary>
internal sealed class KafkaWriter : IAsyncDisposable
{
    private static readonly TimeSpan PollTime = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan IntroductionTime = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan DrainTime = TimeSpan.FromSeconds(5);

    private readonly KafkaBrokerOptions _options;
    private readonly KafkaClients _clients;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly Func<int> _messageBytesMax;
    private readonly Action<string> _topicIsGone;
    private readonly Lock _gate = new();
    private readonly Queue<Append> _waiting = new();
    private readonly List<Delivery> _refused = [];
    private readonly List<Delivery> _deliveries = [];
    private readonly List<Append> _settled = [];
    private readonly Stack<int> _free = new();
    private readonly Thread _loop;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private KafkaProducer _producer;

    // Those on their way, each at its tag.
    private Append?[] _tagged = [];
    private int _batchBytesMax;
    private Error? _fatal;
    private Error? _lastFatal;
    private long _waitingBytes;
    private long _inFlightBytes;
    private int _inFlight;
    private long _lastTimestamp;
    private bool _isStopping;
    private BrokerException? _lastFailure;
    private long _lastFailureAt;

    public KafkaWriter(
        KafkaBrokerOptions options, KafkaClients clients, Func<int> messageBytesMax, Action<string> topicIsGone, TimeProvider clock, ILogger logger)
    {
        _options = options;
        _clients = clients;
        _messageBytesMax = messageBytesMax;
        _topicIsGone = topicIsGone;
        _clock = clock;
        _logger = logger;
        _producer = NewProducer();
        _loop = new Thread(Loop) { IsBackground = true, Name = "stream-api kafka writer" };
        _loop.Start();
    }

    /// <summary>Bytes handed to librdkafka and not yet settled.</summary>
    internal long InFlightBytes => Volatile.Read(ref _inFlightBytes);

    /// <summary>The producer's handle, for tests that make it fail.</summary>
    internal nint Handle => _producer.Handle;

    /// <summary>Why the last append failed, when that was less than so long ago.</summary>
    public BrokerException? FailureSince(TimeSpan ago)
    {
        lock (_gate) return _lastFailure is not null && _clock.GetElapsedTime(_lastFailureAt) < ago ? _lastFailure : null;
    }

    public ValueTask<Appended> AppendAsync(Append append, CancellationToken cancellationToken)
    {
        if (cancellationToken.CanBeCanceled)
            append.Cancellation = cancellationToken.UnsafeRegister(static (append, token) => ((Append)append!).TrySetCanceled(token), append);

        Send(append);
        return new ValueTask<Appended>(append.Task);
    }

    /// <summary>Takes an append; its end is the append's.</summary>
    public void Send(Append append)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isStopping, typeof(KafkaBroker));
            if (_waiting.Count > 0 || IsToBeReplaced || !Fits(append))
            {
                if (_waitingBytes > 0 && _waitingBytes + append.Cost > _options.QueuedBytesMax)
                {
                    append.Cancellation.Unregister();
                    append.TrySetException(new BrokerException(
                        BrokerError.Full, $"{_waitingBytes} bytes wait for Kafka at {_options.BootstrapServers}; at most {_options.QueuedBytesMax} may"));
                }
                else
                {
                    _waiting.Enqueue(append);
                    _waitingBytes += append.Cost;
                }
            }
            else
            {
                Produce(append);
            }
        }
    }

    /// <summary>Makes the producer know all partitions of a topic that has grown. Waits for Kafka's answer.</summary>
    public void Introduce(string topic, int partitions)
    {
        var started = _clock.GetTimestamp();
        KafkaProducer producer;
        lock (_gate) producer = _producer;
        while (_clock.GetElapsedTime(started) < IntroductionTime)
        {
            // No answer: then the producer learns of it later, and appends to the new partitions fail until then.
            if (producer.PartitionsOf(topic, IntroductionTime) is not { } known || known >= partitions) return;
        }
    }

    /// <summary>Refuses what waits; gives what is on its way a while to be delivered.</summary>
    public ValueTask DisposeAsync()
    {
        lock (_gate) _isStopping = true;
        return new ValueTask(_ended.Task);
    }

    private bool Fits(Append append) => _inFlight == 0 || _inFlightBytes + append.Cost <= _options.InFlightBytesMax;

    // Under the lock, so that the order of calls is the order of the queue.
    private void Produce(Append append)
    {
        // Never decreasing, also where the clock steps back.
        _lastTimestamp = Math.Max(_lastTimestamp, _clock.GetUtcNow().ToUnixTimeMilliseconds());
        _inFlight++;
        _inFlightBytes += append.Cost;
        var tag = Tag(append);
        if (_producer.Produce(append.Target.Topic, append.Target.Partition, append.Record, _lastTimestamp, tag) is { } error)
        {
            if (error.IsFatal) SetFatal(error);

            // The loop completes it, as it does all others.
            _refused.Add(new Delivery(tag, error, 0, 0, 0));
        }

        append.ReleaseBytes();
    }

    private int Tag(Append append)
    {
        if (!_free.TryPop(out var tag))
        {
            tag = _tagged.Length;
            Array.Resize(ref _tagged, Math.Max(64, 2 * tag));
            for (var other = _tagged.Length - 1; other > tag; other--) _free.Push(other);
        }

        _tagged[tag] = append;
        return tag;
    }

    private void OnFatal(Error error)
    {
        lock (_gate) SetFatal(error);
    }

    private void SetFatal(Error error)
    {
        _fatal ??= error;
        Volatile.Write(ref _lastFatal, _fatal);
    }

    private void Loop()
    {
        var stopping = 0L;
        while (true)
        {
            try
            {
                _producer.Poll(PollTime, _deliveries);
                bool hasStopped;
                lock (_gate)
                {
                    _deliveries.AddRange(_refused);
                    _refused.Clear();
                    for (var i = _settled.Count; i < _deliveries.Count; i++) _settled.Add(Forget(_deliveries[i].Tag, _deliveries[i].Error));

                    if (IsToBeReplaced && _inFlight == 0 && !_isStopping) Replace();
                    while (!_isStopping && !IsToBeReplaced && _waiting.TryPeek(out var next) && Fits(next))
                    {
                        _waiting.Dequeue();
                        _waitingBytes -= next.Cost;
                        if (!next.Task.IsCompleted) Produce(next);
                    }

                    if (_isStopping && stopping == 0) stopping = _clock.GetTimestamp();
                    hasStopped = _isStopping && (_inFlight == 0 || _clock.GetElapsedTime(stopping) > DrainTime);
                }

                for (var i = 0; i < _settled.Count; i++) Settle(_settled[i], _deliveries[i]);
                _settled.Clear();
                _deliveries.Clear();
                if (hasStopped) break;
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                _logger.LoopFailed(exception, "kafka writer");
            }
        }

        End();
    }

    private Append Forget(int tag, Error? error)
    {
        // What a failed producer throws away may come before the word of why it failed.
        if (_fatal is null && error?.Code is ErrorCode.Local_PurgeQueue or ErrorCode.Local_PurgeInflight && _producer.Fatal is { } fatal) SetFatal(fatal);
        var append = _tagged[tag]!;
        _tagged[tag] = null;
        _free.Push(tag);
        _inFlight--;
        _inFlightBytes -= append.Cost;
        return append;
    }

    private void Settle(Append append, in Delivery delivery)
    {
        append.Cancellation.Unregister();
        if (delivery.Error is not { } error)
        {
            append.TrySetResult(new Appended(delivery.Partition, delivery.Offset, DateTimeOffset.FromUnixTimeMilliseconds(delivery.Timestamp)));
            return;
        }

        var failure = Failure(append, error);
        lock (_gate)
        {
            (_lastFailure, _lastFailureAt) = (failure, _clock.GetTimestamp());
            if (failure.Error == BrokerError.NoSuchTopic) _producer.Forget(append.Target.Topic);
        }

        if (failure.Error == BrokerError.NoSuchTopic) _topicIsGone(append.Target.Topic);
        append.TrySetException(failure);
    }

    private BrokerException Failure(Append append, Error error)
    {
        var doing = $"writing to topic '{append.Target.Topic}' at Kafka {_options.BootstrapServers}";
        switch (error.Code)
        {
            case ErrorCode.Local_MsgTimedOut:
                var timeout = _options.Kafka.DeliveryTimeout.TotalSeconds.ToString(CultureInfo.InvariantCulture);
                var complaint = _clients.Complaint;
                var kind = complaint is not null && KafkaErrors.KindOf(complaint.Code) == BrokerError.Denied ? BrokerError.Denied : BrokerError.Unavailable;
                return new BrokerException(
                    kind, $"{doing}: not acknowledged within {timeout} s{(complaint is null ? "" : $": {KafkaErrors.Words(complaint)}")}");
            case ErrorCode.Local_PurgeQueue or ErrorCode.Local_PurgeInflight or ErrorCode.Local_Fatal:
                var fatal = Volatile.Read(ref _lastFatal);
                return fatal is null ? KafkaErrors.From(error, doing) : new BrokerException(
                    KafkaErrors.KindOf(fatal.Code) == BrokerError.Denied ? BrokerError.Denied : BrokerError.Unavailable,
                    $"{doing}: the producer failed: {KafkaErrors.Words(fatal)}");
            case ErrorCode.MsgSizeTooLarge or ErrorCode.InvalidMsgSize or ErrorCode.RecordListTooLarge:
                return TooLarge(append.Target.Topic, append.RecordBytes, Math.Max(0, _messageBytesMax() - KafkaClients.RecordOverhead));
            default:
                return KafkaErrors.From(error, doing);
        }
    }

    public static BrokerException TooLarge(string topic, int bytes, int limit) => new(
        BrokerError.TooLarge,
        $"a record for topic '{topic}' has {bytes} bytes of key and value; this Kafka takes at most {limit} (message.max.bytes), or what the topic's max.message.bytes says");

    // Also when it turned out that Kafka takes less than the producer would put into a batch.
    private bool IsToBeReplaced => _fatal is not null || _messageBytesMax() < _batchBytesMax;

    private KafkaProducer NewProducer() =>
        _clients.Producer(OnFatal, _batchBytesMax = Math.Min(_messageBytesMax(), KafkaClients.DefaultMessageBytesMax));

    // Under the lock.
    private void Replace()
    {
        if (_fatal is not null) _logger.ProducerReplaced(KafkaErrors.Words(_fatal));
        var next = NewProducer();
        _producer.Dispose();
        _producer = next;
        _fatal = null;
    }

    private void End()
    {
        List<Append> left;
        lock (_gate)
        {
            left = [.. _waiting];
            _waiting.Clear();
            left.AddRange(_tagged.OfType<Append>());
        }

        foreach (var append in left)
        {
            append.Cancellation.Unregister();
            append.TrySetException(new ObjectDisposedException(nameof(KafkaBroker)));
        }

        _producer.Dispose();
        _ended.TrySetResult();
    }
}
