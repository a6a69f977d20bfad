using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.RegularExpressions;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.UnitTests.House;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Kafka;

/// <summary>
/// KafkaProducer reads and writes librdkafka's structs by itself: a field that moves would be read from the wrong place, without an error.
/// So its layouts hold for the version whose header a person has compared, and for no other.
/// </summary>
internal sealed partial class KafkaLayoutTests
{
    /// <summary>The version whose rdkafka.h was compared with the structs of KafkaProducer.</summary>
    private const string Compared = "2.16.0";

    /// <summary>What that header declares of what KafkaProducer uses, without comments.</summary>
    private static readonly string[] Declarations =
    [
        "typedef struct rd_kafka_message_s { rd_kafka_resp_err_t err; rd_kafka_topic_t *rkt; int32_t partition; void *payload; size_t len; void *key; size_t key_len; int64_t offset; void *_private; } rd_kafka_message_t;",
        "typedef struct rd_kafka_metadata { int broker_cnt; struct rd_kafka_metadata_broker *brokers; int topic_cnt; struct rd_kafka_metadata_topic *topics; int32_t orig_broker_id; char *orig_broker_name; } rd_kafka_metadata_t;",
        "typedef struct rd_kafka_metadata_topic { char *topic; int partition_cnt; struct rd_kafka_metadata_partition *partitions; rd_kafka_resp_err_t err; } rd_kafka_metadata_topic_t;",
        "typedef struct rd_kafka_vu_s { rd_kafka_vtype_t vtype; union { const char *cstr; rd_kafka_topic_t *rkt; int i; int32_t i32; int64_t i64; struct { void *ptr; size_t size; } mem; struct { const char *name; const void *val; ssize_t size; } header; rd_kafka_headers_t *headers; void *ptr; char _pad[64]; } u; } rd_kafka_vu_t;",
        "typedef enum rd_kafka_vtype_t { RD_KAFKA_VTYPE_END, RD_KAFKA_VTYPE_TOPIC, RD_KAFKA_VTYPE_RKT, RD_KAFKA_VTYPE_PARTITION, RD_KAFKA_VTYPE_VALUE, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_OPAQUE, RD_KAFKA_VTYPE_MSGFLAGS, RD_KAFKA_VTYPE_TIMESTAMP, RD_KAFKA_VTYPE_HEADER, RD_KAFKA_VTYPE_HEADERS, } rd_kafka_vtype_t;",
        "typedef enum rd_kafka_type_t { RD_KAFKA_PRODUCER, RD_KAFKA_CONSUMER } rd_kafka_type_t;",
        "#define RD_KAFKA_MSG_F_COPY 0x2",
        "#define RD_KAFKA_EVENT_DR 0x1",
        "#define RD_KAFKA_EVENT_LOG 0x4",
        "#define RD_KAFKA_EVENT_ERROR 0x8",
        "rd_kafka_resp_err_t rd_kafka_metadata(rd_kafka_t *rk, int all_topics, rd_kafka_topic_t *only_rkt, const struct rd_kafka_metadata **metadatap, int timeout_ms);",
        "rd_kafka_error_t * rd_kafka_produceva(rd_kafka_t *rk, const rd_kafka_vu_t *vus, size_t cnt);",
        "size_t rd_kafka_event_message_array(rd_kafka_event_t *rkev, const rd_kafka_message_t **rkmessages, size_t size);",
        "int rd_kafka_event_log(rd_kafka_event_t *rkev, const char **fac, const char **str, int *level);",
    ];

    [Test]
    public void Version_OfThePackage_IsTheOneThatWasCompared() => Assert.That(
        PackageVersion(), Is.EqualTo(Compared),
        "compare rd_kafka_message_s, rd_kafka_metadata, rd_kafka_metadata_topic, rd_kafka_vu_s and rd_kafka_vtype_t of the new rdkafka.h, field by field, "
        + "with Report, Metadata, TopicMetadata and Argument of KafkaProducer; then put the new version here");

    [TestCaseSource(nameof(Declarations))]
    public void Header_Declaration_IsTheOneThatWasCompared(string declaration) => Assert.That(Header(), Does.Contain(declaration));

    [TestCase("Argument", "Kind 0, Pointer 8, Number 8, Bytes 16; 72")]
    [TestCase("Report", "Error 0, Topic 8, Partition 16, Value 24, ValueBytes 32, Key 40, KeyBytes 48, Offset 56, Tag 64; 72")]
    [TestCase("Metadata", "BrokerCount 0, Brokers 8, TopicCount 16, Topics 24; 32")]
    [TestCase("TopicMetadata", "Topic 0, PartitionCount 8, Partitions 16, Error 24; 32")]
    public void Struct_Fields_AreWhereA64BitCompilerPutsThem(string name, string expected)
    {
        var type = typeof(KafkaProducer).GetNestedType(name, BindingFlags.NonPublic)!;
        var fields = type.GetFields(BindingFlags.Instance | BindingFlags.Public).Select(field => $"{field.Name} {Marshal.OffsetOf(type, field.Name)}");
        Assert.That($"{string.Join(", ", fields)}; {Marshal.SizeOf(type)}", Is.EqualTo(expected));
    }

    private static string PackageVersion()
    {
        using var file = JsonDocument.Parse(SourceTree.Read("MA.Streaming.Broker.Kafka/packages.lock.json").Text);
        return file.RootElement.GetProperty("dependencies").GetProperty("net10.0").GetProperty("librdkafka.redist").GetProperty("resolved").GetString()!;
    }

    /// <summary>The header of the package, without comments, each run of white space one blank.</summary>
    private static string Header()
    {
        var root = typeof(KafkaLayoutTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().First(data => data.Key == "PackageRoot").Value!;
        var path = Path.Combine(root, "librdkafka.redist", PackageVersion(), "build", "native", "include", "librdkafka", "rdkafka.h");
        return White().Replace(Comment().Replace(File.ReadAllText(path), " ").Replace("\\\n", " ", StringComparison.Ordinal), " ");
    }

    [GeneratedRegex(@"/\*.*?\*/", RegexOptions.Singleline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"\s+")]
    private static partial Regex White();
}
