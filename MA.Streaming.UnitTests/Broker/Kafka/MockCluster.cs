using System.Reflection;
using System.Runtime.InteropServices;
using Confluent.Kafka;
using MA.Streaming.Broker.Kafka;

namespace MA.Streaming.UnitTests.Broker.Kafka;

/// <summary>librdkafka's own mock of a cluster: real sockets and protocol, no Kafka. It cannot create topics by request, so tests do here.</summary>
internal sealed class MockCluster : IDisposable
{
    private readonly IProducer<Null, Null> _owner;
    private readonly IntPtr _cluster;

    static MockCluster() => NativeLibrary.SetDllImportResolver(typeof(MockCluster).Assembly, KafkaLibrary.Resolve);

    public MockCluster(int brokers = 1)
    {
        _owner = new ProducerBuilder<Null, Null>(new Dictionary<string, string>
        {
            ["bootstrap.servers"] = "127.0.0.1:1",
            ["test.mock.num.brokers"] = $"{brokers}",
            ["log.connection.close"] = "false",
        }).SetLogHandler((_, _) => { }).Build();
        _cluster = rd_kafka_handle_mock_cluster(Pointer(_owner.Handle));
        Servers = Marshal.PtrToStringUTF8(rd_kafka_mock_cluster_bootstraps(_cluster))!;

        // A group answers its first member soon.
        rd_kafka_mock_group_initial_rebalance_delay_ms(_cluster, 100);
    }

    public string Servers { get; }

    public void CreateTopic(string name, int partitions) => Check(rd_kafka_mock_topic_create(_cluster, name, partitions, 1));

    /// <summary>The next requests of a kind are answered with these errors.</summary>
    public void FailRequests(short apiKey, params ErrorCode[] errors) =>
        rd_kafka_mock_push_request_errors_array(_cluster, apiKey, (nuint)errors.Length, [.. errors.Select(error => (int)error)]);

    public void SetDown(int broker) => Check(rd_kafka_mock_broker_set_down(_cluster, broker));

    public void SetUp(int broker) => Check(rd_kafka_mock_broker_set_up(_cluster, broker));

    public void SetRoundTrip(int broker, int milliseconds) => Check(rd_kafka_mock_broker_set_rtt(_cluster, broker, milliseconds));

    public void SetLeader(string topic, int partition, int broker) => Check(rd_kafka_mock_partition_set_leader(_cluster, topic, partition, broker));

    /// <summary>Makes a producer fail for good.</summary>
    public static void FailForGood(nint producer) => Check(rd_kafka_test_fatal_error(producer, (int)ErrorCode.OutOfOrderSequenceNumber, "a test"));

    public void Dispose() => _owner.Dispose();

    private static IntPtr Pointer(Handle client) => ((SafeHandle)typeof(Handle)
        .GetProperty("LibrdkafkaHandle", BindingFlags.Instance | BindingFlags.NonPublic)!.GetValue(client)!).DangerousGetHandle();

    private static void Check(int error)
    {
        if (error != 0) throw new KafkaException((ErrorCode)error);
    }

#pragma warning disable IDE1006, SYSLIB1054 // C's names; the size of an array is marshalled as C has it.
    [DllImport(KafkaLibrary.Name)]
    private static extern IntPtr rd_kafka_handle_mock_cluster(IntPtr client);

    [DllImport(KafkaLibrary.Name)]
    private static extern void rd_kafka_mock_group_initial_rebalance_delay_ms(IntPtr cluster, int milliseconds);

    [DllImport(KafkaLibrary.Name)]
    private static extern int rd_kafka_test_fatal_error(IntPtr client, int error, [MarshalAs(UnmanagedType.LPUTF8Str)] string reason);

    [DllImport(KafkaLibrary.Name)]
    private static extern IntPtr rd_kafka_mock_cluster_bootstraps(IntPtr cluster);

    [DllImport(KafkaLibrary.Name, CharSet = CharSet.Ansi)]
    private static extern int rd_kafka_mock_topic_create(IntPtr cluster, [MarshalAs(UnmanagedType.LPUTF8Str)] string topic, int partitions, int replicas);

    [DllImport(KafkaLibrary.Name)]
    private static extern void rd_kafka_mock_push_request_errors_array(IntPtr cluster, short apiKey, nuint count, int[] errors);

    [DllImport(KafkaLibrary.Name)]
    private static extern int rd_kafka_mock_broker_set_down(IntPtr cluster, int broker);

    [DllImport(KafkaLibrary.Name)]
    private static extern int rd_kafka_mock_broker_set_up(IntPtr cluster, int broker);

    [DllImport(KafkaLibrary.Name)]
    private static extern int rd_kafka_mock_broker_set_rtt(IntPtr cluster, int broker, int milliseconds);

    [DllImport(KafkaLibrary.Name)]
    private static extern int rd_kafka_mock_partition_set_leader(IntPtr cluster, [MarshalAs(UnmanagedType.LPUTF8Str)] string topic, int partition, int broker);
#pragma warning restore IDE1006, SYSLIB1054
}
