namespace Grpc.Core;

/// <summary>How a call ended.</summary>
public struct Status
{
    public static readonly Status DefaultSuccess = new(StatusCode.OK, "");
    public static readonly Status DefaultCancelled = new(StatusCode.Cancelled, "");

    public Status(StatusCode statusCode, string detail)
        : this(statusCode, detail, null)
    {
    }

    public Status(StatusCode statusCode, string detail, Exception? debugException)
    {
        StatusCode = statusCode;
        Detail = detail;
        DebugException = debugException;
    }

    public StatusCode StatusCode { get; }

    public string Detail { get; }

    /// <summary>What failed on this side, for diagnosis; it never travels.</summary>
    public Exception? DebugException { get; }

    public override string ToString() => DebugException is { } exception
        ? $"Status(StatusCode=\"{StatusCode}\", Detail=\"{Detail}\", DebugException=\"{exception.GetType()}: {exception.Message}\")"
        : $"Status(StatusCode=\"{StatusCode}\", Detail=\"{Detail}\")";
}
