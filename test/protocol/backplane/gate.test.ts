/** Who may begin a handshake, how often, and what is said of those that failed. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import type { ClusterConfig } from '../../../src/base/config/config.ts';
import { Gate } from '../../../src/protocol/backplane/gate.ts';
import { adviceOn, LinkFailures, type Seen } from '../../../src/protocol/backplane/link-failures.ts';

const nodes = [
  { name: 'a', address: '10.0.0.1', address6: null, engines: 1 },
  { name: 'b', address: '10.0.0.2', address6: 'fd00::2', engines: 2 },
  { name: 'c', address: '10.0.0.3', address6: null, engines: 1 },
] as unknown as ClusterConfig['nodes'];
const B = parseAddress('10.0.0.2');
const C = parseAddress('10.0.0.3');

describe('gate', () => {
  it('knows other nodes by their addresses, and nobody else', () => {
    const gate = new Gate({ nodes }, 0);
    assert.equal(gate.nodeAt(B), 'b');
    assert.equal(gate.nodeAt(parseAddress('fd00::2')), 'b');
    for (const address of ['10.0.0.1', '10.0.0.9', '::ffff:10.0.0.9', 'fd00::3'].map(parseAddress)) {
      assert.equal(gate.nodeAt(address), null);
      assert.equal(gate.refuses(address, 0), 'stranger');
      assert.equal(gate.maxWaiting(address), 0);
    }
  });

  it('takes so many in a row from each, and regains them', () => {
    const gate = new Gate({ nodes }, 0);
    const taken = (address: Buffer, nowMs: number) => {
      let count = 0;
      while (gate.refuses(address, nowMs) === null) count++;
      return count;
    };
    assert.equal(taken(B, 0), 20, 'ten for each of its engines');
    assert.equal(taken(C, 0), 10, 'another node has its own');
    assert.equal(taken(C, 100), 2);
    assert.equal(taken(C, 100), 0);
    assert.equal(taken(C, 3_600_000), 10, 'never more than at first');
    assert.equal(gate.maxWaiting(B), 4);
    assert.equal(gate.maxWaiting(C), 2);
  });
});

describe('link failures', () => {
  const dialled: Seen = { role: 'dial', stage: 'WAIT_PROOF', reason: 'TRUNCATED: the stream was cut' };
  const accepted: Seen = { role: 'accept', stage: 'WAIT_PROOF', reason: 'WRONG_KEY: the peer has another' };

  it('both ends say that the keys differ', () => {
    for (const seen of [dialled, accepted, { ...dialled, reason: 'recv: ECONNRESET' }])
      assert.match(adviceOn(seen), /different cluster keys: give both the same cluster.key/);
    for (const seen of [
      { ...dialled, stage: 'WAIT_GREETING' as const },
      { ...accepted, reason: 'TRUNCATED: the stream was cut' },
      { ...dialled, reason: 'connect: ECONNREFUSED' },
    ])
      assert.doesNotMatch(adviceOn(seen), /different cluster keys/);
  });

  it('says what else can be the matter', () => {
    assert.match(adviceOn({ ...dialled, reason: 'connect: ECONNREFUSED' }), /running there/);
    assert.match(adviceOn({ ...dialled, reason: 'connect: EHOSTUNREACH' }), /port open/);
    assert.match(adviceOn({ ...dialled, reason: 'VERSION: session version 2' }), /upgrade/);
    assert.match(adviceOn({ ...accepted, reason: 'MALFORMED: no Baton backplane' }), /something else/);
    assert.match(adviceOn({ ...dialled, stage: 'WAIT_GREETING' }), /with this node's address/);
    assert.match(adviceOn({ ...dialled, stage: 'OPEN' }), /has refused this one/);
  });

  it('tells a failure once, then now and then, and forgets it', () => {
    const failures = new LinkFailures();
    assert.ok(failures.note('b', '10.0.0.2', dialled, 0));
    assert.ok(!failures.note('b', '10.0.0.2', dialled, 2000));
    assert.ok(failures.note('c', '10.0.0.3', dialled, 2000), 'each node has its own');
    assert.ok(failures.note('b', '10.0.0.2', dialled, 61_000));
    assert.deepEqual(
      failures.all.map(({ node, count, atMs }) => [node, count, atMs]),
      [
        ['b', 3, 61_000],
        ['c', 1, 2000],
      ],
    );
    assert.ok(failures.note('b', '10.0.0.2', accepted, 61_500), 'another one');
    assert.equal(failures.all[0].count, 1);
    failures.forget('b');
    assert.deepEqual(
      failures.all.map(({ node }) => node),
      ['c'],
    );
  });
});
