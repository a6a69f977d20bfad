using Microsoft.Extensions.Logging;

namespace MA.Streaming.Tool;

/// <summary>Keeps what reading the settings says, for doctor to say it its own way.</summary>
internal sealed class RecordedLog : ILogger
{
    public List<string> Warnings { get; } = [];

    public List<string> Information { get; } = [];

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        (logLevel >= LogLevel.Warning && eventId.Name != "NoConfigurationFile" ? Warnings : Information).Add(formatter(state, exception));
}
