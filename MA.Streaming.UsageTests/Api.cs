using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.Proto.Client.Remote;

namespace MA.Streaming.UsageTests;

/// <summary>The static client of a test: <see cref="StreamingApiClient"/>, or <see cref="RemoteStreamingApiClient"/> of a server on a port.</summary>
internal static class Api
{
    private static StreamingApiServer? _server;

    public static async Task StartAsync(bool overNetwork, bool batchingResponses)
    {
        var configuration = new StreamingApiConfiguration(brokerUrl: "memory:", batchingResponses: batchingResponses, streamApiPort: 0);
        if (!overNetwork)
        {
            StreamingApiClient.Initialise(configuration);
            return;
        }

        var options = StreamingApiServerOptions.From(configuration);
        options.PrometheusMetricPort = 0;
        _server = new StreamingApiServer(options);
        await _server.StartAsync().WithDeadline(30);
        await _server.WaitUntilReadyAsync().WithDeadline(30);
        RemoteStreamingApiClient.Initialise(new Uri(_server.Addresses.Single()).Authority);
    }

    public static async Task StopAsync()
    {
        StreamingApiClient.Shutdown();
        RemoteStreamingApiClient.Shutdown();
        if (_server is not null) await _server.DisposeAsync();
        _server = null;
    }

    public static ConnectionManagerService.ConnectionManagerServiceClient GetConnectionManagerClient() =>
        _server is null ? StreamingApiClient.GetConnectionManagerClient() : RemoteStreamingApiClient.GetConnectionManagerClient();

    public static DataFormatManagerService.DataFormatManagerServiceClient GetDataFormatManagerClient() =>
        _server is null ? StreamingApiClient.GetDataFormatManagerClient() : RemoteStreamingApiClient.GetDataFormatManagerClient();

    public static PacketReaderService.PacketReaderServiceClient GetPacketReaderClient() =>
        _server is null ? StreamingApiClient.GetPacketReaderClient() : RemoteStreamingApiClient.GetPacketReaderClient();

    public static PacketWriterService.PacketWriterServiceClient GetPacketWriterClient() =>
        _server is null ? StreamingApiClient.GetPacketWriterClient() : RemoteStreamingApiClient.GetPacketWriterClient();

    public static SessionManagementService.SessionManagementServiceClient GetSessionManagementClient() =>
        _server is null ? StreamingApiClient.GetSessionManagementClient() : RemoteStreamingApiClient.GetSessionManagementClient();
}
