// ioredis Cluster and node-redis createCluster, where every worker is a node.   node cluster.js HOST PORT
'use strict';
const { createRequire } = require('node:module');
const need = createRequire(process.cwd() + '/');
const Redis = need('ioredis');
const { createCluster } = need('redis');
const { equal, fails, run, until } = require('./common');

const host = process.argv[2], port = Number(process.argv[3]);
const keys = Array.from({ length: 200 }, (_, i) => `cl:${i}`);

async function ioredis() {
  const c = new Redis.Cluster([{ host, port }]);
  c.on('error', (e) => { throw e; });
  equal(await Promise.all(keys.map((k, i) => c.set(k, String(i)))), keys.map(() => 'OK'));
  equal(await Promise.all(keys.map((k) => c.get(k))), keys.map((_, i) => String(i)));
  equal(c.nodes('master').length, 3);
  equal((await Promise.all(c.nodes('master').map((n) => n.dbsize()))).reduce((a, b) => a + b), 200);
  equal(await c.pipeline().set('{t}a', '1').incr('{t}a').get('{t}a').exec(), [[null, 'OK'], [null, 2], [null, '2']]);
  equal(await c.multi().set('{t}b', '1').incr('{t}b').exec(), [[null, 'OK'], [null, 2]]);
  equal(await c.mget('{t}a', '{t}b'), ['2', '2']);
  await fails(c.mget('cl:1', 'cl:2'), /CROSSSLOT/);
  const s = new Redis.Cluster([{ host, port }]), got = [];
  s.on('message', (channel, m) => got.push(m));
  await s.subscribe('cl:ch');
  await c.publish('cl:ch', 'hello');
  await until(() => got.length === 1);
  s.disconnect();
  c.disconnect();
}

async function nodeRedis() {
  const c = createCluster({ rootNodes: [{ url: `redis://${host}:${port}` }] });
  c.on('error', (e) => { throw e; });
  await c.connect();
  equal(c.masters.length, 3);
  equal(await Promise.all(keys.map((k) => c.incr(k))), keys.map((_, i) => i + 1));
  equal(await c.multi().set('{u}a', '1').incr('{u}a').exec(), ['OK', 2]);
  const got = [];
  await c.sSubscribe('cl:s', (m) => got.push(m));
  await c.sPublish('cl:s', 'hello');
  await until(() => got.length === 1);
  await c.destroy();
}

run(async () => {
  await ioredis();
  await nodeRedis();
});
