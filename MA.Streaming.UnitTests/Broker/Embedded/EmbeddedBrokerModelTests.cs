using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>The embedded broker and the memory broker side by side, with restarts of the first in between: they never differ.</summary>
public sealed class EmbeddedBrokerModelTests
{
    private const int TopicCount = 3;
    private const int PartitionCount = 3;

    [TestCase(300)]
    [TestCase(3000, Category = "Long")]
    public async Task RandomOperations_ManySeedsWithRestarts_AgreeWithTheMemoryBroker(int seeds)
    {
        for (var seed = Sample.Seed; seed < Sample.Seed + seeds; seed++)
        {
            await using var run = new Run(seed);
            try
            {
                await run.StepsAsync(30).WithDeadline(30);
                await run.RestartAsync().WithDeadline(30);
            }
            catch (Exception exception)
            {
                Assert.Fail($"seed {seed}: {exception}\nafter\n{string.Join('\n', run.History)}");
            }
        }
    }

    private sealed class Run(int seed) : IAsyncDisposable
    {
        private readonly Random _random = new(seed);
        private readonly ManualClock _clock = new();
        private readonly SimulatedDisk _disk = new(seed) { HasThreads = true };
        private MemoryBroker _model = null!;
        private EmbeddedBroker _broker = null!;

        public List<string> History { get; } = [];

        private static CancellationToken None => CancellationToken.None;

        public async Task StepsAsync(int count)
        {
            _model = new MemoryBroker(clock: _clock);
            await OpenAsync();
            for (var i = 0; i < count; i++)
            {
                switch (_random.Next(20))
                {
                    case < 3: await EnsureAsync(); break;
                    case < 10: await AppendAsync(); break;
                    case < 14: await ReadAsync(); break;
                    case < 16: await FindAsync(); break;
                    case < 17: await TrimAsync(); break;
                    case < 18: _clock.Advance(TimeSpan.FromTicks(_random.Next(100))); break;
                    default: await RestartAsync(); break;
                }

                var sources = Sources().ToArray();
                Assert.That(await _broker.GetWatermarksAsync(sources, None), Is.EqualTo(await _model.GetWatermarksAsync(sources, None)));
            }
        }

        public async ValueTask DisposeAsync()
        {
            await _broker.DisposeAsync();
            await _model.DisposeAsync();
        }

        private static IEnumerable<TopicPartition> Sources() =>
            Enumerable.Range(0, TopicCount).SelectMany(t => Enumerable.Range(0, PartitionCount).Select(p => new TopicPartition($"t{t}", p)));

        private async Task OpenAsync()
        {
            var options = new EmbeddedBrokerOptions
            {
                Directory = "simulated",
                GroupBytesMax = 2000,
                RecordBytesMax = 1000,
                JournalFileBytes = 8000,
                SegmentBytesMax = 3000,
                UndrainedBytesMax = 1 + _random.Next(8000),
                TailBytesMax = _random.Next(2) * _random.Next(10_000),
                DiskReserveBytes = 0,
            };
            _broker = await EmbeddedBroker.OpenAsync(options, _disk.Boot, _clock);
        }

        /// <summary>What a start finds is compared whole.</summary>
        public async Task RestartAsync()
        {
            // Everything was acknowledged, so it makes no difference whether the broker closes or the power goes.
            if (_random.Next(2) == 0)
            {
                History.Add("power lost");
                _disk.LosePower();
                await _broker.DisposeAsync();
            }
            else
            {
                History.Add("restart");
                await _broker.DisposeAsync();
            }

            await OpenAsync();
            var sources = Sources().ToArray();
            Assert.That(await _broker.GetWatermarksAsync(sources, None), Is.EqualTo(await _model.GetWatermarksAsync(sources, None)));
            var everything = new ReadRequest([.. sources.Select(source => new Position(source, 0))], 1 << 20, ToHighWatermark: true);
            Assert.That(await RecordsAsync(_broker, everything), Is.EqualTo(await RecordsAsync(_model, everything)));
        }

        private async Task EnsureAsync()
        {
            var spec = new TopicSpec($"t{_random.Next(TopicCount)}", _random.Next(1, PartitionCount + 1));
            History.Add($"{spec}");
            Assert.That(await _broker.EnsureTopicAsync(spec, None), Is.EqualTo(await _model.EnsureTopicAsync(spec, None)));
        }

        private async Task AppendAsync()
        {
            var appends = new List<(Task<Appended> Broker, Task<Appended> Model)>();
            for (var i = _random.Next(12); i >= 0; i--)
            {
                var target = new TopicPartition($"t{_random.Next(TopicCount)}", _random.Next(-1, PartitionCount));
                var record = new RecordData(RandomBytes(10), RandomBytes(_random.Next(8) == 0 ? 900 : 60));
                History.Add($"append {record.Bytes} bytes to {target}");
                appends.Add((_broker.AppendAsync(target, record, None).AsTask(), _model.AppendAsync(target, record, None).AsTask()));
            }

            foreach (var (own, model) in appends)
            {
                await Task.WhenAny(own);
                Assert.That((own.Exception?.InnerException as BrokerException)?.Error, Is.EqualTo((model.Exception?.InnerException as BrokerException)?.Error));
                if (model.IsCompletedSuccessfully) Assert.That(await own, Is.EqualTo(await model));
            }
        }

        private async Task ReadAsync()
        {
            var marks = await _model.GetWatermarksAsync([.. Sources()], None);
            Position[] from = [.. marks.Where(_ => _random.Next(2) == 0).Select(mark => new Position(mark.Source, _random.Next((int)mark.High + 2)))];
            var request = new ReadRequest(from, 1 + _random.Next(2000), ToHighWatermark: true);
            History.Add($"read {string.Join(", ", from)}");
            Assert.That(await RecordsAsync(_broker, request), Is.EqualTo(await RecordsAsync(_model, request)));
        }

        private static async Task<Dictionary<TopicPartition, string>> RecordsAsync(IBroker broker, ReadRequest request)
        {
            await using var reading = new BrokerReading(broker, request);
            return (await reading.ToEndAsync()).GroupBy(batch => batch.Source).ToDictionary(
                batches => batches.Key,
                batches => string.Join(
                    '\n',
                    batches.Select(batch => batch.Missing?.ToString()).OfType<string>()
                        .Concat(batches.SelectMany(batch => batch.Records).Select(r => $"{r.Offset} {r.Timestamp:O} {Hex(r.Key)} {Hex(r.Value)}"))));
        }

        private async Task FindAsync()
        {
            var time = _clock.GetUtcNow().AddTicks(-_random.Next(500));
            History.Add($"find {time:O}");
            Assert.That(await _broker.FindOffsetsAsync([.. Sources()], time, None), Is.EqualTo(await _model.FindOffsetsAsync([.. Sources()], time, None)));
        }

        private async Task TrimAsync()
        {
            var mark = (await _model.GetWatermarksAsync([.. Sources()], None)).OrderBy(_ => _random.Next()).First();
            if (mark.High == 0) return;
            var low = _random.Next((int)mark.High + 1);
            History.Add($"trim {mark.Source} to {low}");
            _model.TrimTo(mark.Source, low);
            _broker.TrimTo(mark.Source, low);
        }

        private ReadOnlyMemory<byte>? RandomBytes(int lengthMax)
        {
            if (_random.Next(8) == 0) return null;
            var bytes = new byte[_random.Next(lengthMax)];
            _random.NextBytes(bytes);
            return bytes;
        }

        private static string Hex(byte[]? bytes) => bytes is null ? "null" : Convert.ToHexString(bytes);
    }
}
