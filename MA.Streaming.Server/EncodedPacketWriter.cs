using Google.Protobuf;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Packets;

namespace MA.Streaming.Hosting;

/// <summary>The packet writer service as a port serves it: the requests of WriteDataPackets are bytes, whose packets go to the log as they
/// came. The other three have one packet a request, which is too little to gain anything.</summary>
internal sealed class EncodedPacketWriter(PacketWriterEndpoint endpoint)
{
    private PacketWriterEndpoint Endpoint => endpoint;

    /// <summary>Tells ASP.NET Core the service's methods: those of its descriptor, one of them with a marshaller of our own.</summary>
    internal sealed class Methods : IServiceMethodProvider<EncodedPacketWriter>
    {
        private static readonly Marshaller<EncodedRequest> Requests = Marshallers.Create<EncodedRequest>(
            static (_, _) => throw new NotSupportedException("an encoded request is only ever read"),
            static call => new EncodedRequest(call.PayloadAsReadOnlySequence()));

        public void OnServiceMethodDiscovery(ServiceMethodProviderContext<EncodedPacketWriter> context)
        {
            context.AddUnaryMethod(
                Method(MethodType.Unary, nameof(PacketWriterEndpoint.WriteDataPacket), Messages(WriteDataPacketRequest.Parser), WriteDataPacketResponse.Parser),
                [],
                static (writer, request, call) => writer.Endpoint.WriteDataPacket(request, call));
            context.AddClientStreamingMethod(
                Method(MethodType.ClientStreaming, nameof(PacketWriterEndpoint.WriteDataPackets), Requests, WriteDataPacketsResponse.Parser),
                [],
                static (writer, requests, call) => writer.Endpoint.WriteDataPackets(requests, call));
            context.AddUnaryMethod(
                Method(MethodType.Unary, nameof(PacketWriterEndpoint.WriteInfoPacket), Messages(WriteInfoPacketRequest.Parser), WriteInfoPacketResponse.Parser),
                [],
                static (writer, request, call) => writer.Endpoint.WriteInfoPacket(request, call));
            context.AddClientStreamingMethod(
                Method(MethodType.ClientStreaming, nameof(PacketWriterEndpoint.WriteInfoPackets), Messages(WriteInfoPacketsRequest.Parser), WriteInfoPacketsResponse.Parser),
                [],
                static (writer, requests, call) => writer.Endpoint.WriteInfoPackets(requests, call));
        }

        private static Method<TRequest, TResponse> Method<TRequest, TResponse>(
            MethodType type, string name, Marshaller<TRequest> requests, MessageParser<TResponse> responses)
            where TRequest : class
            where TResponse : class, IMessage<TResponse> =>
            new(type, PacketWriterService.Descriptor.FullName, name, requests, Messages(responses));

        private static Marshaller<T> Messages<T>(MessageParser<T> parser)
            where T : class, IMessage<T> =>
            Marshallers.Create<T>(
                static (message, call) =>
                {
                    call.SetPayloadLength(message.CalculateSize());
                    message.WriteTo(call.GetBufferWriter());
                    call.Complete();
                },
                call => parser.ParseFrom(call.PayloadAsReadOnlySequence()));
    }
}
