using System.Text.RegularExpressions;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Hosting;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;
using YamlDotNet.Serialization;

namespace MA.Streaming.UnitTests.House;

/// <summary>
/// The files people deploy with: names, ports, addresses and folders are those that their own files and dashboards have, and each file
/// says what the others expect of it.
/// </summary>
internal sealed partial class DeploymentTests
{
    private const string Dockerfile = "MA.Streaming.Tool/Dockerfile";

    private static readonly Dictionary<string, string[]> Composes = new()
    {
        ["compose.yaml"] = ["stream-api-server"],
        ["compose.key-generator.yaml"] = ["stream-api-server", "key-generator"],
        ["compose.kafka.yaml"] = ["kafka", "kafka-ui", "stream-api-server"],
        ["compose.kafka-cluster.yaml"] = ["kafka-1", "kafka-2", "kafka-3", "stream-api-server"],
        ["compose.production.yaml"] = ["kafka", "stream-api-server", "key-generator", "prometheus"],
    };

    private static readonly Dictionary<string, (string Container, string Address, string[] Ports)> Given = new()
    {
        ["kafka"] = ("kafka-broker-1", "172.22.0.7", ["9094:9094"]),
        ["kafka-1"] = ("kafka-broker-1", "172.22.0.7", ["9094:9094"]),
        ["kafka-2"] = ("kafka-broker-2", "172.22.0.12", ["9095:9095"]),
        ["kafka-3"] = ("kafka-broker-3", "172.22.0.13", ["9096:9096"]),
        ["kafka-ui"] = ("kafka-ui-1", "172.22.0.8", ["8080:8080"]),
        ["stream-api-server"] = ("stream-api-server", "172.22.0.9", ["13579:13579", "10010:10010"]),
        ["key-generator"] = ("key-generator-server", "172.22.0.10", ["15379:15379", "10011:10010"]),
        ["prometheus"] = ("prometheus-1", "172.22.0.11", ["9090:9090"]),
    };

    private static IEnumerable<string> Names => Composes.Keys;

    [TestCaseSource(nameof(Names))]
    public void Compose_Services_HaveTheGivenNamesPortsAndAddresses(string name)
    {
        var compose = Compose(name);
        var services = Map(compose["services"]);
        Assert.That(services.Keys, Is.EquivalentTo(Composes[name]));
        foreach (var (service, settings) in services.Select(pair => (pair.Key, Map(pair.Value))))
        {
            var (container, address, ports) = Given[service];
            Assert.That(settings["container_name"], Is.EqualTo(container), service);
            Assert.That(List(settings["ports"]), Is.EqualTo(ports), service);
            Assert.That(settings.ContainsKey("image") && settings.ContainsKey("restart"), Is.True, service);
            if (!settings.TryGetValue("networks", out var networks)) continue;
            Assert.That(Map(Map(networks).Single().Value)["ipv4_address"], Is.EqualTo(address), service);
            Assert.That(Map(networks).Keys, Is.EqualTo(new[] { "kafka_net_interal" }), service);
        }

        if (services.Count == 1) return;
        var network = Map(Map(compose["networks"])["kafka_net_interal"]);
        Assert.That(Map(((List<object>)Map(network["ipam"])["config"]).Single())["subnet"], Is.EqualTo("172.22.0.0/16"));
    }

    [TestCaseSource(nameof(Names))]
    public void Compose_VolumesAndDependencies_AreThere(string name)
    {
        var compose = Compose(name);
        var services = Map(compose["services"]);
        var volumes = compose.TryGetValue("volumes", out var declared) ? Map(declared).Keys.ToHashSet() : [];
        foreach (var (service, settings) in services.Select(pair => (pair.Key, Map(pair.Value))))
        {
            foreach (var volume in settings.TryGetValue("volumes", out var mounts) ? List(mounts) : [])
            {
                var source = volume.Split(':')[0];
                if (source.StartsWith("./", StringComparison.Ordinal)) Assert.That(Path.Exists(SourceTree.FullPath($"deploy/{source}")), Is.True, $"{service}: {volume}");
                else Assert.That(volumes.Remove(source), Is.True, $"{service}: {source} is declared, and used once");
            }

            var needed = settings.TryGetValue("depends_on", out var depends) ? depends as List<object> ?? [.. Map(depends).Keys] : [];
            Assert.That(needed, Is.SubsetOf(services.Keys), service);
            if (!settings.TryGetValue("build", out var build)) continue;
            Assert.That(SourceTree.Files, Does.Contain(Map(build)["dockerfile"]), service);
            Assert.That(Map(build)["context"], Is.EqualTo(".."), service);
        }

        Assert.That(volumes, Is.Empty, "every volume is used");
    }

    [TestCaseSource(nameof(Names))]
    public void Compose_Programs_FindTheirConfigurationAndSurviveTheirDrain(string name)
    {
        foreach (var (service, settings) in Map(Compose(name)["services"]).Select(pair => (pair.Key, Map(pair.Value))))
        {
            if (service is not ("stream-api-server" or "key-generator")) continue;
            var environment = Map(settings["environment"]);
            Assert.That(environment["AUTO_START"], Is.EqualTo("true"));
            var inside = (string)environment["CONFIG_PATH"];
            Assert.That(inside, Does.StartWith("/app/Configs/AppConfig"));
            var folder = service == "key-generator" ? "./key-configs" : "./configs";
            Assert.That(List(settings["volumes"]), Does.Contain($"{folder}:/app/Configs:ro"));
            using var log = new RecordingLogger();
            var options = AppConfig.ReadFile(SourceTree.FullPath($"deploy/{folder}/{Path.GetFileName(inside)}"), isNamed: true, new Dictionary<string, string?>(), log);
            Assert.That(log.CountOf("UnknownKey"), Is.Zero);
            Assert.That(int.Parse(((string)settings["stop_grace_period"]).TrimEnd('s')), Is.GreaterThan(options.DrainTimeoutSeconds));
            Assert.That(options.PrometheusMetricPort, Is.EqualTo(10010));
            Assert.That(settings["healthcheck"], Is.Not.Null);
            if (service == "key-generator") continue;

            // What the file says is what the compose file has.
            var services = Map(Compose(name)["services"]);
            Assert.That(options.StreamApiPort, Is.EqualTo(13579));
            Assert.That(options.UseRemoteKeyGenerator, Is.EqualTo(services.ContainsKey("key-generator")));
            if (options.UseRemoteKeyGenerator) Assert.That(options.RemoteKeyGeneratorServiceAddress, Is.EqualTo("key-generator:15379"));
            var broker = BrokerAddress.Parse(options.BrokerUrl);
            string[] brokers = [.. services.Keys.Where(key => Given[key].Container.StartsWith("kafka-broker", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
            Assert.That(broker.Kind, Is.EqualTo(brokers.Length > 0 ? BrokerKind.Kafka : BrokerKind.Embedded));
            if (broker.Kind == BrokerKind.Kafka) Assert.That(broker.Place, Is.EqualTo(string.Join(',', brokers.Select(one => $"{one}:9092"))));
            else Assert.That(List(settings["volumes"]), Does.Contain($"stream-api-data:{broker.Place}"));
        }
    }

    [TestCase("compose.kafka.yaml")]
    [TestCase("compose.production.yaml")]
    public void Compose_Kafka_IsReachedFromInsideAndOutside(string name)
    {
        var kafka = Map(Map(Map(Compose(name)["services"])["kafka"])["environment"]);
        Assert.That(kafka["KAFKA_LISTENERS"], Is.EqualTo("INTERNAL://:9092,CONTROLLER://:9093,HOST://:9094"));
        Assert.That(kafka["KAFKA_ADVERTISED_LISTENERS"], Is.EqualTo("INTERNAL://kafka:9092,HOST://localhost:9094"));
        if (name != "compose.production.yaml") return;
        Assert.That(kafka["KAFKA_LOG_RETENTION_HOURS"], Is.EqualTo("168"));
        Assert.That(kafka["KAFKA_LOG_SEGMENT_BYTES"], Is.EqualTo($"{1 << 30}"));
    }

    [Test]
    public void Compose_KafkaCluster_KeepsThreeCopiesOfWhichTwoAcknowledge()
    {
        var services = Map(Compose("compose.kafka-cluster.yaml")["services"]);
        var brokers = Enumerable.Range(1, 3).ToDictionary(n => n, n => Map(Map(services[$"kafka-{n}"])["environment"]));
        foreach (var (n, kafka) in brokers)
        {
            Assert.That(kafka["KAFKA_NODE_ID"], Is.EqualTo($"{n}"));
            Assert.That(kafka["KAFKA_PROCESS_ROLES"], Is.EqualTo("broker,controller"));
            Assert.That(kafka["KAFKA_LISTENERS"], Is.EqualTo($"INTERNAL://:9092,CONTROLLER://:9093,HOST://:{9093 + n}"));
            Assert.That(kafka["KAFKA_ADVERTISED_LISTENERS"], Is.EqualTo($"INTERNAL://kafka-{n}:9092,HOST://localhost:{9093 + n}"));
            Assert.That(kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"], Is.EqualTo("1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093"));
            Assert.That(Convert.FromBase64String(((string)kafka["CLUSTER_ID"]).Replace('-', '+').Replace('_', '/') + "=="), Has.Length.EqualTo(16), "an id as Kafka has them");
            foreach (var copies in new[] { "DEFAULT", "OFFSETS_TOPIC", "TRANSACTION_STATE_LOG" }) Assert.That(kafka[$"KAFKA_{copies}_REPLICATION_FACTOR"], Is.EqualTo("3"));
            foreach (var least in new[] { "MIN_INSYNC_REPLICAS", "TRANSACTION_STATE_LOG_MIN_ISR" }) Assert.That(kafka[$"KAFKA_{least}"], Is.EqualTo("2"));
        }

        Assert.That(brokers.Values.Select(kafka => kafka["CLUSTER_ID"]).Distinct().Count(), Is.EqualTo(1));
    }

    [Test]
    public void Prometheus_Job_AsksTheServerEveryFifteenSeconds()
    {
        var prometheus = Yaml("deploy/prometheus/prometheus.yml");
        Assert.That(Map(prometheus["global"])["scrape_interval"], Is.EqualTo("15s"));
        var job = ((List<object>)prometheus["scrape_configs"]).Select(Map).Single(one => (string)one["job_name"] == "stream-api");
        Assert.That(job["metrics_path"], Is.EqualTo("/metrics"));
        Assert.That(List(Map(((List<object>)job["static_configs"]).Single())["targets"]), Is.EqualTo(new[] { "stream-api-server:10010" }));
    }

    [Test]
    public void Dockerfile_Image_RunsTheProgramWithoutRootsRights()
    {
        var lines = Instructions();
        var stages = lines.Count(line => line.StartsWith("FROM ", StringComparison.Ordinal));
        Assert.That(stages, Is.EqualTo(2), "what builds is not what runs");
        var last = lines[lines.FindLastIndex(line => line.StartsWith("FROM ", StringComparison.Ordinal))..];
        Assert.That(last[0], Does.Contain("aspnet").And.Not.Contain("sdk"));
        var user = last.Single(line => line.StartsWith("USER ", StringComparison.Ordinal));
        Assert.That(user, Is.EqualTo("USER ${APP_UID}"), "the user that the image brings for this");
        Assert.That(last.IndexOf(user), Is.GreaterThan(last.FindLastIndex(line => line.StartsWith("RUN ", StringComparison.Ordinal))));
        Assert.That(last, Does.Contain("WORKDIR /app").And.Contain("ENTRYPOINT [\"dotnet\", \"streamapi.dll\"]").And.Contain("CMD [\"serve\"]"), "exec forms: signals reach the program");
        Assert.That(last, Does.Contain("EXPOSE 13579 10010 15379"));
        Assert.That(last.Single(line => line.StartsWith("ENV ", StringComparison.Ordinal)), Does.Contain("BIND_ADDRESS=*").And.Contain("AUTO_START=true"));
        Assert.That(last.Single(line => line.StartsWith("RUN ", StringComparison.Ordinal)), Does.Contain("chown ${APP_UID}:${APP_UID} stream-api-data key-generator"), "volumes can be written");
        Assert.That(lines.Where(line => line.StartsWith("ADD ", StringComparison.Ordinal) || line.Contains(":latest", StringComparison.Ordinal) || line.Contains("curl", StringComparison.Ordinal)), Is.Empty);
    }

    [Test]
    public void Dockerfile_Sources_AreThere()
    {
        var publish = Instructions().Single(line => line.StartsWith("RUN dotnet publish", StringComparison.Ordinal));
        Assert.That(SourceTree.Files, Does.Contain(Regex.Match(publish, @"publish (\S+)").Groups[1].Value));
        Assert.That(Instructions().Where(line => !Instruction().IsMatch(line)), Is.Empty);
        var ignored = File.ReadAllLines(SourceTree.FullPath(".dockerignore"));
        Assert.That(ignored, Does.Contain("**/bin").And.Contain("**/obj").And.Contain(".git"), "what was built here does not get into the image");
    }

    private static List<string> Instructions() =>
    [
        .. SourceTree.Read(Dockerfile).Text.Replace("\\\n", "", StringComparison.Ordinal).Split('\n').Select(line => line.Trim())
            .Where(line => line.Length > 0 && line[0] != '#'),
    ];

    private static Dictionary<string, object> Compose(string name) => Yaml($"deploy/{name}");

    private static Dictionary<string, object> Yaml(string path) => Map(new DeserializerBuilder().Build().Deserialize<object>(
        new YamlDotNet.Core.MergingParser(new YamlDotNet.Core.Parser(new StringReader(SourceTree.Read(path).Text)))));

    private static Dictionary<string, object> Map(object value) => ((Dictionary<object, object>)value).ToDictionary(pair => (string)pair.Key, pair => pair.Value);

    private static string[] List(object value) => [.. ((List<object>)value).Cast<string>()];

    [GeneratedRegex("^(ARG|FROM|WORKDIR|COPY|RUN|USER|ENV|EXPOSE|VOLUME|ENTRYPOINT|CMD) ")]
    private static partial Regex Instruction();
}
