using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker;

/// <summary>
/// Random operations on a <see cref="MemoryBroker"/> and on lists that are obviously right; both must agree after every step. The
/// memory broker completes everything before it returns, so each seed is one thread and always the same run.
/// </summary>
public sealed class MemoryBrokerModelTests
{
    private const int Overhead = MemoryBroker.RecordOverheadBytes;

    [Test]
    public async Task RandomOperations_AThousandSeeds_AgreeWithTheModel()
    {
        for (var seed = Sample.Seed; seed < Sample.Seed + 1000; seed++)
        {
            await using var run = new Run(seed);
            try
            {
                await run.StepsAsync(60).WithDeadline(30);
            }
            catch (Exception exception) when (exception is not AssertionException)
            {
                Assert.Fail($"seed {seed}: {exception}");
            }
        }
    }

    private sealed record ModelRecord(DateTimeOffset Timestamp, byte[]? Key, byte[]? Value)
    {
        public long Cost => (Key?.Length ?? 0) + (Value?.Length ?? 0) + Overhead;
    }

    private sealed class ModelPartition
    {
        // All there ever were: an offset is an index.
        public List<ModelRecord> Records { get; } = [];

        public long Low { get; set; }

        public long High => Records.Count;

        public long Cost => Records.Skip((int)Low).Sum(record => record.Cost);
    }

    private sealed class ModelTopic
    {
        public List<ModelPartition> Partitions { get; } = [];

        public bool IsKeptForever { get; set; }
    }

    private sealed class Run : IAsyncDisposable
    {
        private readonly int _seed;
        private readonly Random _random;
        private readonly ManualClock _clock = new();
        private readonly MemoryBroker _broker;
        private readonly long _bytesMax;
        private readonly Dictionary<string, ModelTopic> _topics = [];
        private readonly List<LiveReader> _readers = [];
        private readonly List<string> _log = [];

        public Run(int seed)
        {
            _seed = seed;
            _random = new Random(seed);

            // Plenty; plenty with small chunks; so little that most of what is appended goes again.
            _bytesMax = (seed % 3) switch { 0 => 64 << 20, 1 => 2 << 20, _ => 3000 + _random.Next(20_000) };
            _broker = new MemoryBroker(new MemoryBrokerOptions { BytesMax = _bytesMax }, _clock);
        }

        private static CancellationToken None => CancellationToken.None;

        public async Task StepsAsync(int count)
        {
            for (var i = 0; i < count; i++)
            {
                var choice = _random.Next(100);
                if (choice < 10 || _topics.Count == 0) await EnsureAsync();
                else if (choice < 50) await AppendAsync(_random.Next(25) == 0 ? _random.Next(800) : _random.Next(20));
                else if (choice < 65) await ReadAsync();
                else if (choice < 72) await FindAsync();
                else if (choice < 78) Trim();
                else if (choice < 84) MoveClock();
                else if (choice < 90) StartReader();
                else if (choice < 98) Pump();
                else await StopReaderAsync();
                await CompareWatermarksAsync();
            }

            foreach (var reader in _readers) reader.Pump();
        }

        public async ValueTask DisposeAsync()
        {
            await _broker.DisposeAsync();
            foreach (var reader in _readers) await reader.DisposeAsync();
        }

        private async Task EnsureAsync()
        {
            var spec = new TopicSpec($"t{_random.Next(4)}", _random.Next(1, 4), _random.Next(8) == 0);
            _log.Add($"ensure {spec}");
            if (!_topics.TryGetValue(spec.Name, out var topic)) _topics[spec.Name] = topic = new ModelTopic();
            topic.IsKeptForever |= spec.KeepForever;
            while (topic.Partitions.Count < spec.Partitions) topic.Partitions.Add(new ModelPartition());
            var info = await _broker.EnsureTopicAsync(spec, None);
            Check(info == new TopicInfo(spec.Name, topic.Partitions.Count), $"{info}");
        }

        private async Task AppendAsync(int count)
        {
            var name = $"t{_random.Next(4)}";
            _log.Add($"append {count} to {name}");
            var forever = _topics.Values.Where(t => t.IsKeptForever).Sum(t => t.Partitions.Sum(p => p.Cost));
            for (var i = 0; i < count; i++)
            {
                var target = new TopicPartition(name, _random.Next(-1, 4));
                var (key, value) = (RandomBytes(12), RandomBytes(_random.Next(20) == 0 ? 900 : 60));
                var append = _broker.AppendAsync(target, new RecordData(Memory(key), Memory(value)), None).AsTask();
                Check(append.IsCompleted, "an append is complete when it returns");
                var index = target.Partition;
                var topic = _topics.GetValueOrDefault(name);
                if (index < 0 && topic is not null) index = KeyPlacement.PartitionOf(key, topic.Partitions.Count);
                var record = new ModelRecord(_clock.GetUtcNow(), key, value);
                var expected = topic is null || index >= topic.Partitions.Count ? BrokerError.NoSuchTopic
                    : forever + record.Cost > _bytesMax ? BrokerError.Full
                    : (BrokerError?)null;
                if (expected is not null)
                {
                    var error = (append.Exception?.InnerException as BrokerException)?.Error;
                    Check(error == expected, $"append to {target}: {error} instead of {expected}");
                    continue;
                }

                var partition = topic!.Partitions[index];
                var last = partition.Records.LastOrDefault()?.Timestamp ?? DateTimeOffset.MinValue;
                if (last > record.Timestamp) record = record with { Timestamp = last };
                var appended = await append;
                Check(appended == new Appended(index, partition.High, record.Timestamp), $"append to {target}: {appended}");
                partition.Records.Add(record);
                if (topic.IsKeptForever) forever += record.Cost;
                Check(_broker.BytesHeld <= _bytesMax, $"{_broker.BytesHeld} bytes are held, at most {_bytesMax} are allowed");
            }
        }

        private async Task CompareWatermarksAsync()
        {
            var sources = Sources().ToArray();
            var marks = await _broker.GetWatermarksAsync(sources, None);
            var held = 0L;
            for (var i = 0; i < marks.Count; i++)
            {
                var partition = Find(sources[i]);
                if (partition is not null && marks[i].Low > partition.Low && !_topics[sources[i].Topic].IsKeptForever)
                {
                    // Which records eviction takes is the broker's choice; that it must, and may, is not.
                    Check(_bytesMax < 1 << 20, "nothing is evicted while there is room");
                    partition.Low = marks[i].Low;
                }

                Check(marks[i] == new Watermarks(sources[i], partition?.Low ?? 0, partition?.High ?? 0), $"{marks[i]}");
                held += partition?.Cost ?? 0;
            }

            Check(_broker.BytesHeld == held, $"{_broker.BytesHeld} bytes are counted, {held} are held");
        }

        private async Task ReadAsync()
        {
            var from = RandomPositions();
            var request = new ReadRequest(from, _random.Next(1, 2000), ToHighWatermark: true);
            _log.Add($"read {string.Join(", ", from)}");
            await using var reading = new BrokerReading(_broker, request);
            var batches = (await reading.ToEndAsync()).ToLookup(batch => batch.Source);
            foreach (var (source, offset) in from)
            {
                var partition = Find(source);
                var own = batches[source].ToList();
                var (low, high) = (partition?.Low ?? 0, partition?.High ?? 0);
                var missing = offset < low ? new MissingRange(offset, low, MissingReason.Retention) : null;
                var isSaidOnce = own.FirstOrDefault()?.Missing == missing && own.Skip(1).All(b => b.Missing is null);
                Check(isSaidOnce, $"{source} from {offset}: wrong missing ranges");
                var first = Math.Max(offset, low);
                var records = own.SelectMany(b => b.Records).ToList();
                Check(records.Count == Math.Max(0, high - first), $"{source} from {offset}: {records.Count} records of {high - first}");
                for (var i = 0; i < records.Count; i++) CheckRecord(records[i], first + i);
                if (own.Count > 0) Check(own[^1].NextOffset == high, $"{source} from {offset}: ends at {own[^1].NextOffset}");
            }
        }

        private async Task FindAsync()
        {
            var times = _topics.Values.SelectMany(t => t.Partitions).SelectMany(p => p.Records).Select(r => r.Timestamp).Distinct().ToList();
            var time = _clock.GetUtcNow().AddTicks(_random.Next(-2, 3));
            if (times.Count > 0 && _random.Next(4) > 0) time = times[_random.Next(times.Count)].AddTicks(_random.Next(-1, 2));
            var sources = Sources().ToArray();
            var found = await _broker.FindOffsetsAsync(sources, time, None);
            for (var i = 0; i < sources.Length; i++)
            {
                var partition = Find(sources[i]);
                var index = partition?.Records.FindIndex((int)partition.Low, r => r.Timestamp >= time) ?? 0;
                var expected = index < 0 ? partition!.High : index;
                Check(found[i] == expected, $"{sources[i]} at {time:O}: {found[i]} instead of {expected}");
            }
        }

        private void Trim()
        {
            var source = Sources().ElementAt(_random.Next(Sources().Count()));
            if (Find(source) is not { } partition) return;
            var low = partition.Low + _random.Next((int)(partition.High - partition.Low) + 3);
            _log.Add($"trim {source} to {low}");
            _broker.TrimTo(source, low);
            partition.Low = Math.Max(partition.Low, Math.Min(low, partition.High));
        }

        private void MoveClock()
        {
            if (_random.Next(5) == 0) _clock.JumpTo(_clock.GetUtcNow().AddSeconds(-_random.Next(100)));
            else _clock.Advance(TimeSpan.FromTicks(_random.Next(3) * _random.Next(100_000_000)));
        }

        private void StartReader()
        {
            if (_readers.Count > 5) return;
            var from = RandomPositions();
            if (from.Length == 0) return;
            _log.Add($"start reader {string.Join(", ", from)}");
            _readers.Add(new LiveReader(this, new ReadRequest(from, _random.Next(1, 2000), false) { ResumeInline = true }));
        }

        private void Pump()
        {
            if (_readers.Count == 0) return;
            _log.Add("pump");
            _readers[_random.Next(_readers.Count)].Pump();
        }

        private async Task StopReaderAsync()
        {
            if (_readers.Count == 0) return;
            var reader = _readers[_random.Next(_readers.Count)];
            _readers.Remove(reader);
            await reader.DisposeAsync();
        }

        private static IEnumerable<TopicPartition> Sources() =>
            Enumerable.Range(0, 16).Select(i => new TopicPartition($"t{i / 4}", i % 4));

        // About half of the partitions, there or not, from anywhere up to a little past their ends.
        private Position[] RandomPositions() =>
            [.. Sources().Where(_ => _random.Next(2) == 0).Select(s => new Position(s, _random.Next((int)(Find(s)?.High ?? 3) + 3)))];

        private ModelPartition? Find(TopicPartition source) =>
            _topics.TryGetValue(source.Topic, out var topic) && source.Partition < topic.Partitions.Count ? topic.Partitions[source.Partition] : null;

        private byte[]? RandomBytes(int lengthMax)
        {
            if (_random.Next(10) == 0) return null;
            var bytes = new byte[_random.Next(lengthMax)];
            _random.NextBytes(bytes);
            return bytes;
        }

        private static ReadOnlyMemory<byte>? Memory(byte[]? bytes) => bytes is null ? default(ReadOnlyMemory<byte>?) : bytes;

        private void CheckRecord(ReadRecord record, long offset)
        {
            var expected = Find(record.Source)!.Records[(int)offset];
            Check(record.Offset == offset, $"{record.Source}: offset {record.Offset} instead of {offset}");
            Check(
                record.Timestamp == expected.Timestamp && Same(record.Key, expected.Key) && Same(record.Value, expected.Value),
                $"{record.Source}: the record at {offset} is another");

            static bool Same(byte[]? one, byte[]? other) => one is null == other is null && one.AsSpan().SequenceEqual(other);
        }

        private void Check(bool holds, string failure)
        {
            if (!holds) Assert.Fail($"seed {_seed}: {failure}\nafter\n{string.Join('\n', _log)}");
        }

        /// <summary>An unbounded read; it has everything there is whenever it is pumped.</summary>
        private sealed class LiveReader : IAsyncDisposable
        {
            private readonly Run _run;
            private readonly BrokerReading _reading;
            private readonly Dictionary<TopicPartition, long> _next;

            public LiveReader(Run run, ReadRequest request)
            {
                _run = run;
                _reading = new BrokerReading(run._broker, request);
                _next = request.From.ToDictionary(p => p.Source, p => p.Offset);
                _ = _reading.Begin();
            }

            public void Pump()
            {
                while (_reading.Begin().IsCompleted)
                {
                    var next = _reading.NextAsync();
                    _run.Check(next.IsCompletedSuccessfully, "a read without bound has no end");
                    var batch = next.GetAwaiter().GetResult()!;
                    var expected = _next[batch.Source];
                    if (batch.Missing is { } missing)
                    {
                        var low = _run.Find(batch.Source)!.Low;
                        _run.Check(missing.Reason == MissingReason.Retention, $"{missing}");
                        _run.Check(missing.To <= low && missing.To > missing.From, $"{missing} where low is {low}");
                        expected = missing.To;
                    }

                    foreach (var record in batch.Records) _run.CheckRecord(record, expected++);
                    _run.Check(batch.NextOffset == expected, $"{batch.Source}: next is {batch.NextOffset} instead of {expected}");
                    _next[batch.Source] = expected;
                }

                foreach (var (source, next) in _next)
                {
                    var high = _run.Find(source)?.High ?? 0;
                    _run.Check(next >= high, $"{source}: a reader waits at {next} before {high}");
                }
            }

            public ValueTask DisposeAsync() => _reading.DisposeAsync();
        }
    }
}
