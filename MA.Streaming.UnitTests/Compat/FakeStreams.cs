using Grpc.Core;

namespace MA.Streaming.UnitTests.Compat;

/// <summary>Yields some items, then ends; keeps the tokens it was asked with.</summary>
internal sealed class ListReader<T>(IReadOnlyList<T> items) : IAsyncStreamReader<T>
{
    private int _next = -1;

    public T Current => items[_next];

    public List<CancellationToken> Tokens { get; } = [];

    public Task<bool> MoveNext(CancellationToken cancellationToken)
    {
        Tokens.Add(cancellationToken);
        if (cancellationToken.IsCancellationRequested)
            return Task.FromCanceled<bool>(cancellationToken);
        _next++;
        return Task.FromResult(_next < items.Count);
    }
}

/// <summary>Knows only the write without a token; keeps what was written.</summary>
internal sealed class SilentWriter : IClientStreamWriter<string>, IServerStreamWriter<string>
{
    public WriteOptions? WriteOptions { get; set; }

    public List<string> Written { get; } = [];

    public Task WriteAsync(string message)
    {
        Written.Add(message);
        return Task.CompletedTask;
    }

    public Task CompleteAsync() => Task.CompletedTask;
}
