using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using Grpc.Core;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core;
using MA.Streaming.Core.Configs;
using MA.Streaming.Hosting;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>The engine's spans belong to the trace of their caller, over both transports.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class SpanTests
{
    private const string Engine = "MA.Streaming";
    private const string Write = "ma.streaming.api.v1.PacketWriterService/WriteDataPacket";

    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void StartLimit() => _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));

    [TearDown]
    public void StopLimit() => _limit.Dispose();

    // With a log ASP.NET Core makes a span of its own, which nobody exports: the engine's is still the caller's child.
    [TestCase(Transport.InProcess, false)]
    [TestCase(Transport.Kestrel, false)]
    [TestCase(Transport.Kestrel, true)]
    public async Task Rpc_TraceparentInTheMetadata_IsTheParent(Transport transport, bool log)
    {
        using var spans = new Spans(Engine);
        await using var broker = new MemoryBroker();
        using var loggers = LoggerFactory.Create(logging => logging.SetMinimumLevel(log ? LogLevel.Information : LogLevel.None).AddProvider(new Swallow()));
        await using var server = await StartAsync(transport, broker, loggers);
        var caller = new ActivityContext(ActivityTraceId.CreateRandom(), ActivitySpanId.CreateRandom(), ActivityTraceFlags.Recorded);
        var metadata = new Metadata { { "traceparent", $"00-{caller.TraceId}-{caller.SpanId}-01" }, { "tracestate", "vendor=1" } };
        await server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("x")) }, metadata, cancellationToken: Limit);
        var span = await spans.EndedAsync(Write, caller.TraceId, Limit);
        Assert.That(span.ParentSpanId, Is.EqualTo(caller.SpanId));
        Assert.That(span.TraceStateString, Is.EqualTo("vendor=1"));
        Assert.That(span.GetTagItem("rpc.grpc.status_code"), Is.Zero);
        Assert.That(span.Kind, Is.EqualTo(transport == Transport.Kestrel ? ActivityKind.Server : ActivityKind.Internal));
    }

    [TestCase(Transport.InProcess)]
    [TestCase(Transport.Kestrel)]
    public async Task Rpc_CallerWithASpan_IsInItsTrace(Transport transport)
    {
        using var source = new ActivitySource("Caller");
        using var spans = new Spans(Engine, source.Name);
        await using var broker = new MemoryBroker();
        await using var server = await StartAsync(transport, broker);
        ActivityTraceId trace;
        ActivitySpanId parent;
        using (var caller = source.StartActivity("drive")!)
        {
            (trace, parent) = (caller.TraceId, caller.SpanId);
            await server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("x")) }, cancellationToken: Limit);
            AssertFailure(await FailureOfAsync(async () => await server.Writer.WriteDataPacketAsync(new(), cancellationToken: Limit)), StatusCode.InvalidArgument);
            Assert.That(Activity.Current, Is.SameAs(caller));
        }

        var ended = await spans.EndedAsync(Write, trace, Limit, 2);

        // Over a port the request's own span stands between the two.
        if (transport == Transport.InProcess) Assert.That(ended.ParentSpanId, Is.EqualTo(parent));
        var failed = spans.Ended.Single(span => span.TraceId == trace && span.Status == ActivityStatusCode.Error);
        Assert.That(failed.GetTagItem("rpc.grpc.status_code"), Is.EqualTo((int)StatusCode.InvalidArgument));
        Assert.That(failed.StatusDescription, Does.Contain("detail"));
    }

    [TestCase(Transport.InProcess)]
    [TestCase(Transport.Kestrel)]
    public async Task Rpc_CallerWithoutASpan_BeginsATrace(Transport transport)
    {
        using var spans = new Spans(Engine);
        await using var broker = new MemoryBroker();
        using var loggers = LoggerFactory.Create(logging => logging.AddProvider(new Swallow()));
        await using var server = await StartAsync(transport, broker, loggers);
        var name = $"ma.streaming.api.v1.ConnectionManagerService/{nameof(server.Connections.NewConnection)}";
        var before = spans.Ended.Count;
        await server.Connections.NewConnectionAsync(new() { Details = new() { DataSource = "Rootless" } }, cancellationToken: Limit);
        await Until.TrueAsync(() => Task.FromResult(spans.Ended.Skip(before).Any(span => span.DisplayName == name && span.ParentSpanId == default)), Limit);
    }

    [Test]
    public async Task Rpc_InAnApplicationWhoseOwnSpansAreRecorded_IsTheirChild()
    {
        using var spans = new Spans(Engine, "Microsoft.AspNetCore");
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listener => listener.Protocols = HttpProtocols.Http2));
        builder.Services.AddStreamingApi(options => options.BrokerUrl = "memory:");
        await using var app = builder.Build();
        app.MapStreamingApi();
        await app.StartAsync(Limit);
        await app.Services.GetRequiredService<StreamingApiServer>().WaitUntilReadyAsync(Limit);
        using var channel = GrpcChannel.ForAddress(app.Urls.Single());
        var trace = ActivityTraceId.CreateRandom();
        var metadata = new Metadata { { "traceparent", $"00-{trace}-{ActivitySpanId.CreateRandom()}-01" } };
        await new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("x")) }, metadata, cancellationToken: Limit);
        var span = await spans.EndedAsync(Write, trace, Limit);
        Assert.That(span.Parent?.Source.Name, Is.EqualTo("Microsoft.AspNetCore"));
    }

    private Task<StreamServer> StartAsync(Transport transport, MemoryBroker broker, ILoggerFactory? loggers = null) => StreamServer.StartAsync(
        transport, new StreamingApiConfiguration(brokerUrl: "memory:"), broker, loggers is null ? null : StreamApiOptions.Default with { LoggerFactory = loggers }, Limit);

    /// <summary>Listens to some sources and keeps the spans that have ended. Spans of other tests come too.</summary>
    private sealed class Spans : IDisposable
    {
        private readonly ConcurrentQueue<Activity> _ended = new();
        private readonly ActivityListener _listener;

        public Spans(params string[] sources)
        {
            _listener = new ActivityListener
            {
                ShouldListenTo = source => sources.Contains(source.Name),
                Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
                ActivityStopped = _ended.Enqueue,
            };
            ActivitySource.AddActivityListener(_listener);
        }

        public IReadOnlyCollection<Activity> Ended => _ended;

        /// <summary>The first of the spans of a name in a trace, once there are so many: a span ends after its response.</summary>
        public async Task<Activity> EndedAsync(string name, ActivityTraceId trace, CancellationToken limit, int count = 1)
        {
            Activity[] found = [];
            await Until.TrueAsync(
                () =>
                {
                    found = [.. _ended.Where(span => span.DisplayName == name && span.TraceId == trace)];
                    return Task.FromResult(found.Length >= count);
                },
                limit);
            return found[0];
        }

        public void Dispose() => _listener.Dispose();
    }

    /// <summary>A log whose lines go nowhere, but which is on.</summary>
    private sealed class Swallow : ILoggerProvider, ILogger
    {
        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
        }

        public void Dispose()
        {
        }
    }
}
