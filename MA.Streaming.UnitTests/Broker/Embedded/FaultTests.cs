using System.Globalization;
using System.Text;
using MA.Streaming.Broker.Embedded;
using MA.Streaming.Core.Broker;
using MA.Streaming.TestSupport;
using NUnit.Framework;

namespace MA.Streaming.UnitTests.Broker.Embedded;

/// <summary>
/// One script, run again and again: the n-th call to the disk fails, for every n, or is slow. Nothing is acknowledged that is not
/// durable, reads go on, and writing resumes with the next append; only a journal that could not be flushed needs a new start. The suite
/// takes one in so many calls, other ones with each commit; the tests of category Long take all.
/// </summary>
public sealed class FaultTests
{
    private const int Some = 5;

    private static readonly EmbeddedBrokerOptions Options = new()
    {
        Directory = "simulated",
        GroupBytesMax = 1500,
        RecordBytesMax = 900,
        JournalFileBytes = 6000,
        SegmentBytesMax = 3000,
        TailBytesMax = 0,
        DiskReserveBytes = 1,
    };

    [TestCase(false, 1, Some)]
    [TestCase(true, 1, Some)]
    [TestCase(false, 12, Some)]
    [TestCase(true, 12, Some)]
    [TestCase(false, 1, 1, Category = "Long")]
    [TestCase(true, 1, 1, Category = "Long")]
    [TestCase(false, 12, 1, Category = "Long")]
    [TestCase(true, 12, 1, Category = "Long")]
    public void EveryCall_FailsOnceOrForSomeTime_KeepsEveryPromise(bool isFull, int calls, int oneIn)
    {
        var script = new Script(seed: 1);
        script.Run();
        Assert.That(script.Calls, Is.GreaterThan(500));
        Assert.That(script.Kinds, Is.SupersetOf(Enum.GetValues<DiskCall>()));
        Sample.Check(script.Calls, oneIn, call =>
        {
            var n = call + 1;
            var failing = new Script(n) { FirstFault = n, LastFault = n + calls - 1, IsFull = isFull };
            failing.Run();
            Check(failing.Faults > 0, "no call failed");
        });
    }

    [TestCase(Some)]
    [TestCase(1, Category = "Long")]
    public void EveryFlush_TakesLong_AcknowledgesNothingMeanwhileAndReadsGoOn(int oneIn)
    {
        var script = new Script(seed: 1);
        script.Run();
        Sample.Check(script.Calls, oneIn, call =>
        {
            var slow = new Script(call + 1) { SlowFlush = call + 1 };
            slow.Run();
        });
    }

    private static void Check(bool holds, string failure)
    {
        if (!holds) throw new AssertionException(failure);
    }

    private sealed class Script
    {
        private readonly SimulatedDisk _disk;
        private readonly ManualClock _clock = new();

        /// <summary>What was acknowledged, by offset; and what may be there.</summary>
        private readonly Dictionary<TopicPartition, SortedDictionary<long, string>> _acknowledged = [];
        private readonly HashSet<string> _sent = new(StringComparer.Ordinal);
        private readonly Dictionary<TopicPartition, long> _lows = [];
        private readonly HashSet<TopicPartition> _unknownLows = [];
        private readonly Random _random;
        private List<Append> _inFlight = [];
        private string _fault = "";
        private bool _isJournalFlush;
        private bool _isOpening;
        private Log _log = null!;

        public Script(int seed)
        {
            _random = new Random(1);
            _disk = new SimulatedDisk(seed) { Fault = FaultOf, Before = Slow };
        }

        public int FirstFault { get; init; }

        public int LastFault { get; init; }

        public int SlowFlush { get; init; }

        public bool IsFull { get; init; }

        public int Calls { get; private set; }

        public int Faults { get; private set; }

        public HashSet<DiskCall> Kinds { get; } = [];

        public void Run()
        {
            Open();
            Ensure("car", 2);
            Ensure("bus", 1);
            for (var step = 0; step < 45; step++)
            {
                Commit(step);
                if (step % 14 == 13) Trim(new("car", 0), step / 3);
                if (step % 4 == 1) Try(() => _log.Drain());
                if (step == 20) Ensure("car", 3);
                if (step == 28) Ensure("many", 17);
                if (step % 11 == 10) Read();
                if (step is 13 or 24 or 33 or 41) Restart(isClean: step == 24);
            }

            _disk.Fault = null;
            _disk.Before = null;
            Verify("at the end");
            Commit(100);
            Restart(isClean: false);
            Verify("after a kill");
            Commit(101);
            _disk.LosePower();
            Open();
            Verify("after a loss of power");
        }

        private Exception? FaultOf(DiskCall call, string path)
        {
            Kinds.Add(call);
            if (++Calls < FirstFault || Calls > LastFault) return null;
            Faults++;
            _fault = $"{call} of {path}";
            _isJournalFlush |= call == DiskCall.Flush && path.StartsWith("journal", StringComparison.Ordinal);
            return IsFull && call is not (DiskCall.Open or DiskCall.Read) ? new DiskFullException("no room") : new IOException("input/output error");
        }

        /// <summary>While a flush takes its time, whoever waits for it goes on waiting, and readers go on reading.</summary>
        private void Slow(DiskCall call, string path)
        {
            if (Calls + 1 != SlowFlush || call is not (DiskCall.Flush or DiskCall.FlushAll or DiskCall.FlushDirectory)) return;
            _disk.Before = null;
            Check(!_inFlight.Exists(append => append.Task.IsCompleted), $"acknowledged before the {call} of {path} was done");
            if (!_isOpening) Verify($"during the {call} of {path}");
        }

        private void Open()
        {
            _isOpening = true;
            while (true)
            {
                var faults = Faults;
                try
                {
                    _log = Log.Open(_disk.Boot(), Options, _clock, damage => Check(damage.IsTornTail, $"{damage}"));
                    _isOpening = false;
                    return;
                }
                catch (IOException) when (Faults > faults)
                {
                    // The next attempt finds what this one left.
                }
            }
        }

        private void Restart(bool isClean)
        {
            if (isClean && _log.Broken is null) Try(_log.CloseCleanly);
            _log.Dispose();
            _disk.Kill();
            Open();
        }

        private void Ensure(string topic, int partitions)
        {
            while (true)
            {
                var append = new Append(new TopicSpec(topic, partitions));
                if (CommitAll([append])) break;
            }

            for (var p = 0; p < partitions; p++)
            {
                _acknowledged.TryAdd(new TopicPartition(topic, p), []);
                _lows.TryAdd(new TopicPartition(topic, p), 0);
            }
        }

        private void Commit(int step)
        {
            var appends = new List<Append>();
            var texts = new List<string>();
            foreach (var source in _acknowledged.Keys)
            {
                // So many dirty files at once are flushed together.
                if (source.Topic == "many" && step is not (30 or 100)) continue;
                var text = string.Create(CultureInfo.InvariantCulture, $"{source} {step} {new string('.', step % 4 == 0 ? 300 : 20)}");
                _sent.Add(text);
                texts.Add(text);
                appends.Add(new Append(_log.Find(source)!, new RecordData(null, Encoding.UTF8.GetBytes(text))));
            }

            CommitAll(appends);
            for (var i = 0; i < appends.Count; i++)
            {
                if (!appends[i].Task.IsCompletedSuccessfully) continue;
                var records = _acknowledged[appends[i].Partition!.Source];
                var offset = appends[i].Record.Offset;
                Check(records.Count == 0 || records.Keys.Last() < offset, $"offset {offset} was given after {records.Keys.LastOrDefault()}, {_fault} failed");
                records[offset] = texts[i];
            }
        }

        /// <summary>True when all are durable. They fail together, and only with a fault; a broken log is opened anew.</summary>
        private bool CommitAll(List<Append> appends)
        {
            var faults = Faults;
            _inFlight = appends;
            _log.Commit(appends);
            _inFlight = [];
            Check(appends.TrueForAll(append => append.Task.IsCompleted), "an append hangs");
            var failed = appends.Count(append => !append.Task.IsCompletedSuccessfully);
            Check(failed == 0 || failed == appends.Count, $"{failed} of {appends.Count} failed");
            if (failed == 0) return true;
            Check(Faults > faults, $"an append was refused after the {_fault} that failed: {appends[0].Task.Exception!.InnerException!.Message}");
            Read();
            if (_log.Broken is null) return false;
            Check(_isJournalFlush, $"the log is broken because the {_fault} failed");
            _isJournalFlush = false;
            Restart(isClean: false);
            return false;
        }

        private void Trim(TopicPartition source, long low)
        {
            _unknownLows.Add(source);
            if (!Try(() => _log.TrimTo(_log.Find(source)!, low))) return;
            _unknownLows.Remove(source);
            _lows[source] = Math.Max(_lows[source], Math.Min(low, _log.Find(source)!.High));
        }

        private bool Try(Action act)
        {
            var faults = Faults;
            try
            {
                act();
                return true;
            }
            catch (IOException) when (Faults > faults)
            {
                return false;
            }
        }

        /// <summary>Reads go on, whatever else fails; a read that itself fails says so, and the next one works.</summary>
        private void Read()
        {
            var faults = Faults;
            try
            {
                Verify("on the way");
            }
            catch (BrokerException exception) when (Faults > faults && exception.Error == BrokerError.Unavailable)
            {
                // The disk refused to read.
            }
        }

        private void Verify(string when)
        {
            foreach (var (source, records) in _acknowledged)
            {
                var partition = _log.Find(source)!;
                var low = partition.GetWatermarks().Low;
                Check(low == _lows[source] || (_unknownLows.Contains(source) && low > _lows[source]), $"{when}: {source} begins at {low}, not at {_lows[source]}");
                if (low > _lows[source]) _lows[source] = low;
                var found = new Dictionary<long, string>();
                var reader = new LogReader(_log, new ReadRequest([new Position(source, low)], 1 + _random.Next(2000), true));
                while (!reader.IsAtEnd)
                {
                    var batch = reader.TakeBatch();
                    if (reader.IsBehind) batch = reader.ReadSegment();
                    Check(batch?.Missing is null, $"{when}: {source}: {batch?.Missing}");
                    foreach (var record in batch?.Records ?? []) found.Add(record.Offset, Encoding.UTF8.GetString(record.Value!.Value.Span));
                }

                foreach (var (offset, text) in records.Where(record => record.Key >= low))
                    Check(found.GetValueOrDefault(offset) == text, $"{when}: {source} has '{found.GetValueOrDefault(offset)}' at {offset}, acknowledged was '{text}'; {_fault} failed");
                foreach (var (offset, text) in found) Check(_sent.Contains(text) && text.StartsWith($"{source} ", StringComparison.Ordinal), $"{when}: {source} has '{text}' at {offset}, which nobody sent there");
                Check(found.Values.Distinct().Count() == found.Count, $"{when}: {source} has a record twice");
            }
        }
    }
}
