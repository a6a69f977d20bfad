using System.Collections.Concurrent;

namespace MA.Streaming.Core.Broker;

/// <summary>The appender of each topic. A topic has exactly one, shared by all writers: it keeps the order of appends while the topic is
/// being created.</summary>
internal sealed class TopicAppenders(IBroker broker, TopicDirectory directory, TimeSpan timeout, TimeProvider clock)
{
    private readonly ConcurrentDictionary<string, TopicAppender> _appenders = new(StringComparer.Ordinal);

    /// <summary>The appender of a topic; the first caller decides how the topic is created.</summary>
    public TopicAppender Of(TopicSpec topic) =>
        _appenders.TryGetValue(topic.Name, out var known)
            ? known
            : _appenders.GetOrAdd(topic.Name, new TopicAppender(broker, directory, topic, timeout, clock));
}
