// node-redis over RESP3: strings, pipelines, maps, errors, many connections, SCAN.   node node-redis.js HOST PORT
'use strict';
const { createRequire } = require('node:module');
const { createClient, RESP_TYPES } = createRequire(process.cwd() + '/')('redis');
const { equal, fails, run } = require('./common');

run(async () => {
  const client = createClient({ RESP: 3, socket: { host: process.argv[2], port: Number(process.argv[3]) }, database: 4, name: 'smoke' });
  client.on('error', (e) => { throw e; });
  await client.connect();
  await client.flushDb();
  equal(await client.clientGetName(), 'smoke');
  equal((await client.clientInfo()).resp, 3);
  equal(await client.set('nr:a', 'b'), 'OK');
  equal(await client.get('nr:a'), 'b');
  equal(await client.get('nr:none'), null);
  equal(await client.getSet('nr:a', 'c'), 'b');
  equal(await client.set('nr:n', '10', { PX: 100000 }), 'OK');
  equal(await client.incrByFloat('nr:n', 0.5), '10.5');
  equal(await client.pTTL('nr:n') > 90000, true);
  equal(await client.setRange('nr:r', 3, 'xyz'), 6);
  equal(await client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get('nr:r'), Buffer.from('\0\0\0xyz'));
  equal(await client.del(['nr:a', 'nr:n', 'nr:r', 'nr:none']), 3);

  // One turn of the event loop is one pipeline.
  const sets = await Promise.all(Array.from({ length: 1000 }, (_, i) => client.set(`nr:p:${i}`, String(i))));
  equal(sets.every((v) => v === 'OK'), true);
  const gets = await client.mGet(Array.from({ length: 1000 }, (_, i) => `nr:p:${i}`));
  equal(gets.every((v, i) => v === String(i)), true);

  await fails(client.sendCommand(['NOSUCHCOMMAND']), /unknown command/);
  await fails(client.sendCommand(['SET', 'nr:a']), /wrong number of arguments/);
  await fails(client.sendCommand(['SET', 'nr:a', 'b', 'EX', '0']), /invalid expire time/);
  await fails(client.sendCommand(['HELLO', '9']), /NOPROTO/);

  const hello = await client.sendCommand(['HELLO', '3']); // a map
  equal(hello.proto, 3);
  equal(hello.server, 'redis');

  let found = 0;
  for await (const keys of client.scanIterator({ MATCH: 'nr:p:*', COUNT: 50 })) found += keys.length;
  equal(found >= 1000, true);

  const others = await Promise.all(Array.from({ length: 20 }, async () => {
    const c = client.duplicate();
    c.on('error', (e) => { throw e; });
    return c.connect();
  }));
  const sums = await Promise.all(others.map((c) => c.incr('nr:all')));
  equal(sums.sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i + 1));
  await Promise.all(others.map((c) => c.close()));
  await client.flushDb();
  equal(await client.dbSize(), 0);
  await client.close();
});
