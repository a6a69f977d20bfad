using Grpc.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Keys;

namespace MA.Streaming.Core;

/// <summary>Every status the engine answers with is made here, so that its words are in one place and the same on every transport.</summary>
internal static class Errors
{
    /// <summary>The trailer of a failed client stream: how many packets from its start are durable without a gap.</summary>
    public const string DurablePacketsTrailer = "durable-packets";

    public static RpcException InvalidArgument(string message) => Of(StatusCode.InvalidArgument, message);

    public static RpcException NotFound(string message) => Of(StatusCode.NotFound, message);

    public static RpcException AlreadyExists(string message) => Of(StatusCode.AlreadyExists, message);

    public static RpcException ResourceExhausted(string message) => Of(StatusCode.ResourceExhausted, message);

    public static RpcException OutOfRange(string message) => Of(StatusCode.OutOfRange, message);

    public static RpcException Internal(string message) => Of(StatusCode.Internal, message);

    public static RpcException Unavailable(string message) => Of(StatusCode.Unavailable, message);

    public static RpcException ShuttingDown() => Unavailable("the Stream API is shutting down");

    /// <summary>True for the exceptions of a broker: its own failures, and ObjectDisposedException after its disposal.</summary>
    public static bool IsBrokerFailure(Exception exception) => exception is BrokerException or ObjectDisposedException;

    /// <summary>The status of a broker's failure; <paramref name="doing"/> says what the call was at.</summary>
    public static RpcException From(Exception exception, string doing)
    {
        if (exception is not BrokerException broker) return ShuttingDown();
        var code = broker.Error switch
        {
            BrokerError.Full => StatusCode.ResourceExhausted,
            BrokerError.TooLarge or BrokerError.NotAllowed => StatusCode.InvalidArgument,
            BrokerError.Corrupt => StatusCode.DataLoss,
            BrokerError.Denied => StatusCode.PermissionDenied,
            _ => StatusCode.Unavailable,
        };
        return new RpcException(new Status(code, $"{doing}: {exception.Message}", exception));
    }

    /// <summary>The status of a key that cannot be had; <paramref name="doing"/> says what it was for.</summary>
    public static RpcException From(KeyGeneratorException exception, string doing) =>
        new(new Status(StatusCode.Unavailable, $"{doing}: {exception.Message}", exception));

    /// <summary>The same failure with the count of durable packets as a trailer.</summary>
    public static RpcException WithDurablePackets(Exception exception, long durablePackets)
    {
        var status = exception switch
        {
            RpcException rpc => rpc.Status,
            ObjectDisposedException => ShuttingDown().Status,
            OperationCanceledException => new Status(StatusCode.Cancelled, "the call was cancelled"),
            _ => new Status(StatusCode.Internal, "the packets could not be written", exception),
        };
        var trailers = new Metadata
        {
            { DurablePacketsTrailer, durablePackets.ToString(System.Globalization.CultureInfo.InvariantCulture) },
        };
        return new RpcException(status, trailers);
    }

    private static RpcException Of(StatusCode code, string message) => new(new Status(code, message));
}
