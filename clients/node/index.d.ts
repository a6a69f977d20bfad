import * as grpc from '@grpc/grpc-js';
import type { Calls, MessageInputs, Messages, Reads, Writes } from './protocol';

export * from './protocol';
export { grpc };

/** A message of open_data.proto as the bytes of a packet's content: encode('MarkerPacket', { label: 'Lap 1' }). */
export function encode<Name extends keyof MessageInputs>(message: Name, value: MessageInputs[Name]): Buffer;

/** The content of a packet as a message of open_data.proto: decode('MarkerPacket', packet.content). */
export function decode<Name extends keyof Messages>(message: Name, content: Uint8Array): Messages[Name];

/** The five services of a Stream API server, on one channel that is connected by the first call, and again after a loss. */
export class StreamApi {
  /**
   * @param address host:port of the server. A proxy that the environment names (http_proxy, https_proxy, grpc_proxy) is used, unless the
   *   server is on this machine.
   * @param credentials for a server behind TLS, such as grpc.credentials.createSsl().
   */
  constructor(address?: string, credentials?: grpc.ChannelCredentials);

  readonly channel: grpc.ChannelInterface;

  /** An rpc of one request and one response. Rejects with a grpc.ServiceError; with a TypeError for a request that is not one. */
  call<Name extends keyof Calls>(name: Name, request: Calls[Name]['request'], options?: grpc.CallOptions): Promise<Calls[Name]['response']>;

  /** An rpc of one request and many responses: for await (const response of api.read('ReadPackets', { connection })) … */
  read<Name extends keyof Reads>(name: Name, request: Reads[Name]['request'], options?: grpc.CallOptions): ResponseStream<Reads[Name]['response']>;

  /** An rpc of many requests and one response. */
  write<Name extends keyof Writes>(name: Name, options?: grpc.CallOptions): RequestStream<Writes[Name]['request'], Writes[Name]['response']>;

  /** Closes the channel; calls that are open end with an error. */
  close(): void;
}

/** The responses of a call, as they come. Leaving a loop over them cancels the call. */
export interface ResponseStream<Response> extends Omit<grpc.ClientReadableStream<Response>, typeof Symbol.asyncIterator> {
  [Symbol.asyncIterator](): AsyncIterableIterator<Response>;
}

/** Requests on their way: each write waits until the one before is out, end() for the response. */
export interface RequestStream<Request, Response> {
  /** Resolves when the next one may be written. Rejects when the call has failed, and with a TypeError, which leaves the stream open. */
  write(request: Request): Promise<void>;

  /** Says that nothing more comes; resolves with the response, when everything is durable. */
  end(): Promise<Response>;
}
