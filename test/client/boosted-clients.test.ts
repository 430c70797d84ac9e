/** A booster's clients: their origins, how many each may have, and what a client may ask for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../src/base/address.ts';
import { Counters } from '../../src/base/counters.ts';
import { BoostedClients } from '../../src/client/boosted-clients.ts';

const MOST = 80;
const [A, B] = [0, 1];
const CLIENT = parseAddress('192.0.2.1');
const NONE = { connectionsPerSecond: null, requestsPerSecond: null, inFlight: null };

/** Even descriptors are of clients of a. */
const EVEN_ARE_OF_A = (fd: number) => (fd % 2 === 0 ? A : B);

function stand(perAddress: object = {}, most = MOST, originOf = EVEN_ARE_OF_A) {
  const counters = new Counters();
  const told: boolean[] = [];
  const clients = new BoostedClients({
    clock: { nowMs: 0 },
    count: counters,
    limits: { perAddress: { ...NONE, ...perAddress }, perNetwork: NONE },
    most,
    originOf,
    changed: () => told.push(clients.isFull(A)),
  });
  const admit = (origin: number, count: number, from = 0) =>
    Array.from({ length: count }, (_, i) => clients.admit(2 * (from + i) + origin, CLIENT));
  return { clients, counters, told, admit };
}

test('an origin is told that it has enough, has some more all the same, and then 503; the other has its part', () => {
  const { clients, counters, told, admit } = stand();
  assert.deepEqual(new Set(admit(A, 75)), new Set([null]));
  assert.deepEqual(told, [true], 'once');
  assert.deepEqual(admit(A, 1, 75), [503]);
  assert.equal(counters.get('connections_refused'), 1);
  assert.deepEqual(new Set(admit(B, 5)), new Set([null]));
  assert.deepEqual(Object.fromEntries(clients.counts), { [A]: 75, [B]: 5 });
  for (let fd = 0; fd < 60; fd += 2) clients.closed(fd);
  assert.equal(clients.isFull(A), false);
  assert.deepEqual([told.length, told.at(-1)], [2, false]);
});

test('three origins that are overloaded together get equal shares, whoever came first, and though each is told late', () => {
  const most = 800;
  const part = Math.floor((most - most / 8) / 3);
  const { clients } = stand({}, most, (fd) => fd % 3);
  const held: number[][] = [[], [], []];
  let last = 0;
  /** An origin hears that it is full a few clients later. */
  const heard = [0, 0, 0];
  const come = (origin: number) => {
    heard[origin] = clients.isFull(origin) ? heard[origin] + 1 : 0;
    if (heard[origin] > 5) return;
    const fd = 3 * last++ + origin;
    if (clients.admit(fd, CLIENT) === null) held[origin].push(fd);
  };
  for (let i = 0; i < most; i++) come(0);
  assert.ok(held[0].length > 2 * part, 'alone it has nearly all');
  for (let i = 0; i < 5000; i++) {
    for (const origin of [0, 1, 2]) come(origin);
    const left = held[i % 3].shift();
    if (left !== undefined) clients.closed(left);
  }
  for (const { length } of held)
    assert.ok(
      length > 0.84 * part && length <= part + most / 16,
      `${held.map((all) => all.length)} of ${part}`,
    );
});

test('what a client has in progress ends with its answer, and with its connection', () => {
  const { clients, counters, admit } = stand({ inFlight: 1 });
  admit(A, 2);
  assert.ok(clients.asks(0));
  assert.ok(!clients.asks(2));
  assert.equal(counters.get('requests_limited'), 1);
  clients.answered(0);
  assert.ok(clients.asks(2));
  assert.ok(!clients.asks(0));
  clients.closed(2);
  assert.ok(clients.asks(0));
  clients.useLimits({ perAddress: NONE, perNetwork: NONE });
  assert.equal(clients.originOf(0), A);
  assert.equal(clients.originOf(2), -1, 'it has left');
});

test('a client that connects too often is turned away, and counts for nothing', () => {
  const { clients, counters, admit } = stand({ connectionsPerSecond: 2 });
  assert.deepEqual(admit(A, 4), [null, null, 429, 429]);
  assert.equal(counters.get('connections_limited'), 2);
  assert.equal(clients.counts.get(A), 2);
});
