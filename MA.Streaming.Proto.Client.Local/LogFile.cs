using Microsoft.Extensions.Logging;
using Serilog;
using Serilog.Extensions.Logging;

namespace MA.Streaming.Proto.Client.Local;

/// <summary>A rolling text log in a folder: a file a day and at 64 MiB, the last 31 kept.</summary>
internal sealed class LogFile : IDisposable
{
    private readonly Serilog.Core.Logger _logger;

    public LogFile(string directory)
    {
        _logger = new LoggerConfiguration()
            .MinimumLevel.Information()
            .WriteTo.File(
                Path.Combine(directory, "stream-api-.log"),
                rollingInterval: RollingInterval.Day,
                rollOnFileSizeLimit: true,
                fileSizeLimitBytes: 64 << 20,
                retainedFileCountLimit: 31,
                formatProvider: System.Globalization.CultureInfo.InvariantCulture)
            .CreateLogger();
        Loggers = new SerilogLoggerFactory(_logger, dispose: false);
    }

    public ILoggerFactory Loggers { get; }

    public void Dispose()
    {
        Loggers.Dispose();
        _logger.Dispose();
    }
}
