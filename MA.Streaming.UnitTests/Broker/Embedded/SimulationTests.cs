using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>
/// The log on a disk that loses power, and on one that fails: random steps, all from one seed, in one thread. Whatever happens,
/// nothing acknowledged is lost, nothing comes twice, order holds, no watermark goes back, and no offset is given twice.
/// </summary>
public sealed class SimulationTests
{
    private const int LongRun = 100_000;

    /// <summary>Short runs, many of them.</summary>
    [TestCase(false, 1_000)]
    [TestCase(true, 1_000)]
    [TestCase(false, 20_000, Category = "Long")]
    [TestCase(true, 20_000, Category = "Long")]
    public void RandomSteps_PowerIsLostAndCallsFailOrDoNot_KeepEveryPromise(bool failing, int seeds) =>
        Check(seeds, seed => new Run(seed, failing), run => run.Boots(4));

    /// <summary>Runs that go on: groups, files and numbers come far, and there are long times between two starts.</summary>
    [TestCase(false, 1)]
    [TestCase(true, 1)]
    [TestCase(false, 20, Category = "Long")]
    [TestCase(true, 20, Category = "Long")]
    public void RandomSteps_AHundredThousand_KeepEveryPromise(bool failing, int seeds) =>
        Check(seeds, seed => new Run(seed, failing) { IsLong = true }, run => run.Steps(LongRun));

    [TestCase(17)]
    [TestCase(18)]
    public void RandomSteps_SameSeed_IsTheSameRun(int seed)
    {
        var one = new Run(seed, failing: true);
        var other = new Run(seed, failing: true);
        one.Boots(4);
        other.Boots(4);
        Assert.That(other.History, Is.EqualTo(one.History));
    }

    /// <summary>Parameters: SimulationFirstSeed, SimulationSeeds.</summary>
    private static void Check(int seeds, Func<int, Run> make, Action<Run> run)
    {
        var first = TestContext.Parameters.Get("SimulationFirstSeed", Sample.Seed);
        Sample.CheckAll([.. Enumerable.Range(first, TestContext.Parameters.Get("SimulationSeeds", seeds))], seed =>
        {
            var made = make(seed);
            try
            {
                run(made);
            }
            catch (Exception exception)
            {
                throw new AssertionException($"{exception}\nafter\n{string.Join('\n', made.History.TakeLast(60))}");
            }
        });
    }

    private sealed record Sent(long Number, byte[] Value, Append Append)
    {
        public long Offset { get; set; } = -1;
    }

    private sealed class Model
    {
        /// <summary>Everything ever appended, by its number, whatever became of it.</summary>
        public Dictionary<long, Sent> Sent { get; } = [];

        /// <summary>What this start has not seen the end of.</summary>
        public List<Sent> Pending { get; } = [];

        public long Low { get; set; }

        public long High { get; set; }

        /// <summary>The number and the time that stood at an offset when it was seen.</summary>
        public Dictionary<long, (long Number, DateTimeOffset Timestamp)> Seen { get; } = [];

        /// <summary>The newest record's time: no later record is older, whatever the clock says and however often the log starts.</summary>
        public DateTimeOffset Newest { get; set; }
    }

    private sealed class Run
    {
        private readonly Random _random;
        private readonly ManualClock _clock = new();
        private readonly SimulatedDisk _disk;
        private readonly EmbeddedBrokerOptions _options;
        private readonly Dictionary<TopicPartition, Model> _models = [];
        private readonly List<(TopicSpec Spec, Append Append)> _changes = [];
        private readonly List<Append> _queue = [];
        private readonly bool _failing;
        private Log? _log;
        private long _numbers;

        private int TrimMax => IsLong ? 200 : 20;

        public Run(int seed, bool failing)
        {
            _random = new Random(seed);
            _disk = new SimulatedDisk(seed * 31);
            _failing = failing;
            _options = new EmbeddedBrokerOptions
            {
                Directory = "simulated",
                GroupBytesMax = 1500,
                RecordBytesMax = 900,
                SegmentBytesMax = 2000 + _random.Next(6000),
                JournalFileBytes = 5500 + _random.Next(9000),
                UndrainedBytesMax = 20_000,
                TailBytesMax = _random.Next(3) * 3000,
                DiskReserveBytes = 1,

                // Files that are filled when they are made, and files that grow while they are written.
                JournalZerosBytes = 2 * (Journal.FileBytesMin + _random.Next(7000)),

                // Segments flushed one by one, and all at once.
                FlushEachMax = _random.Next(6),
            };
        }

        public List<string> History { get; } = [];

        /// <summary>Long times between two starts, and retention that keeps up.</summary>
        public bool IsLong { get; init; }

        public void Boots(int count)
        {
            Open();
            for (var boot = 0; boot < count; boot++) Boot(20 + _random.Next(60));
        }

        public void Steps(int count)
        {
            Open();
            while (count > 0) count -= Boot(1 + _random.Next(_random.Next(10) == 0 ? 5000 : 700));
        }

        /// <summary>Some steps, or fewer if power is lost; then a start. How many steps there were.</summary>
        private int Boot(int steps)
        {
            var done = 0;
            if (_random.Next(5) > 0) _disk.CallsUntilPowerLoss = 1 + _random.Next(_random.Next(2) == 0 ? 40 : IsLong ? 5000 : 250);
            try
            {
                for (; done < steps && !(IsLong && _log!.Broken is not null && _random.Next(20) == 0); done++) Step();
                if (_random.Next(3) == 0)
                {
                    Note("close");
                    _disk.Fault = null;
                    if (_log!.Broken is null) _log.CloseCleanly();
                }
            }
            catch (PowerLossException)
            {
                Note("power lost");
            }

            _disk.Fault = null;
            if (_random.Next(4) == 0 && _disk.CallsUntilPowerLoss < 0)
            {
                Note("killed");
                _disk.Kill();
            }
            else
            {
                _disk.LosePower();
            }

            _queue.Clear();
            foreach (var model in _models.Values) model.Pending.Clear();
            OpenThroughPowerLosses();
            VerifyAfterStart();
            return done + 1;
        }

        private void OpenThroughPowerLosses()
        {
            for (var tries = _random.Next(3); ; tries--)
            {
                if (tries > 0) _disk.CallsUntilPowerLoss = 1 + _random.Next(30);
                try
                {
                    Open();
                    if (_disk.CallsUntilPowerLoss == 0) throw new PowerLossException();
                    _disk.CallsUntilPowerLoss = -1;
                    return;
                }
                catch (PowerLossException)
                {
                    Note("power lost while opening");
                    _disk.LosePower();
                }
            }
        }

        private void Open()
        {
            Note("open");
            _log = Log.Open(_disk.Boot(), _options, _clock, damage =>
            {
                Note($"damage: {damage}");
                Check(damage.IsTornTail, $"there is no rot, and the log says {damage}");
            });
        }

        private void Step()
        {
            if (_failing) _disk.Fault = _random.Next(4) == 0 ? FaultOf(_random.Next(1, 12)) : null;
            if (_log!.CanHeal && _random.Next(3) > 0)
            {
                Heal();
                return;
            }

            switch (_random.Next(100))
            {
                case < 8: Change(); break;
                case < 55: Send(); break;
                case < 80: Commit(); break;
                case < 90: Drain(); break;
                case < 93: Trim(); break;
                case < 95: MoveClock(); break;
                default: Read(); break;
            }
        }

        private Func<DiskCall, string, Exception?> FaultOf(int calls)
        {
            var isFull = _random.Next(2) == 0;

            // After a failed flush of the journal nothing is written until it is mended, so it is rarer than others.
            var spareJournal = _random.Next(4) > 0;
            return (call, path) =>
            {
                if (call is DiskCall.Open || (spareJournal && call is DiskCall.Flush or DiskCall.FlushDirectory && (path.StartsWith("journal", StringComparison.Ordinal) || path.Length == 0))) return null;
                if (--calls != 0) return null;
                Note($"{call} of {path} fails");
                return isFull && call is DiskCall.Write or DiskCall.Create ? new DiskFullException("no room") : new IOException("input/output error");
            };
        }

        /// <summary>On, or as a time server sets it, back too.</summary>
        private void MoveClock()
        {
            _clock.Advance(TimeSpan.FromTicks(_random.Next(1000)));
            if (_random.Next(4) == 0) _clock.JumpTo(_clock.GetUtcNow().AddTicks(_random.Next(-5000, 5000)));
        }

        private void Heal()
        {
            Note("heal");
            try
            {
                _log!.Heal();
            }
            catch (IOException exception)
            {
                Note($"not mended: {exception.Message}");
            }
        }

        private void Change()
        {
            var spec = new TopicSpec($"t{_random.Next(3)}", _random.Next(1, 4));
            var append = new Append(spec);
            Note($"topic {spec}");
            _changes.Add((spec, append));
            _queue.Add(append);
        }

        private void Send()
        {
            var partitions = _log!.Topics.SelectMany(topic => topic.Partitions).OrderBy(p => p.Source.Topic, StringComparer.Ordinal).ThenBy(p => p.Source.Partition).ToArray();
            if (partitions.Length == 0) return;
            for (var i = _random.Next(6); i >= 0; i--)
            {
                var partition = partitions[_random.Next(partitions.Length)];
                var value = new byte[8 + _random.Next(_random.Next(10) == 0 ? 850 : 60)];
                _random.NextBytes(value);
                BitConverter.TryWriteBytes(value, ++_numbers);
                var append = new Append(partition, new RecordData(null, value));
                var model = ModelOf(partition.Source);
                var sent = new Sent(_numbers, value, append);
                model.Sent.Add(_numbers, sent);
                model.Pending.Add(sent);
                _queue.Add(append);
                Note($"send {_numbers} to {partition.Source}");
            }
        }

        private void Commit()
        {
            var group = new List<Append>();
            var bytes = 0;
            while (_queue.Count > 0 && (group.Count == 0 || bytes + _queue[0].Bytes <= _options.GroupBytesMax))
            {
                bytes += _queue[0].Bytes;
                group.Add(_queue[0]);
                _queue.RemoveAt(0);
            }

            if (group.Count == 0) return;
            Note($"commit {group.Count}");
            _log!.Commit(group);
            foreach (var append in group) Check(append.Task.IsCompleted, "an append of a committed group is not completed");
            foreach (var (source, model) in _models.OrderBy(pair => pair.Key.ToString(), StringComparer.Ordinal))
            {
                foreach (var sent in model.Pending.Where(sent => sent.Append.Task.IsCompletedSuccessfully))
                {
                    sent.Offset = sent.Append.Record.Offset;
                    Check(sent.Offset == model.High, $"{source}: {sent.Number} was given offset {sent.Offset}, the next is {model.High}");
                    Check(model.Seen.TryAdd(sent.Offset, (sent.Number, sent.Append.Record.Timestamp)), $"{source}: offset {sent.Offset} was given twice");
                    CheckTime(source, model, sent.Offset, sent.Append.Record.Timestamp);
                    model.High = sent.Offset + 1;
                    Note($"{sent.Number} has offset {sent.Offset}");
                }

                model.Pending.RemoveAll(sent => sent.Append.Task.IsCompleted);
            }
        }

        private void Drain()
        {
            Note("drain");
            if (_random.Next(2) == 0) _disk.Meanwhile = (_random.Next(30), Commit);
            try
            {
                _log!.Drain();
            }
            catch (IOException exception)
            {
                Note($"drain failed: {exception.Message}");
            }
            finally
            {
                _disk.Meanwhile = null;
            }
        }

        private void Trim()
        {
            if (_models.Count == 0) return;
            var (source, model) = _models.OrderBy(pair => pair.Key.ToString(), StringComparer.Ordinal).ElementAt(_random.Next(_models.Count));
            if (_log!.Find(source) is not { } partition) return;
            var low = Math.Min(model.High, model.Low + _random.Next(TrimMax));
            Note($"trim {source} to {low}");
            try
            {
                _log.TrimTo(partition, low);
                model.Low = Math.Max(model.Low, low);
            }
            catch (IOException exception)
            {
                Note($"trim failed: {exception.Message}");
                model.Low = Math.Max(model.Low, _log.Find(source)!.GetWatermarks().Low);
            }
        }

        private void Read()
        {
            _disk.Fault = null;
            foreach (var (source, model) in _models) VerifyRecords(source, model, isAfterStart: false);
        }

        /// <summary>After a start, the log may hold more than was acknowledged, never less.</summary>
        private void VerifyAfterStart()
        {
            foreach (var (spec, append) in _changes.Where(change => change.Append.Task.IsCompletedSuccessfully))
                Check(_log!.FindTopic(spec.Name) is { } topic && topic.Partitions.Length >= spec.Partitions, $"topic {spec} is lost");
            foreach (var (source, model) in _models) VerifyRecords(source, model, isAfterStart: true);
        }

        private void VerifyRecords(TopicPartition source, Model model, bool isAfterStart)
        {
            var partition = _log!.Find(source);
            Check(partition is not null, $"{source} is gone");
            var marks = partition!.GetWatermarks();
            Check(marks.Low >= model.Low, $"{source}: low went back from {model.Low} to {marks.Low}");
            Check(marks.High >= model.High, $"{source}: high went back from {model.High} to {marks.High}");
            Check(isAfterStart || (marks.High == model.High && marks.Low == model.Low), $"{source}: {marks} without a cause, after {model.Low} and {model.High}");

            // A trim that was interrupted may have happened.
            Check(marks.Low <= model.Low + TrimMax, $"{source}: low is {marks.Low} after {model.Low}");
            model.Low = marks.Low;
            model.High = marks.High;
            var request = new ReadRequest([new Position(source, marks.Low)], 1 + _random.Next(3000), ToHighWatermark: true);
            var reader = new LogReader(_log, request);
            var next = marks.Low;
            long last = 0;
            while (!reader.IsAtEnd)
            {
                var batch = reader.TakeBatch();
                if (reader.IsBehind) batch = reader.ReadSegment();
                if (batch is null) continue;
                Check(batch.Missing is null, $"{source}: {batch.Missing}");
                foreach (var record in batch.Records)
                {
                    var number = BitConverter.ToInt64(record.Value!.Value.Span);
                    Check(record.Offset == next, $"{source}: offset {record.Offset} where {next} was due");
                    Check(number > last, $"{source}: {number} comes after {last}");
                    var sent = model.Sent.GetValueOrDefault(number);
                    Check(sent is not null && record.Value.Value.Span.SequenceEqual(sent.Value), $"{source}: {number} at {record.Offset} was never appended");
                    Check(sent!.Offset < 0 || sent.Offset == record.Offset, $"{source}: {number} moved from {sent.Offset} to {record.Offset}");
                    if (!model.Seen.TryGetValue(record.Offset, out var before)) CheckTime(source, model, record.Offset, record.Timestamp);
                    else Check(before == (number, record.Timestamp), $"{source}: offset {record.Offset} had {before} and has {number} of {record.Timestamp:O}");
                    model.Seen[record.Offset] = (number, record.Timestamp);
                    sent.Offset = record.Offset;
                    last = number;
                    next++;
                }
            }

            Check(next == marks.High, $"{source}: records end at {next}, before {marks.High}");
        }

        private static void CheckTime(TopicPartition source, Model model, long offset, DateTimeOffset timestamp)
        {
            Check(timestamp >= model.Newest, $"{source}: offset {offset} is of {timestamp:O}, an earlier one of {model.Newest:O}");
            model.Newest = timestamp;
        }

        private Model ModelOf(TopicPartition source)
        {
            if (!_models.TryGetValue(source, out var model)) _models[source] = model = new Model();
            return model;
        }

        private void Note(string what) => History.Add(what);

        private static void Check(bool holds, string failure)
        {
            if (!holds) throw new AssertionException(failure);
        }
    }
}
