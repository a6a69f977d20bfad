using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace MA.Streaming.IntegrationTests.Support;

/// <summary>How many TCP connections the servers of this process have accepted, by port, as Kestrel's own meter counts them.</summary>
internal static class TcpConnections
{
    private static readonly ConcurrentDictionary<int, int> Accepted = new();
    private static readonly MeterListener Listener = Listen();

    /// <summary>Counts from the first call of anything here on.</summary>
    public static void Count() => GC.KeepAlive(Listener);

    public static int At(int port) => Accepted.GetValueOrDefault(port);

    private static MeterListener Listen()
    {
        var listener = new MeterListener
        {
            InstrumentPublished = (instrument, listener) =>
            {
                if (instrument is { Meter.Name: "Microsoft.AspNetCore.Server.Kestrel", Name: "kestrel.active_connections" }) listener.EnableMeasurementEvents(instrument);
            },
        };
        listener.SetMeasurementEventCallback<long>((_, change, tags, _) =>
        {
            if (change < 0) return;
            foreach (var tag in tags)
            {
                if (tag is { Key: "server.port", Value: int port }) Accepted.AddOrUpdate(port, 1, (_, count) => count + 1);
            }
        });
        listener.Start();
        return listener;
    }
}
