using Grpc.Core;
using MA.Streaming.Core;
using MA.Streaming.KeyGenerator;
using MA.Streaming.Proto.Client.Local;
using MA.Streaming.TestSupport;
using MA.Streaming.UnitTests.Broker.Embedded;
using MA.Streaming.UnitTests.Support;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Keys;

[TestFixture]
internal sealed class LocalKeyGeneratorTests
{
    private string _directory = null!;

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("stream-api-keys-").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    [Test]
    public async Task Start_AgainWithTheClockGoneBack_GivesHigherNumbersThanBefore()
    {
        var clock = new ManualClock();
        var last = 0UL;
        for (var start = 0; start < 4; start++)
        {
            using var keys = Start(clock);
            var number = await NextAsync(keys);
            Assert.That(number, Is.GreaterThan(last));
            last = number;

            // Nothing is written at a stop, so that it makes no difference whether the process is stopped or killed.
            clock.JumpTo(clock.GetUtcNow().AddDays(-1));
        }
    }

    [Test]
    public async Task Start_PowerLostAtAnyMoment_NeverGivesANumberAgain([Range(0, 199)] int seed)
    {
        var random = new Random(seed);
        var clock = new ManualClock();
        var disk = new SimulatedDisk(seed) { HasThreads = true };
        var last = 0UL;
        for (var boot = 0; boot < 4; boot++)
        {
            disk.CallsUntilPowerLoss = boot == 3 ? -1 : random.Next(25);
            using (var keys = LocalKeyGenerator.Start(new KeyFloor(disk.Boot()), new StreamApiOptions { Clock = clock }))
            {
                for (var round = 0; round < 10; round++)
                {
                    try
                    {
                        var number = await NextAsync(keys);
                        Assert.That(number, Is.GreaterThan(last));
                        last = number;
                    }
                    catch (RpcException failure) when (failure.StatusCode == StatusCode.Unavailable)
                    {
                        Assert.That(boot, Is.LessThan(3), "the power stayed");
                    }

                    clock.Advance(TimeSpan.FromSeconds(random.Next(90)));
                }
            }

            disk.LosePower();
            if (random.Next(2) == 0) clock.JumpTo(clock.GetUtcNow().AddHours(-random.Next(48)));
        }
    }

    [Test]
    public async Task Start_ManyNumbers_WritesTheFloorOnceAMinute()
    {
        var clock = new ManualClock();
        var disk = new SimulatedDisk(1);
        using var keys = LocalKeyGenerator.Start(new KeyFloor(disk.Boot()), new StreamApiOptions { Clock = clock });
        await NextAsync(keys);
        var changes = disk.Changes;
        for (var i = 0; i < 1_000; i++) await NextAsync(keys);
        Assert.That(disk.Changes, Is.EqualTo(changes));

        clock.Advance(TimeSpan.FromMinutes(1));
        await NextAsync(keys);
        Assert.That(disk.Changes, Is.GreaterThan(changes));
    }

    [Test]
    public void Start_DirectoryOfAnother_SaysSo()
    {
        using var first = Start(TimeProvider.System);
        var refusal = Assert.Throws<IOException>(() => Start(TimeProvider.System))!;
        Assert.That(refusal.Message, Does.Contain(_directory).And.Contain("another key generator has it"));
        first.Dispose();
        Start(TimeProvider.System).Dispose();
    }

    [TestCase("")]
    [TestCase("1 638785440000000000 00000000\n")]
    [TestCase("2 638785440000000000 7e5e7b5c\n")]
    [TestCase("1 -5 00000000\n")]
    [TestCase("\0\0\0\0")]
    public async Task Start_DamagedFloor_SaysWhatToDoAndLeavesItAlone(string content)
    {
        using (var keys = Start(TimeProvider.System)) await NextAsync(keys);
        var file = Path.Combine(_directory, "key-generator", "floor");
        await File.WriteAllTextAsync(file, content);

        Assert.That(() => Start(TimeProvider.System), Throws.InstanceOf<IOException>().With.Message.Contains("'floor'").And.Message.Contains("delete it if"));
        Assert.That(await File.ReadAllTextAsync(file), Is.EqualTo(content));
        File.Delete(file);
        Start(TimeProvider.System).Dispose();
    }

    [Test]
    public async Task Start_WithoutADirectory_WarnsAndWorks()
    {
        var logger = new RecordingLogger();
        using var keys = LocalKeyGenerator.Start("", new StreamApiOptions { LoggerFactory = logger });
        Assert.That(logger.CountOf("KeyFloorNotKept"), Is.EqualTo(1));
        var first = await NextAsync(keys);
        Assert.That(await NextAsync(keys), Is.GreaterThan(first));
    }

    [Test]
    public async Task Dispose_WhileNumbersAreAskedFor_WritesNothingAfterwards()
    {
        var clock = new ManualClock();
        var keys = Start(clock);
        var first = await NextAsync(keys);
        keys.Dispose();
        using var next = Start(clock);
        clock.Advance(TimeSpan.FromHours(1));
        var failure = (await Assert.ThrowsAsync<RpcException>(() => NextAsync(keys)))!;

        Assert.That(failure.StatusCode, Is.EqualTo(StatusCode.Unavailable));
        Assert.That(await NextAsync(next), Is.GreaterThan(first));
    }

    private static async Task<ulong> NextAsync(LocalKeyGenerator keys) =>
        (await keys.GetKeyGeneratorClient().GenerateUniqueKeyAsync(new() { Type = KeyType.Ulong }).ResponseAsync.WithDeadline()).UlongKey;

    private LocalKeyGenerator Start(TimeProvider clock) => LocalKeyGenerator.Start(_directory, new StreamApiOptions { Clock = clock });
}
