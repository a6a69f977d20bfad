using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Grpc.Core;
using Grpc.Health.V1;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.KeyGenerator;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>The key generator as a program, and a server that asks it.</summary>
[Parallelizable(ParallelScope.Self)]
[Platform(Exclude = "Win", Reason = "signals are those of Unix")]
internal sealed class KeygenTests
{
    private CancellationTokenSource _limit = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void StartLimit() => _limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));

    [TearDown]
    public void StopLimit() => _limit.Dispose();

    [Test]
    public async Task Keygen_Keys_IncreaseAcrossARestartAndReachAServer()
    {
        using var folder = new TemporaryFolder();
        ulong last;
        using (var first = ToolProcess.Start(folder.Path, ["keygen", "--metric-port", "0"], new() { ["PORT"] = "0" }))
        {
            using var channel = GrpcChannel.ForAddress(await first.GrpcAddressAsync(Limit));
            var keys = new UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient(channel);
            var text = (await keys.GenerateUniqueKeyAsync(new() { Type = KeyType.String }, cancellationToken: Limit)).StringKey;
            Assert.That(Guid.TryParseExact(text, "D", out _), Is.True);
            last = await NextAsync(keys);
            for (var i = 0; i < 100; i++) Assert.That(await NextAsync(keys), Is.GreaterThan(last++));
            last = await NextAsync(keys);
            Assert.That(
                (await new Health.HealthClient(channel).CheckAsync(new() { Service = "ma.streaming.key_generator.v1.UniqueKeyGeneratorService" }, cancellationToken: Limit)).Status,
                Is.EqualTo(HealthCheckResponse.Types.ServingStatus.Serving));

            using var diagnostics = new HttpClient { BaseAddress = new Uri(await first.MetricsAddressAsync(Limit)) };
            Assert.That(await diagnostics.GetStringAsync("/healthz/ready", Limit), Does.Contain("true"));
            Assert.That(
                await diagnostics.GetStringAsync("/metrics", Limit),
                Does.Contain("key_generator_rpc_duration_seconds_count{method=\"/ma.streaming.key_generator.v1.UniqueKeyGeneratorService/GenerateUniqueKey\",status=\"OK\"} 103"));
            first.Signal(PosixSignal.SIGTERM);
            Assert.That(await first.EndAsync(Limit), Is.Zero, first.Output);
        }

        using var second = ToolProcess.Start(folder.Path, ["keygen", "--port", "0", "--metric-port", "0"]);
        var address = new Uri(await second.GrpcAddressAsync(Limit));
        using var again = GrpcChannel.ForAddress(address);
        Assert.That(await NextAsync(new(again)), Is.GreaterThan(last));

        using var server = ToolProcess.Start(
            folder.Path,
            [
                "serve", "--broker", "memory:", "--port", "0", "--metric-port", "0", "--set", "UseRemoteKeyGenerator=true",
                "--set", $"RemoteKeyGeneratorServiceAddress={address.Authority}",
            ]);
        using var toServer = GrpcChannel.ForAddress(await server.GrpcAddressAsync(Limit));
        var formats = new DataFormatManagerService.DataFormatManagerServiceClient(toServer);
        var id = (await formats.GetEventDataFormatIdAsync(new() { DataSource = "Car", Event = "lap" }, cancellationToken: Limit)).DataFormatIdentifier;
        Assert.That(id, Is.GreaterThan(last), "the number is the key generator's");
        server.Signal(PosixSignal.SIGTERM);
        second.Signal(PosixSignal.SIGTERM);
        Assert.That(await server.EndAsync(Limit), Is.Zero, server.Output);
        Assert.That(await second.EndAsync(Limit), Is.Zero, second.Output);

        async Task<ulong> NextAsync(UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient keys) =>
            (await keys.GenerateUniqueKeyAsync(new() { Type = KeyType.Ulong }, cancellationToken: Limit)).UlongKey;
    }

    [Test]
    public async Task Keygen_KilledUnderLoad_BeginsAboveEverythingItGave()
    {
        using var folder = new TemporaryFolder();
        var floor = 0UL;
        for (var start = 0; start < 3; start++)
        {
            using var keygen = ToolProcess.Start(folder.Path, ["keygen", "--port", "0", "--metric-port", "0"]);
            using var channel = GrpcChannel.ForAddress(await keygen.GrpcAddressAsync(Limit));
            var keys = new UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient(channel);
            var first = (await keys.GenerateUniqueKeyAsync(new() { Type = KeyType.Ulong }, cancellationToken: Limit)).UlongKey;
            Assert.That(first, Is.GreaterThanOrEqualTo(floor));
            var busy = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var asking = Enumerable.Range(0, 4).Select(_ => AskUntilItDiesAsync(keys, busy)).ToArray();
            await busy.Task.WaitAsync(Limit);
            using (var process = Process.GetProcessById(keygen.Id)) process.Kill();
            var given = await Task.WhenAll(asking).WaitAsync(Limit);

            // What it keeps: format version, the number to stay above, a checksum.
            floor = ulong.Parse((await File.ReadAllTextAsync(Path.Combine(folder.Path, "key-generator", "floor"), Limit)).Split(' ')[1], CultureInfo.InvariantCulture);
            Assert.That(given.Append(first), Is.All.LessThan(floor));
        }

        async Task<ulong> AskUntilItDiesAsync(UniqueKeyGeneratorService.UniqueKeyGeneratorServiceClient keys, TaskCompletionSource busy)
        {
            var most = 0UL;
            try
            {
                for (var i = 0; ; i++)
                {
                    most = (await keys.GenerateUniqueKeyAsync(new() { Type = KeyType.Ulong }, cancellationToken: Limit)).UlongKey;
                    if (i == 100) busy.TrySetResult();
                }
            }
            catch (RpcException)
            {
                return most;
            }
        }
    }

    [Test]
    public async Task Keygen_FolderOfAnotherOne_FailsAndNamesIt()
    {
        using var folder = new TemporaryFolder();
        using var first = ToolProcess.Start(folder.Path, ["keygen", "--port", "0", "--metric-port", "0"]);
        await first.GrpcAddressAsync(Limit);
        var (exitCode, output) = await ToolProcess.RunAsync(folder.Path, Limit, "keygen", "--port", "0", "--metric-port", "0");
        Assert.That(exitCode, Is.EqualTo(1), output);
        Assert.That(output, Does.Contain(Path.Combine(folder.Path, "key-generator")));
    }
}
