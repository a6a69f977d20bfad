'use strict';

// The messages of api.proto and open_data.proto: objects to bytes, with every mistake named, and bytes to objects.
const fs = require('node:fs');
const path = require('node:path');
const { inspect } = require('node:util');
const protobuf = require('protobufjs');

// Beside this file in a package; in the source tree at its root.
const PROTO = [path.join(__dirname, 'proto'), path.join(__dirname, '..', '..', 'proto')].find((folder) => fs.existsSync(folder));

const root = new protobuf.Root();
root.resolvePath = (_, file) => path.join(PROTO, file);
// Field names as in the .proto files. The comments become those of the types.
root.loadSync('ma/streaming/api/v1/api.proto', { keepCase: true, alternateCommentMode: true });
root.resolveAll();
const api = root.lookup('ma.streaming.api.v1');
const openData = root.lookup('ma.streaming.open_data.v1');

const INTEGERS = new Map();
for (const [bits, signed, unsigned] of [[32n, ['int32', 'sint32', 'sfixed32'], ['uint32', 'fixed32']], [64n, ['int64', 'sint64', 'sfixed64'], ['uint64', 'fixed64']]]) {
  for (const type of signed) INTEGERS.set(type, { min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n, isLong: bits === 64n });
  for (const type of unsigned) INTEGERS.set(type, { min: 0n, max: (1n << bits) - 1n, isLong: bits === 64n });
}

/** A message of open_data.proto as the bytes of a packet's content: encode('MarkerPacket', { label: 'Lap 1' }). */
function encode(message, value) {
  return toBytes(messageOf(message), value);
}

/** The content of a packet as a message of open_data.proto: decode('MarkerPacket', packet.content). */
function decode(message, content) {
  return fromBytes(messageOf(message), content);
}

function messageOf(name) {
  const type = openData.get(name);
  if (type instanceof protobuf.Type) return type;
  const names = openData.nestedArray.filter((nested) => nested instanceof protobuf.Type).map((nested) => nested.name);
  throw new TypeError(`${inspect(name)} is not a message of open_data.proto; expected one of ${names.join(', ')}`);
}

function toBytes(type, value) {
  return type.encode(toMessage(type, value, type.name)).finish();
}

function fromBytes(type, bytes) {
  // 64-bit numbers as decimal strings: times in nanoseconds have more digits than a number keeps.
  return type.toObject(type.decode(bytes), { longs: String, enums: String, defaults: true, oneofs: true });
}

// protobufjs itself turns a value that does not fit into 0, or leaves it out.
function toMessage(type, value, where) {
  if (!isPlain(value)) refuse(where, value, `an object with fields of ${type.name}: ${Object.keys(type.fields).join(', ')}`);
  const message = type.create();
  for (const [name, given] of Object.entries(value)) {
    const field = own(type.fields, name);
    const choice = own(type.oneofs, name);
    if (!field && !choice) {
      throw new TypeError(`${where}.${name} does not exist; the fields of ${type.name} are ${Object.keys(type.fields).join(', ')}`);
    }
    // As decode gives them: a message that is not set is null, and a choice holds the name of the field that is set.
    if (!isSet(given)) continue;
    if (field) message[name] = toField(field, given, `${where}.${name}`);
    else if (!choice.oneof.includes(given) || !isSet(value[given])) refuse(`${where}.${name}`, given, `the one of ${choice.oneof.join(', ')} that is set, or nothing`);
  }
  for (const { name, oneof } of type.oneofsArray) {
    const given = oneof.filter((field) => isSet(value[field]));
    if (given.length > 1) throw new TypeError(`${where} has ${given.join(' and ')}; expected at most one of them (${name})`);
  }
  return message;
}

function toField(field, value, where) {
  if (field.map) {
    if (!isPlain(value)) refuse(where, value, 'an object of names and values');
    return Object.fromEntries(Object.entries(value).map(([key, given]) => [toScalar('string', key, `${where}, a name`), toValue(field, given, `${where}[${inspect(key)}]`)]));
  }
  if (!field.repeated) return toValue(field, value, where);
  if (!Array.isArray(value)) refuse(where, value, 'an array');
  return Array.from(value, (given, index) => toValue(field, given, `${where}[${index}]`));
}

function toValue(field, value, where) {
  if (field.resolvedType instanceof protobuf.Type) return toMessage(field.resolvedType, value, where);
  if (field.resolvedType instanceof protobuf.Enum) return toEnum(field.resolvedType, value, where);
  return toScalar(field.type, value, where);
}

function toEnum({ name, values }, value, where) {
  if (typeof value === 'string' && Object.hasOwn(values, value)) return values[value];
  // A number that has no name yet is one of a later version.
  if (Number.isInteger(value) && value === (value | 0)) return value;
  return refuse(where, value, `a ${name}: ${Object.keys(values).map((known) => `'${known}'`).join(', ')}`);
}

function toScalar(type, value, where) {
  const integers = INTEGERS.get(type);
  if (integers) return toInteger(integers, value, where);
  if (type === 'double' || type === 'float') return typeof value === 'number' ? value : refuse(where, value, 'a number');
  if (type === 'bool') return typeof value === 'boolean' ? value : refuse(where, value, 'true or false');
  if (type === 'bytes') return value instanceof Uint8Array ? value : refuse(where, value, 'a Buffer or a Uint8Array');
  if (typeof value !== 'string') refuse(where, value, 'a string');
  return /\p{Surrogate}/u.test(value) ? refuse(where, value, 'a string without half a surrogate pair') : value;
}

function toInteger({ min, max, isLong }, value, where) {
  const isExact = Number.isSafeInteger(value) || (isLong && (typeof value === 'bigint' || (typeof value === 'string' && /^-?\d{1,20}$/.test(value))));
  const number = isExact ? BigInt(value) : undefined;
  if (number === undefined || number < min || number > max) {
    refuse(where, value, `an integer from ${min} to ${max}${isLong ? ': a number up to 2 ** 53 - 1, a bigint or a decimal string' : ''}`);
  }
  return isLong ? protobuf.util.Long.fromString(String(number), min === 0n) : value;
}

function isPlain(value) {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, 'hasOwnProperty'));
}

function isSet(value) {
  return value !== undefined && value !== null;
}

function own(names, name) {
  return names && Object.hasOwn(names, name) ? names[name] : undefined;
}

function refuse(where, value, expected) {
  const shown = inspect(value, { depth: 0, breakLength: Infinity, maxStringLength: 100, maxArrayLength: 3 });
  throw new TypeError(`${where} = ${shown.length > 120 ? `${shown.slice(0, 120)}…` : shown} is not allowed; expected ${expected}`);
}

module.exports = { api, decode, encode, fromBytes, openData, toBytes };
