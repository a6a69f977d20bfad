using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using Google.Protobuf;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Broker;
using MA.Streaming.IntegrationTests.Support;
using MA.Streaming.OpenData;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.IntegrationTests.Kafka;

/// <summary>
/// Writers that say whose each packet is, which number it has and what its bytes hash to, and a reader that runs beside them. What was
/// acknowledged, failed and read is held against what is on the broker in the end.
/// </summary>
internal sealed class CheckedTraffic(StreamServer server, string dataSource, int writers, int packets)
{
    private const int HashedBytes = 16;
    private const int RandomBytes = 400;
    private readonly ConcurrentDictionary<(int Writer, int Number), StatusCode> _outcomes = new();
    private readonly ConcurrentQueue<List<(int Writer, int Number)>> _reads = new();
    private int _issued;
    private int _settled;

    /// <summary>How many writes of one writer may be unanswered.</summary>
    public int OutstandingMax { get; init; } = 64;

    /// <summary>Bytes of a packet's content; a few hundred of a random length unless it is given.</summary>
    public int? ContentBytes { get; init; }

    /// <summary>What a writer waits for before its packet of a number.</summary>
    public Func<int, Task>? BeforePacket { get; init; }

    /// <summary>How many writes have been called.</summary>
    public int Issued => Volatile.Read(ref _issued);

    /// <summary>How many writes have been answered.</summary>
    public int Settled => Volatile.Read(ref _settled);

    public int Acknowledged => _outcomes.Count(outcome => outcome.Value == StatusCode.OK);

    /// <summary>The statuses of the writes that failed.</summary>
    public IEnumerable<StatusCode> Failures => _outcomes.Values.Where(code => code != StatusCode.OK);

    /// <summary>Writes everything; done when every write has been answered.</summary>
    public Task WriteAsync(CancellationToken token) => Task.WhenAll(Enumerable.Range(0, writers).Select(writer => Task.Run(() => WriteAsync(writer, token), token)));

    /// <summary>Reads live until all that was acknowledged has come. With a pause: takes the first response, and the next one when that is over.</summary>
    public async Task ReadAsync(Task writing, CancellationToken token, Task? pause = null)
    {
        var read = new List<(int Writer, int Number)>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(token);
        var connection = await server.ConnectAsync(new ConnectionDetails { DataSource = dataSource }, token);
        using var call = server.Reader.ReadPackets(new ReadPacketsRequest { Connection = connection }, cancellationToken: stop.Token);
        var seen = new HashSet<(int, int)>();
        var reading = Task.Run(async () =>
        {
            while (await call.ResponseStream.MoveNext(stop.Token))
            {
                foreach (var response in call.ResponseStream.Current.Response)
                {
                    var id = Check(response.Packet);
                    lock (seen)
                    {
                        if (!seen.Add(id)) throw new AssertionException($"{id} was delivered twice");
                    }

                    read.Add(id);
                }

                if (pause is not null) await pause.WaitAsync(stop.Token);
            }
        }, token);
        await writing;
        await Until.TrueAsync(
            async () =>
            {
                if (reading.IsCompleted) await reading;
                lock (seen) return _outcomes.Where(outcome => outcome.Value == StatusCode.OK).All(outcome => seen.Contains(outcome.Key));
            },
            token);

        await server.CloseAsync(connection, token);
        await stop.CancelAsync();
        try
        {
            await reading;
        }
        catch (RpcException exception) when (exception.StatusCode == StatusCode.Cancelled)
        {
            // That is how it was ended.
        }

        _reads.Enqueue(read);
    }

    /// <summary>Reads as a group with a member on each server until all that was acknowledged has come; how many packets came, and how many more than once.</summary>
    public async Task<(int All, int Repeated)> ReadAsGroupAsync(string group, IEnumerable<StreamServer> servers, Task writing, CancellationToken token)
    {
        var details = new ConnectionDetails
        {
            DataSource = dataSource,
            Streams = { Enumerable.Range(0, writers).Select(Stream) },
            ExcludeMainStream = true,
            ConsumerGroup = group,
        };
        var had = new ConcurrentDictionary<(int Writer, int Number), int>();
        var closing = new List<Func<Task>>();
        var reading = new List<Task>();
        foreach (var each in servers)
        {
            var read = await each.ReadAsync(details, token);
            closing.Add(() => each.CloseAsync(read.Connection, token));
            reading.Add(Task.Run(() => CountAsync(read), token));
        }

        await writing;
        await Until.TrueAsync(
            async () =>
            {
                if (reading.Find(each => each.IsCompleted) is { } ended) await ended;
                return _outcomes.Where(outcome => outcome.Value == StatusCode.OK).All(outcome => had.ContainsKey(outcome.Key));
            },
            token);

        foreach (var close in closing) await close();
        await Task.WhenAll(reading);
        return (had.Count, had.Values.Count(times => times > 1));

        async Task CountAsync(OpenRead read)
        {
            using (read)
            {
                await read.ToEndAsync(response => had.AddOrUpdate(Check(response.Packet), 1, static (_, times) => times + 1));
            }
        }
    }

    /// <summary>Reads everything with another server and holds it against what was answered.</summary>
    public async Task VerifyAsync(StreamServer other, CancellationToken token)
    {
        var stored = new Dictionary<int, List<int>>();
        for (var writer = 0; writer < writers; writer++)
        {
            var source = new TopicPartition($"{dataSource}.{Stream(writer)}", 0);
            stored[writer] = [.. (await other.Broker.StoredAsync(source, token)).Select(record => Check(record.Packet).Number)];
        }

        foreach (var (writer, numbers) in stored)
        {
            Assert.That(numbers, Is.Unique, $"writer {writer}: a packet is there twice");
            Assert.That(numbers, Is.Ordered, $"writer {writer}: the order of the calls");
            var there = numbers.ToHashSet();
            var lost = _outcomes.Where(outcome => outcome.Key.Writer == writer && outcome.Value == StatusCode.OK && !there.Contains(outcome.Key.Number));
            Assert.That(lost, Is.Empty, $"writer {writer}: acknowledged and not there");
        }

        Assert.That(_reads, Is.Not.Empty, "nobody read");
        foreach (var live in _reads.SelectMany(read => read.GroupBy(id => id.Writer)))
        {
            // The live reader may have stopped before records that nobody acknowledged.
            var numbers = live.Select(id => id.Number).ToArray();
            Assert.That(numbers, Is.EqualTo(stored[live.Key].Take(numbers.Length)), $"writer {live.Key}: what was read live is what is there");
        }
    }

    private static string Stream(int writer) => string.Create(CultureInfo.InvariantCulture, $"w{writer}");

    private static (int Writer, int Number) Check(Packet packet)
    {
        var content = packet.Content.Span;
        if (KeyPlacement.Crc32(content[8..]) != BinaryPrimitives.ReadUInt32LittleEndian(content)) throw new AssertionException("the content of a packet is not what was written");
        return (BinaryPrimitives.ReadInt32LittleEndian(content[8..]), BinaryPrimitives.ReadInt32LittleEndian(content[12..]));
    }

    private async Task WriteAsync(int writer, CancellationToken token)
    {
        var random = new Random(writer);
        var outstanding = new Queue<(int Number, Task Write)>();
        for (var number = 0; number < packets / writers; number++)
        {
            if (BeforePacket is not null) await BeforePacket(number).WaitAsync(token);

            // What is more than a few hundred bytes is easy to compress: disks are not what is put to the test.
            var content = new byte[HashedBytes + (ContentBytes ?? random.Next(200, 400))];
            random.NextBytes(content.AsSpan(0, Math.Min(content.Length, RandomBytes)));
            BinaryPrimitives.WriteInt32LittleEndian(content.AsSpan(8), writer);
            BinaryPrimitives.WriteInt32LittleEndian(content.AsSpan(12), number);
            BinaryPrimitives.WriteUInt32LittleEndian(content, KeyPlacement.Crc32(content.AsSpan(8)));
            var packet = new Packet { Type = "RawCANData", SessionKey = "s", Content = ByteString.CopyFrom(content) };
            outstanding.Enqueue((number, server.WriteAsync(dataSource, Stream(writer), packet, token)));
            Interlocked.Increment(ref _issued);
            if (outstanding.Count >= OutstandingMax) await SettleAsync(writer, outstanding.Dequeue());
        }

        while (outstanding.TryDequeue(out var write)) await SettleAsync(writer, write);
    }

    private async Task SettleAsync(int writer, (int Number, Task Write) write)
    {
        try
        {
            await write.Write;
            _outcomes[(writer, write.Number)] = StatusCode.OK;
        }
        catch (RpcException exception)
        {
            _outcomes[(writer, write.Number)] = exception.StatusCode;
        }

        Interlocked.Increment(ref _settled);
    }
}
