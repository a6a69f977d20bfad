using Grpc.Core;
using MA.Streaming.Core.Keys;
using MA.Streaming.KeyGenerator;
using MA.Streaming.UnitTests.Support;
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
            Assert.ThrowsAsync<RpcException>(async () => await client.GenerateUniqueKeyAsync(new GenerateUniqueKeyRequest()))!.StatusCode,
            Is.EqualTo(StatusCode.InvalidArgument));
    }
}
