using MA.Streaming.API;

namespace Telemetry.Live;

/// <summary>The five services, wherever they are.</summary>
public sealed record ApiClients(
    SessionManagementService.SessionManagementServiceClient Sessions,
    DataFormatManagerService.DataFormatManagerServiceClient Formats,
    PacketWriterService.PacketWriterServiceClient Writer,
    ConnectionManagerService.ConnectionManagerServiceClient Connections,
    PacketReaderService.PacketReaderServiceClient Reader);
