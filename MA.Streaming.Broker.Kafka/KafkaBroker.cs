using System.Runtime.CompilerServices;
using Confluent.Kafka.Admin;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace MA.Streaming.Broker.Kafka;

/// <summary>
/// Kafka as the broker: one producer, one admin client, one consumer for all that is read live and a few for those who are behind,
/// however many reads are open. Opening it waits for nothing: a Kafka that is down is met by the first call that needs it.
/// </summary>
public sealed class KafkaBroker : IBroker
{
    private const string Durability = "acknowledged by every in-sync replica (acks=all, idempotent)";

    private readonly KafkaBrokerOptions _options;
    private readonly KafkaTopics _topics;
    private readonly KafkaWriter _writer;
    private readonly KafkaTail _tail;
    private readonly KafkaCatchUp _catchUp;
    private readonly KafkaGroups _groups;
    private readonly CancellationTokenSource _disposal = new();
    private readonly Lock _gate = new();
    private readonly HashSet<KafkaReader> _readers = [];
    private readonly Dictionary<string, Queue<Append>> _unresolved = new(StringComparer.Ordinal);
    private BrokerInfo? _info;
    private Task? _disposing;

    private KafkaBroker(KafkaBrokerOptions options, TimeProvider clock, ILogger logger)
    {
        _options = options;
        var clients = new KafkaClients(options, logger);
        _topics = new KafkaTopics(options, clients, Appeared, (topic, partitions) => _writer!.Introduce(topic, partitions), Deleted, clock, logger);
        _tail = new KafkaTail(options, clients, source => _topics.Suspect(source.Topic), clock, logger);
        _catchUp = new KafkaCatchUp(options, clients, _tail, source => _topics.Suspect(source.Topic), clock, logger);
        _groups = new KafkaGroups(options, clients, topic => _topics.PartitionsOf(topic) > 0, clock, logger);
        _writer = new KafkaWriter(options, clients, () => _topics.MessageBytesMax, topic => _topics.Suspect(topic), clock, logger);
        _topics.Start();
    }

    /// <inheritdoc/>
    public BrokerInfo Info
    {
        get
        {
            // Until Kafka has answered, what it is is a guess.
            if (_info is { } known) return known;
            var cluster = _topics.ClusterId;
            var info = new BrokerInfo(
                cluster ?? _options.BootstrapServers, _options.BootstrapServers, _topics.MessageBytesMax - KafkaClients.RecordOverhead, Durability, IsShared: true);
            if (cluster is not null) _info = info;
            return info;
        }
    }

    internal KafkaWriter Writer => _writer;

    internal KafkaTail Tail => _tail;

    internal KafkaCatchUp CatchUp => _catchUp;

    /// <summary>Connects to Kafka, in the background.</summary>
    /// <param name="options">Which, and how.</param>
    /// <param name="clock">Stamps the records; the system's clock when null.</param>
    /// <param name="logger">Is told of what fails. Secrets are not in it.</param>
    /// <exception cref="BrokerException">Unavailable: the native library is not there; says what to do.</exception>
    /// <exception cref="KafkaSettingException">A setting is not allowed.</exception>
    public static KafkaBroker Open(KafkaBrokerOptions options, TimeProvider? clock = null, ILogger<KafkaBroker>? logger = null)
    {
        options.Validate();
        KafkaLibrary.Require();
        try
        {
            return new KafkaBroker(options, clock ?? TimeProvider.System, logger ?? NullLogger<KafkaBroker>.Instance);
        }
        catch (Exception exception) when (exception is InvalidOperationException or ArgumentException or Confluent.Kafka.KafkaException)
        {
            // librdkafka's words name the property, and not its value when that is a secret.
            throw new KafkaSettingException("Kafka", $"what librdkafka takes: {exception.Message}", exception);
        }
    }

    /// <inheritdoc/>
    public async ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        TopicNames.ThrowIfNotAllowed(topic.Name);
        if (topic.Partitions < 1) throw new ArgumentException($"a topic has 1 partition or more, not {topic.Partitions}", nameof(topic));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _disposal.Token);
        return await WhileOpen(_topics.EnsureAsync(topic, stop.Token), cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<Appended>(cancellationToken);
        var limit = Info.RecordBytesMax;
        if (record.Bytes > limit)
            return ValueTask.FromException<Appended>(KafkaWriter.TooLarge(target.Topic, record.Bytes, limit));
        var partitions = _topics.PartitionsOf(target.Topic);
        if (partitions == 0 || target.Partition >= partitions || _unresolved.Count > 0)
        {
            if (Park(new Append(target, record), out var parked)) return new ValueTask<Appended>(parked.WaitAsync(cancellationToken));
        }

        return _writer.AppendAsync(new Append(Placed(target, record, partitions), record), cancellationToken);
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return Read(request, cancellationToken);
    }

    /// <inheritdoc/>
    public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        ArgumentException.ThrowIfNullOrEmpty(group);
        return cancellationToken.IsCancellationRequested ? ValueTask.FromCanceled<GroupMember>(cancellationToken) : ValueTask.FromResult(_groups.Join(group));
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        cancellationToken.ThrowIfCancellationRequested();
        return await WhileOpen(WatermarksAsync(partitions, cancellationToken), cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        cancellationToken.ThrowIfCancellationRequested();

        // Kafka's timestamps are whole milliseconds: a record is not older than a time in between when it is of the next.
        var milliseconds = Math.Max(0, notBefore.ToUnixTimeMilliseconds());
        if (DateTimeOffset.FromUnixTimeMilliseconds(milliseconds) < notBefore) milliseconds++;
        var found = await WhileOpen(_topics.OffsetsAsync(partitions, OffsetSpec.ForTimestamp(milliseconds), cancellationToken), cancellationToken).ConfigureAwait(false);
        var offsets = new long[partitions.Count];
        var later = new List<int>();
        for (var i = 0; i < offsets.Length; i++)
        {
            if (found[i] is >= 0 and var offset) offsets[i] = offset;
            else if (found[i] is not null) later.Add(i);
        }

        if (later.Count == 0) return offsets;
        var highs = await WhileOpen(_topics.OffsetsAsync([.. later.Select(i => partitions[i])], OffsetSpec.Latest(), cancellationToken), cancellationToken).ConfigureAwait(false);
        for (var i = 0; i < later.Count; i++) offsets[later[i]] = highs[i] ?? 0;
        return offsets;
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<TopicInfo?> WatchTopicsAsync(CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        return _topics.WatchAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken)
    {
        ThrowIfDisposed();
        cancellationToken.ThrowIfCancellationRequested();
        var (error, sinceAnswer, brokers) = await WhileOpen(_topics.CheckAsync(cancellationToken), cancellationToken).ConfigureAwait(false);
        if (error is not null) return new BrokerHealth(false, $"{error.Message}; no answer for {sinceAnswer.TotalSeconds:F0} s");
        if (_writer.FailureSince(TimeSpan.FromSeconds(5)) is { } failure) return new BrokerHealth(false, failure.Message);
        var heldBack = string.Concat(_tail.HeldBack.Where(held => held.For > TimeSpan.FromSeconds(5)).Take(5)
            .Select(held => $"; {held.Source}: another client's open transaction has held records back for {held.For.TotalSeconds:F0} s"));
        return new BrokerHealth(true, $"Kafka at {_options.BootstrapServers}, {brokers} brokers; {Durability}{heldBack}");
    }

    /// <summary>Ends reads and watches, refuses what waits, gives what is on its way some seconds to be delivered.</summary>
    public ValueTask DisposeAsync()
    {
        lock (_gate) _disposing ??= Task.Run(StopAsync);
        return new ValueTask(_disposing);
    }

    private async Task StopAsync()
    {
        await _disposal.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(
            _writer.DisposeAsync().AsTask(), _groups.DisposeAsync().AsTask(), _catchUp.DisposeAsync().AsTask(), _tail.DisposeAsync().AsTask(), _topics.DisposeAsync().AsTask()).ConfigureAwait(false);
    }

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposing is not null, this);

    // What waits for Kafka ends with the broker.
    private async Task<T> WhileOpen<T>(Task<T> task, CancellationToken cancellationToken)
    {
        try
        {
            return await task.WaitAsync(_disposal.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_disposal.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            _ = task.ContinueWith(static done => done.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            throw new ObjectDisposedException(nameof(KafkaBroker));
        }
    }

    private static TopicPartition Placed(TopicPartition target, RecordData record, int partitions) =>
        target.Partition >= 0 ? target : target with { Partition = KeyPlacement.PartitionOf(record.Key.GetValueOrDefault().Span, partitions) };

    // Appends to a topic or partition that is not known queue, in order, behind one question to Kafka. False when it is known by now.
    private bool Park(Append append, out Task<Appended> parked)
    {
        parked = append.Task;
        lock (_gate)
        {
            var topic = append.Target.Topic;
            if (_unresolved.TryGetValue(topic, out var queue))
            {
                queue.Enqueue(append);
                return true;
            }

            var partitions = _topics.PartitionsOf(topic);
            if (partitions > 0 && append.Target.Partition < partitions) return false;
            _unresolved[topic] = queue = new Queue<Append>();
            queue.Enqueue(append);
        }

        _ = ResolveAsync(append.Target.Topic);
        return true;
    }

    private async Task ResolveAsync(string topic)
    {
        Exception? failure = null;
        try
        {
            await WhileOpen(_topics.LookAsync(topic, CancellationToken.None), CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            failure = exception; // Its end is the end of every append that waits.
        }

        while (true)
        {
            Append append;
            lock (_gate)
            {
                if (!_unresolved[topic].TryDequeue(out append!))
                {
                    _unresolved.Remove(topic);
                    return;
                }
            }

            Forward(append, failure);
        }
    }

    private void Forward(Append append, Exception? failure)
    {
        var (target, partitions) = (append.Target, _topics.PartitionsOf(append.Target.Topic));
        if (failure is null && (partitions == 0 || target.Partition >= partitions))
            failure = new BrokerException(BrokerError.NoSuchTopic, partitions == 0 ? $"there is no topic '{target.Topic}'" : $"there is no partition {target}");
        if (failure is not null)
        {
            append.TrySetException(failure);
            return;
        }

        try
        {
            append.Target = Placed(target, append.Record, partitions);
            _writer.Send(append);
        }
        catch (ObjectDisposedException exception)
        {
            append.TrySetException(exception);
        }
    }

    private async Task<IReadOnlyList<Watermarks>> WatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken)
    {
        var marks = await WatermarksOrAbsentAsync(partitions, cancellationToken).ConfigureAwait(false);
        return [.. partitions.Select((partition, i) => marks[i] ?? new Watermarks(partition, 0, 0))];
    }

    private async IAsyncEnumerable<RecordBatch> Read(ReadRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ThrowIfDisposed();
        var reader = new KafkaReader(_tail, _catchUp, request);
        lock (_gate) _readers.Add(reader);
        using var cancelled = cancellationToken.UnsafeRegister(static reader => ((KafkaReader)reader!).End(), reader);
        using var disposed = _disposal.Token.UnsafeRegister(static reader => ((KafkaReader)reader!).End(), reader);
        try
        {
            await WhileOpen(StartAsync(reader, cancellationToken), cancellationToken).ConfigureAwait(false);
            while (!reader.IsAtEnd)
            {
                cancellationToken.ThrowIfCancellationRequested();
                ThrowIfDisposed();
                if (reader.TakeBatch() is { } batch) yield return batch;
                else if (!reader.IsAtEnd) await reader.WaitAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            lock (_gate) _readers.Remove(reader);
            reader.Leave();
        }
    }

    // Finds out where each position stands: in the ring, at the end, before it, before what retention has left, or nowhere yet.
    private async Task<bool> StartAsync(KafkaReader reader, CancellationToken cancellationToken)
    {
        ReaderPosition[] unknown = reader.IsBounded ? [.. reader.Positions] : [.. reader.Positions.Where(position => !_tail.Covers(position.Source, position.Next))];
        var marks = unknown.Length == 0 ? [] : await WatermarksOrAbsentAsync([.. unknown.Select(position => position.Source)], cancellationToken).ConfigureAwait(false);
        for (var i = 0; i < unknown.Length; i++)
        {
            var position = unknown[i];
            if (marks[i] is not { } mark)
            {
                if (reader.IsBounded) position.End = position.Next;
                else reader.Await(position);
                continue;
            }

            position.Seen = mark.High;
            if (reader.IsBounded) position.End = Math.Max(position.Next, mark.High);
            if (position.Next < mark.Low)
                reader.Bring(position, new Chunk(position.Next, mark.Low, [], new MissingRange(position.Next, mark.Low, MissingReason.Retention)));
            if (!reader.IsBounded && Math.Max(position.Next, mark.Low) >= mark.High) _tail.Follow(position.Source, mark.High);
        }

        // Those that came to exist meanwhile.
        foreach (var position in reader.Positions) Appeared(position, _topics.PartitionsOf(position.Source.Topic));
        foreach (var position in reader.Positions) reader.Wake(position);
        return true;
    }

    private async Task<Watermarks?[]> WatermarksOrAbsentAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken)
    {
        var lows = _topics.OffsetsAsync(partitions, OffsetSpec.Earliest(), cancellationToken);
        var highs = await _topics.OffsetsAsync(partitions, OffsetSpec.Latest(), cancellationToken).ConfigureAwait(false);
        var ends = await lows.ConfigureAwait(false);
        return [.. partitions.Select((partition, i) => ends[i] is { } low && highs[i] is { } high ? new Watermarks(partition, Math.Min(low, high), high) : (Watermarks?)null)];
    }

    private KafkaReader[] Readers()
    {
        lock (_gate) return [.. _readers];
    }

    private void Appeared(string topic, int partitions)
    {
        foreach (var reader in Readers())
        {
            foreach (var position in reader.Positions)
            {
                if (position.Source.Topic == topic) Appeared(position, partitions);
            }
        }
    }

    // A new log begins at 0, and who waited for it wants all of it.
    private void Appeared(ReaderPosition position, int partitions)
    {
        if (!position.IsAbsent || position.Source.Partition >= partitions) return;
        try
        {
            _tail.Follow(position.Source, 0);
            position.Reader.Appeared(position);
        }
        catch (ObjectDisposedException)
        {
            // The reader learns of it by itself.
        }
    }

    private void Deleted(string topic)
    {
        foreach (var reader in Readers())
        {
            foreach (var position in reader.Positions)
            {
                if (position.Source.Topic == topic) reader.Deleted(position, _tail.EndOf(position.Source));
            }
        }

        _tail.Drop(topic);
    }
}
