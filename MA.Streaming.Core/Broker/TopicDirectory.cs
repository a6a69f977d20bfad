using MA.Streaming.Core.Internal;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.Core.Broker;

/// <summary>The topics there are, kept current by <see cref="IBroker.WatchTopicsAsync"/> and by those who create topics here.</summary>
internal sealed class TopicDirectory : IAsyncDisposable
{
    private readonly IBroker _broker;
    private readonly ILogger _logger;
    private readonly TimeProvider _clock;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, int> _partitions = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<string>> _streams = new(StringComparer.Ordinal);
    private readonly TaskCompletionSource _listed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly OwnedLoop _loop;
    private Subscription[] _subscriptions = [];

    public TopicDirectory(IBroker broker, ILogger logger, TimeProvider clock)
    {
        _broker = broker;
        _logger = logger;
        _clock = clock;
        _loop = new OwnedLoop(WatchAsync);
    }

    /// <summary>Every topic that existed at the start is known.</summary>
    public Task Listed => _listed.Task;

    /// <summary>The last failure of watching, while it lasts.</summary>
    public Exception? LastError { get; private set; }

    /// <summary>How many partitions a topic has; 0 when it does not exist.</summary>
    public int PartitionsOf(string topic)
    {
        lock (_gate) return _partitions.GetValueOrDefault(topic);
    }

    /// <summary>TopicBased: the streams of a data source that have a topic, oldest known first.</summary>
    public IReadOnlyList<string> StreamsOf(string dataSource)
    {
        lock (_gate) return _streams.TryGetValue(dataSource, out var streams) ? [.. streams] : [];
    }

    /// <summary>Takes in a topic that exists; who created it need not wait for the watch.</summary>
    public void Add(TopicInfo topic)
    {
        lock (_gate)
        {
            if (_partitions.TryGetValue(topic.Name, out var known) && known >= topic.Partitions) return;
            _partitions[topic.Name] = topic.Partitions;
            if (known == 0) IndexStreams(topic.Name);
        }

        foreach (var subscription in Volatile.Read(ref _subscriptions))
        {
            if (subscription.Wanted(topic.Name)) subscription.Changed();
        }
    }

    /// <summary>Calls back, briefly and on any thread, when a wanted topic is new or has grown.</summary>
    public IDisposable Subscribe(Func<string, bool> wanted, Action changed)
    {
        var subscription = new Subscription(this, wanted, changed);
        lock (_gate) _subscriptions = [.. _subscriptions, subscription];
        return subscription;
    }

    public ValueTask DisposeAsync() => _loop.DisposeAsync();

    // "A.b.c" is stream "b.c" of "A" and stream "c" of "A.b": names with dots were not always refused. Essentials are no stream.
    private void IndexStreams(string topic)
    {
        if (topic.EndsWith(TopicLayout.EssentialSuffix, StringComparison.Ordinal)) return;
        for (var dot = topic.IndexOf('.', StringComparison.Ordinal); dot >= 0; dot = topic.IndexOf('.', dot + 1))
        {
            if (dot == 0 || dot == topic.Length - 1) continue;
            var dataSource = topic[..dot];
            if (!_streams.TryGetValue(dataSource, out var streams)) _streams[dataSource] = streams = [];
            streams.Add(topic[(dot + 1)..]);
        }
    }

    private async Task WatchAsync(CancellationToken stop)
    {
        var backoff = new Backoff();
        while (true)
        {
            try
            {
                await foreach (var topic in _broker.WatchTopicsAsync(stop).ConfigureAwait(false))
                {
                    LastError = null;
                    backoff.Reset();
                    if (topic is null) _listed.TrySetResult();
                    else Add(topic);
                }

                return;
            }
            catch (BrokerException exception)
            {
                LastError = exception;
                var delay = backoff.Next();
                _logger.WatchFailed(delay, exception);
                await Task.Delay(delay, _clock, stop).ConfigureAwait(false);
            }
            catch (ObjectDisposedException)
            {
                return; // The broker is gone, and with it everything to watch.
            }
        }
    }

    private sealed class Subscription(TopicDirectory directory, Func<string, bool> wanted, Action changed) : IDisposable
    {
        public Func<string, bool> Wanted { get; } = wanted;

        public Action Changed { get; } = changed;

        public void Dispose()
        {
            lock (directory._gate) directory._subscriptions = [.. directory._subscriptions.Where(s => s != this)];
        }
    }
}
