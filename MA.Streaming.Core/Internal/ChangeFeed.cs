using System.Threading.Channels;

namespace MA.Streaming.Core.Internal;

/// <summary>One writer, many subscribers, each with a buffer of its own: a slow subscriber overflows alone.</summary>
internal sealed class ChangeFeed<T>(int capacity)
{
    private readonly Lock _gate = new();
    private Subscription[] _subscriptions = [];

    public Subscription Subscribe(Func<T, bool> wanted)
    {
        var subscription = new Subscription(this, wanted, capacity);
        lock (_gate) _subscriptions = [.. _subscriptions, subscription];
        return subscription;
    }

    public void Publish(T change)
    {
        foreach (var subscription in Volatile.Read(ref _subscriptions)) subscription.Offer(change);
    }

    private void Remove(Subscription subscription)
    {
        lock (_gate) _subscriptions = [.. _subscriptions.Where(s => s != subscription)];
    }

    internal sealed class Subscription : IDisposable
    {
        private readonly ChangeFeed<T> _feed;
        private readonly Func<T, bool> _wanted;
        private readonly Channel<T> _changes;

        public Subscription(ChangeFeed<T> feed, Func<T, bool> wanted, int capacity)
        {
            _feed = feed;
            _wanted = wanted;
            _changes = Channel.CreateBounded<T>(new BoundedChannelOptions(capacity) { SingleReader = true });
        }

        /// <summary>The changes since subscribing; ends with <see cref="FeedOverflowException"/> when its buffer ran full.</summary>
        public ChannelReader<T> Changes => _changes.Reader;

        public void Dispose()
        {
            _feed.Remove(this);
            _changes.Writer.TryComplete();
        }

        internal void Offer(T change)
        {
            if (!_wanted(change) || _changes.Writer.TryWrite(change)) return;
            if (_changes.Writer.TryComplete(new FeedOverflowException())) _feed.Remove(this);
        }
    }
}

/// <summary>The subscriber took its changes too slowly.</summary>
internal sealed class FeedOverflowException : Exception;
