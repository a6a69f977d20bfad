using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>Passes on errors only.</summary>
internal sealed class ErrorLoggers(ILoggerFactory inner) : ILoggerFactory
{
    public ILogger CreateLogger(string categoryName) => new ErrorLogger(inner.CreateLogger(categoryName));

    public void AddProvider(ILoggerProvider provider) => inner.AddProvider(provider);

    // The loggers are those of somebody else.
    public void Dispose()
    {
    }

    private sealed class ErrorLogger(ILogger inner) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => inner.BeginScope(state);

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error && inner.IsEnabled(logLevel);

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel >= LogLevel.Error) inner.Log(logLevel, eventId, state, exception, formatter);
        }
    }
}
