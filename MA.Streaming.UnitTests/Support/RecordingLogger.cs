using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace MA.Streaming.UnitTests.Support;

/// <summary>Keeps what is logged.</summary>
internal sealed class RecordingLogger : ILogger, ILoggerFactory
{
    private readonly ConcurrentQueue<(string Event, string Message, LogLevel Level)> _entries = new();

    public IReadOnlyList<(string Event, string Message, LogLevel Level)> Entries => [.. _entries];

    public int CountOf(string eventName) => _entries.Count(e => e.Event == eventName);

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        _entries.Enqueue((eventId.Name ?? "", formatter(state, exception), logLevel));

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public void Dispose()
    {
    }
}
