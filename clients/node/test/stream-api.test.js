'use strict';

// The core flows against a server.
const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { StreamApi, decode, encode, grpc } = require('..');

const ADDRESS = process.env.STREAM_API_ADDRESS;
const options = { timeout: 20_000, skip: ADDRESS ? false : 'STREAM_API_ADDRESS names no server' };
const soon = () => ({ deadline: Date.now() + 10_000 });

// A client and a data source of the test's own.
const withApi = (body) => async () => {
  const api = new StreamApi(ADDRESS);
  try {
    await body(api, `Car-${randomUUID().slice(0, 12)}`);
  } finally {
    api.close();
  }
};

async function connect(api, data_source, details = {}) {
  return (await api.call('NewConnection', { details: { data_source, ...details } }, soon())).connection;
}

const marker = (label, session_key = '') => ({ type: 'Marker', session_key, content: encode('MarkerPacket', { label, timestamp: '1742137200123456789' }) });
const write = (api, data_source, message, stream = '') => api.call('WriteDataPacket', { detail: { data_source, stream, message } }, soon());

async function take(stream, count) {
  const packets = [];
  for await (const response of stream) {
    packets.push(...response.response);
    if (packets.length >= count) break;
  }
  return packets;
}

test('session from creation to end', options, withApi(async (api, data_source) => {
  const created = await api.call('CreateSession', { data_source, identifier: 'FP1', type: 'Practice', details: { driver: 'A' } }, soon());
  assert.equal(created.success, true);
  const session_key = created.session_key;
  const info = await api.call('GetSessionInfo', { session_key }, soon());
  assert.deepEqual([info.data_source, info.identifier, info.type, info.version, info.details.driver, info.is_complete], [data_source, 'FP1', 'Practice', 1, 'A', false]);
  assert.equal((await api.call('UpdateSessionIdentifier', { session_key, identifier: 'FP1 run 2' }, soon())).success, true);
  assert.deepEqual((await api.call('GetCurrentSessions', { data_source }, soon())).session_keys, [session_key]);
  assert.equal((await api.call('EndSession', { data_source, session_key }, soon())).success, true);
  const ended = await api.call('GetSessionInfo', { session_key }, soon());
  assert.deepEqual([ended.identifier, ended.is_complete], ['FP1 run 2', true]);
}));

test('start and stop notifications come while they are listened to', options, withApi(async (api, data_source) => {
  const starts = api.read('GetSessionStartNotification', { data_source }, soon());
  const stops = api.read('GetSessionStopNotification', { data_source }, soon());
  await Promise.all([starts, stops].map((stream) => new Promise((resolve) => stream.once('metadata', resolve))));
  const { session_key } = await api.call('CreateSession', { data_source }, soon());
  await api.call('EndSession', { data_source, session_key }, soon());
  for (const stream of [starts, stops]) {
    for await (const notification of stream) {
      assert.deepEqual(notification, { session_key, data_source });
      break;
    }
  }
}));

test('connection ids keep every digit', options, withApi(async (api, data_source) => {
  for (let i = 0; i < 50; i++) {
    const connection = await connect(api, data_source, { session_key: `${i}` });
    const asNumber = { id: Number(connection.id) };
    assert.equal(String(asNumber.id), connection.id);
    assert.equal((await api.call('GetConnection', { connection: asNumber }, soon())).details.session_key, `${i}`);
    assert.equal((await api.call('CloseConnection', { connection: asNumber }, soon())).success, true);
    assert.equal((await api.call('CloseConnection', { connection }, soon())).success, false);
  }
}));

test('data formats resolve to what was registered', options, withApi(async (api, data_source) => {
  const parameters = ['vCar:Chassis', 'nEngine:Controller'];
  const { data_format_identifier } = await api.call('GetParameterDataFormatId', { data_source, parameters }, soon());
  assert.equal(String(Number(data_format_identifier)), data_format_identifier);
  assert.deepEqual((await api.call('GetParametersList', { data_source, data_format_identifier }, soon())).parameters, parameters);
  const event = await api.call('GetEventDataFormatId', { data_source, event: 'Gear' }, soon());
  assert.equal((await api.call('GetEvent', { data_source, ...event }, soon())).event, 'Gear');
}));

test('packets written one by one are read back', options, withApi(async (api, data_source) => {
  const { session_key } = await api.call('CreateSession', { data_source }, soon());
  assert.deepEqual(await write(api, data_source, marker('main', session_key)), {});
  await write(api, data_source, marker('chassis', session_key), 'Chassis');
  await write(api, data_source, marker('other', 'other'));
  const packets = await take(api.read('ReadPackets', { connection: await connect(api, data_source, { session_key }) }, soon()), 2);
  assert.deepEqual(packets.map((p) => [p.stream, decode('MarkerPacket', p.packet.content).label]).sort(), [['', 'main'], ['Chassis', 'chassis']]);
  assert.equal(decode('MarkerPacket', packets[0].packet.content).timestamp, '1742137200123456789');
}));

test('client stream is answered after its last message', options, withApi(async (api, data_source) => {
  const stream = api.write('WriteDataPackets', soon());
  for (let batch = 0; batch < 20; batch++) {
    await stream.write({ details: Array.from({ length: 50 }, (_, i) => ({ data_source, stream: 'Laps', message: marker(`${batch * 50 + i}`) })) });
  }
  assert.deepEqual(await stream.end(), {});
  const connection = await connect(api, data_source, { streams: ['Laps'], exclude_main_stream: true });
  const packets = await take(api.read('ReadPackets', { connection }, soon()), 1_000);
  assert.deepEqual(packets.map((p) => decode('MarkerPacket', p.packet.content).label), Array.from({ length: 1_000 }, (_, i) => `${i}`));
}));

test('failed client stream says what is safe', options, withApi(async (api, data_source) => {
  const stream = api.write('WriteDataPackets', soon());
  await stream.write({ details: [{ data_source, message: marker('1') }, { data_source, message: marker('2') }] });
  const failure = await (async () => {
    await stream.write({ details: [{ data_source: 'Car 44', message: marker('3') }] });
    await stream.end();
  })().catch((error) => error);
  assert.equal(failure.code, grpc.status.INVALID_ARGUMENT);
  assert.match(failure.details, /data_source/);
  assert.deepEqual(failure.metadata.get('durable-packets'), ['2']);
}));

test('info packets are taken', options, withApi(async (api, data_source) => {
  const message = { type: 'SystemStatusMessage', content: encode('SystemStatusMessage', { service: 'node', data_source, type: 'SYSTEM_STATUS_TYPE_HEARTBEAT' }) };
  assert.deepEqual(await api.call('WriteInfoPacket', { message, type: 'INFO_TYPE_SYSTEM_STATUS' }, soon()), {});
  const stream = api.write('WriteInfoPackets', soon());
  await stream.write({ message, type: 'INFO_TYPE_SYSTEM_STATUS' });
  assert.deepEqual(await stream.end(), {});
}));

test('essentials end where they ended', options, withApi(async (api, data_source) => {
  const configuration = { type: 'Configuration', is_essential: true, content: encode('ConfigurationPacket', { config_id: 'one' }) };
  await write(api, data_source, configuration);
  await write(api, data_source, marker('not essential'));
  const ids = [];
  for await (const response of api.read('ReadEssentials', { connection: await connect(api, data_source) }, soon())) {
    ids.push(...response.response.map((p) => decode('ConfigurationPacket', p.packet.content).config_id));
  }
  assert.deepEqual(ids, ['one']);
}));

test('filters pick by parameter and marker', options, withApi(async (api, data_source) => {
  const periodic = (...parameter_identifiers) => ({
    type: 'PeriodicData',
    content: encode('PeriodicDataPacket', {
      data_format: { parameter_identifiers: { parameter_identifiers } },
      start_time: '1742137200000000001',
      interval: 10,
      columns: parameter_identifiers.map(() => ({ double_samples: { samples: [{ value: 71.5, status: 'DATA_STATUS_VALID' }] } })),
    }),
  });
  for (const packet of [periodic('vCar'), periodic('nEngine'), marker('Lap 1')]) await write(api, data_source, packet);
  const read = async (filters, count) => {
    const connection = await connect(api, data_source);
    const stream = api.read('ReadDataPackets', { request: { connection, ...filters } }, soon());
    return (await take(stream, count)).map((p) => p.packet);
  };
  const [speed] = await read({ include_parameters: ['^vCar$'] }, 1);
  const content = decode('PeriodicDataPacket', speed.content);
  assert.deepEqual(content.data_format.parameter_identifiers.parameter_identifiers, ['vCar']);
  assert.equal(content.start_time, '1742137200000000001');
  assert.deepEqual(content.columns[0].double_samples.samples, [{ value: 71.5, status: 'DATA_STATUS_VALID' }]);
  assert.deepEqual((await read({ include_parameters: ['nEngine'], include_markers: true }, 2)).map((p) => p.type), ['PeriodicData', 'Marker']);
}));

test('read ends when its connection is closed', options, withApi(async (api, data_source) => {
  await write(api, data_source, marker('first'));
  const connection = await connect(api, data_source);
  const labels = [];
  for await (const response of api.read('ReadPackets', { connection }, soon())) {
    labels.push(...response.response.map((p) => decode('MarkerPacket', p.packet.content).label));
    if (labels.length === 1) await write(api, data_source, marker('second'));
    if (labels.length === 2) await api.call('CloseConnection', { connection }, soon());
  }
  assert.deepEqual(labels, ['first', 'second']);
}));

test('many readers share one channel', options, withApi(async (api, data_source) => {
  const connections = await Promise.all(Array.from({ length: 200 }, () => connect(api, data_source)));
  const reads = connections.map((connection) => take(api.read('ReadPackets', { connection }, soon()), 1));
  await write(api, data_source, marker('for all'));
  const labels = (await Promise.all(reads)).map(([p]) => decode('MarkerPacket', p.packet.content).label);
  assert.equal(labels.length, 200);
  assert.deepEqual(new Set(labels), new Set(['for all']));
}));

test('large responses are taken', options, withApi(async (api, data_source) => {
  for (let i = 0; i < 8; i++) await write(api, data_source, { type: 'RawCANData', content: Buffer.alloc(1_000_000, i) });
  const packets = await take(api.read('ReadPackets', { connection: await connect(api, data_source) }, soon()), 8);
  assert.deepEqual(packets.map((p) => p.packet.content.length), Array(8).fill(1_000_000));
}));

test('mistake in a stream of requests leaves the stream open', options, withApi(async (api, data_source) => {
  const stream = api.write('WriteDataPackets', soon());
  await stream.write({ details: [{ data_source, message: marker('1') }] });
  await assert.rejects(stream.write({ details: [{ data_source, message: { type: 'Marker', content: 'Lap' } }] }),
    /^TypeError: WriteDataPacketsRequest\.details\[0\]\.message\.content = 'Lap' is not allowed; expected a Buffer or a Uint8Array$/);
  await stream.write({ details: [{ data_source, message: marker('2') }] });
  assert.deepEqual(await stream.end(), {});
  const packets = await take(api.read('ReadPackets', { connection: await connect(api, data_source) }, soon()), 2);
  assert.deepEqual(packets.map((p) => decode('MarkerPacket', p.packet.content).label), ['1', '2']);
}));

// A proxy that answers nothing, named by the environment while the body runs.
async function withProxy(body) {
  const names = ['grpc_proxy', 'http_proxy', 'https_proxy', 'no_proxy', 'no_grpc_proxy'];
  const before = names.map((name) => process.env[name]);
  const proxy = http.createServer().listen(0, '127.0.0.1');
  try {
    await once(proxy, 'listening', { signal: AbortSignal.timeout(10_000) });
    for (const name of names) process.env[name] = name.startsWith('no_') ? '' : `http://127.0.0.1:${proxy.address().port}`;
    await body(proxy);
  } finally {
    names.forEach((name, i) => (before[i] === undefined ? delete process.env[name] : (process.env[name] = before[i])));
    proxy.closeAllConnections();
    proxy.close();
  }
}

test('proxy of the environment gets no call to this machine', options, () => withProxy(async () => {
  const port = ADDRESS.slice(ADDRESS.lastIndexOf(':') + 1);
  for (const host of ['localhost', '127.0.0.1', 'ipv4:127.0.0.1', 'dns:///localhost']) {
    const api = new StreamApi(`${host}:${port}`);
    assert.equal((await api.call('GetCurrentSessions', { data_source: 'Car' }, soon())).success, true, host);
    api.close();
  }
}));

test('proxy of the environment gets calls to other machines', { timeout: 20_000 }, () => withProxy(async (proxy) => {
  const api = new StreamApi('stream-api.invalid:13579');
  const call = api.call('GetCurrentSessions', { data_source: 'Car' }, soon());
  const [request] = await once(proxy, 'connect', { signal: AbortSignal.timeout(10_000) });
  assert.equal(request.url, 'stream-api.invalid:13579');
  api.close();
  await assert.rejects(call);
}));

test('program of the README runs as it stands there', options, async () => {
  const [, program] = /^```js\n([^]*?)^```$/m.exec(fs.readFileSync(path.join(__dirname, '..', 'README.md'), 'utf8'));
  const text = program.replace('localhost:13579', ADDRESS).replaceAll("'Car'", `'Car-${randomUUID().slice(0, 12)}'`);
  assert.notEqual(text, program);
  const printed = [];
  const load = (name) => (name === 'ma-streaming' ? require('..') : require(name));
  await new Function('require', 'console', text.replace(/^main\(\);$/m, 'return main();'))(load, { log: (...words) => printed.push(words) });
  assert.deepEqual(printed, [['Laps', 'Lap 1']]);
});

test('mistaken rpc names are refused', () => {
  const api = new StreamApi('localhost:1');
  assert.throws(() => api.read('ReadEverything', {}), /there is no rpc ReadEverything/);
  assert.throws(() => api.read('WriteDataPackets', {}), /WriteDataPackets is called with write/);
  api.close();
});
