// SPDX-License-Identifier: Apache-2.0

// What npm's etcd3 makes of a server: each line is a step and its outcome.
//   node client.js HOST:PORT DIRECTORY
// The directory has the bundle of the client alice.
'use strict';
const fs = require('fs');
const { Etcd3 } = require('etcd3');

const [host, dir] = process.argv.slice(2);
const open = auth => new Etcd3({
  hosts: `https://${host}`,
  credentials: {
    rootCertificate: fs.readFileSync(`${dir}/ca.crt`),
    privateKey: fs.readFileSync(`${dir}/alice.key`),
    certChain: fs.readFileSync(`${dir}/alice.crt`),
  },
  auth,
});

const hidden = new Set(['cluster_id', 'member_id', 'raft_term', 'lease', 'ID', 'token']);
const plain = (key, value) => {
  if (hidden.has(key)) return value === '0' ? '0' : 'some';
  return value && value.type === 'Buffer' ? Buffer.from(value.data).toString() : value;
};
async function step(name, act) {
  let said;
  try {
    said = JSON.stringify(await act(), plain);
  } catch (e) {
    said = `${e.constructor.name}: ${e.message.replace(/Lease \d+/, 'Lease some')}`;
  }
  console.log(`${name}: ${said}`);
}
const once = (emitter, event) => new Promise(resolve => emitter.once(event, (...args) => resolve(args)));

async function keys(c) {
  await step('put', () => c.put('a').value('1'));
  await step('put and what was there', () => c.put('a').value(2).getPrevious());
  await step('get', () => c.get('a'));
  await step('get a number', () => c.get('a').number());
  await step('get nothing', () => c.get('none'));
  await step('exists', async () => [await c.get('a').exists(), await c.get('none').exists()]);
  for (const [k, v] of [['p/1', 'x'], ['p/2', '{"j":1}'], ['p/3', ''], ['q', 'y']]) await step(`put ${k}`, () => c.put(k).value(v));
  await step('json', () => c.get('p/2').json());
  await step('all of a prefix', () => c.getAll().prefix('p/').strings());
  await step('keys, the last first', () => c.getAll().prefix('p/').sort('Key', 'Descend').limit(2).keys());
  await step('count', () => c.getAll().count());
  await step('the whole answer', () => c.getAll().inRange({ start: 'p/1', end: 'p/3' }).exec());
  await step('of before', () => c.get('a').revision(2).exec());
  await step('of the future', () => c.get('a').revision(99).exec());
  await step('changed since', () => c.getAll().minModRevision(5).keys());
  await step('touch', () => c.put('q').touch());
  await step('touch nothing', () => c.put('none').touch());
  await step('delete and what was there', () => c.delete().key('p/1').getPrevious());
  await step('delete a prefix', () => c.delete().prefix('p/'));
  await step('no key', () => c.put('').value('x'));
  await step('in a namespace', async () => {
    const n = c.namespace('n/');
    await n.put('k').value('v');
    return [await n.getAll().strings(), await c.get('n/k')];
  });
  await step('compact', () => c.kv.compact({ revision: '4', physical: true }));
  await step('what is compacted', () => c.get('a').revision(2).exec());
}

async function transactions(c) {
  const t = () => c.if('a', 'Value', '==', '2').and('q', 'Version', '>', 0).then(c.put('t').value('then'), c.get('t')).else(c.get('a'));
  await step('a transaction', () => t().commit());
  await step('change it', () => c.put('a').value('3'));
  await step('its other branch', () => t().commit());
  await step('a key twice', () => c.if('a', 'Mod', '>', 0).then(c.put('t').value('1'), c.put('t').value('2')).commit());
  let tries = 0;
  await step('software transaction', () => c.stm({ retries: 3 }).transact(async tx => {
    const before = await tx.get('a');
    if (++tries === 1) await c.put('a').value('meddled');
    await tx.put('sum').value(before + tries);
  }));
  await step('its sum', async () => [tries, await c.get('sum')]);
}

async function leases(c) {
  const lease = c.lease(1000, { autoKeepAlive: false });
  await step('put with a lease', () => lease.put('l').value('leased'));
  await step('keep it alive', () => lease.keepaliveOnce());
  await step('how long', async () => {
    const r = await c.leaseClient.leaseTimeToLive({ ID: await lease.grant(), keys: true });
    return [r.grantedTTL, r.keys];
  });
  await step('revoke', () => lease.revoke());
  await step('gone with it', () => c.get('l'));
  await step('keep alive no more', () => lease.keepaliveOnce());
  await step('revoke twice', () => lease.revoke());
}

async function watches(c) {
  const watcher = await c.watch().prefix('w/').withPreviousKV().create();
  for (const act of [() => c.put('w/1').value('1'), () => c.put('w/1').value('2')]) {
    const told = once(watcher, 'put');
    await act();
    await step('told of a put', () => told);
  }
  const told = once(watcher, 'delete');
  await c.delete().prefix('w/');
  await step('told of a deletion', () => told);
  const other = await c.watch().key('other').only('delete').create();
  const deleted = once(other, 'delete');
  await c.put('other').value('1');
  await c.delete().key('other');
  await step('told of a deletion only', () => deleted);
  await other.cancel();
  await step('cancel', () => watcher.cancel());
}

async function locks(c) {
  const held = c.lock('door').ttl(60);
  await step('lock', async () => Boolean(await held.acquire()));
  await step('lock what is held', () => c.lock('door').ttl(60).acquire());
  await step('let go', () => held.release());
  await step('do with a lock', () => c.lock('door').ttl(60).do(() => 'done'));
  const election = c.election('head', 60);
  await step('nobody leads', () => election.leader());
  const campaign = election.campaign('one');
  await step('elected', () => campaign.wait().then(() => election.leader()));
  const observer = await election.observe();
  await step('observed', () => observer.leader());
  const changed = once(observer, 'change');
  await step('proclaim', () => campaign.proclaim('two'));
  await step('change', () => changed);
  const next = election.campaign('three');
  await step('the next has a key', async () => Boolean(await next.getCampaignKey()));
  await step('resign', () => campaign.resign());
  await step('the next leads', () => next.wait().then(() => election.leader()));
  await next.resign();
  await observer.cancel();
}

async function users(c) {
  const role = c.role('writer');
  await step('role', () => role.create().then(r => r.name));
  await step('role again', () => role.create());
  await step('grant', () => role.grant({ permission: 'Readwrite', range: c.range({ prefix: 'a' }) }).then(r => r.name));
  await step('permissions', () => role.permissions());
  for (const name of ['root', 'bob']) await step(`user ${name}`, () => c.user(name).create(name).then(u => u.name));
  await step('user again', () => c.user('bob').create('bob'));
  await step('role of none', () => c.role('none').permissions());
  await step('give it', () => c.user('bob').addRole('writer').then(u => u.name));
  await step('enable without a root', () => c.auth.authEnable());
  await step('root', async () => {
    await c.role('root').create();
    return (await c.user('root').addRole('root')).name;
  });
  await step('enable', () => c.auth.authEnable());
  const root = open({ username: 'root', password: 'root' });
  const bob = open({ username: 'bob', password: 'bob' });
  await step('bob writes', () => bob.put('a').value('by bob'));
  await step('bob may not', () => bob.put('z').value('by bob'));
  await step('bob reads', () => bob.get('a'));
  await step('bob reads all', () => bob.getAll().strings());
  await step('bob manages', () => bob.user('eve').create('eve'));
  const wrong = open({ username: 'bob', password: 'wrong' });
  await step('wrong password', () => wrong.get('a'));
  await step('without a login', () => c.put('a').value('by whom'));
  await step('roles of bob', () => root.user('bob').roles().then(roles => roles.map(r => r.name)));
  await step('take it', () => root.user('bob').removeRole('writer').then(u => u.name));
  await step('bob may no more', () => bob.get('a'));
  await step('disable', () => root.auth.authDisable());
  await step('anybody', () => c.getAll().strings());
  for (const opened of [root, bob, wrong]) opened.close();
}

(async () => {
  const c = open();
  for (const scene of [keys, transactions, leases, watches, locks, users]) await scene(c);
  await step('members', () => c.cluster.memberList({}).then(r => r.members.length));
  c.close();
  await step('after the end', () => c.get('a'));
  process.exit(); // at times the library leaves something open for good
})();
