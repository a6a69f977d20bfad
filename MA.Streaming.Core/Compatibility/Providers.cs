using MA.Common.Abstractions;

namespace MA.Common.Abstractions
{
    /// <summary>Provides a token source. Cancelling it shuts the Stream API down.</summary>
    public interface ICancellationTokenSourceProvider
    {
        /// <summary>The source; the same one each time.</summary>
        CancellationTokenSource Provide();
    }

    /// <summary>Provides the folder of the log files.</summary>
    public interface ILoggingDirectoryProvider
    {
        /// <summary>The folder; empty for no log files.</summary>
        string Provide();
    }
}

namespace MA.Streaming.Core.Routing
{
    /// <summary>One source for the life of the provider.</summary>
    public sealed class CancellationTokenSourceProvider : ICancellationTokenSourceProvider, IDisposable
    {
        private readonly CancellationTokenSource _source = new();

        /// <inheritdoc/>
        public CancellationTokenSource Provide() => _source;

        /// <summary>Disposes the source.</summary>
        public void Dispose() => _source.Dispose();
    }
}

namespace MA.Streaming.Core
{
    /// <summary>A fixed folder.</summary>
    /// <param name="loggingDirectory">The folder; empty for no log files.</param>
    public sealed class LoggingDirectoryProvider(string loggingDirectory) : ILoggingDirectoryProvider
    {
        /// <inheritdoc/>
        public string Provide() => loggingDirectory;
    }
}
