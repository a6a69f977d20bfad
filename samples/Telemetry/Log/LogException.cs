namespace Telemetry.Log;

/// <summary>A recorded log that is not as it must be; the message names file and, where there is one, line and column.</summary>
public sealed class LogException(string message) : Exception(message)
{
    /// <summary>At a line of a file, both counted from 1, in a named column.</summary>
    public static LogException At(string file, long line, string? column, string what) =>
        new(column is null ? $"{file}, line {line}: {what}" : $"{file}, line {line}, column {column}: {what}");
}
