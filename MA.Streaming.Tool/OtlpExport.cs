using MA.Streaming.Core.Configuration;
using Microsoft.Extensions.Logging;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace MA.Streaming.Tool;

/// <summary>Sends metrics and traces of this process to an OpenTelemetry collector while OTEL_EXPORTER_OTLP_ENDPOINT names one. The other
/// variables of OpenTelemetry's SDK (protocol, headers, interval, service name, sampler) apply.</summary>
internal sealed class OtlpExport : IDisposable
{
    private const string EndpointName = "OTEL_EXPORTER_OTLP_ENDPOINT";
    private readonly MeterProvider _metrics;
    private readonly TracerProvider _traces;

    private OtlpExport()
    {
        // The variables come last, so that they win.
        var resource = ResourceBuilder.CreateEmpty().AddService("streamapi").AddTelemetrySdk().AddEnvironmentVariableDetector();
        _metrics = Sdk.CreateMeterProviderBuilder().SetResourceBuilder(resource).AddMeter("MA.Streaming", "MA.Streaming.Server").AddOtlpExporter().Build();
        _traces = Sdk.CreateTracerProviderBuilder().SetResourceBuilder(resource).AddSource("MA.Streaming").AddOtlpExporter().Build();
    }

    /// <summary>The export that the environment asks for; null when it asks for none.</summary>
    /// <exception cref="ConfigurationException">The variable is not the address of a collector.</exception>
    public static OtlpExport? Start(ILogger logger)
    {
        if (Environment.GetEnvironmentVariable(EndpointName)?.Trim() is not { Length: > 0 } endpoint) return null;
        if (!Uri.TryCreate(endpoint, UriKind.Absolute, out var uri) || (uri.Scheme != Uri.UriSchemeHttp && uri.Scheme != Uri.UriSchemeHttps))
        {
            throw new ConfigurationException(EndpointName, $"'{endpoint}'", "http://host:port or https://host:port of an OpenTelemetry collector");
        }

        var export = new OtlpExport();
        logger.Exporting(endpoint);
        return export;
    }

    /// <summary>Sends what is left, and stops.</summary>
    public void Dispose()
    {
        _traces.Dispose();
        _metrics.Dispose();
    }
}
