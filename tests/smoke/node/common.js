// What both node clients' scripts share: a counter of checks and an end with a deadline.
'use strict';
const assert = require('node:assert');

let checks = 0;
exports.equal = (got, want, what) => {
  assert.deepStrictEqual(got, want, what);
  checks++;
};
exports.fails = async (promise, pattern) => {
  await assert.rejects(promise, pattern);
  checks++;
};
// Asks until it is so; the deadline of run() ends what never is.
exports.until = async (probe) => {
  while (!probe()) await new Promise((resolve) => setImmediate(resolve));
  checks++;
};
exports.run = (main) => {
  setTimeout(() => {
    console.error('deadline');
    process.exit(1);
  }, 60000).unref();
  main().then(() => console.log(`${checks} checks`)).catch((e) => {
    console.error(e);
    process.exit(1);
  });
};
