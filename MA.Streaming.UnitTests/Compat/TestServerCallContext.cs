using Grpc.Core;

namespace MA.Streaming.UnitTests.Compat;

/// <summary>Answers every member from a field of its own.</summary>
internal class TestServerCallContext : ServerCallContext
{
    public static readonly DateTime TestDeadline = new(2030, 1, 2, 3, 4, 5, DateTimeKind.Utc);

    public Metadata Headers { get; } = [];

    public Metadata Trailers { get; } = [];

    public AuthContext Auth { get; } = new(null, []);

    public CancellationToken Token { get; init; }

    public List<Metadata> HeadersWritten { get; } = [];

    public List<ContextPropagationOptions?> PropagationsAsked { get; } = [];

    protected override string MethodCore => "/test.Service/Method";

    protected override string HostCore => "host";

    protected override string PeerCore => "peer";

    protected override DateTime DeadlineCore => TestDeadline;

    protected override Metadata RequestHeadersCore => Headers;

    protected override CancellationToken CancellationTokenCore => Token;

    protected override Metadata ResponseTrailersCore => Trailers;

    protected override Status StatusCore { get; set; }

    protected override WriteOptions? WriteOptionsCore { get; set; }

    protected override AuthContext AuthContextCore => Auth;

    protected override Task WriteResponseHeadersAsyncCore(Metadata responseHeaders)
    {
        HeadersWritten.Add(responseHeaders);
        return Task.CompletedTask;
    }

    protected override ContextPropagationToken CreatePropagationTokenCore(ContextPropagationOptions? options)
    {
        PropagationsAsked.Add(options);
        return null!;
    }
}
