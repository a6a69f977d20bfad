namespace Grpc.Core;

/// <summary>What every call object answers from. The functions get the state that came with them, so that a transport needs no closures.</summary>
internal readonly struct CallState(
    Func<object, Task<Metadata>> responseHeadersAsync,
    Func<object, Status> getStatusFunc,
    Func<object, Metadata> getTrailersFunc,
    Action<object> disposeAction,
    object state)
{
    public CallState(Task<Metadata> responseHeadersAsync, Func<Status> getStatusFunc, Func<Metadata> getTrailersFunc, Action disposeAction)
        : this(
            static plain => ((Plain)plain).ResponseHeadersAsync,
            static plain => ((Plain)plain).GetStatus(),
            static plain => ((Plain)plain).GetTrailers(),
            static plain => ((Plain)plain).Dispose(),
            new Plain(responseHeadersAsync, getStatusFunc, getTrailersFunc, disposeAction))
    {
    }

    public Task<Metadata> ResponseHeadersAsync => responseHeadersAsync(state);

    public Status GetStatus() => getStatusFunc(state);

    public Metadata GetTrailers() => getTrailersFunc(state);

    public void Dispose() => disposeAction(state);

    private sealed record Plain(Task<Metadata> ResponseHeadersAsync, Func<Status> GetStatus, Func<Metadata> GetTrailers, Action Dispose);
}
