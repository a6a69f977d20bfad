using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configuration;
using MA.Streaming.Hosting;

namespace MA.Streaming.Tool;

/// <summary>How a check came out.</summary>
internal enum Outcome
{
    /// <summary>As it should be.</summary>
    Ok,

    /// <summary>It works, but maybe not as meant.</summary>
    Warning,

    /// <summary>It keeps the server from working.</summary>
    Problem,
}

/// <summary>What one check found.</summary>
/// <param name="Check">What was looked at.</param>
/// <param name="Outcome">How it came out.</param>
/// <param name="Found">What was found.</param>
/// <param name="Advice">What to do; empty where nothing has to be done.</param>
internal sealed record Finding(string Check, Outcome Outcome, string Found, string Advice = "");

/// <summary>Looks at everything a server needs, and changes nothing.</summary>
internal sealed class Doctor(bool quick)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    private readonly List<Finding> _findings = [];

    public IReadOnlyList<Finding> Findings => _findings;

    public bool IsWell => _findings.All(finding => finding.Outcome != Outcome.Problem);

    /// <summary>The settings, which everything else depends on.</summary>
    public StreamingApiServerOptions? Configuration(Func<RecordedLog, StreamingApiServerOptions> read)
    {
        var log = new RecordedLog();
        try
        {
            var options = read(log);
            foreach (var warning in log.Warnings) Add("configuration", Outcome.Warning, warning);
            if (log.Warnings.Count == 0) Add("configuration", Outcome.Ok, log.Information.FirstOrDefault() ?? "it can be read");
            return options;
        }
        catch (ConfigurationException exception)
        {
            Add("configuration", Outcome.Problem, exception.Message, $"Correct {exception.Key}.");
            return null;
        }
    }

    public async Task ExamineAsync(StreamingApiServerOptions options)
    {
        await ExaminePortsAsync(options).ConfigureAwait(false);
        await ExamineBrokerAsync(options).ConfigureAwait(false);
        if (options.UseRemoteKeyGenerator) await ExamineAddressAsync("key generator", options.RemoteKeyGeneratorServiceAddress, "Start it with: streamapi keygen").ConfigureAwait(false);
        Add("runtime", Outcome.Ok, $"{RuntimeInformation.FrameworkDescription} on {RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}");
    }

    private async Task ExaminePortsAsync(StreamingApiServerOptions options)
    {
        var running = await AskRunningServerAsync(options).ConfigureAwait(false);
        ExaminePort("StreamApiPort", "--port", options.BindAddress, options.StreamApiPort, running);
        ExaminePort("PrometheusMetricPort", "--metric-port", options.BindAddress, options.PrometheusMetricPort, running);
        if (StreamingApiServerOptions.IsOpenToAll(options.BindAddress))
        {
            Add("BindAddress", Outcome.Warning, $"{options.BindAddress}: everybody who reaches this machine may read and write", "Serve on localhost, or keep others out with a firewall.");
        }
    }

    private void ExaminePort(string key, string option, string bindAddress, int port, string? running)
    {
        if (port == 0)
        {
            Add(key, Outcome.Ok, "any free port");
            return;
        }

        var address = bindAddress switch
        {
            StreamingApiServerOptions.Localhost => IPAddress.Loopback,
            StreamingApiServerOptions.AllInterfaces => IPAddress.Any,
            _ => IPAddress.Parse(bindAddress),
        };
        try
        {
            using var listener = new TcpListener(address, port);
            listener.Start();
            Add(key, Outcome.Ok, $"{port} on {bindAddress} is free");
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            if (running is not null) Add(key, Outcome.Ok, $"{port} is used by a Stream API server that runs here ({running})");
            else Add(key, Outcome.Problem, $"{port} on {bindAddress} is used by another program", $"Stop that program, or choose another port with {option} or {key}.");
        }
        catch (SocketException exception)
        {
            var advice = exception.SocketErrorCode == SocketError.AccessDenied ? $"Choose a port of 1024 or more with {option} or {key}." : "Correct BindAddress: it has to be an address of this machine.";
            Add(key, Outcome.Problem, $"{port} on {bindAddress} cannot be opened: {exception.Message}", advice);
        }
    }

    // A server that is running has its ports, and is asked how it is.
    private static async Task<string?> AskRunningServerAsync(StreamingApiServerOptions options)
    {
        if (options.PrometheusMetricPort == 0) return null;
        var host = IPAddress.TryParse(options.BindAddress, out var address) && !address.Equals(IPAddress.Any) && !address.Equals(IPAddress.IPv6Any)
            ? (address.AddressFamily == AddressFamily.InterNetworkV6 ? $"[{address}]" : address.ToString())
            : "localhost";
        try
        {
            using var http = new HttpClient { Timeout = Patience };
            var answer = await http.GetAsync(new Uri($"http://{host}:{options.PrometheusMetricPort}/healthz/ready")).ConfigureAwait(false);
            using var health = JsonDocument.Parse(await answer.Content.ReadAsStringAsync().ConfigureAwait(false));
            return health.RootElement.GetProperty("ready").GetBoolean() ? "ready" : $"not ready: {health.RootElement.GetProperty("detail").GetString()}";
        }
        catch (Exception exception) when (exception is HttpRequestException or OperationCanceledException or JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return null; // Nobody there, or somebody else.
        }
    }

    private async Task ExamineBrokerAsync(StreamingApiServerOptions options)
    {
        var address = BrokerAddress.Parse(options.BrokerUrl);
        switch (address.Kind)
        {
            case BrokerKind.Memory:
                Add("broker", Outcome.Warning, "memory: packets are gone with the process", "For anything but a trial use embedded: or embedded:PATH.");
                break;
            case BrokerKind.Embedded:
                var directory = Path.GetFullPath(address.Place);
                Add("broker", Outcome.Ok, $"the durable log in {directory}; acknowledged is {options.Embedded.CommitPolicy.Durability}");
                ExamineLibrary("libc", "The durable log needs the C library of the system.", isNeeded: OperatingSystem.IsLinux());
                ExamineDirectory(directory, options.Embedded.DiskReserveBytes);
                await ExamineLogAsync(directory).ConfigureAwait(false);
                break;
            default:
                Add("broker", Outcome.Ok, $"Kafka at {address.Place}; acknowledged is what every in-sync replica has");
                foreach (var server in address.Place.Split(',', StringSplitOptions.TrimEntries)) await ExamineAddressAsync("Kafka", server, "Start it, or correct BrokerUrl.").ConfigureAwait(false);
                ExamineLibrary(KafkaLibrary.Name, $"Kafka cannot be used without it: {KafkaLibrary.Remedy}.", isNeeded: true);
                break;
        }
    }

    private void ExamineLibrary(string name, string advice, bool isNeeded)
    {
        if (!isNeeded) return;
        var library = KafkaLibrary.Resolve(name, typeof(Doctor).Assembly, null);
        var isThere = library != 0 || NativeLibrary.TryLoad(name, typeof(Doctor).Assembly, null, out library) || NativeLibrary.TryLoad($"{name}.so.6", out library);
        if (isThere) NativeLibrary.Free(library);
        Add("native library", isThere ? Outcome.Ok : Outcome.Problem, isThere ? $"{name} can be loaded" : $"{name} cannot be loaded", isThere ? "" : advice);
    }

    private void ExamineDirectory(string directory, long reserve)
    {
        var there = directory;
        while (!Directory.Exists(there) && Path.GetDirectoryName(there) is { Length: > 0 } parent) there = parent;
        var probe = Path.Combine(there, $".streamapi-doctor-{Guid.NewGuid():N}");
        try
        {
            using (File.Create(probe, 1, FileOptions.DeleteOnClose))
            {
                // That it can be made is all there is to know.
            }

            Add("data folder", Outcome.Ok, there == directory ? $"{directory} can be written" : $"{directory} is not there yet and can be made");
        }
        catch (Exception exception) when (exception is UnauthorizedAccessException or IOException)
        {
            Add("data folder", Outcome.Problem, $"{there} cannot be written: {exception.Message}", $"Give the user {Environment.UserName} the right to write there, or choose another folder with --data.");
            return;
        }

        var free = new DriveInfo(there).AvailableFreeSpace;
        if (free > reserve) Add("disk", Outcome.Ok, $"{InMebibytes(free)} free");
        else Add("disk", Outcome.Problem, $"{InMebibytes(free)} free: writes are refused below {InMebibytes(reserve)}", "Free some room, or lower Embedded.DiskReserveBytes.");
    }

    private async Task ExamineLogAsync(string directory)
    {
        if (quick || !Directory.Exists(directory) || !Directory.EnumerateFileSystemEntries(directory).Any()) return;
        try
        {
            var log = await EmbeddedBroker.InspectAsync(directory).ConfigureAwait(false);
            var partitions = log.Topics.SelectMany(topic => topic.Partitions).ToArray();
            var found = $"log {log.LogId}, format {log.FormatVersion}, epoch {log.Epoch}: {log.Topics.Count} topics, "
                + $"{partitions.Sum(partition => partition.Marks.High - partition.Marks.Low)} records, "
                + $"{InMebibytes(partitions.Sum(partition => partition.SegmentBytes) + log.UndrainedBytes)}";
            var missing = log.Topics.SelectMany(topic => topic.Partitions.SelectMany(partition => partition.Damaged.Select(range => $"{partition.Marks.Source} offsets {range.From} to {range.To - 1}"))).ToArray();
            string[] damage = [.. log.Damages, .. missing];
            if (damage.Length == 0) Add("log", Outcome.Ok, found);
            else Add("log", Outcome.Problem, $"{found}; damaged: {string.Join("; ", damage)}", "What is named is lost; everything else is served. Look after the disk, and restore a copy of the folder if there is one.");
        }
        catch (BrokerException exception)
        {
            Add("log", Outcome.Problem, exception.Message, "Choose another folder with --data, or a version of this program that knows the log's format.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Add("log", Outcome.Problem, $"{directory} cannot be read: {exception.Message}", $"Give the user {Environment.UserName} the right to read it.");
        }
    }

    private async Task ExamineAddressAsync(string check, string address, string advice)
    {
        try
        {
            var uri = new Uri($"tcp://{(address.Contains("://", StringComparison.Ordinal) ? address.Split("://")[1] : address)}");
            using var client = new TcpClient();
            using var patience = new CancellationTokenSource(Patience);
            await client.ConnectAsync(uri.Host, uri.Port, patience.Token).ConfigureAwait(false);
            Add(check, Outcome.Ok, $"{address} accepts connections");
        }
        catch (Exception exception) when (exception is SocketException or OperationCanceledException or UriFormatException or ArgumentException)
        {
            Add(check, Outcome.Problem, $"{address} cannot be reached: {(exception is OperationCanceledException ? $"no answer for {Patience.TotalSeconds} s" : exception.Message)}", advice);
        }
    }

    private static string InMebibytes(long bytes) => FormattableString.Invariant($"{bytes / 1048576.0:N1} MiB");

    private void Add(string check, Outcome outcome, string found, string advice = "") => _findings.Add(new Finding(check, outcome, found, advice));
}
