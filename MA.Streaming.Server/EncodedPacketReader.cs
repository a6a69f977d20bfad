using Google.Protobuf;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using MA.Streaming.API;
using MA.Streaming.Core.Packets;

namespace MA.Streaming.Hosting;

/// <summary>The packet reader service as a port serves it: responses are bytes, which are packets as they stand in the log.</summary>
internal sealed class EncodedPacketReader(PacketReaderEndpoint endpoint)
{
    private PacketReaderEndpoint Endpoint => endpoint;

    /// <summary>Tells ASP.NET Core the service's methods: those of its descriptor, with a marshaller of our own.</summary>
    internal sealed class Methods : IServiceMethodProvider<EncodedPacketReader>
    {
        public void OnServiceMethodDiscovery(ServiceMethodProviderContext<EncodedPacketReader> context)
        {
            Add(context, ReadPacketsRequest.Parser, nameof(PacketReaderEndpoint.ReadPackets), static (reader, request, responses, call) => reader.Endpoint.ReadPackets(request, responses, call));
            Add(context, ReadEssentialsRequest.Parser, nameof(PacketReaderEndpoint.ReadEssentials), static (reader, request, responses, call) => reader.Endpoint.ReadEssentials(request, responses, call));
            Add(context, ReadDataPacketsRequest.Parser, nameof(PacketReaderEndpoint.ReadDataPackets), static (reader, request, responses, call) => reader.Endpoint.ReadDataPackets(request, responses, call));
        }

        private static void Add<TRequest>(
            ServiceMethodProviderContext<EncodedPacketReader> context,
            MessageParser<TRequest> parser,
            string name,
            Grpc.AspNetCore.Server.Model.ServerStreamingServerMethod<EncodedPacketReader, TRequest, EncodedResponse> serve)
            where TRequest : class, IMessage<TRequest>
        {
            var requests = Marshallers.Create<TRequest>(static (_, _) => throw new NotSupportedException("a request is only ever read"), call => parser.ParseFrom(call.PayloadAsReadOnlySequence()));
            var method = new Method<TRequest, EncodedResponse>(MethodType.ServerStreaming, PacketReaderService.Descriptor.FullName, name, requests, EncodedResponse.Marshaller);
            context.AddServerStreamingMethod(method, [], serve);
        }
    }
}
