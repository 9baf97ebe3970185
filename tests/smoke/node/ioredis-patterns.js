// ioredis: publish/subscribe, transactions, a reliable and a delayed queue, caching by invalidation.   node ioredis-patterns.js HOST PORT
'use strict';
const { createRequire } = require('node:module');
const Redis = createRequire(process.cwd() + '/')('ioredis');
const { equal, run, until } = require('./common');

run(async () => {
  const all = [];
  const open = (more = {}) => {
    const r = new Redis({ host: process.argv[2], port: Number(process.argv[3]), db: 8, ...more });
    r.on('error', (e) => { throw e; });
    all.push(r);
    return r;
  };
  const r = open();
  await r.flushdb();

  const subs = [open(), open(), open()];
  const got = subs.map(() => []);
  subs.forEach((s, i) => {
    s.on('message', (channel, m) => got[i].push(`${channel} ${m}`));
    s.on('pmessage', (pattern, channel, m) => got[i].push(`${channel} ${m}`));
  });
  equal(await subs[0].subscribe('io:a', 'io:b'), 2);
  equal(await subs[1].psubscribe('io:[ab]'), 1);
  equal(await subs[2].subscribe('io:b'), 1);
  const pipe = r.pipeline();
  for (let i = 0; i < 500; i++) pipe.publish(i % 2 ? 'io:a' : 'io:b', String(i));
  equal((await pipe.exec()).map(([, n], i) => n === (i % 2 ? 2 : 3)).every(Boolean), true);
  await until(() => got[0].length === 500 && got[1].length === 500 && got[2].length === 250);
  const want = Array.from({ length: 500 }, (_, i) => `${i % 2 ? 'io:a' : 'io:b'} ${i}`);
  equal(got, [want, want, want.filter((_, i) => i % 2 === 0)]);
  equal(await subs[0].unsubscribe('io:a'), 1);
  equal(await r.publish('io:a', 'x'), 1);

  equal(await r.multi().set('io:x', '1').incr('io:x').lpush('io:l', 'a').get('io:x').exec(), [[null, 'OK'], [null, 2], [null, 1], [null, '2']]);
  await r.watch('io:x', 'io:y');
  await open().set('io:y', 'changed');
  equal(await r.multi().incr('io:x').exec(), null);
  const errors = await r.multi().incr('io:l').incr('io:x').exec();
  equal([errors[0][0].message.includes('WRONGTYPE'), errors[1]], [true, [null, 3]]);

  const jobs = Array.from({ length: 200 }, (_, i) => `job ${i}`);
  const done = [];
  const workers = [0, 1, 2, 3].map(async (n) => {
    const w = open();
    for (;;) {
      const job = await w.blmove('io:jobs', `io:doing:${n}`, 'RIGHT', 'LEFT', 1);
      if (job === null) return;
      equal(await w.lrem(`io:doing:${n}`, 1, job), 1);
      done.push(job);
    }
  });
  for (const j of jobs) r.lpush('io:jobs', j);
  await Promise.all(workers);
  equal(done.sort(), [...jobs].sort());

  await r.zadd('io:due', ...jobs.flatMap((j, i) => [i, j]));
  const taken = await Promise.all([0, 1, 2].map(async () => {
    const w = open(), mine = [];
    for (let next; (next = await w.bzpopmin('io:due', 1)) !== null;) mine.push(next[1]);
    return mine;
  }));
  equal(taken.flat().sort(), [...jobs].sort());
  equal(await r.exists('io:due', 'io:jobs'), 0);

  const listener = open(), reader = open();
  const invalid = new Set();
  listener.on('messageBuffer', (channel, keys) => (keys || []).forEach((k) => invalid.add(k.toString())));
  const id = await listener.client('ID');
  await listener.subscribe('__redis__:invalidate');
  equal(await reader.client('TRACKING', 'ON', 'REDIRECT', id, 'BCAST', 'PREFIX', 'io:cache:'), 'OK');
  await r.mset('io:cache:1', 'a', 'io:cache:2', 'b', 'io:other', 'c');
  await until(() => invalid.size === 2);
  equal([...invalid].sort(), ['io:cache:1', 'io:cache:2']);

  await r.flushdb();
  all.forEach((c) => c.disconnect());
});
