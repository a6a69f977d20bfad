using System.Threading.Channels;

namespace MA.Streaming.Core;

/// <summary>
/// Collects items and hands them on in batches: when it has <c>batchSize</c> items, or <c>timeWindowSize</c> after the first item of a batch.
/// Batches are processed one at a time, in order. <see cref="Add"/> waits while eight batches wait. After the source is cancelled, the
/// processor handles the items that were added, and ends.
/// </summary>
/// <remarks>It exists for programs that use it. The engine itself takes the items that are there, and never waits for a clock.</remarks>
/// <typeparam name="T">The items.</typeparam>
public sealed class TimeAndSizeWindowBatchProcessor<T>
{
    private readonly Channel<T> _items;
    private readonly Func<IReadOnlyList<T>, Task> _processAction;
    private readonly CancellationToken _stop;
    private readonly int _batchSize;
    private readonly TimeSpan _window;

    /// <summary>Starts processing.</summary>
    /// <param name="processAction">Takes a batch. The next one comes when its task has ended. A failure ends the processor: it is in
    /// <see cref="Completion"/>, and <see cref="Add"/> throws it.</param>
    /// <param name="cancellationTokenSource">Ends the processor.</param>
    /// <param name="batchSize">The largest number of items in a batch, 1 or more.</param>
    /// <param name="timeWindowSize">The longest time, in milliseconds, that the first item of a batch waits for others; 0 or more.</param>
    public TimeAndSizeWindowBatchProcessor(
        Func<IReadOnlyList<T>, Task> processAction, CancellationTokenSource cancellationTokenSource, int batchSize = 15000, int timeWindowSize = 1)
    {
        ArgumentNullException.ThrowIfNull(processAction);
        ArgumentNullException.ThrowIfNull(cancellationTokenSource);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(timeWindowSize);
        _processAction = processAction;
        _stop = cancellationTokenSource.Token;
        _batchSize = batchSize;
        _window = TimeSpan.FromMilliseconds(timeWindowSize);
        _items = Channel.CreateBounded<T>(new BoundedChannelOptions((int)Math.Min(8L * batchSize, 1 << 20)) { SingleReader = true });
        _stop.Register(() => _items.Writer.TryComplete());
        Completion = Task.Run(ProcessAsync);
    }

    /// <summary>Ends when the source is cancelled and every item is processed. Fails with the failure of the process action.</summary>
    public Task Completion { get; }

    /// <summary>Adds an item. Waits while too many items wait.</summary>
    /// <exception cref="InvalidOperationException">The processor has ended.</exception>
    public void Add(T item)
    {
        if (_items.Writer.TryWrite(item)) return;
        try
        {
#pragma warning disable RS0030 // Customers call it from synchronous code.
            _items.Writer.WriteAsync(item, CancellationToken.None).AsTask().GetAwaiter().GetResult();
#pragma warning restore RS0030
        }
        catch (ChannelClosedException exception)
        {
            throw new InvalidOperationException("the batch processor has ended", exception.InnerException);
        }
    }

    private async Task ProcessAsync()
    {
        try
        {
            var reader = _items.Reader;
            while (await reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
            {
                var batch = new List<T>();
                Drain(batch);
                if (batch.Count < _batchSize && _window > TimeSpan.Zero && !_stop.IsCancellationRequested)
                {
                    await Task.Delay(_window, _stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                    Drain(batch);
                }

                if (batch.Count > 0) await _processAction(batch).ConfigureAwait(false);
            }
        }
        catch (Exception exception)
        {
            _items.Writer.TryComplete(exception);
            throw;
        }
    }

    private void Drain(List<T> batch)
    {
        while (batch.Count < _batchSize && _items.Reader.TryRead(out var item)) batch.Add(item);
    }
}
