using Google.Protobuf;
using Google.Protobuf.Collections;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.OpenData;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>Short forms of what clients do.</summary>
internal static class Clients
{
    public static Packet TextPacket(string text, string sessionKey = "", string type = "RawCANData", bool essential = false) =>
        new() { Type = type, SessionKey = sessionKey, IsEssential = essential, Content = ByteString.CopyFromUtf8(text) };

    public static DataPacketDetails Detail(string dataSource, string stream, Packet packet, string sessionKey = "") =>
        new() { DataSource = dataSource, Stream = stream, SessionKey = sessionKey, Message = packet };

    public static async Task WriteAsync(
        this StreamServer server, string dataSource, string stream, Packet packet, CancellationToken token, string sessionKey = "") =>
        await server.Writer.WriteDataPacketAsync(
            new WriteDataPacketRequest { Detail = Detail(dataSource, stream, packet, sessionKey) }, cancellationToken: token);

    public static Task WriteTextAsync(
        this StreamServer server, string dataSource, string stream, string text, CancellationToken token, string sessionKey = "") =>
        server.WriteAsync(dataSource, stream, TextPacket(text), token, sessionKey);

    public static async Task<Connection> ConnectAsync(this StreamServer server, ConnectionDetails details, CancellationToken token) =>
        (await server.Connections.NewConnectionAsync(new NewConnectionRequest { Details = details }, cancellationToken: token)).Connection;

    public static async Task<bool> CloseAsync(this StreamServer server, Connection connection, CancellationToken token) =>
        (await server.Connections.CloseConnectionAsync(new CloseConnectionRequest { Connection = connection }, cancellationToken: token)).Success;

    /// <summary>Opens a connection and a ReadPackets on it, positioned.</summary>
    public static async Task<OpenRead> ReadAsync(this StreamServer server, ConnectionDetails details, CancellationToken token) =>
        await server.ReadPacketsAsync(await server.ConnectAsync(details, token), token);

    public static Task<OpenRead> ReadPacketsAsync(this StreamServer server, Connection connection, CancellationToken token) =>
        OpenRead.OpenAsync(
            connection, server.Reader.ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: token), r => r.Response, token);

    public static Task<OpenRead> ReadEssentialsAsync(this StreamServer server, Connection connection, CancellationToken token) =>
        OpenRead.OpenAsync(
            connection, server.Reader.ReadEssentials(new ReadEssentialsRequest { Connection = connection }, cancellationToken: token), r => r.Response, token);

    public static Task<OpenRead> ReadDataPacketsAsync(this StreamServer server, DataPacketRequest request, CancellationToken token) =>
        OpenRead.OpenAsync(
            request.Connection,
            server.Reader.ReadDataPackets(new ReadDataPacketsRequest { Request = request }, cancellationToken: token),
            r => r.Response,
            token);

    /// <summary>The essential packets there are now.</summary>
    public static async Task<IReadOnlyList<PacketResponse>> EssentialsNowAsync(this StreamServer server, ConnectionDetails details, CancellationToken token)
    {
        var connection = await server.ConnectAsync(details, token);
        using var read = await server.ReadEssentialsAsync(connection, token);
        var packets = await read.ToEndAsync();
        await server.CloseAsync(connection, token);
        return packets;
    }

    public static async Task<string> CreateSessionAsync(this StreamServer server, string dataSource, CancellationToken token, string key = "") =>
        (await server.Sessions.CreateSessionAsync(
            new CreateSessionRequest { DataSource = dataSource, SessionKey = key }, cancellationToken: token)).SessionKey;

    public static async Task<GetSessionInfoResponse> InfoAsync(this StreamServer server, string key, CancellationToken token) =>
        await server.Sessions.GetSessionInfoAsync(new GetSessionInfoRequest { SessionKey = key }, cancellationToken: token);

    public static async Task<ulong> ParametersIdAsync(this StreamServer server, string dataSource, CancellationToken token, params string[] parameters) =>
        (await server.Formats.GetParameterDataFormatIdAsync(
            new GetParameterDataFormatIdRequest { DataSource = dataSource, Parameters = { parameters } }, cancellationToken: token)).DataFormatIdentifier;

    public static async Task<ulong> EventIdAsync(this StreamServer server, string dataSource, string identifier, CancellationToken token) =>
        (await server.Formats.GetEventDataFormatIdAsync(
            new GetEventDataFormatIdRequest { DataSource = dataSource, Event = identifier }, cancellationToken: token)).DataFormatIdentifier;

    public static async Task<RepeatedField<string>> ParametersAsync(this StreamServer server, string dataSource, ulong id, CancellationToken token) =>
        (await server.Formats.GetParametersListAsync(
            new GetParametersListRequest { DataSource = dataSource, DataFormatIdentifier = id }, cancellationToken: token)).Parameters;

    public static async Task<string> EventAsync(this StreamServer server, string dataSource, ulong id, CancellationToken token) =>
        (await server.Formats.GetEventAsync(
            new GetEventRequest { DataSource = dataSource, DataFormatIdentifier = id }, cancellationToken: token)).Event;

    /// <summary>The failure of a call that has to fail.</summary>
    public static async Task<RpcException> FailureOfAsync(Func<Task> call)
    {
        try
        {
            await call();
        }
        catch (RpcException exception)
        {
            return exception;
        }

        throw new AssertionException("the call succeeded");
    }

    /// <summary>Asserts the status of a failure and that its message has all these words.</summary>
    public static void AssertFailure(RpcException failure, StatusCode code, params string[] words)
    {
        using (Assert.EnterMultipleScope())
        {
            Assert.That(failure.StatusCode, Is.EqualTo(code), failure.Status.Detail);
            foreach (var word in words) Assert.That(failure.Status.Detail, Does.Contain(word));
        }
    }
}
