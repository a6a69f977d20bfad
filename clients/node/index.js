'use strict';

const net = require('node:net');
const grpc = require('@grpc/grpc-js');
const { api, decode, encode, fromBytes, toBytes } = require('./messages');

// A response holds up to 3.5 MiB of packets; the library's own limit is 4 MiB for all of it.
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

/** Every rpc by its name: the path, whether requests and responses are streams, and the types of both. */
const RPCS = new Map(api.nestedArray.filter((nested) => nested.methods).flatMap((service) => service.methodsArray.map((method) => [method.name, {
  path: `/${service.fullName.slice(1)}/${method.name}`,
  form: method.requestStream ? 'write' : method.responseStream ? 'read' : 'call',
  toBytes: (request) => toBytes(method.resolvedRequestType, request),
  fromBytes: (bytes) => fromBytes(method.resolvedResponseType, bytes),
}])));

// Requests become bytes before the call begins, so that a mistake in one is thrown and not the end of a stream.
const asIs = (bytes) => bytes;

/** The five services of a Stream API server, on one channel that is connected by the first call, and again after a loss. */
class StreamApi {
  /**
   * @param {string} address host:port of the server. A proxy that the environment names (http_proxy, https_proxy, grpc_proxy) is used,
   *   unless the server is on this machine.
   * @param {grpc.ChannelCredentials} credentials for a server behind TLS, such as grpc.credentials.createSsl().
   */
  constructor(address = 'localhost:13579', credentials = grpc.credentials.createInsecure()) {
    this._client = new grpc.Client(address, credentials, {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
      'grpc.enable_http_proxy': isLoopback(address) ? 0 : 1,
    });
    this.channel = this._client.getChannel();
  }

  /** An rpc of one request and one response. Rejects with the error of the call: code, details, metadata; or with a TypeError. */
  async call(name, request, options = {}) {
    const rpc = rpcOf(name, 'call');
    const bytes = rpc.toBytes(request);
    return new Promise((resolve, reject) => {
      this._client.makeUnaryRequest(rpc.path, asIs, rpc.fromBytes, bytes, options, (error, response) => (error ? reject(error) : resolve(response)));
    });
  }

  /** An rpc of one request and many responses: for await (const response of api.read('ReadPackets', { connection })) … */
  read(name, request, options = {}) {
    const rpc = rpcOf(name, 'read');
    return this._client.makeServerStreamRequest(rpc.path, asIs, rpc.fromBytes, rpc.toBytes(request), options);
  }

  /** An rpc of many requests and one response. */
  write(name, options = {}) {
    const rpc = rpcOf(name, 'write');
    return new RequestStream(rpc.toBytes, (callback) => this._client.makeClientStreamRequest(rpc.path, asIs, rpc.fromBytes, options, callback));
  }

  /** Closes the channel; calls that are open end with an error. */
  close() {
    this._client.close();
  }
}

/** Requests on their way: each write waits until the one before is out, end() for the response. */
class RequestStream {
  constructor(toBytes, start) {
    this._toBytes = toBytes;
    this._response = new Promise((resolve, reject) => {
      this._call = start((error, response) => (error ? reject(error) : resolve(response)));
    });
    this._failed = this._response.then(() => new Promise(() => {}));
    this._failed.catch(() => {});
  }

  /** Resolves when the next one may be written. Rejects when the call has failed, and with a TypeError, which leaves the stream open. */
  async write(request) {
    const bytes = this._toBytes(request);
    const written = new Promise((resolve) => this._call.write(bytes, resolve));
    return Promise.race([written, this._failed]);
  }

  /** Says that nothing more comes; resolves with the response, when everything is durable. */
  end() {
    this._call.end();
    return this._response;
  }
}

function rpcOf(name, form) {
  const rpc = RPCS.get(name);
  if (!rpc) throw new Error(`there is no rpc ${name}; there are ${[...RPCS.keys()].join(', ')}`);
  if (rpc.form !== form) throw new Error(`${name} is called with ${rpc.form}`);
  return rpc;
}

/** Whether host:port, [host]:port, or one of them behind a scheme such as dns:///, names this machine. */
function isLoopback(address) {
  const target = address.slice(address.lastIndexOf('/') + 1).replace(/^(ipv4|ipv6|dns):/, '');
  const host = /^\[(.*)\]/.exec(target)?.[1] ?? target.replace(/^([^:]*):\d+$/, '$1');
  return host.toLowerCase() === 'localhost' || (net.isIPv4(host) && host.startsWith('127.')) || (net.isIPv6(host) && /^(0*:)*:?0*1$/.test(host));
}

module.exports = { StreamApi, decode, encode, grpc };
