using System.Text;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <summary>A record with bytes of its own, because those of a batch are lent.</summary>
internal sealed record ReadRecord(TopicPartition Source, long Offset, DateTimeOffset Timestamp, byte[]? Key, byte[]? Value)
{
    public string? Text => Value is null ? null : Encoding.UTF8.GetString(Value);
}

/// <summary>A batch that outlives the next one.</summary>
internal sealed record ReadBatch(TopicPartition Source, long NextOffset, IReadOnlyList<ReadRecord> Records, MissingRange? Missing)
{
    public long Bytes => Records.Sum(record => (record.Key?.Length ?? 0L) + (record.Value?.Length ?? 0L));
}

/// <summary>
/// One read, driven by a test: every wait has a deadline, and every batch is held against what the port promises of all batches.
/// </summary>
internal sealed class BrokerReading : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop;
    private readonly ReadRequest _request;
    private readonly IAsyncEnumerator<RecordBatch> _batches;
    private readonly Dictionary<TopicPartition, long> _next;
    private Task<bool>? _pending;

    public BrokerReading(IBroker broker, ReadRequest request, CancellationToken cancellationToken = default)
    {
        _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _request = request;
        _next = request.From.ToDictionary(position => position.Source, position => position.Offset);
        _batches = broker.ReadAsync(request, _stop.Token).GetAsyncEnumerator(CancellationToken.None);
    }

    public BrokerReading(IBroker broker, TopicPartition source, long from = 0, bool toHighWatermark = false, int bytesMax = 1 << 20)
        : this(broker, new ReadRequest([new Position(source, from)], bytesMax, toHighWatermark))
    {
    }

    /// <summary>Asks for the next batch without waiting for it: the read has begun when this returns.</summary>
    public Task<bool> Begin() => _pending ??= _batches.MoveNextAsync().AsTask();

    /// <summary>The next batch, or null when the read has ended.</summary>
    public async Task<ReadBatch?> NextAsync()
    {
        var pending = Begin();
        var hasBatch = await pending.WithDeadline(what: "the next batch");
        _pending = null;
        return hasBatch ? Checked(_batches.Current) : null;
    }

    /// <summary>As many records as asked, and the rest of the batch they came with.</summary>
    public async Task<List<ReadRecord>> TakeAsync(int count)
    {
        var records = new List<ReadRecord>(count);
        while (records.Count < count)
        {
            var batch = await NextAsync() ?? throw new AssertionException($"the read ended after {records.Count} of {count} records");
            records.AddRange(batch.Records);
        }

        return records;
    }

    /// <summary>All batches until the read ends.</summary>
    public async Task<List<ReadBatch>> ToEndAsync()
    {
        var batches = new List<ReadBatch>();
        while (await NextAsync() is { } batch) batches.Add(batch);
        return batches;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        if (_pending is not null)
        {
            try
            {
                await _pending.WithDeadline(what: "the end of a cancelled read");
            }
            catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException)
            {
                // That is how a read ends.
            }
        }

        await _batches.DisposeAsync().WithDeadline();
        _stop.Dispose();
    }

    private ReadBatch Checked(RecordBatch batch)
    {
        Check(_next.TryGetValue(batch.Source, out var next), $"{batch.Source} was not asked for");
        if (batch.Missing is { } missing)
        {
            Check(missing.From == next, $"missing offsets begin at {missing.From} and not where the read stands, at {next}");
            Check(missing.To >= missing.From, $"missing offsets end at {missing.To}, before they begin at {missing.From}");
            next = missing.To;
        }

        var records = new List<ReadRecord>(batch.Records.Count);
        foreach (var record in batch.Records)
        {
            Check(record.Offset >= next, $"offset {record.Offset} comes where {next} or more was due");
            next = record.Offset + 1;
            records.Add(new ReadRecord(batch.Source, record.Offset, record.Timestamp, record.Key?.ToArray(), record.Value?.ToArray()));
        }

        Check(batch.NextOffset >= next, $"the next offset is {batch.NextOffset}, before {next}");
        _next[batch.Source] = batch.NextOffset;
        var read = new ReadBatch(batch.Source, batch.NextOffset, records, batch.Missing);
        Check(
            records.Count < 2 || read.Bytes <= _request.BytesMax,
            $"{records.Count} records have {read.Bytes} bytes, more than {_request.BytesMax}");
        return read;
    }

    // Not Assert.That: this runs for every record of every test.
    private static void Check(bool holds, string failure)
    {
        if (!holds) throw new AssertionException(failure);
    }
}
