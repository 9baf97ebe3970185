// ioredis: strings, binary values, pipelines, expiry, errors, many at once, SCAN.   node ioredis.js HOST PORT
'use strict';
const { createRequire } = require('node:module');
const Redis = createRequire(process.cwd() + '/')('ioredis');
const { equal, fails, run } = require('./common');

run(async () => {
  const r = new Redis({ host: process.argv[2], port: Number(process.argv[3]), db: 3 });
  r.on('error', (e) => { throw e; });
  await r.flushdb();
  equal(await r.set('io:a', '1'), 'OK');
  equal(await r.get('io:a'), '1');
  equal(await r.get('io:none'), null);
  equal(await r.incrby('io:a', 41), 42);
  equal(await r.set('io:e', 'x', 'EX', 100, 'NX'), 'OK');
  equal(await r.set('io:e', 'y', 'NX'), null);
  equal(await r.ttl('io:e') > 90, true);
  equal(await r.mset('io:m1', 'a', 'io:m2', 'b', 'io:m3', 'c'), 'OK');
  equal(await r.mget('io:m1', 'io:m2', 'io:no', 'io:m3'), ['a', 'b', null, 'c']);
  const bytes = Buffer.from(Array.from({ length: 1024 }, (_, i) => i & 255));
  equal(await r.set(Buffer.from([0, 13, 10, 255]), bytes), 'OK');
  equal(await r.getBuffer(Buffer.from([0, 13, 10, 255])), bytes);

  const pipe = r.pipeline();
  for (let i = 0; i < 2000; i++) pipe.set(`io:p:${i}`, `v${i}`).get(`io:p:${i}`);
  const replies = await pipe.exec();
  equal(replies.length, 4000);
  equal(replies.every(([e, v], i) => e === null && v === (i % 2 ? `v${(i - 1) / 2}` : 'OK')), true);

  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => r.append(`io:q:${i % 10}`, 'x')));
  equal(many.reduce((a, b) => Math.max(a, b)), 50);

  await fails(r.call('NOSUCHCOMMAND', 'x'), /unknown command/);
  await fails(r.incr('io:e'), /not an integer/);
  await fails(r.call('GET'), /wrong number of arguments/);

  const found = new Set();
  for await (const keys of r.scanStream({ match: 'io:p:*', count: 100 })) keys.forEach((k) => found.add(k));
  equal(found.size, 2000);
  equal(await r.dbsize() >= 2000, true);
  await r.flushdb();
  equal(await r.dbsize(), 0);
  equal(await r.quit(), 'OK');
});
