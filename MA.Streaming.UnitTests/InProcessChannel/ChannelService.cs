using Grpc.Core;

namespace MA.Streaming.UnitTests.InProcessChannel;

/// <summary>A service whose handlers the test gives.</summary>
internal sealed class ChannelService : Trial.TrialBase
{
    public Func<Text, ServerCallContext, Task<Text>> OnEcho { get; set; } = (request, _) => Task.FromResult(request);

    public Func<IAsyncStreamReader<Text>, ServerCallContext, Task<Text>> OnJoin { get; set; } = async (requests, _) =>
    {
        var words = new List<string>();
        while (await requests.MoveNext(CancellationToken.None)) words.Add(requests.Current.Value);
        return new Text { Value = string.Join(' ', words) };
    };

    public Func<Text, IServerStreamWriter<Text>, ServerCallContext, Task> OnSplit { get; set; } = async (request, responses, _) =>
    {
        foreach (var word in request.Value.Split(' ')) await responses.WriteAsync(new Text { Value = word });
    };

    public Func<IAsyncStreamReader<Text>, IServerStreamWriter<Text>, ServerCallContext, Task> OnChat { get; set; } = async (requests, responses, _) =>
    {
        while (await requests.MoveNext(CancellationToken.None)) await responses.WriteAsync(new Text { Value = requests.Current.Value });
    };

    public override Task<Text> Echo(Text request, ServerCallContext context) => OnEcho(request, context);

    public override Task<Text> Join(IAsyncStreamReader<Text> requestStream, ServerCallContext context) => OnJoin(requestStream, context);

    public override Task Split(Text request, IServerStreamWriter<Text> responseStream, ServerCallContext context) =>
        OnSplit(request, responseStream, context);

    public override Task Chat(IAsyncStreamReader<Text> requestStream, IServerStreamWriter<Text> responseStream, ServerCallContext context) =>
        OnChat(requestStream, responseStream, context);

    /// <summary>A client on a channel with this service.</summary>
    public Trial.TrialClient Client(out Proto.Client.Local.InProcessChannel channel, TimeProvider? clock = null)
    {
        channel = new Proto.Client.Local.InProcessChannel(clock: clock);
        channel.Bind(binder => Trial.BindService(binder, this));
        return new Trial.TrialClient(channel);
    }

    /// <summary>A client whose requests reach this service uncopied.</summary>
    public Trial.TrialClient ClientWithoutCopies()
    {
        var channel = new Proto.Client.Local.InProcessChannel();
        channel.BindWithoutCopies(binder => Trial.BindService(binder, this));
        return new Trial.TrialClient(channel);
    }

    public Trial.TrialClient Client(TimeProvider? clock = null) => Client(out _, clock);
}
