using MA.Streaming.Core;
using MA.Streaming.Core.Broker;
using MA.Streaming.Core.Configs;
using MA.Streaming.Core.Packets;
using MA.Streaming.Core.Records;

namespace MA.Streaming.UnitTests.Support;

/// <summary>The engine's writing half over a broker, put together as the engine does it.</summary>
internal sealed class PacketWriting
{
    public PacketWriting(IBroker broker, TopicDirectory directory, StreamingApiLimits limits, Telemetry telemetry, TimeProvider clock)
    {
        var layout = new TopicLayout(Abstraction.StreamCreationStrategy.TopicBased, []);
        var appenders = new TopicAppenders(broker, directory, limits.WriteTimeout, clock);
        var targets = new StreamTargets(layout, appenders, telemetry);
        Encoder = new PacketEncoder(targets, Math.Min(limits.PacketBytesMax, broker.Info.RecordBytesMax));
        Unary = new UnaryWrites(broker, limits, clock);
        Records = new EngineRecords(layout, appenders, targets, Encoder, Unary, telemetry);
        Appender = new PacketAppender(broker, Unary, telemetry);
    }

    public PacketEncoder Encoder { get; }

    public UnaryWrites Unary { get; }

    public EngineRecords Records { get; }

    public PacketAppender Appender { get; }
}
