using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>A part of a broker that others use too: the topics whose names have a prefix, which is not seen from here.</summary>
internal sealed class PrefixedBroker(IBroker inner, string prefix) : IBroker
{
    private const int NameMax = 249;
    private readonly ConcurrentDictionary<string, string> _long = new(StringComparer.Ordinal);

    public BrokerInfo Info => inner.Info;

    public async ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken) =>
        Inside(await inner.EnsureTopicAsync(topic with { Name = Outside(topic.Name) }, cancellationToken));

    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken) =>
        inner.AppendAsync(Outside(target), record, cancellationToken);

    public async IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var outside = request with { From = [.. request.From.Select(position => position with { Source = Outside(position.Source) })] };
        await foreach (var batch in inner.ReadAsync(outside, cancellationToken).ConfigureAwait(false)) yield return batch with { Source = Inside(batch.Source) };
    }

    public async ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken)
    {
        var outside = await inner.JoinGroupAsync(prefix + group, cancellationToken);
        var left = new CancellationTokenSource();
        Task passing = Task.CompletedTask;
        GroupMember inside = null!;
        inside = new GroupMember(
            wanted => outside.Want([.. wanted.Select(Outside)]),
            async () =>
            {
                await left.CancelAsync();
                await passing;
                await outside.DisposeAsync();
            });
        passing = PassOnAsync(inside, outside, left.Token);
        return inside;
    }

    public async ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken) =>
        [.. (await inner.GetWatermarksAsync([.. partitions.Select(Outside)], cancellationToken)).Select(marks => marks with { Source = Inside(marks.Source) })];

    public ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken) =>
        inner.FindOffsetsAsync([.. partitions.Select(Outside)], notBefore, cancellationToken);

    public async IAsyncEnumerable<TopicInfo?> WatchTopicsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var topic in inner.WatchTopicsAsync(cancellationToken).ConfigureAwait(false))
        {
            if (topic is null) yield return null;
            else if (topic.Name.StartsWith(prefix, StringComparison.Ordinal)) yield return Inside(topic);
        }
    }

    public ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken) => inner.CheckAsync(cancellationToken);

    public ValueTask DisposeAsync() => inner.DisposeAsync();

    // Between a membership with short names and the broker's.
    private async Task PassOnAsync(GroupMember inside, GroupMember outside, CancellationToken left)
    {
        var held = new HashSet<TopicPartition>();
        var next = outside.NextAssignmentAsync(left).AsTask();
        while (true)
        {
            await Task.WhenAny(next, Task.Delay(50, CancellationToken.None));
            HandOver();
            if (left.IsCancellationRequested) return;
            if (!next.IsCompleted) continue;
            if (next.IsFaulted)
            {
                inside.Fail(next.Exception.InnerException!);
                return;
            }

            var assigned = (await next).Select(position => position with { Source = Inside(position.Source) }).ToList();
            TopicPartition[] lost = [.. held.Except(assigned.Select(position => position.Source))];
            await inside.RevokeAsync(lost);
            HandOver();
            inside.Remove(lost);
            inside.Assign(assigned.Where(position => !held.Contains(position.Source)));
            held = [.. assigned.Select(position => position.Source)];
            next = outside.NextAssignmentAsync(left).AsTask();
        }

        void HandOver()
        {
            foreach (var (source, reached) in inside.TakeHandedOver()) outside.HandedOver(Outside(source), reached);
        }
    }

    private TopicPartition Outside(TopicPartition source) => source with { Topic = Outside(source.Topic) };

    private TopicPartition Inside(TopicPartition source) => source with { Topic = Inside(source.Topic) };

    private TopicInfo Inside(TopicInfo topic) => topic with { Name = Inside(topic.Name) };

    // A name that the prefix would make too long gives up as much of its middle, and stays as long as it is.
    private string Outside(string topic)
    {
        if (prefix.Length + topic.Length <= NameMax) return prefix + topic;
        var outside = prefix + topic.Remove(NameMax / 2, prefix.Length);
        if (_long.GetOrAdd(outside, topic) != topic) throw new InvalidOperationException($"'{topic}' and '{_long[outside]}' are one topic outside");
        return outside;
    }

    private string Inside(string topic) => _long.TryGetValue(topic, out var inside) ? inside : topic[prefix.Length..];
}
