using Confluent.Kafka;
using MA.Streaming.Abstraction;
using MA.Streaming.Broker.Kafka;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using Microsoft.Extensions.Logging.Abstractions;

namespace MA.Streaming.Proto.ServerComponent;

/// <summary>Asks Kafka whether it is there: a broker has to answer a question about the cluster, not just accept a connection.</summary>
public sealed class KafkaBrokerAvailabilityChecker : IKafkaBrokerAvailabilityChecker
{
    /// <summary>Questions in a row without an answer that count as a loss: one may fall into an election.</summary>
    private const int Losses = 3;

    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);

    private readonly KafkaOptions _kafka;
    private readonly TimeProvider _clock;

    /// <summary>Asks over a plain connection.</summary>
    public KafkaBrokerAvailabilityChecker()
        : this(KafkaOptions.Default)
    {
    }

    /// <summary>Asks as these settings say: with a user's name and password, over TLS.</summary>
    /// <param name="kafka">How Kafka is reached.</param>
    public KafkaBrokerAvailabilityChecker(KafkaOptions kafka)
        : this(kafka, TimeProvider.System)
    {
    }

    internal KafkaBrokerAvailabilityChecker(KafkaOptions kafka, TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(kafka);
        (_kafka, _clock) = (kafka, clock);
    }

    /// <summary>False where nobody said how Kafka is reached.</summary>
    internal bool HasSettings => _kafka != KafkaOptions.Default;

    /// <summary>True when a broker answers within three seconds.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    /// <exception cref="BrokerException">The native library is not there; says what to do.</exception>
    public bool Check(string brokerUrl)
    {
        var options = new KafkaBrokerOptions { BootstrapServers = brokerUrl, Kafka = _kafka };
        options.Validate();
        KafkaLibrary.Require();
        using var admin = new KafkaClients(options, NullLogger.Instance).Admin();
        try
        {
            return admin.GetMetadata(AnswerTime).Brokers.Count > 0;
        }
        catch (KafkaException)
        {
            return false;
        }
    }

    /// <summary>True when a broker answers within three seconds; blocks no thread of the caller.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    public Task<bool> CheckAsync(string brokerUrl) => Task.Run(() => Check(brokerUrl));

    /// <summary>Asks every two seconds until the source is cancelled, and cancels it when the broker has not answered three times in a row.</summary>
    /// <param name="brokerUrl">The broker's <c>host:port[,host:port…]</c>.</param>
    /// <param name="cancellationTokenSource">Ends the checking; cancelled by the checker when the broker is lost.</param>
    public async Task CheckContinuously(string brokerUrl, CancellationTokenSource cancellationTokenSource)
    {
        ArgumentNullException.ThrowIfNull(cancellationTokenSource);
        var stop = cancellationTokenSource.Token;
        var missed = 0;
        while (!stop.IsCancellationRequested)
        {
            missed = await CheckAsync(brokerUrl).ConfigureAwait(false) ? 0 : missed + 1;
            if (missed >= Losses)
            {
                await cancellationTokenSource.CancelAsync().ConfigureAwait(false);
                return;
            }

            await Task.Delay(Interval, _clock, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
