'use strict';

const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

// Beside this file in a package; in the source tree at its root.
const PROTO = [path.join(__dirname, 'proto'), path.join(__dirname, '..', '..', 'proto')].find((folder) => fs.existsSync(folder));

// Field names as in the .proto files. 64-bit numbers as decimal strings: times in nanoseconds have more digits than a number keeps.
const definition = protoLoader.loadSync('ma/streaming/api/v1/api.proto', {
  includeDirs: [PROTO], keepCase: true, longs: String, enums: String, defaults: true, oneofs: true,
});

// A response holds up to 3.5 MiB of packets; the library's own limit is 4 MiB for all of it.
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const SERVICES = ['ConnectionManagerService', 'SessionManagementService', 'DataFormatManagerService', 'PacketReaderService', 'PacketWriterService'];

function service(name) {
  return definition[`ma.streaming.api.v1.${name}`];
}

/** A message of open_data.proto as the bytes of a packet's content: encode('MarkerPacket', { label: 'Lap 1' }). */
function encode(message, value) {
  return definition[`ma.streaming.open_data.v1.${message}`].serialize(value);
}

/** The content of a packet as a message of open_data.proto: decode('MarkerPacket', packet.content). */
function decode(message, content) {
  return definition[`ma.streaming.open_data.v1.${message}`].deserialize(content);
}

/** The five services of a Stream API server, on one channel that is connected by the first call, and again after a loss. */
class StreamApi {
  /**
   * @param {string} address host:port of the server.
   * @param {grpc.ChannelCredentials} credentials for a server behind TLS, such as grpc.credentials.createSsl().
   */
  constructor(address = 'localhost:13579', credentials = grpc.credentials.createInsecure()) {
    this.channel = new grpc.Channel(address, credentials, {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    });
    this._clients = new Map();
    for (const name of SERVICES) {
      const Client = grpc.makeGenericClientConstructor(service(name), name);
      const client = new Client(address, credentials, { channelOverride: this.channel });
      for (const rpc of Object.keys(service(name))) this._clients.set(rpc, client);
    }
  }

  /** An rpc of one request and one response. Rejects with the error of the call: code, details, metadata. */
  call(rpc, request, options = {}) {
    return new Promise((resolve, reject) => {
      this._client(rpc, false, false)[rpc](request, options, (error, response) => (error ? reject(error) : resolve(response)));
    });
  }

  /** An rpc of one request and many responses: for await (const response of api.read('ReadPackets', { connection })) … */
  read(rpc, request, options = {}) {
    return this._client(rpc, false, true)[rpc](request, options);
  }

  /** An rpc of many requests and one response. */
  write(rpc, options = {}) {
    return new RequestStream((callback) => this._client(rpc, true, false)[rpc](options, callback));
  }

  /** Closes the channel; calls that are open end with an error. */
  close() {
    this.channel.close();
  }

  _client(rpc, requestStream, responseStream) {
    const client = this._clients.get(rpc);
    if (!client) throw new Error(`there is no rpc ${rpc}; there are ${[...this._clients.keys()].join(', ')}`);
    const method = client.constructor.service[rpc];
    if (method.requestStream !== requestStream || method.responseStream !== responseStream) {
      throw new Error(`${rpc} is called with ${method.requestStream ? 'write' : method.responseStream ? 'read' : 'call'}`);
    }
    return client;
  }
}

/** Requests on their way: each write waits until the one before is out, end() for the response. */
class RequestStream {
  constructor(start) {
    this._response = new Promise((resolve, reject) => {
      this._call = start((error, response) => (error ? reject(error) : resolve(response)));
    });
    this._failed = this._response.then(() => new Promise(() => {}));
    this._failed.catch(() => {});
  }

  /** Resolves when the next one may be written; rejects when the call has failed. */
  write(request) {
    const written = new Promise((resolve) => this._call.write(request, resolve));
    return Promise.race([written, this._failed]);
  }

  /** Says that nothing more comes; resolves with the response, when everything is durable. */
  end() {
    this._call.end();
    return this._response;
  }
}

module.exports = { StreamApi, decode, encode, grpc };
