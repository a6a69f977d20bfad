using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Hosting;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.TestSupport;
using NUnit.Framework;
using static MA.Streaming.IntegrationTests.Support.Clients;

namespace MA.Streaming.IntegrationTests.Hosting;

/// <summary>A stop: nothing new is taken, what was taken is finished and answered, and none of it takes longer than allowed.</summary>
[Parallelizable(ParallelScope.Self)]
internal sealed class DrainTests
{
    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void StartLimit() => _limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));

    [TearDown]
    public void StopLimit() => _limit.Dispose();

    [Test]
    public async Task Stop_CallsThatWaitForTheBroker_AreAnsweredAndNewConnectionsRefused()
    {
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        await using var server = await NetworkServer.StartAsync(Limit, options =>
        {
            options.Broker = broker;
            options.DrainTimeoutSeconds = 20;
        });
        await server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("first")) }, cancellationToken: Limit);
        var connection = (await server.Connections.NewConnectionAsync(new() { Details = new() { DataSource = "Other" } }, cancellationToken: Limit)).Connection;
        using var read = server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        await read.ResponseHeadersAsync.WaitAsync(Limit);
        broker.HoldAll();
        using var stream = server.Writer.WriteDataPackets(cancellationToken: Limit);
        await stream.RequestStream.WriteAsync(new() { Details = { Detail("Car", "", TextPacket("second")) } }, Limit);
        await stream.RequestStream.CompleteAsync().WaitAsync(Limit);
        using var unary = server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("third")) }, cancellationToken: Limit);
        await broker.HeldAsync(2, Limit);

        // The half-closed stream has been read to its end: the server waits for the broker only.
        var address = new Uri(server.Address);
        var stopping = server.Server.StopAsync(Limit);
        AssertFailure(await FailureOfAsync(() => read.ResponseStream.MoveNext(Limit)), StatusCode.Unavailable, "shutting down");
        await Until.TrueAsync(async () => !await ConnectsAsync(address), Limit);
        Assert.That((await server.Diagnostics.GetAsync("/healthz/ready", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.ServiceUnavailable));
        Assert.That((await server.Diagnostics.GetAsync("/healthz/live", Limit)).StatusCode, Is.EqualTo(HttpStatusCode.OK));
        Assert.That(stopping.IsCompleted, Is.False);

        broker.ReleaseAll();
        await stream.ResponseAsync.WaitAsync(Limit);
        await unary.ResponseAsync.WaitAsync(Limit);
        await stopping.WaitAsync(Limit);
        Assert.That(await inner.StoredAsync(new("Car", 0), Limit), Has.Count.EqualTo(3));
        Assert.That(server.Server.State, Is.EqualTo(ServerState.Stopped));
    }

    [Test]
    [Timing]
    public async Task Stop_CallThatNeverEnds_IsBoundedByDrainTimeoutSeconds()
    {
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        await using var server = await NetworkServer.StartAsync(Limit, options =>
        {
            options.Broker = broker;
            options.DrainTimeoutSeconds = 1;
        });
        broker.HoldAll();
        using var unary = server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("x")) }, cancellationToken: Limit);
        await broker.HeldAsync(1, Limit);

        var begun = TimeProvider.System.GetTimestamp();
        await server.Server.StopAsync(Limit);
        Assert.That(TimeProvider.System.GetElapsedTime(begun), Is.InRange(TimeSpan.FromSeconds(0.9), TimeSpan.FromSeconds(6)));
        await FailureOfAsync(() => unary.ResponseAsync.WaitAsync(Limit));
        broker.ReleaseAll();
    }

    [Test]
    [Timing]
    public async Task Stop_ClientThatTakesNothing_IsCutOff()
    {
        await using var server = await NetworkServer.StartAsync(Limit, options => options.DrainTimeoutSeconds = 1);
        for (var i = 0; i < 40; i++)
        {
            await server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket(new string('x', 500_000))) }, cancellationToken: Limit);
        }

        var connection = (await server.Connections.NewConnectionAsync(new() { Details = new() { DataSource = "Car" } }, cancellationToken: Limit)).Connection;
        using var read = server.Reader.ReadPackets(new() { Connection = connection }, cancellationToken: Limit);
        await read.ResponseHeadersAsync.WaitAsync(Limit);
        await Until.TrueAsync(
            async () => (await server.Diagnostics.GetStringAsync("/metrics", Limit)).Contains("\nstream_api_reads_behind 1\n", StringComparison.Ordinal), Limit);

        var begun = TimeProvider.System.GetTimestamp();
        await server.Server.StopAsync(Limit);
        Assert.That(TimeProvider.System.GetElapsedTime(begun), Is.LessThan(TimeSpan.FromSeconds(6)));
    }

    [Test]
    public async Task Stop_HurriedByItsCaller_AbortsWhatIsOpen()
    {
        await using var inner = new MemoryBroker();
        var broker = new GatedBroker(inner);
        await using var server = await NetworkServer.StartAsync(Limit, options =>
        {
            options.Broker = broker;
            options.DrainTimeoutSeconds = 20;
        });
        broker.HoldAll();
        using var unary = server.Writer.WriteDataPacketAsync(new() { Detail = Detail("Car", "", TextPacket("x")) }, cancellationToken: Limit);
        await broker.HeldAsync(1, Limit);
        using var hurry = new CancellationTokenSource();
        var stopping = server.Server.StopAsync(hurry.Token);
        await hurry.CancelAsync();
        await stopping.WaitAsync(TimeSpan.FromSeconds(10), Limit);
        broker.ReleaseAll();
    }

    private async Task<bool> ConnectsAsync(Uri address)
    {
        try
        {
            using var client = new TcpClient();
            await client.ConnectAsync(IPAddress.Loopback, address.Port, Limit);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
