'use strict';

// Runs the tests; STREAM_API_ADDRESS names the server.
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');

const reporter = path.join(__dirname, 'lines.js');
const tests = fs.readdirSync(__dirname).filter((name) => name.endsWith('.test.js')).map((name) => path.join(__dirname, name));
const { status } = spawnSync(process.execPath, ['--test', `--test-reporter=${reporter}`, ...tests], { stdio: 'inherit' });
process.exit(status ?? 1);
