using System.Threading.Tasks.Sources;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Embedded;

/// <content>Who reads: readers and where they stand.</content>
public sealed partial class MemoryBroker
{
    /// <summary>Where a reader stands in one partition. It is in one place at a time: its reader's queue of ready positions, the
    /// chain of its partition (or of the partition's creation), or the hands of the thread that moves it between them.</summary>
    private sealed class ReaderPosition(Reader reader, TopicPartition source, long next, long end)
    {
        private ReaderPosition? _chained;

        public Reader Reader { get; } = reader;

        public TopicPartition Source { get; } = source;

        /// <summary>Null until the partition is known to exist.</summary>
        public Partition? Partition { get; set; }

        public long Next { get; set; } = next;

        /// <summary>Where the read ends.</summary>
        public long End { get; } = end;

        public static void Push(ref ReaderPosition? chain, ReaderPosition position)
        {
            position._chained = chain;
            chain = position;
        }

        public static void Remove(ref ReaderPosition? chain, ReaderPosition position)
        {
            ref var link = ref chain;
            while (link is not null && link != position) link = ref link._chained;
            if (link is not null) link = position._chained;
        }

        public static ReaderPosition? Join(ReaderPosition? chain, ReaderPosition? other)
        {
            while (chain is not null)
            {
                var next = chain._chained;
                Push(ref other, chain);
                chain = next;
            }

            return other;
        }

        /// <summary>Hands positions that were taken out of their chain to their readers; no lock may be held.</summary>
        public static void MakeReady(ReaderPosition? chain)
        {
            while (chain is not null)
            {
                var next = chain._chained;
                chain._chained = null;
                chain.Reader.Wake(chain);
                chain = next;
            }
        }
    }

    /// <summary>One read. Its consumer takes batches; any thread may make a position ready; it waits when none is.</summary>
    private sealed class Reader : IValueTaskSource
    {
        private readonly MemoryBroker _broker;
        private readonly ReadRequest _request;
        private readonly ReaderPosition[] _positions;
        private readonly Lock _gate = new();
        private readonly Queue<ReaderPosition> _ready;
        private ManualResetValueTaskSourceCore<bool> _signal;
        private bool _isWaiting;
        private bool _isEnding;
        private int _unfinished;

        public Reader(MemoryBroker broker, ReadRequest request)
        {
            _broker = broker;
            _request = request;
            _positions = [.. request.From.Select(PositionOf)];
            _ready = new Queue<ReaderPosition>(_positions.Where(position => position.Next < position.End));
            _unfinished = _ready.Count;
        }

        public bool IsAtEnd => _unfinished == 0;

        /// <summary>The next batch, of the position that has waited longest for its turn; null when none is ready.</summary>
        public RecordBatch? TakeBatch()
        {
            while (true)
            {
                ReaderPosition? position;
                lock (_gate)
                {
                    if (!_ready.TryDequeue(out position)) return null;
                }

                if (position.Partition is null && !_broker.TryResolve(position)) continue;
                if (position.Partition!.Take(position, _request.BytesMax) is { } batch) return batch;
            }
        }

        public void Queue(ReaderPosition position)
        {
            lock (_gate) _ready.Enqueue(position);
        }

        public void Finished() => _unfinished--;

        /// <summary>Completes when a position is ready or the read must end.</summary>
        public ValueTask WaitAsync()
        {
            lock (_gate)
            {
                if (_ready.Count > 0 || _isEnding) return ValueTask.CompletedTask;
                _signal.Reset();
                _signal.RunContinuationsAsynchronously = !_request.ResumeInline;
                _isWaiting = true;
                return new ValueTask(this, _signal.Version);
            }
        }

        public void Wake(ReaderPosition position)
        {
            lock (_gate)
            {
                _ready.Enqueue(position);
                if (!_isWaiting) return;
                _isWaiting = false;
            }

            _signal.SetResult(true);
        }

        /// <summary>Wakes the consumer to see why the read ends; never on the thread that ends it.</summary>
        public void End()
        {
            lock (_gate)
            {
                _isEnding = true;
                if (!_isWaiting) return;
                _isWaiting = false;
            }

            _signal.RunContinuationsAsynchronously = true;
            _signal.SetResult(true);
        }

        /// <summary>Takes the read's positions out of every chain they wait in.</summary>
        public void Leave()
        {
            foreach (var position in _positions)
            {
                if (position.Partition is { } partition) partition.Abandon(position);
                else _broker.Abandon(position);
            }
        }

        void IValueTaskSource.GetResult(short token) => _signal.GetResult(token);

        ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _signal.GetStatus(token);

        void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _signal.OnCompleted(continuation, state, token, flags);

        private ReaderPosition PositionOf(Position from)
        {
            var end = _request.ToHighWatermark ? _broker.Find(from.Source)?.GetWatermarks().High ?? 0 : long.MaxValue;
            return new ReaderPosition(this, from.Source, from.Offset, end);
        }
    }
}
