'use strict';

// Writes protocol.d.ts: the types of the messages and of the rpcs, with the comments of the .proto files.
const fs = require('node:fs');
const path = require('node:path');
const protobuf = require('protobufjs');
const { api, openData } = require('./messages');

const LONGS = new Set(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64']);
const wellKnown = new Set();

function comment(text, indent = '') {
  if (!text) return '';
  const lines = text.replaceAll('*/', '* /').split('\n').map((line) => line.trimEnd());
  return lines.length === 1 ? `${indent}/** ${lines[0]} */\n` : `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`;
}

function one(field, isInput) {
  if (field.resolvedType instanceof protobuf.Type) {
    if (field.resolvedType.fullName.startsWith('.google.')) wellKnown.add(field.resolvedType);
    return `${field.resolvedType.name}${isInput ? 'Input' : ''}`;
  }
  // A server of a later version may send a number that has no name yet.
  if (field.resolvedType instanceof protobuf.Enum) return `${field.resolvedType.name} | number`;
  if (LONGS.has(field.type)) return isInput ? 'Integer64' : 'string';
  return { string: 'string', bool: 'boolean', bytes: isInput ? 'Uint8Array' : 'Buffer' }[field.type] ?? 'number';
}

function typeOf(field, isInput) {
  const type = one(field, isInput);
  if (field.map) return `{ [name: string]: ${type} }`;
  if (field.repeated) return type.includes(' ') ? `Array<${type}>` : `${type}[]`;
  return isInput || (field.resolvedType instanceof protobuf.Type && !field.partOf) ? `${type} | null` : type;
}

function message(type) {
  const choices = type.oneofsArray.map(({ name, oneof }) => `  ${name}?: ${oneof.map((field) => `'${field}'`).join(' | ')};\n`).join('');
  const fields = (isInput) => type.fieldsArray.map((field) => {
    const mark = isInput || field.partOf ? '?' : '';
    return `${comment(field.comment, '  ')}  ${field.name}${mark}: ${typeOf(field, isInput)};\n`;
  }).join('');
  return `${comment(type.comment)}export interface ${type.name} {\n${fields(false)}${choices}}\n\n`
    + `/** A {@link ${type.name}} to send: what is left out is not set. */\nexport interface ${type.name}Input {\n${fields(true)}${choices}}\n`;
}

const enumeration = (type) => `${comment(type.comment)}export type ${type.name} =\n${Object.keys(type.values).map((name) => `  | '${name}'`).join('\n')};\n`;

const declared = [...openData.nestedArray, ...api.nestedArray];
const types = declared.filter((nested) => nested instanceof protobuf.Type);
const services = declared.filter((nested) => nested instanceof protobuf.Service);
const rpcs = (name, isOf) => `export interface ${name} {\n${services.flatMap((service) => service.methodsArray).filter(isOf).map((method) => (
  `${comment(method.comment, '  ')}  ${method.name}: { request: ${method.resolvedRequestType.name}Input; response: ${method.resolvedResponseType.name} };\n`
)).join('')}}\n`;

const parts = [
  ...declared.filter((nested) => nested instanceof protobuf.Enum).map(enumeration),
  ...types.map(message),
  ...[...wellKnown].map(message),
  `/** The messages of open_data.proto, which decode gives. */\nexport interface Messages {\n${types.filter((type) => type.parent === openData).map(({ name }) => `  ${name}: ${name};\n`).join('')}}\n`,
  `/** The messages of open_data.proto, which encode takes. */\nexport interface MessageInputs {\n${types.filter((type) => type.parent === openData).map(({ name }) => `  ${name}: ${name}Input;\n`).join('')}}\n`,
  `/** Rpcs of one request and one response. */\n${rpcs('Calls', (method) => !method.requestStream && !method.responseStream)}`,
  `/** Rpcs of one request and many responses. */\n${rpcs('Reads', (method) => method.responseStream)}`,
  `/** Rpcs of many requests and one response. */\n${rpcs('Writes', (method) => method.requestStream)}`,
];
fs.writeFileSync(path.join(__dirname, 'protocol.d.ts'), [
  '/// <reference types="node" />\n\n// Generated from api.proto and open_data.proto.\n',
  '/** A 64-bit integer to send: a number up to 2 ** 53 - 1, a bigint, or its decimal digits. */\nexport type Integer64 = number | bigint | string;\n',
  ...parts,
].join('\n'));
