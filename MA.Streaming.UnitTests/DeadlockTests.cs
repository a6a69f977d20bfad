using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Configs;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests;

/// <summary>The three deadlocks that the design rules out.</summary>
[TestFixture]
internal sealed class DeadlockTests
{
    // 1: the very client whose read is blocked closes its connection.

    [TestCase(true, TestName = "CloseConnection_OwnReadBlockedOnAFullResponse_BothEnd(batching)")]
    [TestCase(false, TestName = "CloseConnection_OwnReadBlockedOnAFullResponse_BothEnd(single)")]
    [Timing]
    public async Task CloseConnection_OwnReadBlockedOnAFullResponse_BothEnd(bool batching)
    {
        await using var api = await TestApi.StartAsync(new StreamingApiConfiguration(batchingResponses: batching));
        await BlockAndCloseAsync(api);
    }

    [Test]
    [Timing]
    public async Task CloseConnection_ConfigurationOfTheCustomersOwnType_BlockedReadEndsAtOnce()
    {
        await using var api = await TestApi.StartAsync(new OwnConfiguration());
        await BlockAndCloseAsync(api);
    }

    [Timing]
    private static async Task BlockAndCloseAsync(TestApi api)
    {
        var connection = await api.ConnectAsync(new ConnectionDetails { DataSource = "Car" });
        using var read = await api.OpenReadAsync(connection);
        var large = new string('x', 400_000);
        for (var i = 0; i < 20; i++) await api.WriteAsync("Car", "", large);
        await Until.TrueAsync(() => Gauges.Read("stream_api_reads_behind") > 0);

        var started = TimeProvider.System.GetTimestamp();
        var closed = await api.Connections.CloseConnectionAsync(new CloseConnectionRequest { Connection = connection }).ResponseAsync.WithDeadline();
        Assert.That(closed.Success, Is.True);

        // What was handed over is still taken, then the stream ends with OK.
        var taken = 0;
        while (await read.ResponseStream.MoveNext(CancellationToken.None).WithDeadline()) taken++;
        Assert.That(read.GetStatus().StatusCode, Is.EqualTo(StatusCode.OK));
        Assert.That(taken, Is.InRange(1, 19));
        Assert.That(TimeProvider.System.GetElapsedTime(started), Is.LessThan(TimeSpan.FromSeconds(4)), "in process nothing is waited for");
    }

    // 2: every thread of the pool is inside a blocking call.

    [TestCase("write")]
    [TestCase("write essential")]
    [TestCase("write, each its own new data source")]
    [TestCase("session")]
    [TestCase("format")]
    [TestCase("format, each its own new data source")]
    public void BlockingCalls_EveryPoolThreadInsideOne_AllComplete(string what)
    {
        const int Threads = 200;
        const int Callers = 260;
        var commitLoop = new CommitLoopBroker(new MemoryBroker());
        var api = TestApi.StartAsync(broker: new GatedBroker(commitLoop)).GetAwaiter().GetResult();
        ThreadPool.GetMinThreads(out var min, out var minPorts);
        ThreadPool.GetMaxThreads(out var max, out var maxPorts);
        var inside = 0;
        var allInside = new ManualResetEventSlim();
        var left = new CountdownEvent(Callers);
        var failures = new List<Exception>();
        try
        {
            // More callers than threads: what one of them needs of the pool waits until others have their answers. The test host may keep
            // a few threads for itself.
            Assert.That(ThreadPool.SetMinThreads(Threads, minPorts) && ThreadPool.SetMaxThreads(Threads, maxPorts), Is.True);
            for (var i = 0; i < Callers; i++)
            {
                var caller = i;
                ThreadPool.UnsafeQueueUserWorkItem(_ => CallOnce(caller), null);
            }

            Assert.That(left.Wait(TimeSpan.FromSeconds(20)), Is.True, $"{left.CurrentCount} of {Callers} calls have not completed");
        }
        finally
        {
            ThreadPool.SetMaxThreads(max, maxPorts);
            ThreadPool.SetMinThreads(min, minPorts);
            api.DisposeAsync().AsTask().WithDeadline(40).GetAwaiter().GetResult();
            commitLoop.DisposeAsync().AsTask().WithDeadline().GetAwaiter().GetResult();
        }

        Assert.That(failures, Is.Empty);

        void CallOnce(int caller)
        {
            try
            {
                if (Interlocked.Increment(ref inside) == Threads - 20) allInside.Set();
                allInside.Wait();
                Call(api, what, caller);
            }
            catch (Exception exception)
            {
                lock (failures) failures.Add(exception);
            }

            left.Signal();
        }
    }

    private static void Call(TestApi api, string what, int i)
    {
        switch (what)
        {
            case "write": api.Writer.WriteDataPacket(TestApi.Data("Car", i % 2 == 0 ? "" : "Chassis", $"{i}")); break;
            case "write essential": api.Writer.WriteDataPacket(TestApi.Data("Car", "", $"{i}", essential: true)); break;
            case "write, each its own new data source": api.Writer.WriteDataPacket(TestApi.Data($"Car{i}", "", $"{i}")); break;
            case "session":
                Assert.That(api.Sessions.CreateSession(new CreateSessionRequest { DataSource = "Car" }).Success, Is.True);
                break;
            case "format":
                var id = api.Formats.GetParameterDataFormatId(
                    new GetParameterDataFormatIdRequest { DataSource = "Car", Parameters = { $"p{i % 20}" } }).DataFormatIdentifier;
                Assert.That(id, Is.Not.Zero);
                break;
            default:
                api.Formats.GetParameterDataFormatId(new GetParameterDataFormatIdRequest { DataSource = $"Car{i}", Parameters = { "p" } });
                break;
        }
    }

    // 3: a caller's continuation on the commit loop.

    [Test]
    public async Task Continuations_OfCallers_NeverRunOnTheCommitLoop()
    {
        var commitLoop = new CommitLoopBroker(new MemoryBroker());
        await using var api = await TestApi.StartAsync(broker: new GatedBroker(commitLoop));
        var connection = await api.ConnectAsync(new ConnectionDetails { DataSource = "Car" });
        using var read = await api.OpenReadAsync(connection);
        using var starts = api.Sessions.GetSessionStartNotification(new GetSessionStartNotificationRequest { DataSource = "Car" });
        await starts.ResponseHeadersAsync.WithDeadline();
        var threads = new List<(string What, int Thread)>();
        for (var i = 0; i < 30; i++)
        {
            await NoteAsync("unary", api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", $"{i}")).ResponseAsync);
            await NoteAsync("essential", api.Writer.WriteDataPacketAsync(TestApi.Data("Car", "", $"{i}", essential: true)).ResponseAsync);
            await NoteAsync("session", api.Sessions.CreateSessionAsync(new CreateSessionRequest { DataSource = "Car" }).ResponseAsync);
            await NoteAsync("start", starts.ResponseStream.MoveNext(CancellationToken.None));
            await NoteAsync(
                "format",
                api.Formats.GetEventDataFormatIdAsync(new GetEventDataFormatIdRequest { DataSource = "Car", Event = $"e{i}" }).ResponseAsync);
            using var stream = api.Writer.WriteDataPackets();
            for (var p = 0; p < 3; p++)
            {
                await NoteAsync("write", stream.RequestStream.WriteAsync(new WriteDataPacketsRequest { Details = { TestApi.Detail("Car", "", "s") } }));
            }

            await NoteAsync("complete", stream.RequestStream.CompleteAsync());
            await NoteAsync("client stream", stream.ResponseAsync);
            await NoteAsync("read", read.ResponseStream.MoveNext(CancellationToken.None));
        }

        Assert.That(threads.Where(t => t.Thread == commitLoop.LoopThreadId).Select(t => t.What).Distinct(), Is.Empty);

        // The continuation that is looked at is the earliest there is.
        async Task NoteAsync(string what, Task task)
        {
            var noted = task.ContinueWith(
                _ => Environment.CurrentManagedThreadId, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            threads.Add((what, await noted.WithDeadline()));
            await task;
        }
    }

    /// <summary>What a customer's own class gives: the ten settings and nothing else.</summary>
    private sealed class OwnConfiguration : Abstraction.IStreamingApiConfiguration
    {
        public Abstraction.StreamCreationStrategy StreamCreationStrategy => Abstraction.StreamCreationStrategy.TopicBased;

        public string BrokerUrl => "memory:";

        public IReadOnlyList<Abstraction.PartitionMapping> PartitionMappings => [];

        public int StreamApiPort => 13579;

        public bool IntegrateSessionManagement => true;

        public bool IntegrateDataFormatManagement => true;

        public bool UseRemoteKeyGenerator => false;

        public string RemoteKeyGeneratorServiceAddress => "";

        public bool BatchingResponses => false;

        public uint InitialisationTimeoutSeconds => 3;
    }
}
