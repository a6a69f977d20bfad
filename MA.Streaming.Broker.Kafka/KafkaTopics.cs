using System.Runtime.CompilerServices;
using Confluent.Kafka;
using Confluent.Kafka.Admin;
using MA.Streaming.Core.Broker;
using Microsoft.Extensions.Logging;
using TopicPartition = MA.Streaming.Core.Broker.TopicPartition;

namespace MA.Streaming.Broker.Kafka;

/// <summary>
/// The topics there are, and the one admin client. A loop asks Kafka for all of them several times a second; who creates a topic or asks
/// for one that is not known yet asks for it by name.
/// </summary>
internal sealed partial class KafkaTopics : IAsyncDisposable
{
    private const int AskedByNameMax = 16;
    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan RequestTime = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Settling = TimeSpan.FromMilliseconds(20);

    private readonly KafkaBrokerOptions _options;
    private readonly KafkaClients _clients;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly Action<string, int> _appeared;
    private readonly Action<string, int> _grown;
    private readonly Action<string> _deleted;
    private readonly IAdminClient _admin;
    private readonly object _gate = new();
    private readonly Dictionary<string, Topic> _topics = new(StringComparer.Ordinal);
    private readonly HashSet<string> _retentionChecked = new(StringComparer.Ordinal);
    private readonly Thread _loop;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _disposal = new();
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _attempt = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task<DescribeClusterResult>? _cluster;
    private long _version;
    private List<Look> _looks = [];
    private bool _isWanted;
    private bool _isListed;
    private bool _isStopping;
    private bool _hasComplained;
    private BrokerException? _lastError;
    private long _lastAnswer;
    private int _brokers;

    public KafkaTopics(KafkaBrokerOptions options, KafkaClients clients, Action<string, int> appeared, Action<string, int> grown, Action<string> deleted, TimeProvider clock, ILogger logger)
    {
        _options = options;
        _clients = clients;
        _appeared = appeared;
        _grown = grown;
        _deleted = deleted;
        _clock = clock;
        _logger = logger;
        _admin = clients.Admin();
        _lastAnswer = clock.GetTimestamp();
        MessageBytesMax = clients.MessageBytesMax ?? KafkaClients.DefaultMessageBytesMax;
        _loop = new Thread(Loop) { IsBackground = true, Name = "stream-api kafka topics" };
    }

    /// <summary>The largest batch that Kafka takes: as configured, else as its brokers say, else their default.</summary>
    public int MessageBytesMax { get; private set; }

    /// <summary>The cluster's id, when it has answered.</summary>
    public string? ClusterId { get; private set; }

    /// <summary>How many partitions a topic has, as far as is known; 0 when it is not.</summary>
    public int PartitionsOf(string topic)
    {
        lock (_gate) return _topics.TryGetValue(topic, out var known) ? known.Partitions : 0;
    }

    /// <summary>Whether Kafka answers, and if not, why and for how long. Waits for a first answer only.</summary>
    public async Task<(BrokerException? Error, TimeSpan SinceAnswer, int Brokers)> CheckAsync(CancellationToken cancellationToken)
    {
        if (!Volatile.Read(ref _isListed)) await AttemptAsync().WaitAsync(cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        cancellationToken.ThrowIfCancellationRequested();
        lock (_gate) return (_lastError, _clock.GetElapsedTime(_lastAnswer), _brokers);
    }

    /// <summary>Asks Kafka for this topic, also when it is known: it may have grown.</summary>
    public async Task<bool> LookAsync(string topic, CancellationToken cancellationToken)
    {
        if (!TopicNames.IsAllowed(topic)) return false;
        await DescribeAsync([topic], cancellationToken).ConfigureAwait(false);
        return true;
    }

    public void Start() => _loop.Start();

    /// <summary>Asks Kafka for these topics unless all are known; afterwards they are, or they do not exist.</summary>
    public async Task ResolveAsync(IReadOnlyCollection<string> topics, CancellationToken cancellationToken)
    {
        string[] unknown;
        lock (_gate) unknown = [.. topics.Where(topic => !_topics.ContainsKey(topic) && TopicNames.IsAllowed(topic)).Distinct(StringComparer.Ordinal)];
        if (unknown.Length > 0) await DescribeAsync(unknown, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc cref="IBroker.EnsureTopicAsync"/>
    public async Task<TopicInfo> EnsureAsync(TopicSpec spec, CancellationToken cancellationToken)
    {
        var started = _clock.GetTimestamp();
        var doing = $"creating topic '{spec.Name}' at Kafka {_options.BootstrapServers}";
        while (true)
        {
            ThrowIfStopping();
            await ResolveAsync([spec.Name], cancellationToken).ConfigureAwait(false);
            var partitions = PartitionsOf(spec.Name);
            if (partitions >= spec.Partitions)
            {
                if (spec.KeepForever) await CheckRetentionAsync(spec.Name, cancellationToken).ConfigureAwait(false);
                return new TopicInfo(spec.Name, partitions);
            }

            if (_clock.GetElapsedTime(started) > RequestTime) throw new BrokerException(BrokerError.Unavailable, $"{doing}: it was created but is not to be seen");
            if (partitions == 0) await CreateAsync(spec, doing, cancellationToken).ConfigureAwait(false);
            else await ExtendAsync(spec, doing, cancellationToken).ConfigureAwait(false);

            // Brokers learn of it one after the other; and somebody else may have made it, with fewer partitions than are wanted here.
            await DescribeAsync([spec.Name], cancellationToken).ConfigureAwait(false);
            if (PartitionsOf(spec.Name) == partitions) await Task.Delay(Settling, _clock, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Offsets at one end, or at a time, of each partition; null where it does not exist.</summary>
    public async Task<long?[]> OffsetsAsync(IReadOnlyList<TopicPartition> partitions, OffsetSpec spec, CancellationToken cancellationToken)
    {
        var offsets = new long?[partitions.Count];
        if (partitions.Count == 0) return offsets;
        await ResolveAsync([.. partitions.Select(partition => partition.Topic)], cancellationToken).ConfigureAwait(false);
        var asked = new Dictionary<Confluent.Kafka.TopicPartition, int>();
        lock (_gate)
        {
            for (var i = 0; i < partitions.Count; i++)
            {
                if (_topics.TryGetValue(partitions[i].Topic, out var known) && partitions[i].Partition < known.Partitions)
                    asked[new(partitions[i].Topic, partitions[i].Partition)] = i;
            }
        }

        var started = _clock.GetTimestamp();
        while (asked.Count > 0)
        {
            // A partition that was just made, or whose leader has just changed, is found a moment later.
            if (await AskOffsetsAsync(asked, offsets, spec, cancellationToken).ConfigureAwait(false) is not { } failure) break;
            if (_clock.GetElapsedTime(started) > AnswerTime) throw failure;
            await Task.Delay(Settling, _clock, cancellationToken).ConfigureAwait(false);
        }

        return offsets;
    }

    // Takes what has an answer out of what is asked; the failure of one that has none yet.
    private async Task<BrokerException?> AskOffsetsAsync(
        Dictionary<Confluent.Kafka.TopicPartition, int> asked, long?[] offsets, OffsetSpec spec, CancellationToken cancellationToken)
    {
        var request = asked.Keys.Select(partition => new TopicPartitionOffsetSpec { TopicPartition = partition, OffsetSpec = spec });
        var options = new ListOffsetsOptions { IsolationLevel = IsolationLevel.ReadCommitted, RequestTimeout = RequestTime };
        IEnumerable<TopicPartitionOffsetError> found;
        try
        {
            var result = await Ask(admin => admin.ListOffsetsAsync(request, options)).WaitAsync(cancellationToken).ConfigureAwait(false);
            found = result.ResultInfos.Select(info => info.TopicPartitionOffsetError);
        }
        catch (ListOffsetsException exception)
        {
            found = exception.Result.ResultInfos.Select(info => info.TopicPartitionOffsetError);
        }
        catch (KafkaException exception)
        {
            return Unreachable(exception.Error, exception, "asking for offsets");
        }

        BrokerException? failure = null;
        foreach (var result in found)
        {
            var kind = KafkaErrors.KindOf(result.Error.Code);
            if (result.Error.IsError && kind != BrokerError.NoSuchTopic)
            {
                failure = KafkaErrors.From(result.Error, $"asking for offsets of topic '{result.Topic}' at Kafka {_options.BootstrapServers}");
                if (failure.IsTransient) continue;
                throw failure;
            }

            if (asked.Remove(result.TopicPartition, out var at) && !result.Error.IsError) offsets[at] = result.Offset.Value;
        }

        return failure;
    }

    /// <inheritdoc cref="IBroker.WatchTopicsAsync"/>
    public async IAsyncEnumerable<TopicInfo?> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _disposal.Token);
        if (!Volatile.Read(ref _isListed)) await WaitAsync(AttemptAsync(), stop.Token, cancellationToken).ConfigureAwait(false);
        var seen = -1L;
        while (true)
        {
            var isFirst = seen < 0;
            TopicInfo[] news;
            Task changed;
            lock (_gate)
            {
                news = [.. _topics.Where(topic => topic.Value.Version > seen).OrderBy(topic => topic.Value.Version).Select(topic => new TopicInfo(topic.Key, topic.Value.Partitions))];
                seen = _version;
                changed = _changed.Task;
            }

            foreach (var topic in news)
            {
                cancellationToken.ThrowIfCancellationRequested();
                ThrowIfStopping();
                yield return topic;
            }

            cancellationToken.ThrowIfCancellationRequested();
            ThrowIfStopping();
            if (isFirst) yield return null;
            await WaitAsync(changed, stop.Token, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Somebody saw a sign that a topic is gone: look now.</summary>
    public void Suspect(string topic)
    {
        if (PartitionsOf(topic) > 0) Wake();
    }

    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _isStopping = true;
            Monitor.PulseAll(_gate);
        }

        await _disposal.CancelAsync().ConfigureAwait(false);
        await _ended.Task.ConfigureAwait(false);
    }

    // A question must not begin while the client is being destroyed: the native library does not survive that.
    private Task<T> Ask<T>(Func<IAdminClient, Task<T>> question)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isStopping, typeof(KafkaBroker));
            return question(_admin);
        }
    }

    private static async Task<bool> Answered(Task task)
    {
        await task.ConfigureAwait(false);
        return true;
    }

    private async Task WaitAsync(Task task, CancellationToken stop, CancellationToken cancellationToken)
    {
        try
        {
            await task.WaitAsync(stop).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            ThrowIfStopping();
            throw;
        }
    }

    private void ThrowIfStopping() => ObjectDisposedException.ThrowIf(_disposal.IsCancellationRequested, typeof(KafkaBroker));

    private BrokerException Unreachable(Error error, Exception? exception, string doing)
    {
        // What a connection complained of says more than that there was no answer in time.
        var complaint = _clients.Complaint;
        var cause = complaint is not null && error.Code is ErrorCode.Local_Transport or ErrorCode.Local_TimedOut or ErrorCode.Local_AllBrokersDown or ErrorCode.LeaderNotAvailable
            ? complaint
            : error;
        return KafkaErrors.From(cause, $"{doing} at Kafka {_options.BootstrapServers}", exception);
    }

    // By the loop, because this question blocks a thread. Who asks for the same at once is answered at once.
    private async Task DescribeAsync(string[] names, CancellationToken cancellationToken)
    {
        var look = new Look(names);
        lock (_gate)
        {
            ThrowIfStopping();
            _looks.Add(look);
            Monitor.PulseAll(_gate);
        }

        await look.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task CreateAsync(TopicSpec spec, string doing, CancellationToken cancellationToken)
    {
        var configuration = new Dictionary<string, string>(_options.Kafka.TopicConfiguration, StringComparer.Ordinal);
        if (spec.KeepForever)
        {
            configuration["retention.ms"] = "-1";
            configuration["retention.bytes"] = "-1";
            configuration["cleanup.policy"] = "delete";
        }

        var specification = new TopicSpecification
        {
            Name = spec.Name,
            NumPartitions = spec.Partitions,
            ReplicationFactor = (short)(_options.Kafka.ReplicationFactor ?? -1),
            Configs = configuration,
        };
        try
        {
            var options = new CreateTopicsOptions { RequestTimeout = RequestTime, OperationTimeout = RequestTime };
            await Ask(admin => Answered(admin.CreateTopicsAsync([specification], options))).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (CreateTopicsException exception)
        {
            var error = exception.Results[0].Error;
            if (error.Code != ErrorCode.TopicAlreadyExists) throw KafkaErrors.From(error, doing, exception);
        }
        catch (KafkaException exception)
        {
            throw Unreachable(exception.Error, exception, $"creating topic '{spec.Name}'");
        }
    }

    private async Task ExtendAsync(TopicSpec spec, string doing, CancellationToken cancellationToken)
    {
        try
        {
            var options = new CreatePartitionsOptions { RequestTimeout = RequestTime, OperationTimeout = RequestTime };
            await Ask(admin => Answered(admin.CreatePartitionsAsync([new PartitionsSpecification { Topic = spec.Name, IncreaseTo = spec.Partitions }], options)))
                .WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (CreatePartitionsException exception)
        {
            // InvalidPartitions: somebody else has extended it meanwhile.
            var error = exception.Results[0].Error;
            if (error.Code != ErrorCode.InvalidPartitions) throw KafkaErrors.From(error, doing, exception);
        }
        catch (KafkaException exception)
        {
            throw Unreachable(exception.Error, exception, $"extending topic '{spec.Name}'");
        }
    }

    // An existing topic is never altered; that it will lose what it must keep is said, once.
    private async Task CheckRetentionAsync(string topic, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (!_retentionChecked.Add(topic)) return;
        }

        try
        {
            var resource = new ConfigResource { Type = ResourceType.Topic, Name = topic };
            var results = await Ask(admin => admin.DescribeConfigsAsync([resource], new DescribeConfigsOptions { RequestTimeout = RequestTime }))
                .WaitAsync(cancellationToken).ConfigureAwait(false);
            var entries = results[0].Entries;
            foreach (var (setting, kept) in new[] { ("retention.ms", "-1"), ("retention.bytes", "-1"), ("cleanup.policy", "delete") })
            {
                if (entries.TryGetValue(setting, out var entry) && entry.Value != kept) _logger.RetentionLoses(topic, setting, entry.Value);
            }
        }
        catch (KafkaException)
        {
            // Only a warning hangs on it, and not everybody may look at configurations.
        }
    }

    private Task AttemptAsync()
    {
        lock (_gate)
        {
            _isWanted = true;
            Monitor.PulseAll(_gate);
            return _attempt.Task;
        }
    }

    private void Wake()
    {
        lock (_gate)
        {
            _isWanted = true;
            Monitor.PulseAll(_gate);
        }
    }

    private readonly record struct Topic(int Partitions, long Version);

    /// <summary>A question about topics by name.</summary>
    private sealed class Look(string[] names) : TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        public string[] Names { get; } = names;
    }
}
