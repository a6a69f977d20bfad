using System.Diagnostics.Metrics;

namespace MA.Streaming.UnitTests.Support;

/// <summary>Reads gauges of the meter, as an exporter does.</summary>
internal static class Gauges
{
    /// <summary>The sum of a gauge over all that is running.</summary>
    public static long Read(string name)
    {
        var sum = 0L;
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Name == name) self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<int>((_, value, _, _) => sum += value);
        listener.SetMeasurementEventCallback<long>((_, value, _, _) => sum += value);
        listener.Start();
        listener.RecordObservableInstruments();
        return sum;
    }
}
