'use strict';

// Objects become the bytes that they say, or a mistake in them is named.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { StreamApi, decode, encode } = require('..');

const refuses = (message, value, expected) => assert.throws(() => encode(message, value), (error) => {
  assert.ok(error instanceof TypeError, error);
  assert.equal(error.message, expected);
  return true;
});

test('values that a field cannot hold are named with what it can', () => {
  const from64 = 'expected an integer from 0 to 18446744073709551615: a number up to 2 ** 53 - 1, a bigint or a decimal string';
  refuses('MarkerPacket', { timestamp: new Date(0) }, `MarkerPacket.timestamp = 1970-01-01T00:00:00.000Z is not allowed; ${from64}`);
  for (const [value, shown] of [[-1, '-1'], [1.5, '1.5'], [2 ** 53, '9007199254740992'], [NaN, 'NaN'], ['', "''"], ['12 s', "'12 s'"], ['0x10', "'0x10'"],
    ['18446744073709551616', "'18446744073709551616'"], [-1n, '-1n'], [{}, '{}'], [true, 'true']]) {
    refuses('MarkerPacket', { timestamp: value }, `MarkerPacket.timestamp = ${shown} is not allowed; ${from64}`);
  }
  for (const value of [-1, 2 ** 32, '1', 1n]) {
    assert.throws(() => encode('PeriodicDataPacket', { interval: value }), /^TypeError: PeriodicDataPacket\.interval = .* is not allowed; expected an integer from 0 to 4294967295$/);
  }
  refuses('MarkerPacket', { value: 2n ** 63n }, 'MarkerPacket.value = 9223372036854775808n is not allowed; expected an integer from -9223372036854775808 to '
    + '9223372036854775807: a number up to 2 ** 53 - 1, a bigint or a decimal string');
  refuses('MarkerPacket', { label: 5 }, 'MarkerPacket.label = 5 is not allowed; expected a string');
  assert.throws(() => encode('MarkerPacket', { label: 'Lap \ud800' }), /^TypeError: MarkerPacket\.label = 'Lap \\ud800' is not allowed; expected a string without half a surrogate pair$/i);
  assert.throws(() => encode('MarkerPacket', { timestamp: { text: 'x'.repeat(1_000_000) } }), (error) => error.message.length < 300);
  refuses('Packet', { is_essential: 1 }, 'Packet.is_essential = 1 is not allowed; expected true or false');
  refuses('Packet', { content: '{}' }, "Packet.content = '{}' is not allowed; expected a Buffer or a Uint8Array");
  refuses('EventPacket', { raw_values: [1, '2'] }, "EventPacket.raw_values[1] = '2' is not allowed; expected a number");
  refuses('EventPacket', { raw_values: 1 }, 'EventPacket.raw_values = 1 is not allowed; expected an array');
  refuses('SystemStatusMessage', { type: 'HEARTBEAT' }, "SystemStatusMessage.type = 'HEARTBEAT' is not allowed; expected a SystemStatusType: 'SYSTEM_STATUS_TYPE_UNSPECIFIED', "
    + "'SYSTEM_STATUS_TYPE_HEARTBEAT', 'SYSTEM_STATUS_TYPE_STATUS', 'SYSTEM_STATUS_TYPE_ERROR', 'SYSTEM_STATUS_TYPE_WARNING', 'SYSTEM_STATUS_TYPE_CONNECTION'");
});

test('messages inside others are named by their path', () => {
  refuses('PeriodicDataPacket', { columns: [{}, { double_samples: { samples: [{ value: 1 }, { value: '2' }] } }] },
    "PeriodicDataPacket.columns[1].double_samples.samples[1].value = '2' is not allowed; expected a number");
  refuses('NewSessionPacket', { creation_time: new Date(0) },
    'NewSessionPacket.creation_time = 1970-01-01T00:00:00.000Z is not allowed; expected an object with fields of Timestamp: seconds, nanos');
  refuses('NewSessionPacket', { topic_partition_offsets: { 'Car:0': -1.5 } }, "NewSessionPacket.topic_partition_offsets['Car:0'] = -1.5 is not allowed; expected an integer "
    + 'from -9223372036854775808 to 9223372036854775807: a number up to 2 ** 53 - 1, a bigint or a decimal string');
  refuses('SessionInfoPacket', { details: new Map([['driver', 'A']]) },
    "SessionInfoPacket.details = Map(1) { 'driver' => 'A' } is not allowed; expected an object of names and values");
  refuses('ConfigurationPacket', { group_definitions: [{ groups: [null] }] },
    'ConfigurationPacket.group_definitions[0].groups[0] = null is not allowed; expected an object with fields of GroupDefinition: identifier, name, application_name, '
    + 'description, groups');
});

test('misspelt fields are named with those there are', () => {
  const fields = 'the fields of MarkerPacket are timestamp, end_time, label, type, description, source, value';
  refuses('MarkerPacket', { lable: 'Lap 1' }, `MarkerPacket.lable does not exist; ${fields}`);
  refuses('MarkerPacket', { endTime: undefined }, `MarkerPacket.endTime does not exist; ${fields}`);
  refuses('MarkerPacket', { constructor: 'Lap' }, `MarkerPacket.constructor does not exist; ${fields}`);
  refuses('MarkerPacket', JSON.parse('{ "__proto__": { "label": "Lap 1" } }'), `MarkerPacket.__proto__ does not exist; ${fields}`);
  assert.throws(() => encode('Marker', {}), /^TypeError: 'Marker' is not a message of open_data\.proto; expected one of .*, MarkerPacket,/);
});

test('what is no plain object is no message', () => {
  class Marker { label = 'Lap 1'; }
  for (const value of [undefined, null, 'Lap 1', 5, [], Buffer.from('a'), new Date(), Promise.resolve({}), new Marker(), () => ({})]) {
    assert.throws(() => encode('MarkerPacket', value), /^TypeError: MarkerPacket = .* is not allowed; expected an object with fields of MarkerPacket: timestamp, /s);
  }
  assert.equal(decode('MarkerPacket', encode('MarkerPacket', Object.assign(Object.create(null), { label: 'Lap 1' }))).label, 'Lap 1');
});

test('two of one choice are refused', () => {
  refuses('SampleDataFormat', { data_format_identifier: 1, parameter_identifiers: {} },
    'SampleDataFormat has data_format_identifier and parameter_identifiers; expected at most one of them (format)');
  refuses('SampleDataFormat', { data_format_identifier: 1, format: 'parameter_identifiers' },
    "SampleDataFormat.format = 'parameter_identifiers' is not allowed; expected the one of data_format_identifier, parameter_identifiers that is set, or nothing");
});

test('values that fit are sent as they are', () => {
  const last = '18446744073709551615';
  for (const timestamp of [last, BigInt(last)]) assert.equal(decode('MarkerPacket', encode('MarkerPacket', { timestamp })).timestamp, last);
  for (const value of [-1, -1n, '-1', -(2n ** 63n), '9223372036854775807', Number.MAX_SAFE_INTEGER]) {
    assert.equal(decode('MarkerPacket', encode('MarkerPacket', { value })).value, String(value));
  }
  const numbers = [0, -0, 1.5, 1e300, Infinity, -Infinity, NaN];
  assert.deepEqual(decode('EventPacket', encode('EventPacket', { raw_values: numbers })).raw_values, numbers);
  assert.deepEqual(decode('Packet', encode('Packet', { content: new Uint8Array([1, 255]) })).content, Buffer.from([1, 255]));
  assert.equal(decode('SystemStatusMessage', encode('SystemStatusMessage', { type: 2 })).type, 'SYSTEM_STATUS_TYPE_STATUS');
  assert.equal(decode('SystemStatusMessage', encode('SystemStatusMessage', { type: 77 })).type, 77);
  assert.deepEqual(decode('SessionInfoPacket', encode('SessionInfoPacket', { details: { driver: 'A', constructor: 'B' } })).details, { driver: 'A', constructor: 'B' });
  assert.equal(encode('MarkerPacket', { label: undefined, type: null }).length, 0);
});

test('what was decoded can be sent again', () => {
  for (const [message, value] of [
    ['PeriodicDataPacket', { data_format: { data_format_identifier: 7 }, columns: [{ string_samples: { samples: [{ value: 'on', status: 'DATA_STATUS_VALID' }] } }, {}] }],
    ['Packet', { type: 'Marker', producer_id: 0, content: Buffer.from('a') }],
    ['NewSessionPacket', { creation_time: { seconds: 5, nanos: 1 }, topic_partition_offsets: { 'Car:0': 5 } }],
  ]) {
    const bytes = encode(message, value);
    assert.ok(Buffer.isBuffer(bytes));
    assert.ok(bytes.length > 0);
    const decoded = decode(message, bytes);
    assert.deepEqual(decode(message, encode(message, decoded)), decoded);
  }
});

test('mistakes in requests are thrown before anything is sent', async () => {
  const api = new StreamApi('localhost:1');
  await assert.rejects(api.call('CreateSession', { data_sorce: 'Car' }), /^TypeError: CreateSessionRequest\.data_sorce does not exist; the fields of CreateSessionRequest are data_source, /);
  await assert.rejects(api.call('CreateSession'), /^TypeError: CreateSessionRequest = undefined is not allowed; expected an object/);
  assert.throws(() => api.read('ReadPackets', { connection: { id: 1.5 } }), /^TypeError: ReadPacketsRequest\.connection\.id = 1\.5 is not allowed; expected an integer from /);
  api.close();
});
