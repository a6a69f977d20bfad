using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Connections;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Connections;

[TestFixture]
internal sealed class ConnectionTableTests
{
    private readonly RecordingLogger _logger = new();

    [Test]
    public async Task Open_Many_IdsAreUniqueAndSafeForJavaScript()
    {
        await using var table = new ConnectionTable(StreamingApiLimits.Default, TimeSpan.Zero, new ManualClock(), _logger);
        var ids = Enumerable.Range(0, 10_000).Select(_ => table.Open(new ConnectionDetails()).Id).ToList();

        Assert.That(ids, Is.Unique);
        Assert.That(ids, Is.All.InRange(1L, (1L << 53) - 1));
        Assert.That(ids.Max(), Is.GreaterThan(1L << 50), "random over the whole range");
    }

    [Test]
    public async Task Open_OneTooMany_IsRefusedUntilOneCloses()
    {
        await using var table = new ConnectionTable(StreamingApiLimits.Default with { ConnectionsMax = 2 }, TimeSpan.Zero, new ManualClock(), _logger);
        var first = table.Open(new ConnectionDetails());
        table.Open(new ConnectionDetails());
        Assert.That(
            Assert.Throws<RpcException>(() => table.Open(new ConnectionDetails()))!.StatusCode, Is.EqualTo(StatusCode.ResourceExhausted));
        Assert.That(table.Close(first.Id), Is.True);
        Assert.That(table.Close(first.Id), Is.False);
        Assert.That(first.Closed.IsCancellationRequested, Is.True);

        Assert.That(() => table.Open(new ConnectionDetails()), Throws.Nothing);
    }

    [Test]
    public async Task Idle_ForTheTimeout_IsClosedUnlessReadOrUsed()
    {
        var clock = new ManualClock();
        await using var table = new ConnectionTable(StreamingApiLimits.Default, TimeSpan.FromMinutes(4), clock, _logger);
        var (idle, used, read) = (table.Open(new ConnectionDetails()), table.Open(new ConnectionDetails()), table.Open(new ConnectionDetails()));
        using var open = read.OpenRead();
        var closed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var registration = idle.Closed.Register(closed.SetResult);
        for (var minute = 0; minute < 6; minute++)
        {
            table.Find(used.Id);
            clock.Advance(TimeSpan.FromMinutes(1));
        }

        await closed.Task.WithDeadline();
        Assert.That(table.Find(idle.Id), Is.Null);
        Assert.That(table.Find(used.Id), Is.Not.Null);
        Assert.That(table.Find(read.Id), Is.Not.Null);
    }
}
