using Grpc.Core;
using MA.Streaming.Core.Keys;
using MA.Streaming.KeyGenerator;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Keys;

[TestFixture]
internal sealed class KeyGeneratorTests
{
    [Test]
    public async Task NextNumberAsync_ManyThreads_StrictlyIncreasesInEach()
    {
        var keys = new Core.Keys.KeyGenerator(new ManualClock()); // The clock stands still: only the counter can keep them apart.
        var numbers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            var own = new List<ulong>();
            for (var i = 0; i < 5_000; i++) own.Add(await keys.NextNumberAsync(CancellationToken.None));
            return own;
        }))).WithDeadline();

        foreach (var own in numbers) Assert.That(own, Is.Ordered.Ascending);
        Assert.That(numbers.SelectMany(n => n).ToHashSet(), Has.Count.EqualTo(20_000));
    }

    [Test]
    public async Task NextNumberAsync_ClockJumpsBack_StillIncreases()
    {
        var clock = new ManualClock();
        var keys = new Core.Keys.KeyGenerator(clock);
        var first = await keys.NextNumberAsync(CancellationToken.None);
        Assert.That(first, Is.EqualTo((ulong)clock.GetUtcNow().UtcTicks));
        clock.JumpTo(clock.GetUtcNow().AddDays(-1));

        Assert.That(await keys.NextNumberAsync(CancellationToken.None), Is.GreaterThan(first));
    }

    [Test]
    public async Task NextNumberAsync_AMinuteOfNumbersAtATime_IsReservedBeforeTheFirstOfThemIsGiven()
    {
        var clock = new ManualClock();
        var floors = new List<long>();
        var keys = new Core.Keys.KeyGenerator(clock, floor: 0, floors.Add);
        for (var second = 0; second < 150; second++)
        {
            var number = await keys.NextNumberAsync(CancellationToken.None).WithDeadline();
            Assert.That((long)number, Is.LessThan(floors[^1]));
            clock.Advance(TimeSpan.FromSeconds(1));
        }

        Assert.That(floors, Has.Count.EqualTo(3));
        Assert.That(floors.Skip(1).Zip(floors, (next, last) => next - last), Is.All.EqualTo(TimeSpan.TicksPerMinute));
    }

    [Test]
    public async Task NextNumberAsync_FloorAboveTheClock_BeginsThereAndCountsOn()
    {
        var clock = new ManualClock();
        var floor = clock.GetUtcNow().AddDays(1).UtcTicks;
        var keys = new Core.Keys.KeyGenerator(clock, floor, _ => { });

        for (var i = 0; i < 3; i++) Assert.That(await keys.NextNumberAsync(CancellationToken.None).WithDeadline(), Is.EqualTo((ulong)(floor + i)));
    }

    [Test]
    public async Task NextNumberAsync_ManyAtOnceWhileTheClockJumps_AreReservedAndUnique()
    {
        var clock = new ManualClock();
        var reserved = 0L;
        var keys = new Core.Keys.KeyGenerator(clock, floor: 0, floor => Volatile.Write(ref reserved, floor));
        var numbers = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => Task.Run(async () =>
        {
            var own = new List<ulong>();
            for (var round = 0; round < 500; round++)
            {
                if (round % 50 == 0) clock.JumpTo(clock.GetUtcNow().AddSeconds(i % 2 == 0 ? 45 : -30));
                own.Add(await keys.NextNumberAsync(CancellationToken.None));
                Assert.That((long)own[^1], Is.LessThan(Volatile.Read(ref reserved)));
            }

            return own;
        }))).WithDeadline();

        foreach (var own in numbers) Assert.That(own, Is.Ordered.Ascending);
        Assert.That(numbers.SelectMany(n => n).ToHashSet(), Has.Count.EqualTo(4_000));
    }

    [Test]
    public async Task NextNumberAsync_ReservingFails_GivesNoneUntilItWorksAgain()
    {
        var fails = true;
        var keys = new Core.Keys.KeyGenerator(new ManualClock(), floor: 0, _ =>
        {
            if (fails) throw new IOException("the disk is gone");
        });
        var channel = new Proto.Client.Local.InProcessChannel();
        channel.Bind(binder => UniqueKeyGeneratorService.BindService(binder, new KeyGeneratorEndpoint(keys)));
        var client = new UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient(channel);
        var failure = (await Assert.ThrowsAsync<RpcException>(
            async () => await client.GenerateUniqueKeyAsync(new GenerateUniqueKeyRequest { Type = KeyType.Ulong }).ResponseAsync.WithDeadline()))!;
        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.Unavailable));
        Assert.That(failure.Status.Detail, Does.Contain("the disk is gone"));
        Assert.That((await client.GenerateUniqueKeyAsync(new GenerateUniqueKeyRequest { Type = KeyType.String }).ResponseAsync.WithDeadline()).StringKey, Is.Not.Empty);

        fails = false;
        Assert.That(await keys.NextNumberAsync(CancellationToken.None).WithDeadline(), Is.Not.Zero);
    }

    [Test]
    public async Task GenerateUniqueKey_EachType()
    {
        var channel = new Proto.Client.Local.InProcessChannel();
        channel.Bind(binder => UniqueKeyGeneratorService.BindService(binder, new KeyGeneratorEndpoint(new Core.Keys.KeyGenerator(TimeProvider.System))));
        var client = new UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient(channel);
        var text = await client.GenerateUniqueKeyAsync(new GenerateUniqueKeyRequest { Type = KeyType.String }).ResponseAsync.WithDeadline();
        Assert.That(Guid.TryParseExact(text.StringKey, "D", out _), Is.True);
        Assert.That(text.StringKey, Is.EqualTo(text.StringKey.ToLowerInvariant()));
        Assert.That((await client.GenerateUniqueKeyAsync(new GenerateUniqueKeyRequest { Type = KeyType.Ulong }).ResponseAsync.WithDeadline()).UlongKey, Is.Not.Zero);

        Assert.That(
            (await Assert.ThrowsAsync<RpcException>(async () => await client.GenerateUniqueKeyAsync(new GenerateUniqueKeyRequest())))!.StatusCode,
            Is.EqualTo(StatusCode.InvalidArgument));
    }
}
