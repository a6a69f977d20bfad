using System.Runtime.InteropServices;
using Google.Protobuf;
using Grpc.Net.Client;
using MA.Streaming.API;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Tool;

/// <summary>Every command as README shows it, without options: on the default ports and in the current folder.</summary>
[NonParallelizable]
[Platform(Exclude = "Win", Reason = "signals are those of Unix")]
internal sealed class DefaultCommandTests
{
    private CancellationTokenSource _limit = null!;
    private TemporaryFolder _folder = null!;

    private CancellationToken Limit => _limit.Token;

    [SetUp]
    public void SetUp()
    {
        _limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        _folder = new TemporaryFolder();
    }

    [TearDown]
    public void TearDown()
    {
        _folder.Dispose();
        _limit.Dispose();
    }

    [Test]
    public async Task ServeSessionsAndTail_NoOptions_WorkTogether()
    {
        using var server = ToolProcess.Start(_folder.Path, ["serve"]);
        await server.SaysAsync("(localhost:13579|127.0.0.1:13579)", Limit);
        using var channel = GrpcChannel.ForAddress("http://localhost:13579");
        var created = await new SessionManagementService.SessionManagementServiceClient(channel).CreateSessionAsync(new() { DataSource = "Car" }, cancellationToken: Limit);

        var (exitCode, output) = await ToolProcess.RunAsync(_folder.Path, Limit, "sessions", "Car");
        Assert.That((exitCode, output), Is.EqualTo((0, output)));
        Assert.That(output, Does.Contain(created.SessionKey));

        using var tail = ToolProcess.Start(_folder.Path, ["tail", "Car"]);

        // It follows from a moment on that nobody outside knows.
        await Until.DoneAsync(tail.SaysAsync("(vCar = 7)", Limit), () => WriteAsync(channel), Limit);
        tail.Signal(PosixSignal.SIGINT);
        Assert.That(await tail.EndAsync(Limit), Is.Zero, tail.Output);
        server.Signal(PosixSignal.SIGTERM);
        Assert.That(await server.EndAsync(Limit), Is.Zero, server.Output);
    }

    [Test]
    public async Task Keygen_NoOptions_Serves()
    {
        using var keygen = ToolProcess.Start(_folder.Path, ["keygen"]);
        await keygen.SaysAsync("(15379)", Limit);
        keygen.Signal(PosixSignal.SIGTERM);
        Assert.That(await keygen.EndAsync(Limit), Is.Zero, keygen.Output);
    }

    [Test]
    public async Task Doctor_NoOptions_FindsNoProblem()
    {
        var (exitCode, output) = await ToolProcess.RunAsync(_folder.Path, Limit, "doctor");
        Assert.That(exitCode, Is.Zero, output);
    }

    [TestCase("sessions", "Car")]
    [TestCase("tail", "Car")]
    public async Task ClientCommand_NoServerThere_SaysWhereItAsked(params string[] arguments)
    {
        var (exitCode, output) = await ToolProcess.RunAsync(_folder.Path, Limit, arguments);
        Assert.That(exitCode, Is.EqualTo(1), output);
        Assert.That(output, Does.Contain("localhost:13579").And.Not.Contain("null"));
    }

    [Test]
    public async Task Tail_OutputClosed_EndsThoughNothingMoreComes()
    {
        using var server = ToolProcess.Start(_folder.Path, ["serve", "--broker", "memory:", "--port", "0", "--metric-port", "0"]);
        var address = await server.GrpcAddressAsync(Limit);
        using var channel = GrpcChannel.ForAddress(address);
        await WriteAsync(channel);
        using var pipeline = ToolProcess.Start(
            "bash", ["-c", "set -o pipefail; dotnet \"$0\" tail Car --from start --server \"$1\" | head -n 1", ToolProcess.Program, address.ToString()], _folder.Path);
        Assert.That(await pipeline.EndAsync(Limit), Is.Zero, pipeline.Output);
        Assert.That(pipeline.Output, Does.Contain("vCar = 7"));
    }

    private async Task WriteAsync(GrpcChannel channel)
    {
        var packet = new PeriodicDataPacket
        {
            DataFormat = new SampleDataFormat { ParameterIdentifiers = new ParameterList { ParameterIdentifiers = { "vCar" } } },
            StartTime = 1_772_974_800_000_000_100,
            Columns = { new SampleColumn { DoubleSamples = new DoubleSampleList { Samples = { new DoubleSample { Value = 7, Status = DataStatus.Valid } } } } },
        };
        await new PacketWriterService.PacketWriterServiceClient(channel).WriteDataPacketAsync(
            new() { Detail = new() { DataSource = "Car", Message = new Packet { Type = "PeriodicData", Content = packet.ToByteString() } } }, cancellationToken: Limit);
    }
}
