using Google.Protobuf;
using Grpc.Core;
using Grpc.Core.Interceptors;
using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.OpenData;
using MA.Streaming.Proto.Client.Local;
using NUnit.Framework;
using Telemetry;
using Telemetry.Car;
using Telemetry.Live;
using Telemetry.Log;

namespace MA.Streaming.IntegrationTests.Samples;

/// <summary>The comparison at the end of a run is worth something: what goes wrong on the way is told.</summary>
public sealed class LiveRunTests
{
    private LocalStreamingApi _api = null!;

    [SetUp]
    public async Task Start() => _api = await LocalStreamingApi.StartAsync(new StreamingApiConfiguration(brokerUrl: "memory:"));

    [TearDown]
    public async Task Stop() => await _api.DisposeAsync();

    [Test]
    public async Task RunAsync_NothingHappens_IsAsWritten()
    {
        var outcome = await RunAsync((_, response) => [response]);

        Assert.That(outcome.IsAsWritten, Is.True, string.Join("; ", outcome.Readers.SelectMany(r => r.Differences).Concat(outcome.OtherDifferences)));
    }

    [Test]
    public async Task RunAsync_PacketLost_IsTold()
    {
        var outcome = await RunAsync((i, response) => i == 100 ? [] : [response]);

        Assert.That(outcome.IsAsWritten, Is.False);
        Assert.That(outcome.Readers[0].Differences, Has.Exactly(1).Matches("^stream .*: [0-9]+ packets written, [0-9]+ read$"));
        Assert.That(outcome.Readers[1].Differences, Is.Empty, "another read of another kind");
    }

    [Test]
    public async Task RunAsync_PacketTwice_IsTold()
    {
        var outcome = await RunAsync((i, response) => i == 100 ? [response, response] : [response]);

        Assert.That(outcome.Readers[0].Differences, Is.Not.Empty);
    }

    [Test]
    public async Task RunAsync_ByteChanged_IsTold()
    {
        var outcome = await RunAsync((i, response) =>
        {
            if (i != 100) return [response];
            var copy = response.Clone();
            var content = copy.Response[0].Packet.Content.ToByteArray();
            content[^1] ^= 1;
            copy.Response[0].Packet.Content = ByteString.CopyFrom(content);
            return [copy];
        });

        Assert.That(outcome.Readers[0].Differences, Has.Exactly(1).EndsWith("but contents or order differ"));
    }

    [Test]
    public async Task RunAsync_TwoPacketsOfAStreamSwapped_IsTold()
    {
        ReadPacketsResponse? held = null;
        var isDone = false;
        var outcome = await RunAsync((i, response) =>
        {
            if (i < 100 || isDone || response.Response[0].Stream != "Chassis") return [response];
            if (held is not null)
            {
                isDone = true;
                return [response, held];
            }

            held = response;
            return [];
        });

        Assert.That(outcome.Readers[0].Differences, Is.EqualTo(new[] { $"stream Chassis: {Written(outcome)} packets, but contents or order differ" }));

        static long Written(RunOutcome outcome) => outcome.Readers.Single(r => r.Plan.Name == "one stream").Written;
    }

    [Test]
    public async Task RunAsync_SourceFailsOnTheWay_TheSessionEndsAndTheReasonIsTold()
    {
        var source = new FailingSource(new SimulatedCar(1, 1, Circuit.SmallOval), after: 200);
        await using (var run = new LiveRun(Clients(_api.Channel), source, speed: null))
            Assert.That(() => run.RunAsync(CancellationToken.None), Throws.TypeOf<LogException>().With.Message.EqualTo("the disk is gone"));

        var sessions = _api.GetSessionManagementClient();
        var key = sessions.GetCurrentSessions(new() { DataSource = source.DataSource }).SessionKeys.Single();
        Assert.That(sessions.GetSessionInfo(new() { SessionKey = key }).IsComplete, Is.True);
    }

    // Runs with something between the API and the reader of everything: for the i-th response, the responses it gets instead.
    private async Task<RunOutcome> RunAsync(Func<int, ReadPacketsResponse, ReadPacketsResponse[]> tamper)
    {
        var reader = new PacketReaderService.PacketReaderServiceClient(_api.Channel.Intercept(new Tampering(tamper)));
        var clients = Clients(_api.Channel) with { Reader = reader };
        await using var run = new LiveRun(clients, new SimulatedCar(1, 1, Circuit.SmallOval), speed: null) { Patience = TimeSpan.FromSeconds(1) };
        return await run.RunAsync(CancellationToken.None).WaitAsync(SampleProgram.Deadline);
    }

    private static ApiClients Clients(ChannelBase channel) => new(
        new SessionManagementService.SessionManagementServiceClient(channel),
        new DataFormatManagerService.DataFormatManagerServiceClient(channel),
        new PacketWriterService.PacketWriterServiceClient(channel),
        new ConnectionManagerService.ConnectionManagerServiceClient(channel),
        new PacketReaderService.PacketReaderServiceClient(channel));

    /// <summary>Changes what the first read by ReadPackets gets.</summary>
    private sealed class Tampering(Func<int, ReadPacketsResponse, ReadPacketsResponse[]> tamper) : Interceptor
    {
        private int _calls;

        public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
            TRequest request, ClientInterceptorContext<TRequest, TResponse> context, AsyncServerStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            var call = continuation(request, context);
            if (typeof(TResponse) != typeof(ReadPacketsResponse) || Interlocked.Increment(ref _calls) > 1) return call;
            var stream = (IAsyncStreamReader<TResponse>)(object)new TamperedStream((IAsyncStreamReader<ReadPacketsResponse>)call.ResponseStream, tamper);
            return new(stream, call.ResponseHeadersAsync, call.GetStatus, call.GetTrailers, call.Dispose);
        }
    }

    private sealed class TamperedStream(
        IAsyncStreamReader<ReadPacketsResponse> inner, Func<int, ReadPacketsResponse, ReadPacketsResponse[]> tamper) : IAsyncStreamReader<ReadPacketsResponse>
    {
        private readonly Queue<ReadPacketsResponse> _instead = new();
        private int _index;

        public ReadPacketsResponse Current { get; private set; } = null!;

        public async Task<bool> MoveNext(CancellationToken cancellationToken)
        {
            while (_instead.Count == 0)
            {
                if (!await inner.MoveNext(cancellationToken)) return false;
                foreach (var response in tamper(_index++, inner.Current)) _instead.Enqueue(response);
            }

            Current = _instead.Dequeue();
            return true;
        }
    }

    /// <summary>A source that breaks after some packets.</summary>
    private sealed class FailingSource(ITelemetrySource inner, int after) : ITelemetrySource
    {
        public string DataSource => inner.DataSource;

        public string SessionIdentifier => inner.SessionIdentifier;

        public IReadOnlyDictionary<string, string> SessionDetails => inner.SessionDetails;

        public DateTimeOffset Start => inner.Start;

        public TimeSpan Length => inner.Length;

        public IReadOnlyList<string> Streams => inner.Streams;

        public IReadOnlyList<SampleGroup> Groups => inner.Groups;

        public IReadOnlyList<string> Events => inner.Events;

        public ConfigurationPacket Configuration => inner.Configuration;

        public IReadOnlyList<string> Watched => inner.Watched;

        public string? SpeedParameter => inner.SpeedParameter;

        public double MetresPerSecond => inner.MetresPerSecond;

        public IReadOnlyList<string> SpeedPatterns => inner.SpeedPatterns;

        public IEnumerable<TelemetryPacket> Play(DataFormats formats)
        {
            foreach (var packet in inner.Play(formats).Take(after)) yield return packet;
            throw new LogException("the disk is gone");
        }
    }
}
