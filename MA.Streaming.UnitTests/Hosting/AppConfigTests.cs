using System.Text.Json;
using MA.Streaming.Abstraction;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Hosting;
using MA.Streaming.UnitTests.Support;
using Microsoft.Extensions.Configuration;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Hosting;

/// <summary>AppConfig.json: every key, and every way of getting one wrong.</summary>
internal sealed class AppConfigTests
{
    private static readonly Dictionary<string, string?> NothingOver = [];

    private RecordingLogger _log = null!;
    private string _folder = null!;

    [SetUp]
    public void Start()
    {
        _log = new RecordingLogger();
        _folder = Directory.CreateTempSubdirectory("stream-api-config-").FullName;
    }

    [TearDown]
    public void Stop()
    {
        _log.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public void ReadFile_EveryKey_IsTaken()
    {
        var options = Read(
            """
            {
              // Comments and trailing commas are allowed.
              "StreamCreationStrategy": 1,
              "BrokerUrl": "embedded:/data",
              "PartitionMappings": [ { "Stream": "Chassis", "Partition": 1 }, { "Stream": "Engine", "Partition": 2 } ],
              "StreamApiPort": 1000,
              "IntegrateSessionManagement": false,
              "IntegrateDataFormatManagement": false,
              "UseRemoteKeyGenerator": true,
              "RemoteKeyGeneratorServiceAddress": "keys:15379",
              "BatchingResponses": true,
              "InitialisationTimeoutSeconds": 9,
              "PrometheusMetricPort": 2000,
              "EnableLogging": false,
              "EnableMetrics": false,
              "BindAddress": "*",
              "SessionIdleTimeout": "00:30:00",
              "ConnectionIdleTimeout": "2d",
              "AutoRegisterDataFormats": false,
              "DrainTimeoutSeconds": 7,
              "ResponseCompression": true,
              "KeepAlivePingDelay": 20,
              "KeepAlivePingTimeout": "1500ms",
              "Embedded": { "CommitPolicy": "written", "RetentionAge": "7d", "RetentionBytes": 5000000000, "SegmentBytesMax": 2097152, "DiskReserveBytes": 1 },
              "Limits": { "PacketBytesMax": 1000, "WriteTimeout": "5s", "PendingBytesMax": 4000000000 },
            }
            """);
        using (Assert.EnterMultipleScope())
        {
            Assert.That(options.StreamCreationStrategy, Is.EqualTo(StreamCreationStrategy.PartitionBased));
            Assert.That(options.BrokerUrl, Is.EqualTo("embedded:/data"));
            Assert.That(options.PartitionMappings.Select(m => (m.Stream, m.Partition)), Is.EqualTo(new[] { ("Chassis", 1), ("Engine", 2) }));
            Assert.That(options.StreamApiPort, Is.EqualTo(1000));
            Assert.That(options.IntegrateSessionManagement || options.IntegrateDataFormatManagement, Is.False);
            Assert.That(options.UseRemoteKeyGenerator, Is.True);
            Assert.That(options.RemoteKeyGeneratorServiceAddress, Is.EqualTo("keys:15379"));
            Assert.That(options.BatchingResponses, Is.True);
            Assert.That(options.InitialisationTimeoutSeconds, Is.EqualTo(9));
            Assert.That(options.PrometheusMetricPort, Is.EqualTo(2000));
            Assert.That(options.EnableLogging || options.EnableMetrics || options.AutoRegisterDataFormats, Is.False);
            Assert.That(options.BindAddress, Is.EqualTo("*"));
            Assert.That(options.SessionIdleTimeout, Is.EqualTo(TimeSpan.FromMinutes(30)));
            Assert.That(options.ConnectionIdleTimeout, Is.EqualTo(TimeSpan.FromDays(2)));
            Assert.That(options.DrainTimeoutSeconds, Is.EqualTo(7));
            Assert.That(options.ResponseCompression, Is.True);
            Assert.That(options.KeepAlivePingDelay, Is.EqualTo(TimeSpan.FromSeconds(20)));
            Assert.That(options.KeepAlivePingTimeout, Is.EqualTo(TimeSpan.FromSeconds(1.5)));
            Assert.That(options.Embedded, Is.EqualTo(EmbeddedLogOptions.Default with
            {
                CommitPolicy = CommitPolicy.Written,
                RetentionAge = TimeSpan.FromDays(7),
                RetentionBytes = 5_000_000_000,
                SegmentBytesMax = 2 << 20,
                DiskReserveBytes = 1,
            }));
            Assert.That(options.Limits, Is.EqualTo(StreamingApiLimits.Default with
            {
                PacketBytesMax = 1000,
                WriteTimeout = TimeSpan.FromSeconds(5),
                PendingBytesMax = 4_000_000_000,
            }));
            Assert.That(_log.Entries.Select(e => e.Event), Has.None.EqualTo("UnknownKey"));
        }
    }

    // What can be set on a configuration and on a server can be set in the file: nobody adds one and forgets the other.
    [Test]
    public void KnownKeys_AreTheSettingsThereAre()
    {
        string[] codeOnly = [nameof(StreamingApiServerOptions.Broker), nameof(StreamingApiServerOptions.KeyGenerator), nameof(StreamingApiServerOptions.AutoStart)];
        string[] laterKeys = ["Security"];
        var options = typeof(StreamingApiServerOptions).GetProperties().Where(p => p.SetMethod is { IsPublic: true }).Select(p => p.Name).Except(codeOnly).ToArray();
        Assert.That(AppConfig.KnownKeys.Except(laterKeys), Is.EquivalentTo(options));
        Assert.That(typeof(StreamingApiConfiguration).GetProperties().Select(p => p.Name), Is.SubsetOf(options));
    }

    // The same for the groups, whose tables of setters stand beside the options.
    [Test]
    public void KeysOfGroups_AreTheSettingsThereAre()
    {
        Assert.That(AppConfig.Embedded.Keys, Is.EquivalentTo(SettingsOf<EmbeddedLogOptions>()));
        Assert.That(AppConfig.Limits.Keys, Is.EquivalentTo(SettingsOf<StreamingApiLimits>()));
        Assert.That(AppConfig.Kafka.Keys, Is.EquivalentTo(SettingsOf<KafkaOptions>()));

        static IEnumerable<string> SettingsOf<T>() => typeof(T).GetProperties().Where(p => p.SetMethod is { IsStatic: false }).Select(p => p.Name);
    }

    // A setter that changes another setting than its key says shows here: each is given a value that no default has.
    [Test]
    public void KeysOfGroups_Each_SetsItsOwnSettingOnly()
    {
        Check(AppConfig.Embedded, EmbeddedLogOptions.Default, "Embedded", options => options.Embedded);
        Check(AppConfig.Limits, StreamingApiLimits.Default, "Limits", options => options.Limits);
        Check(AppConfig.Kafka, KafkaOptions.Default, "Kafka", options => options.Kafka);

        void Check<T>(Dictionary<string, Func<T, SettingsReader, T>> table, T defaults, string group, Func<StreamingApiServerOptions, T> pick)
        {
            foreach (var key in table.Keys)
            {
                var value = key switch { "CommitPolicy" => "\"Written\"", "TrustClock" => "true", "HealAfterFault" => "false", "Properties" or "TopicConfiguration" => "{ \"a\": \"b\" }", _ => "\"7\"" };
                var read = pick(Read($$"""{ "{{group}}": { "{{key}}": {{value}} } }"""));
                var changed = typeof(T).GetProperties().Where(p => p.SetMethod is { IsStatic: false } && !Equals(p.GetValue(read), p.GetValue(defaults)));
                Assert.That(changed.Select(p => p.Name), Is.EqualTo(new[] { key }), $"{group}.{key}");
            }
        }
    }

    [Test]
    public void Options_FromAConfigurationAndBack_KeepEverySetting()
    {
        var configuration = new StreamingApiConfiguration(
            StreamCreationStrategy.PartitionBased, "memory:", [new("a", 1)], 1, false, false, true, "k:1", true, 7)
        {
            SessionIdleTimeout = TimeSpan.FromSeconds(1),
            ConnectionIdleTimeout = TimeSpan.FromSeconds(2),
            AutoRegisterDataFormats = false,
            DrainTimeoutSeconds = 3,
            Embedded = EmbeddedLogOptions.Default with { SegmentBytesMax = 2 << 20 },
            Kafka = KafkaOptions.Default with { ReplicationFactor = 3 },
            Limits = StreamingApiLimits.Default with { ConnectionsMax = 5 },
        };
        var defaults = new StreamingApiConfiguration();
        var back = StreamingApiServerOptions.From(configuration).ToConfiguration();
        foreach (var property in typeof(StreamingApiConfiguration).GetProperties())
        {
            Assert.That(property.GetValue(configuration), Is.Not.EqualTo(property.GetValue(defaults)), $"{property.Name} is not tried here");
            Assert.That(property.GetValue(back), Is.EqualTo(property.GetValue(configuration)), property.Name);
        }
    }

    [TestCase("1")]
    [TestCase("\"1\"")]
    [TestCase("\"PartitionBased\"")]
    [TestCase("\"partitionbased\"")]
    public void ReadFile_Strategy_IsTakenByNumberAndName(string value) =>
        Assert.That(Read($$"""{ "StreamCreationStrategy": {{value}} }""").StreamCreationStrategy, Is.EqualTo(StreamCreationStrategy.PartitionBased));

    [TestCase("[{}]")]
    [TestCase("[]")]
    [TestCase("null")]
    public void ReadFile_EmptyMappings_AreNone(string value) =>
        Assert.That(Read($$"""{ "PartitionMappings": {{value}}, "BrokerUrl": null }""").PartitionMappings, Is.Empty);

    [TestCase("\"24:00:00\"", 86_400)]
    [TestCase("\"1.12:00:00\"", 129_600)]
    [TestCase("\"00:00:01.5\"", 1.5)]
    [TestCase("\"00:05\"", 300)]
    [TestCase("90", 90)]
    [TestCase("\"90s\"", 90)]
    [TestCase("\"1.5h\"", 5_400)]
    [TestCase("\"0\"", 0)]
    public void ReadFile_Times_AreTakenInEveryForm(string value, double seconds) =>
        Assert.That(Read($$"""{ "SessionIdleTimeout": {{value}} }""").SessionIdleTimeout, Is.EqualTo(TimeSpan.FromSeconds(seconds)));

    [TestCase("\"StreamApiPort\": \"abc\"", "StreamApiPort", "'abc'", "0 to 65535")]
    [TestCase("\"StreamApiPort\": 70000", "StreamApiPort", "'70000'", "0 to 65535")]
    [TestCase("\"StreamApiPort\": { \"Port\": 1 }", "StreamApiPort", "0 to 65535")]
    [TestCase("\"StreamApiPort\": 1.5", "StreamApiPort", "'1.5'", "whole number")]
    [TestCase("\"StreamApiPort\": \"\"", "StreamApiPort", "''", "0 to 65535")]
    [TestCase("\"BatchingResponses\": \"yes\"", "BatchingResponses", "'yes'", "true or false")]
    [TestCase("\"BatchingResponses\": 1", "BatchingResponses", "'1'", "true or false")]
    [TestCase("\"StreamCreationStrategy\": 3", "StreamCreationStrategy", "'3'", "PartitionBased", "TopicBased")]
    [TestCase("\"PartitionMappings\": 5", "PartitionMappings", "'5'", "Stream", "Partition")]
    [TestCase("\"PartitionMappings\": [ { \"Stream\": \"a\" } ]", "PartitionMappings[0]", "Partition")]
    [TestCase("\"PartitionMappings\": [ { \"Stream\": \"a\", \"Partition\": -1 } ]", "PartitionMappings[0].Partition", "'-1'", "0 to")]
    [TestCase("\"SessionIdleTimeout\": \"soon\"", "SessionIdleTimeout", "'soon'", "00:30:00", "15m")]
    [TestCase("\"SessionIdleTimeout\": \"99999999999999999d\"", "SessionIdleTimeout", "15m")]
    [TestCase("\"Limits\": 5", "Limits", "'5'", "PacketBytesMax")]
    [TestCase("\"Limits\": { \"PacketBytesMax\": \"big\" }", "Limits.PacketBytesMax", "'big'", "whole number")]
    [TestCase("\"Embedded\": { \"CommitPolicy\": \"Never\" }", "Embedded.CommitPolicy", "'Never'", "Durable or Written")]
    [TestCase("\"Security\": { \"Certificate\": \"x\" }", "Security", "no security")]
    public void ReadFile_WrongValue_NamesKeyValueAndWhatIsAllowed(string setting, params string[] words)
    {
        var failure = Assert.Throws<ConfigurationException>(() => Read($"{{ {setting} }}"))!;
        foreach (var word in words) Assert.That(failure.Message, Does.Contain(word));
        Assert.That(failure.Key, Is.EqualTo(words[0]));
    }

    [TestCase("StreamApiPrt", "StreamApiPort")]
    [TestCase("EnableMetric", "EnableMetrics")]
    [TestCase("SesionIdleTimeout", "SessionIdleTimeout")]
    public void ReadFile_UnknownKey_IsWarnedOfWithTheNearest(string key, string nearest)
    {
        Read($$"""{ "{{key}}": 1 }""");
        Assert.That(_log.Entries.Single(e => e.Event == "UnknownKey").Message, Does.Contain(key).And.Contain(nearest));
    }

    [Test]
    public void ReadFile_UnknownKeyLikeNothing_IsWarnedOfWithAll()
    {
        Read("""{ "Colour": "red" }""");
        Assert.That(_log.Entries.Single(e => e.Event == "UnknownKey").Message, Does.Contain("Colour").And.Contain("StreamApiPort").And.Contain("BrokerUrl"));
    }

    [Test]
    public void ReadFile_UnknownKeyInAGroup_IsWarnedOfWithItsPath()
    {
        Read("""{ "Limits": { "PacketBytesMx": 1 } }""");
        Assert.That(_log.Entries.Single(e => e.Event == "UnknownKey").Message, Does.Contain("Limits.PacketBytesMx").And.Contain("PacketBytesMax"));
    }

    [TestCase("BrokerUri")]
    [TestCase("BrokerURLs")]
    [TestCase("Broker")]
    [TestCase("KafkaBrokers")]
    public void ReadFile_UnknownKeyThatMeansTheBroker_IsAnError(string key)
    {
        var failure = Assert.Throws<ConfigurationException>(() => Read($$"""{ "{{key}}": "localhost:9092" }"""))!;
        Assert.That(failure.Message, Does.Contain(key).And.Contain("BrokerUrl"));
    }

    [Test]
    public void ReadFile_OtherCase_IsTheSameKey() => Assert.That(Read("""{ "brokerurl": "memory:", "STREAMAPIPORT": 5 }""").StreamApiPort, Is.EqualTo(5));

    [Test]
    public void ReadFile_Kafka_HasTypedSettingsAndPropertiesOfLibrdkafka()
    {
        var kafka = Read("""
            { "Kafka": {
                "saslUsername": "me", "SaslPassword": "secret", "ReplicationFactor": 3, "DeliveryTimeout": "5s",
                "TopicConfiguration": { "min.insync.replicas": 2 }, "linger.ms": 5, "Properties": { "client.id": "mine" }
            } }
            """).Kafka;
        using (Assert.EnterMultipleScope())
        {
            Assert.That((kafka.SaslUsername, kafka.SaslPassword, kafka.ReplicationFactor), Is.EqualTo(("me", "secret", 3)));
            Assert.That(kafka.DeliveryTimeout, Is.EqualTo(TimeSpan.FromSeconds(5)));
            Assert.That(kafka.TopicConfiguration, Is.EquivalentTo(new Dictionary<string, string> { ["min.insync.replicas"] = "2" }));
            Assert.That(kafka.Properties, Is.EquivalentTo(new Dictionary<string, string> { ["linger.ms"] = "5", ["client.id"] = "mine" }));
            Assert.That(_log.Entries.Select(e => e.Event), Has.None.EqualTo("UnknownKey"));
        }
    }

    [TestCase("{ \"StreamApiPort\": 1, ")]
    [TestCase("[]")]
    [TestCase("")]
    [TestCase("{ \"StreamApiPort\": 1, \"streamApiPort\": 2 }")]
    public void ReadFile_NotJson_NamesTheFileAndWhatIsWrong(string text)
    {
        var failure = Assert.Throws<ConfigurationException>(() => Read(text))!;
        Assert.That(failure.Message, Does.Contain(Path.Combine(_folder, "AppConfig.json")));
        Assert.That(failure.Message, Has.Length.GreaterThan(Path.Combine(_folder, "AppConfig.json").Length + 50));
    }

    [Test]
    public void ReadFile_NamedAndAbsent_IsAnError()
    {
        var failure = Assert.Throws<ConfigurationException>(() => AppConfig.ReadFile(Path.Combine(_folder, "none.json"), isNamed: true, NothingOver, _log))!;
        Assert.That(failure.Message, Does.Contain("CONFIG_PATH").And.Contain("none.json"));
    }

    [Test]
    public void ReadFile_DefaultAndAbsent_IsTheDefaults()
    {
        var options = AppConfig.ReadFile(Path.Combine(_folder, "none.json"), isNamed: false, NothingOver, _log);
        Assert.That(JsonSerializer.Serialize(options), Is.EqualTo(JsonSerializer.Serialize(new StreamingApiServerOptions())));
        Assert.That(_log.Entries.Single(e => e.Event == "NoConfigurationFile").Message, Does.Contain(Path.GetFullPath("stream-api-data")));
    }

    [Test]
    public void ReadFile_SettingsOverTheFile_Win()
    {
        var path = Path.Combine(_folder, "AppConfig.json");
        File.WriteAllText(path, """{ "StreamApiPort": 1, "Limits": { "ConnectionsMax": 2, "PacketBytesMax": 3 } }""");
        var over = new Dictionary<string, string?> { ["streamapiport"] = "4", ["Limits:ConnectionsMax"] = "5" };
        var options = AppConfig.ReadFile(path, isNamed: true, over, _log);
        Assert.That((options.StreamApiPort, options.Limits.ConnectionsMax, options.Limits.PacketBytesMax), Is.EqualTo((4, 5, 3)));
    }

    [Test]
    public void Read_WholeConfigurationOfAHost_QuestionsOnlyKeysLikeOurs()
    {
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Logging:LogLevel:Default"] = "Information",
            ["AllowedHosts"] = "*",
            ["PATH"] = "x",
            ["contentRoot"] = "x",
            ["MY_BROKER_HOST"] = "x",
            ["StreamApiPrt"] = "1",
        }).Build();
        AppConfig.Read(new StreamingApiServerOptions(), configuration, _log);
        Assert.That(_log.Entries.Where(e => e.Event == "UnknownKey").Select(e => e.Message).Single(), Does.Contain("StreamApiPrt"));
    }

    [Test]
    public void Options_BindAddressThatIsNone_IsRefused()
    {
        var failure = Assert.Throws<ConfigurationException>(() => new StreamingApiServer(new StreamingApiServerOptions { BindAddress = "everywhere" }))!;
        Assert.That(failure.Message, Does.Contain("BindAddress").And.Contain("'everywhere'").And.Contain("localhost"));
    }

    [Test]
    public void Options_OnePortForBoth_IsRefused() =>
        Assert.Throws<ConfigurationException>(() => new StreamingApiServer(new StreamingApiServerOptions { StreamApiPort = 5, PrometheusMetricPort = 5 }));

    private StreamingApiServerOptions Read(string json)
    {
        var path = Path.Combine(_folder, "AppConfig.json");
        File.WriteAllText(path, json);
        return AppConfig.ReadFile(path, isNamed: true, NothingOver, _log);
    }
}
