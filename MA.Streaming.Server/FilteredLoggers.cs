using Microsoft.Extensions.Logging;

namespace MA.Streaming.Hosting;

/// <summary>Passes on what reaches the level that its category needs.</summary>
internal sealed class FilteredLoggers(ILoggerFactory inner, Func<string, LogLevel> floorOf) : ILoggerFactory
{
    public ILogger CreateLogger(string categoryName) => new FilteredLogger(inner.CreateLogger(categoryName), floorOf(categoryName));

    public void AddProvider(ILoggerProvider provider) => inner.AddProvider(provider);

    // The loggers are those of somebody else.
    public void Dispose()
    {
    }

    private sealed class FilteredLogger(ILogger inner, LogLevel floor) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => inner.BeginScope(state);

        public bool IsEnabled(LogLevel logLevel) => logLevel >= floor && inner.IsEnabled(logLevel);

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel >= floor) inner.Log(logLevel, eventId, state, exception, formatter);
        }
    }
}
