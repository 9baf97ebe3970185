// node-redis over RESP3: publish/subscribe, transactions, queues, its client-side cache.   node node-redis-patterns.js HOST PORT
'use strict';
const { createRequire } = require('node:module');
const { createClient, BasicClientSideCache, WatchError } = createRequire(process.cwd() + '/')('redis');
const { equal, fails, run, until } = require('./common');

run(async () => {
  const all = [];
  const open = async (more = {}) => {
    const c = createClient({ RESP: 3, socket: { host: process.argv[2], port: Number(process.argv[3]) }, database: 9, ...more });
    c.on('error', (e) => { throw e; });
    all.push(c);
    return c.connect();
  };
  const r = await open();
  await r.flushDb();

  const subs = await Promise.all([open(), open()]);
  const got = [[], []];
  await subs[0].subscribe(['nr:a', 'nr:b'], (m, channel) => got[0].push(`${channel} ${m}`));
  await subs[1].pSubscribe('nr:*', (m, channel) => got[1].push(`${channel} ${m}`));
  const counts = await Promise.all(Array.from({ length: 400 }, (_, i) => r.publish(i % 2 ? 'nr:a' : 'nr:b', String(i))));
  equal(counts.every((n) => n === 2), true);
  const want = Array.from({ length: 400 }, (_, i) => `${i % 2 ? 'nr:a' : 'nr:b'} ${i}`);
  await until(() => got.every((g) => g.length === 400));
  equal(got, [want, want]);
  equal(await subs[0].ping(), 'PONG');
  await subs[1].pUnsubscribe();
  equal(await r.publish('nr:a', 'x'), 1);
  const sharded = [];
  await subs[1].sSubscribe('nr:s', (m) => sharded.push(m));
  equal(await r.sPublish('nr:s', 'hello'), 1);
  await until(() => sharded.length === 1);

  equal(await r.multi().set('nr:x', '1').incr('nr:x').hSet('nr:h', { f: 'v' }).hGetAll('nr:h').exec(), ['OK', 2, 1, Object.assign(Object.create(null), { f: 'v' })]);
  const watcher = await open();
  await watcher.watch(['nr:x', 'nr:y']);
  await r.set('nr:y', 'changed');
  await fails(watcher.multi().incr('nr:x').exec(), WatchError);
  equal(await watcher.multi().incr('nr:x').exec(), [3]);

  const jobs = Array.from({ length: 200 }, (_, i) => `job ${i}`), done = [];
  const workers = [0, 1, 2, 3].map(async (n) => {
    const w = await open();
    for (;;) {
      const job = await w.blMove('nr:jobs', `nr:doing:${n}`, 'RIGHT', 'LEFT', 1);
      if (job === null) return;
      equal(await w.lRem(`nr:doing:${n}`, 1, job), 1);
      done.push(job);
    }
  });
  await r.lPush('nr:jobs', jobs);
  await Promise.all(workers);
  equal(done.sort(), [...jobs].sort());
  await r.zAdd('nr:due', jobs.map((value, score) => ({ score, value })));
  const first = [];
  for (let i = 0; i < 5; i++) first.push((await r.bzPopMin('nr:due', 1)).value);
  equal(first, jobs.slice(0, 5));

  const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 0, evictPolicy: 'LRU' });
  const cached = await open({ clientSideCache: cache });
  await r.set('nr:c', 'old');
  equal(await cached.get('nr:c'), 'old');
  equal(await cached.get('nr:c'), 'old');
  equal([cache.stats().hitCount, cache.stats().missCount], [1, 1]);
  await r.set('nr:c', 'new');
  await until(() => cache.size() === 0);
  equal(await cached.get('nr:c'), 'new');
  const names = Array.from({ length: 50 }, (_, i) => `nr:c:${i}`);
  await Promise.all(names.map((k) => r.set(k, '1')));
  await Promise.all(names.map((k) => cached.get(k)));
  await r.flushDb();
  await until(() => cache.size() === 0);
  equal(await cached.get(names[7]), null);
  await Promise.all(all.map((c) => c.destroy()));
});
