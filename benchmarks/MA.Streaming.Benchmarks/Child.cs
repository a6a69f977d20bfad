using System.Diagnostics;
using System.Globalization;
using MA.Streaming.Broker.Embedded;

namespace MA.Streaming.Benchmarks;

/// <summary>
/// This program as a process of its own: to be killed, or to be asked for its memory. It writes a line when it is where its parent
/// wants it, then waits until the parent ends it, or ends itself.
/// </summary>
internal sealed class Child : IAsyncDisposable
{
    /// <summary>The first argument of a child.</summary>
    public const string Option = "--child";

    private const int PayloadBytes = 100;
    private static readonly TimeSpan Timeout = TimeSpan.FromMinutes(1);

    private readonly Process _process;

    private Child(Process process, string line) => (_process, Line) = (process, line);

    /// <summary>What it said.</summary>
    public string Line { get; }

    /// <summary>Does nothing. Says its working set.</summary>
    public static Task<Child> IdleAsync() => StartAsync("idle");

    /// <summary>Runs a Stream API over a log, and appends records to partitions that exist. Says its working set once all is quiet.</summary>
    public static Task<Child> RunAsync(BigLog log, int records) => StartAsync("run", log, records);

    /// <summary>Appends so many records, none of which is moved into segments; says so when all are acknowledged.</summary>
    public static Task<Child> LoadAsync(BigLog log, int records) => StartAsync("load", log, records);

    /// <summary>Opens so many reads of a topic of Kafka at offsets of their own; says its threads, working set and heap once they stand.</summary>
    public static Task<Child> ReadKafkaAsync(string servers, string topic, int reads) =>
        StartAsync(KafkaChild.Reads, servers, topic, reads.ToString(CultureInfo.InvariantCulture));

    /// <summary>Produces and consumes a record with Confluent.Kafka; says its threads, working set and heap.</summary>
    public static Task<Child> PlainKafkaAsync(string servers, string topic) => StartAsync(KafkaChild.Plain, servers, topic, "1");

    /// <summary>What the child does.</summary>
    public static async Task<int> RunAsync(IReadOnlyList<string> args)
    {
        if (args is [KafkaChild.Reads or KafkaChild.Plain, ..]) return await KafkaChild.RunAsync(args);
        Engine? engine = null;
        if (args is [var what, var directory, var partitions, var records])
        {
            var options = new EmbeddedBrokerOptions { Directory = directory };

            // The drainer begins at a quarter.
            if (what == "load") options = options with { UndrainedBytesMax = 4 * options.UndrainedBytesMax };
            var broker = await EmbeddedBroker.OpenAsync(options);
            if (what == "run") engine = await Engine.StartAsync(broker);
            await DurableLog.WriteManyAsync(
                broker, BigLog.OtherPartitions(NumberIn(partitions)), writers: 16, NumberIn(records), burst: 500, Payload.Of(PayloadBytes));
            if (what == "run") await broker.DrainAsync();
        }

        await Console.Out.WriteLineAsync(Environment.WorkingSet.ToString(CultureInfo.InvariantCulture));
        await Console.Out.FlushAsync();
        await Console.In.ReadToEndAsync();
        GC.KeepAlive(engine);
        return 0;
    }

    /// <summary>Kills it, as nobody can prevent.</summary>
    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private static int NumberIn(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static Task<Child> StartAsync(string what, BigLog log, int records) =>
        StartAsync(what, log.Directory, log.Others.Length.ToString(CultureInfo.InvariantCulture), records.ToString(CultureInfo.InvariantCulture));

    private static async Task<Child> StartAsync(params string[] args)
    {
        var program = typeof(Child).Assembly.Location;
        var host = Path.ChangeExtension(program, OperatingSystem.IsWindows() ? "exe" : null);
        string[] command = File.Exists(host) ? [Option, .. args] : [program, Option, .. args];
        var start = new ProcessStartInfo(File.Exists(host) ? host : "dotnet", command) { RedirectStandardInput = true, RedirectStandardOutput = true };
        var process = Process.Start(start) ?? throw new InvalidOperationException($"{host} did not start");
        try
        {
            var line = await process.StandardOutput.ReadLineAsync().WaitAsync(Timeout);
            return new Child(process, line ?? throw new InvalidOperationException($"the process '{string.Join(' ', args)}' ended before its time"));
        }
        catch
        {
            process.Kill();
            process.Dispose();
            throw;
        }
    }
}
