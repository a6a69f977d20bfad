'use strict';

// Runs the tests; STREAM_API_ADDRESS names the server.
const path = require('node:path');
const { spawnSync } = require('node:child_process');

const reporter = path.join(__dirname, 'lines.js');
const { status } = spawnSync(process.execPath, ['--test', `--test-reporter=${reporter}`, path.join(__dirname, 'stream-api.test.js')], { stdio: 'inherit' });
process.exit(status ?? 1);
