namespace MA.Streaming.Tool;

/// <summary>What the program ends with. People's scripts depend on the numbers.</summary>
internal static class ExitCode
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;
    public const int Configuration = 3;
    public const int Port = 4;
    public const int BrokerData = 5;

    /// <summary>By convention: 128 and the number of the signal.</summary>
    public const int Interrupted = 130;
    public const int Terminated = 143;
}
