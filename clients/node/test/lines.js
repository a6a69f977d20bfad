'use strict';

/** A reporter: one JSON object a line, with the name of a test, how it ended, and why if it failed. */
module.exports = async function* lines(source) {
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, skip, details } = event.data;
    const outcome = event.type === 'test:fail' ? 'failed' : skip !== undefined ? 'skipped' : 'passed';
    const error = details?.error?.cause ?? details?.error;
    yield `${JSON.stringify({ test: name, outcome, message: error ? String(error.stack ?? error) : String(skip ?? '') })}\n`;
  }
};
