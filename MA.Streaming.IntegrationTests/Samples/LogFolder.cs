namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>A folder with a log made up for one test; gone afterwards.</summary>
internal sealed class LogFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("log-").FullName;

    public LogFolder With(string name, string text)
    {
        File.WriteAllText(System.IO.Path.Combine(Path, name), text);
        return this;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
