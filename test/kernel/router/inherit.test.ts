/** What a router hands on to the next one on the interface: connections that live elsewhere outlive the process. */
import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '../../../src/base/address.ts';
import { KernelMap } from '../../../src/kernel/linux/bpf.ts';
import { readFlowKey, writeFlowKey } from '../../../src/kernel/router/flow-key.ts';
import { KEY_BYTES, ROLE_ANCHOR, ROLE_TARGET, SPREAD_SIZE } from '../../../src/kernel/router/layout.ts';
import { emptyRules } from '../../../src/kernel/router/ranges.ts';
import { detach, isAttached, Router } from '../../../src/kernel/router/router.ts';
import { RouterEngine } from '../../../src/kernel/router/router-engine.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';

const skip = skipWithoutRoot();
const OPTIONS = {
  interface: 'lo',
  address: '192.0.2.1',
  publics: [{ address: '192.0.2.80', own: true }],
  port: 80,
  tlsPort: null,
  engines: 1,
  flows: 64,
  nodes: ['a', 'b', 'c'],
};
const client = { address: parseAddress('198.51.100.7'), port: 4321 };
const pub = { address: parseAddress('192.0.2.80'), port: 80 };

before(() => {
  if (skip === false) privateNetwork();
});

function start(flows = OPTIONS.flows, nodes = OPTIONS.nodes): { router: Router; engine: RouterEngine } {
  const router = new Router({ ...OPTIONS, flows, nodes });
  router.attach();
  return { router, engine: new RouterEngine(router.handles, 0) };
}

test('routes and spread are taken over from a router that stayed', { skip }, () => {
  const first = start();
  assert.equal(first.router.inherited, false);
  assert.ok(first.engine.routes.set(client, pub, 2));
  first.engine.spread.write(new Uint8Array(SPREAD_SIZE).fill(1));
  first.engine.close();
  first.router.close(true);
  assert.ok(isAttached('lo'), 'the programs stay');

  const second = start(128);
  assert.equal(second.router.inherited, true);
  assert.deepEqual(second.engine.routes.entries(), [{ client, public: pub, owner: 2 }]);
  second.engine.routes.delete(client, pub);
  second.engine.close();
  second.router.close();
  assert.equal(isAttached('lo'), false);

  const third = start();
  assert.equal(third.router.inherited, false, 'nothing is left of one that left the interface');
  assert.deepEqual(third.engine.routes.entries(), []);
  third.engine.close();
  third.router.close();
});

test('what knows nodes by their places is taken over while these are the same: one was added, two changed places', {
  skip,
}, () => {
  const entries = [{ client, public: pub, owner: 2 }];
  const first = start();
  assert.ok(first.engine.routes.set(client, pub, 2));
  first.engine.close();
  first.router.close(true);

  const second = start(OPTIONS.flows, [...OPTIONS.nodes, 'd']);
  assert.equal(second.router.misplaced, false);
  assert.deepEqual(second.engine.routes.entries(), entries);
  second.engine.close();
  second.router.close(true);

  const third = start(OPTIONS.flows, ['a', 'c', 'b', 'd']);
  assert.equal(third.router.misplaced, true);
  assert.deepEqual(third.engine.routes.entries(), []);
  third.engine.close();
  third.router.close();
});

test('connections of which a killed process was the anchor are left, with what their clients expect', {
  skip,
}, () => {
  const first = start();
  const { flows } = first.engine;
  const ports = [1, 2, 3].map((port) => ({ ...client, port }));
  const roles = [ROLE_ANCHOR, ROLE_TARGET, ROLE_ANCHOR];
  ports.forEach((from, i) => {
    const slot = flows.allocate();
    flows.resetObserved(slot, { ack: 1000 + i, edge: 9000, sentNext: 0 });
    // The first flow's rules were written twice: either copy may be in force.
    for (const role of i === 0 ? [ROLE_TARGET, roles[i]] : [roles[i]]) flows.write(slot, emptyRules(role));
    flows.install(from, pub, slot);
  });
  const router = new Router({ ...OPTIONS, flows: 128 });
  // The router before goes on until the next one is in its place: a client has acknowledged more.
  flows.resetObserved(0, { ack: 1500, edge: 9000, sentNext: 0 });
  first.engine.close();
  first.router.close(true);
  router.attach();
  const second = { router, engine: new RouterEngine(router.handles, 0) };
  const byNumber = () => [...second.router.left].sort((a, b) => a.expected - b.expected);
  const [lower, higher] = [
    { client: ports[2], public: pub, expected: 1002 },
    { client: ports[0], public: pub, expected: 1500 },
  ];
  assert.deepEqual(byNumber(), [lower, higher]);
  const ended = new KernelMap(second.router.handles.ended, KEY_BYTES, 4);
  const expected = ended.keys().map((key) => {
    key.copy(ended.key.bytes);
    return ended.lookup() && [readFlowKey(key).client.port, ended.value.bytes.readUInt32LE(0)];
  });
  assert.deepEqual(expected.sort(), [
    [1, 1500],
    [3, 1002],
  ]);
  writeFlowKey(ended.key.bytes, ports[0], pub);
  assert.ok(ended.delete());
  assert.deepEqual(byNumber(), [lower], 'without the client that has begun anew');
  second.engine.close();
  second.router.close();
});

test('without CAP_SYS_ADMIN a router takes the place of one that stayed, but not its routes', {
  skip,
}, () => {
  const heir = fileURLToPath(new URL('./heir.js', import.meta.url));
  for (const [capabilities, expected] of [
    ['-sys_admin', { inherited: false, disinherited: true }],
    ['-sys_module', { inherited: true, disinherited: false }],
  ] as const) {
    const first = start();
    assert.ok(first.engine.routes.set(client, pub, 2));
    first.engine.close();
    first.router.close(true);
    const argv = ['--bounding-set', capabilities, process.execPath, heir, JSON.stringify(OPTIONS)];
    assert.deepEqual(JSON.parse(execFileSync('setpriv', argv, { encoding: 'utf8' })), expected);
    assert.equal(isAttached('lo'), false);
  }
});

test('the table of routes says when it is full', { skip }, () => {
  const { router, engine } = start();
  const from = (port: number) => ({ ...client, port });
  for (let i = 1; i <= OPTIONS.flows; i++) assert.ok(engine.routes.set(from(i), pub, 1), `${i}`);
  assert.equal(engine.routes.set(from(OPTIONS.flows + 1), pub, 1), false);
  assert.ok(engine.routes.set(from(1), pub, 2), 'an entry can still be changed');
  engine.routes.delete(from(2), pub);
  assert.ok(engine.routes.set(from(OPTIONS.flows + 1), pub, 1));
  engine.close();
  router.close();
  detach('lo');
});
