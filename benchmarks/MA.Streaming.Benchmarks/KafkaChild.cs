using System.Diagnostics;
using System.Globalization;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Benchmarks;

/// <summary>A process with reads of Kafka and nothing else, to be asked for its threads and memory.</summary>
internal static class KafkaChild
{
    public const string Reads = "kafka-reads";
    public const string Plain = "kafka-plain";

    public static async Task<int> RunAsync(IReadOnlyList<string> args)
    {
        var (what, servers, source, reads) = (args[0], args[1], new TopicPartition(args[2], 0), int.Parse(args[3], CultureInfo.InvariantCulture));
        object held = what == Reads ? await OpenAsync(servers, source, reads) : await OpenPlainAsync(servers, source);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        using (var process = Process.GetCurrentProcess())
        {
            var heap = GC.GetTotalMemory(forceFullCollection: true);
            await Console.Out.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"{process.Threads.Count} {process.WorkingSet64} {heap}"));
        }

        await Console.Out.FlushAsync();
        await Console.In.ReadToEndAsync();
        GC.KeepAlive(held);
        return 0;
    }

    /// <summary>The figures that a child said.</summary>
    public static Sample Parse(string line)
    {
        var figures = line.Split(' ').Select(figure => double.Parse(figure, CultureInfo.InvariantCulture)).ToArray();
        return new Sample { ["threads"] = figures[0], ["memory"] = figures[1] / (1 << 20), ["heap"] = figures[2] / (1 << 20) };
    }

    // Every other read goes on to the end and waits there; those between have had a batch and do not ask for more.
    private static async Task<object> OpenAsync(string servers, TopicPartition source, int reads)
    {
        var broker = KafkaBroker.Open(new KafkaBrokerOptions { BootstrapServers = servers });
        var end = (await broker.GetWatermarksAsync([source], default))[0].High;
        var readers = await Task.WhenAll(Enumerable.Range(0, reads).Select(async i =>
        {
            var reader = broker.ReadAsync(new ReadRequest([new Position(source, end * i / reads)], 1 << 20, ToHighWatermark: false), default).GetAsyncEnumerator();
            do await reader.MoveNextAsync();
            while (i % 2 == 0 && reader.Current.NextOffset < end);
            if (i % 2 == 0) _ = reader.MoveNextAsync().AsTask();
            return reader;
        }));
        return (broker, readers);
    }

    private static async Task<object> OpenPlainAsync(string servers, TopicPartition source)
    {
        var plain = new PlainKafka(servers);
        await plain.ProduceAsync(new TopicPartition(source.Topic + "-plain", 0), Payload.Of(200), 1, inFlight: 1);
        var consumer = plain.Consumer();
        consumer.Assign(new Confluent.Kafka.TopicPartitionOffset(source.Topic, source.Partition, 0));
        if (consumer.Consume(TimeSpan.FromSeconds(30)) is null) throw new TimeoutException($"no record of {source}");
        return (plain, consumer);
    }
}
