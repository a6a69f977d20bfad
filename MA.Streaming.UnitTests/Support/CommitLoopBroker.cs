using System.Collections.Concurrent;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;

namespace MA.Streaming.UnitTests.Support;

/// <summary>A broker whose appends complete on one thread of its own, as those of a log with a commit loop do.</summary>
internal sealed class CommitLoopBroker : IBroker
{
    private readonly IBroker _inner;
    private readonly BlockingCollection<(TopicPartition Target, RecordData Record, TaskCompletionSource<Appended> Done)> _appends = [];
    private readonly Thread _loop;

    public CommitLoopBroker(IBroker inner)
    {
        _inner = inner;
        _loop = new Thread(Commit) { IsBackground = true, Name = "commit loop" };
        _loop.Start();
    }

    public int LoopThreadId => _loop.ManagedThreadId;

    public BrokerInfo Info => _inner.Info;

    public ValueTask<TopicInfo> EnsureTopicAsync(TopicSpec topic, CancellationToken cancellationToken) =>
        _inner.EnsureTopicAsync(topic, cancellationToken);

    public ValueTask<Appended> AppendAsync(TopicPartition target, RecordData record, CancellationToken cancellationToken)
    {
        var done = new TaskCompletionSource<Appended>();
        _appends.Add((target, record, done), CancellationToken.None);
        return new(done.Task);
    }

    public IAsyncEnumerable<RecordBatch> ReadAsync(ReadRequest request, CancellationToken cancellationToken) =>
        _inner.ReadAsync(request, cancellationToken);

    public ValueTask<GroupMember> JoinGroupAsync(string group, CancellationToken cancellationToken) => _inner.JoinGroupAsync(group, cancellationToken);

    public ValueTask<IReadOnlyList<Watermarks>> GetWatermarksAsync(IReadOnlyList<TopicPartition> partitions, CancellationToken cancellationToken) =>
        _inner.GetWatermarksAsync(partitions, cancellationToken);

    public ValueTask<IReadOnlyList<long>> FindOffsetsAsync(
        IReadOnlyList<TopicPartition> partitions, DateTimeOffset notBefore, CancellationToken cancellationToken) =>
        _inner.FindOffsetsAsync(partitions, notBefore, cancellationToken);

    public IAsyncEnumerable<TopicInfo?> WatchTopicsAsync(CancellationToken cancellationToken) => _inner.WatchTopicsAsync(cancellationToken);

    public ValueTask<BrokerHealth> CheckAsync(CancellationToken cancellationToken) => _inner.CheckAsync(cancellationToken);

    public ValueTask DisposeAsync()
    {
        _appends.CompleteAdding();
        _loop.JoinWithDeadline();
        _appends.Dispose();
        return _inner.DisposeAsync();
    }

    private void Commit()
    {
        foreach (var (target, record, done) in _appends.GetConsumingEnumerable())
        {
            try
            {
                done.SetResult(_inner.AppendAsync(target, record, CancellationToken.None).AsTask().GetAwaiter().GetResult());
            }
            catch (Exception exception)
            {
                done.TrySetException(exception);
            }
        }
    }
}
