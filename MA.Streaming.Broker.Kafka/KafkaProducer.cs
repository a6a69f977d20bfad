using System.Runtime.InteropServices;
using Confluent.Kafka;
using MA.Streaming.Core.Broker;

namespace MA.Streaming.Broker.Kafka;

/// <summary>What became of a record that was produced.</summary>
/// <param name="Tag">What it was produced with.</param>
/// <param name="Error">Why it was not delivered; null when it was.</param>
/// <param name="Partition">Where it stands.</param>
/// <param name="Offset">Its offset.</param>
/// <param name="Timestamp">Its time, in milliseconds.</param>
internal readonly record struct Delivery(int Tag, Error? Error, int Partition, long Offset, long Timestamp);

/// <summary>
/// librdkafka's producer, spoken to without Confluent.Kafka between: that one allocates and pins several objects a record and calls back
/// for each report, which costs a third of what a record costs in all. Here key and value are copied once, into librdkafka, and reports
/// come in the batches in which Kafka acknowledged them. It has no thread of its own: who owns it polls it. Not for several threads at
/// once, but for <see cref="PartitionsOf"/>.
/// </summary>
internal sealed unsafe partial class KafkaProducer : IDisposable
{
    private const int ReportsMax = 512;
    private const int DeliveriesMax = 4_096;
    private const int CopyFlag = 2;
    private const int DeliveryEvent = 0x1;
    private const int LogEvent = 0x4;
    private const int ErrorEvent = 0x8;
    private const int WordsMax = 512;

    private readonly Client _client;
    private readonly nint _queue;
    private readonly string _name;
    private readonly Dictionary<string, nint> _topics = new(StringComparer.Ordinal);
    private readonly Action<Error> _complain;
    private readonly Action<LogMessage> _log;
    private readonly nint[] _reports = new nint[ReportsMax];

    /// <summary>Connects, in the background.</summary>
    /// <param name="settings">Librdkafka's properties.</param>
    /// <param name="complain">Is told, while it is polled, of errors that are of no record.</param>
    /// <param name="log">Is told, while it is polled, what librdkafka logs.</param>
    /// <exception cref="ArgumentException">Librdkafka does not take a property; says which.</exception>
    public KafkaProducer(IEnumerable<KeyValuePair<string, string>> settings, Action<Error> complain, Action<LogMessage> log)
    {
        (_complain, _log) = (complain, log);
        var words = stackalloc byte[WordsMax];
        var configuration = Native.ConfNew();
        try
        {
            foreach (var (name, value) in settings)
            {
                if (Native.ConfSet(configuration, name, value, words, WordsMax) != 0) throw new ArgumentException(Text(words));
            }

            if (Native.ConfSet(configuration, "log.queue", "true", words, WordsMax) != 0) throw new ArgumentException(Text(words));
            Native.ConfSetEvents(configuration, DeliveryEvent | LogEvent | ErrorEvent);
            _client = new Client(Native.New(0, configuration, words, WordsMax));
        }
        catch
        {
            Native.ConfDestroy(configuration);
            throw;
        }

        if (_client.IsInvalid)
        {
            Native.ConfDestroy(configuration);
            throw new ArgumentException(Text(words));
        }

        _name = Text(Native.Name(Handle));
        _queue = Native.QueueGetMain(Handle);
        _ = Native.SetLogQueue(Handle, 0);
    }

    /// <summary>librdkafka's own handle.</summary>
    public nint Handle => _client.DangerousGetHandle();

    /// <summary>Why it failed for good, also before it has told; null when it has not.</summary>
    public Error? Fatal
    {
        get
        {
            var words = stackalloc byte[WordsMax];
            var cause = Native.FatalError(Handle, words, WordsMax);
            return cause == 0 ? null : new Error((ErrorCode)cause, Text(words), isFatal: true);
        }
    }

    /// <summary>Gives a record to librdkafka, which copies it. Its report comes with its tag, unless it is refused at once.</summary>
    /// <returns>Why it was refused; null when it was taken.</returns>
    public Error? Produce(string topic, int partition, in RecordData record, long timestamp, int tag)
    {
        if (!_topics.TryGetValue(topic, out var handle))
        {
            handle = Native.TopicNew(Handle, topic, 0);
            if (handle == 0) return Of(Native.LastError(), null);
            _topics.Add(topic, handle);
        }

        // Null and empty are two things: what is empty has an address.
        byte nothing = 0;
        var key = record.Key.GetValueOrDefault().Span;
        var value = record.Value.GetValueOrDefault().Span;
        fixed (byte* keyStart = key, valueStart = value)
        {
            var arguments = stackalloc Argument[7];
            arguments[0] = new Argument { Kind = 2, Pointer = handle };
            arguments[1] = new Argument { Kind = 3, Number = partition };
            arguments[2] = new Argument { Kind = 7, Number = CopyFlag };
            arguments[3] = new Argument { Kind = 4, Pointer = record.Value is null ? 0 : (nint)(value.IsEmpty ? &nothing : valueStart), Bytes = (nuint)value.Length };
            arguments[4] = new Argument { Kind = 5, Pointer = record.Key is null ? 0 : (nint)(key.IsEmpty ? &nothing : keyStart), Bytes = (nuint)key.Length };
            arguments[5] = new Argument { Kind = 8, Number = timestamp };
            arguments[6] = new Argument { Kind = 6, Pointer = tag };
            var error = Native.Produceva(Handle, arguments, 7);
            if (error == 0) return null;
            var code = Native.ErrorIsFatal(error) != 0 ? (int)ErrorCode.Local_Fatal : Native.ErrorCodeOf(error);
            Native.ErrorDestroy(error);
            return Of(code, null);
        }
    }

    /// <summary>Waits for the next events, tells of those that are there, and adds what they say of records, up to a bound.</summary>
    public void Poll(TimeSpan wait, List<Delivery> deliveries)
    {
        for (var milliseconds = (int)wait.TotalMilliseconds; deliveries.Count < DeliveriesMax; milliseconds = 0)
        {
            var happened = Native.QueuePoll(_queue, milliseconds);
            if (happened == 0) return;
            Take(happened, deliveries);
        }
    }

    /// <summary>Forgets a topic that was deleted, so that one of the same name is a new one.</summary>
    public void Forget(string topic)
    {
        if (_topics.Remove(topic, out var handle)) Native.TopicDestroy(handle);
    }

    /// <summary>Asks Kafka how many partitions a topic has, and remembers it. For any thread. Null when there is no answer in time.</summary>
    public int? PartitionsOf(string topic, TimeSpan wait)
    {
        var isThere = false;
        try
        {
            _client.DangerousAddRef(ref isThere);
            var handle = Native.TopicNew(Handle, topic, 0);
            if (handle == 0) return null;
            Metadata* answer = null;
            try
            {
                if (Native.Metadata(Handle, 0, handle, &answer, (int)wait.TotalMilliseconds) != 0) return null;
                return answer->TopicCount == 1 ? answer->Topics->PartitionCount : 0;
            }
            finally
            {
                if (answer != null) Native.MetadataDestroy(answer);
                Native.TopicDestroy(handle);
            }
        }
        catch (ObjectDisposedException)
        {
            return null;
        }
        finally
        {
            if (isThere) _client.DangerousRelease();
        }
    }

    /// <summary>Ends it. Reports of what is still on its way do not come.</summary>
    public void Dispose()
    {
        if (_client.IsClosed) return;
        foreach (var topic in _topics.Values) Native.TopicDestroy(topic);
        _topics.Clear();
        Native.QueueDestroy(_queue);
        _client.Dispose();
    }

    private static string Text(byte* text) => Marshal.PtrToStringUTF8((nint)text) ?? "";

    private void Take(nint happened, List<Delivery> deliveries)
    {
        try
        {
            switch (Native.EventType(happened))
            {
                case DeliveryEvent:
                    AddReports(happened, deliveries);
                    break;
                case ErrorEvent:
                    _complain(Of(Native.EventError(happened), Text(Native.EventErrorString(happened))));
                    break;
                case LogEvent:
                    if (Native.EventLog(happened, out var facility, out var text, out var level) == 0)
                        _log(new LogMessage(_name, (SyslogLevel)level, Text(facility), Text(text)));
                    break;
            }
        }
        finally
        {
            Native.EventDestroy(happened);
        }
    }

    private void AddReports(nint happened, List<Delivery> deliveries)
    {
        fixed (nint* reports = _reports)
        {
            while (true)
            {
                var count = (int)Native.EventMessageArray(happened, reports, ReportsMax);
                if (count == 0) return;
                for (var i = 0; i < count; i++)
                {
                    var report = (Report*)reports[i];
                    var error = report->Error == 0 ? null : Of(report->Error, null);
                    deliveries.Add(new Delivery((int)report->Tag, error, report->Partition, report->Offset, Native.MessageTimestamp((nint)report, out _)));
                }
            }
        }
    }

    // One for good has its reason in the client.
    private Error Of(int code, string? reason)
    {
        if (code != (int)ErrorCode.Local_Fatal) return reason is null ? new Error((ErrorCode)code) : new Error((ErrorCode)code, reason);
        return Fatal ?? new Error((ErrorCode)code, reason, isFatal: true);
    }

    /// <summary>Lives as long as somebody uses it.</summary>
    private sealed class Client : SafeHandle
    {
        public Client(nint client)
            : base(0, ownsHandle: true) => SetHandle(client);

        public override bool IsInvalid => handle == 0;

        protected override bool ReleaseHandle()
        {
            Native.Destroy(handle);
            return true;
        }
    }

    /// <summary>rd_kafka_vu_t.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    private struct Argument
    {
        [FieldOffset(0)]
        public int Kind;

        [FieldOffset(8)]
        public nint Pointer;

        [FieldOffset(8)]
        public long Number;

        [FieldOffset(16)]
        public nuint Bytes;
    }

    /// <summary>rd_kafka_message_t.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Report
    {
        public int Error;
        public nint Topic;
        public int Partition;
        public nint Value;
        public nuint ValueBytes;
        public nint Key;
        public nuint KeyBytes;
        public long Offset;
        public nint Tag;
    }

    /// <summary>The beginning of rd_kafka_metadata_t.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Metadata
    {
        public int BrokerCount;
        public nint Brokers;
        public int TopicCount;
        public TopicMetadata* Topics;
    }

    /// <summary>rd_kafka_metadata_topic_t.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct TopicMetadata
    {
        public nint Topic;
        public int PartitionCount;
        public nint Partitions;
        public int Error;
    }

    /// <summary>The functions of librdkafka, in the library that Confluent.Kafka has loaded.</summary>
    private static partial class Native
    {
        private const string Library = KafkaLibrary.Name;

        static Native() => NativeLibrary.SetDllImportResolver(typeof(KafkaProducer).Assembly, KafkaLibrary.Resolve);

        [LibraryImport(Library, EntryPoint = "rd_kafka_conf_new")]
        public static partial nint ConfNew();

        [LibraryImport(Library, EntryPoint = "rd_kafka_conf_set", StringMarshalling = StringMarshalling.Utf8)]
        public static partial int ConfSet(nint configuration, string name, string value, byte* words, nuint wordsMax);

        [LibraryImport(Library, EntryPoint = "rd_kafka_conf_destroy")]
        public static partial void ConfDestroy(nint configuration);

        [LibraryImport(Library, EntryPoint = "rd_kafka_conf_set_events")]
        public static partial void ConfSetEvents(nint configuration, int events);

        [LibraryImport(Library, EntryPoint = "rd_kafka_new")]
        public static partial nint New(int type, nint configuration, byte* words, nuint wordsMax);

        [LibraryImport(Library, EntryPoint = "rd_kafka_destroy")]
        public static partial void Destroy(nint client);

        [LibraryImport(Library, EntryPoint = "rd_kafka_name")]
        public static partial byte* Name(nint client);

        [LibraryImport(Library, EntryPoint = "rd_kafka_set_log_queue")]
        public static partial int SetLogQueue(nint client, nint queue);

        [LibraryImport(Library, EntryPoint = "rd_kafka_queue_get_main")]
        public static partial nint QueueGetMain(nint client);

        [LibraryImport(Library, EntryPoint = "rd_kafka_queue_destroy")]
        public static partial void QueueDestroy(nint queue);

        [LibraryImport(Library, EntryPoint = "rd_kafka_queue_poll")]
        public static partial nint QueuePoll(nint queue, int milliseconds);

        [LibraryImport(Library, EntryPoint = "rd_kafka_event_type")]
        public static partial int EventType(nint happened);

        [LibraryImport(Library, EntryPoint = "rd_kafka_event_message_array")]
        public static partial nuint EventMessageArray(nint happened, nint* messages, nuint size);

        [LibraryImport(Library, EntryPoint = "rd_kafka_event_error")]
        public static partial int EventError(nint happened);

        [LibraryImport(Library, EntryPoint = "rd_kafka_event_error_string")]
        public static partial byte* EventErrorString(nint happened);

        [LibraryImport(Library, EntryPoint = "rd_kafka_event_log")]
        public static partial int EventLog(nint happened, out byte* facility, out byte* text, out int level);

        [LibraryImport(Library, EntryPoint = "rd_kafka_event_destroy")]
        public static partial void EventDestroy(nint happened);

        // Reads a field: shorter than the change to native code and back.
        [LibraryImport(Library, EntryPoint = "rd_kafka_message_timestamp")]
        [SuppressGCTransition]
        public static partial long MessageTimestamp(nint message, out int type);

        [LibraryImport(Library, EntryPoint = "rd_kafka_produceva")]
        public static partial nint Produceva(nint client, Argument* arguments, nuint count);

        [LibraryImport(Library, EntryPoint = "rd_kafka_error_code")]
        public static partial int ErrorCodeOf(nint error);

        [LibraryImport(Library, EntryPoint = "rd_kafka_error_is_fatal")]
        public static partial int ErrorIsFatal(nint error);

        [LibraryImport(Library, EntryPoint = "rd_kafka_error_destroy")]
        public static partial void ErrorDestroy(nint error);

        [LibraryImport(Library, EntryPoint = "rd_kafka_last_error")]
        public static partial int LastError();

        [LibraryImport(Library, EntryPoint = "rd_kafka_fatal_error")]
        public static partial int FatalError(nint client, byte* words, nuint wordsMax);

        [LibraryImport(Library, EntryPoint = "rd_kafka_topic_new", StringMarshalling = StringMarshalling.Utf8)]
        public static partial nint TopicNew(nint client, string topic, nint configuration);

        [LibraryImport(Library, EntryPoint = "rd_kafka_topic_destroy")]
        public static partial void TopicDestroy(nint topic);

        [LibraryImport(Library, EntryPoint = "rd_kafka_metadata")]
        public static partial int Metadata(nint client, int isAllTopics, nint topic, Metadata** answer, int milliseconds);

        [LibraryImport(Library, EntryPoint = "rd_kafka_metadata_destroy")]
        public static partial void MetadataDestroy(Metadata* answer);
    }
}
