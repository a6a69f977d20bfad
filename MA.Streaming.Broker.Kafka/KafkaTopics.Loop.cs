using System.Globalization;
using Confluent.Kafka;
using Confluent.Kafka.Admin;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Kafka;

/// <content>The thread that asks the brokers which topics there are, and what it learns.</content>
internal sealed partial class KafkaTopics
{
    private void Loop()
    {
        while (true)
        {
            TaskCompletionSource? attempt = null;
            List<Look> looks;
            lock (_gate)
            {
                if (!_isWanted && !_isStopping && _looks.Count == 0) Monitor.Wait(_gate, _options.TopicsInterval);
                if (_isStopping) break;
                (looks, _looks) = (_looks, []);
                if (looks.Count == 0)
                {
                    // Who asks from now on is answered by the next look.
                    (attempt, _attempt) = (_attempt, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
                    _isWanted = false;
                }
            }

            if (attempt is not null) Answer([attempt], "listing the topics", ListAll);
            else LookFor(looks);
        }

        _admin.Dispose();
        lock (_gate)
        {
            foreach (var waiting in _looks.Append<TaskCompletionSource>(_attempt)) Fail(waiting, new ObjectDisposedException(nameof(KafkaBroker)));
        }

        _ended.TrySetResult();
    }

    private void ListAll()
    {
        var metadata = _admin.GetMetadata(AnswerTime);
        if (!Volatile.Read(ref _isListed)) Learn(metadata);
        Take(metadata);
        Succeeded(metadata);
        LearnCluster();
    }

    private void LookFor(List<Look> looks)
    {
        string[] names = [.. looks.SelectMany(look => look.Names).Distinct(StringComparer.Ordinal)];
        Answer(looks, names.Length == 1 ? $"looking for topic '{names[0]}'" : $"looking for {names.Length} topics", () =>
        {
            if (names.Length > AskedByNameMax)
            {
                Take(_admin.GetMetadata(AnswerTime));
                return;
            }

            foreach (var topic in names.SelectMany(name => _admin.GetMetadata(name, AnswerTime).Topics))
            {
                if (!topic.Error.IsError) Take(topic.Topic, topic.Partitions.Count);
                else if (KafkaErrors.KindOf(topic.Error.Code) == BrokerError.Denied)
                    throw KafkaErrors.From(topic.Error, $"looking for topic '{topic.Topic}' at Kafka {_options.BootstrapServers}");
            }
        });
    }

    private void Answer(IReadOnlyCollection<TaskCompletionSource> waiting, string doing, Action question)
    {
        BrokerException error;
        try
        {
            question();
            foreach (var one in waiting) one.TrySetResult();
            return;
        }
        catch (BrokerException exception)
        {
            // Of a topic and not of Kafka.
            foreach (var one in waiting) Fail(one, exception);
            return;
        }
        catch (KafkaException exception)
        {
            error = Unreachable(exception.Error, exception, doing);
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            _logger.LoopFailed(exception, "kafka topics");
            error = new BrokerException(BrokerError.Unavailable, $"{doing} at Kafka {_options.BootstrapServers}: {exception.Message}", exception);
        }

        Failed(error);
        foreach (var one in waiting) Fail(one, error);
    }

    private static void Fail(TaskCompletionSource waiting, Exception exception)
    {
        waiting.TrySetException(exception);
        _ = waiting.Task.Exception; // Nobody may have asked.
    }

    private void Succeeded(Metadata metadata)
    {
        bool wasDown;
        lock (_gate)
        {
            wasDown = _hasComplained;
            _hasComplained = false;
            _lastError = null;
            _lastAnswer = _clock.GetTimestamp();
            _brokers = metadata.Brokers.Count;
        }

        _clients.Answered();
        if (wasDown) _logger.ReachableAgain(_options.BootstrapServers);
    }

    private void Failed(BrokerException error)
    {
        bool isNews;
        lock (_gate)
        {
            isNews = !_hasComplained;
            _hasComplained = true;
            _lastError = error;
        }

        if (isNews) _logger.Unreachable(_options.BootstrapServers, error.Message);
    }

    // What has to be known before anybody writes: how large a record may be.
    private void Learn(Metadata metadata)
    {
        if (_clients.MessageBytesMax is null && metadata.Brokers.Count > 0)
        {
            try
            {
                var resource = new ConfigResource { Type = ResourceType.Broker, Name = metadata.Brokers[0].BrokerId.ToString(CultureInfo.InvariantCulture) };
                var results = Blocking(_admin.DescribeConfigsAsync([resource], new DescribeConfigsOptions { RequestTimeout = AnswerTime }));
                if (results[0].Entries.TryGetValue("message.max.bytes", out var entry)
                    && int.TryParse(entry.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var bytes))
                {
                    MessageBytesMax = Math.Clamp(bytes, 1_000, 1_000_000_000);
                }
            }
            catch (KafkaException)
            {
                // Not everybody may look at configurations; then Kafka's default is what it takes.
            }
        }

        _logger.Connected(_options.BootstrapServers, metadata.Brokers.Count, metadata.Topics.Count, MessageBytesMax - KafkaClients.RecordOverhead);
    }

    // The name of the cluster comes when it comes: nothing waits for it.
    private void LearnCluster()
    {
        if (ClusterId is not null || _cluster is { IsCompleted: false }) return;
        _cluster = _admin.DescribeClusterAsync(new DescribeClusterOptions { RequestTimeout = RequestTime });
        _ = _cluster.ContinueWith(
            described =>
            {
                if (described.IsCompletedSuccessfully) ClusterId = Blocking(described).ClusterId;
                else _ = described.Exception;
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
    }

#pragma warning disable RS0030 // On the loop's own thread, and bounded by the request's timeout; or completed.
    private static T Blocking<T>(Task<T> task) => task.GetAwaiter().GetResult();
#pragma warning restore RS0030

    private void Take(Metadata metadata)
    {
        var listed = new HashSet<string>(metadata.Topics.Count, StringComparer.Ordinal);
        foreach (var topic in metadata.Topics)
        {
            listed.Add(topic.Topic);
            if (topic.Partitions.Count > 0) Take(topic.Topic, topic.Partitions.Count);
        }

        string[] absent;
        lock (_gate)
        {
            absent = [.. _topics.Keys.Where(topic => !listed.Contains(topic))];
            Volatile.Write(ref _isListed, true);
        }

        // Not listed may mean: created a moment ago, or not to be seen any more. Asked by name, Kafka says which.
        foreach (var topic in absent)
        {
            var named = _admin.GetMetadata(topic, AnswerTime).Topics;
            if (named.Count == 1 && named[0].Error.Code is ErrorCode.UnknownTopicOrPart or ErrorCode.Local_UnknownTopic) Remove(topic);
        }
    }

    private void Take(string topic, int partitions)
    {
        // Before anybody appends to its new partitions the producer has to know them.
        var before = PartitionsOf(topic);
        if (before > 0 && before < partitions) _grown(topic, partitions);
        TaskCompletionSource changed;
        lock (_gate)
        {
            if (_topics.TryGetValue(topic, out var known) && known.Partitions >= partitions) return;
            _topics[topic] = new Topic(partitions, ++_version);
            changed = _changed;
            _changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.TrySetResult();
        _appeared(topic, partitions);
    }

    private void Remove(string topic)
    {
        lock (_gate)
        {
            if (!_topics.Remove(topic)) return;
            _retentionChecked.Remove(topic);
        }

        _logger.TopicDeleted(topic);
        _deleted(topic);
    }
}
