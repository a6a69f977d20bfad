using System.Buffers.Binary;
using System.Diagnostics;
using System.IO.Pipes;
using System.Runtime.CompilerServices;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>
/// Another process in which sixteen writers append as fast as they can, each one record at a time, until it is killed. It reports each
/// acknowledgement through a pipe; what is in the pipe survives it. The process is this assembly, told by its environment what to do.
/// </summary>
internal sealed class WritingProcess : IDisposable
{
    public const int Writers = 16;
    private const string DirectoryVariable = "STREAM_API_TEST_WRITE_DIRECTORY";
    private const string PipeVariable = "STREAM_API_TEST_WRITE_PIPE";
    private const int ReportBytes = 16;

    private readonly Process _process;
    private readonly AnonymousPipeServerStream _pipe;
    private readonly Task _reading;
    private readonly List<(int Writer, long Offset)> _acknowledged = [];
    private readonly List<(int Count, TaskCompletionSource Reached)> _awaited = [];

    private WritingProcess(string directory)
    {
        _pipe = new AnonymousPipeServerStream(PipeDirection.In, HandleInheritability.Inheritable);
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["exec", typeof(WritingProcess).Assembly.Location])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment[DirectoryVariable] = directory;
        start.Environment[PipeVariable] = _pipe.GetClientHandleAsString();
        _process = Process.Start(start)!;
        _pipe.DisposeLocalCopyOfClientHandle();
        _reading = ReadAsync();
    }

    public static EmbeddedBrokerOptions Options(string directory) => new()
    {
        Directory = directory,
        JournalFileBytes = 1 << 20,
        GroupBytesMax = 64 << 10,
        RecordBytesMax = 64 << 10,
        UndrainedBytesMax = 64 << 10,
        TailBytesMax = 0,
        SegmentBytesMax = 100_000,
        DiskReserveBytes = 0,
    };

    public static WritingProcess Start(string directory) => new(directory);

    /// <summary>What a writer appends at an offset.</summary>
    public static byte[] Value(int writer, long offset)
    {
        var value = new byte[16 + (writer * 40) + (int)(offset % 5 * 10)];
        BinaryPrimitives.WriteInt64LittleEndian(value, offset);
        for (var i = 8; i < value.Length; i++) value[i] = (byte)((offset * 31) + writer + i);
        return value;
    }

    /// <summary>Completes when so many acknowledgements were reported; fails when the process ends before.</summary>
    public async Task ReachAsync(int acknowledgements)
    {
        var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_acknowledged)
        {
            if (_acknowledged.Count >= acknowledgements) return;
            _awaited.Add((acknowledgements, reached));
        }

        if (await Task.WhenAny(reached.Task, _reading).WithDeadline(60) != reached.Task)
            Assert.Fail($"the writing process ended: {await _process.StandardError.ReadToEndAsync().WithDeadline()}");
    }

    /// <summary>SIGKILL; then everything it had reported.</summary>
    public async Task<IReadOnlyList<(int Writer, long Offset)>> KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync().WithDeadline();
        await _reading.WithDeadline();
        return _acknowledged;
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.Dispose();
        _pipe.Dispose();
    }

    /// <summary>In the writing process, writing is all there is. A thread keeps it alive, because an initializer must not wait.</summary>
    [ModuleInitializer]
    internal static void WriteUntilKilled()
    {
        if (Environment.GetEnvironmentVariable(DirectoryVariable) is { } directory)
            new Thread(() => WriteAsync(directory).GetAwaiter().GetResult()) { Name = "writer to be killed" }.Start();
    }

    private static async Task WriteAsync(string directory)
    {
        using var pipe = new AnonymousPipeClientStream(PipeDirection.Out, Environment.GetEnvironmentVariable(PipeVariable)!);
        await using var broker = await EmbeddedBroker.OpenAsync(Options(directory));
        await broker.EnsureTopicAsync(new TopicSpec("car", Writers), CancellationToken.None);
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(async writer =>
        {
            var source = new TopicPartition("car", writer);
            for (var offset = (await broker.GetWatermarksAsync([source], CancellationToken.None))[0].High; ; offset++)
            {
                var appended = await broker.AppendAsync(source, new RecordData(null, Value(writer, offset)), CancellationToken.None);
                var report = new byte[ReportBytes];
                BinaryPrimitives.WriteInt32LittleEndian(report, writer);
                BinaryPrimitives.WriteInt64LittleEndian(report.AsSpan(8), appended.Offset);

                // So few bytes go into a pipe whole.
                lock (pipe) pipe.Write(report);
            }
        }));
    }

    private async Task ReadAsync()
    {
        var report = new byte[ReportBytes];
        while (await _pipe.ReadAtLeastAsync(report, ReportBytes, throwOnEndOfStream: false) == ReportBytes)
        {
            lock (_acknowledged)
            {
                _acknowledged.Add((BinaryPrimitives.ReadInt32LittleEndian(report), BinaryPrimitives.ReadInt64LittleEndian(report.AsSpan(8))));
                foreach (var (count, reached) in _awaited)
                {
                    if (_acknowledged.Count >= count) reached.TrySetResult();
                }
            }
        }
    }
}

/// <summary>What must be in the log of writing processes, whatever became of them.</summary>
internal sealed class WrittenRecords
{
    private readonly HashSet<long>[] _acknowledged = [.. Enumerable.Range(0, WritingProcess.Writers).Select(_ => new HashSet<long>())];
    private int _deaths;

    /// <summary>A process died after these acknowledgements; each of its writers may have had one more record on its way.</summary>
    public void Died(IReadOnlyList<(int Writer, long Offset)> acknowledged)
    {
        _deaths++;
        foreach (var (writer, offset) in acknowledged)
            Assert.That(_acknowledged[writer].Add(offset), Is.True, $"offset {offset} of writer {writer} was given twice");
    }

    /// <summary>Every acknowledged record is there once, in order, and no other but those that were on their way.</summary>
    public async Task VerifyAsync(EmbeddedBroker broker, string what)
    {
        Assert.That(broker.Damages, Is.Zero, what);
        for (var writer = 0; writer < WritingProcess.Writers; writer++)
        {
            await using var reading = new BrokerReading(broker, new TopicPartition("car", writer), toHighWatermark: true);
            var next = 0L;
            while (await reading.NextAsync() is { } batch)
            {
                Assert.That(batch.Missing, Is.Null, $"{what}, writer {writer}");
                foreach (var record in batch.Records)
                {
                    if (record.Offset != next) Assert.Fail($"{what}, writer {writer}: offset {record.Offset} where {next} was due");
                    if (!record.Value.AsSpan().SequenceEqual(WritingProcess.Value(writer, next))) Assert.Fail($"{what}, writer {writer}: a wrong record at {next}");
                    next++;
                }
            }

            var lost = _acknowledged[writer].Where(offset => offset >= next).ToList();
            Assert.That(lost, Is.Empty, $"{what}, writer {writer}: the log ends at {next}");
            Assert.That(next - _acknowledged[writer].Count, Is.LessThanOrEqualTo(_deaths), $"{what}, writer {writer}: records that nobody sent");
        }
    }
}
