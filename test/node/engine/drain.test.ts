/** An engine that stops: what the router is told before nobody listens any more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Drain, type DrainPorts } from '../../../src/node/engine/drain.ts';

function stand(takers: readonly number[]) {
  const clock = { nowMs: 1000 };
  const done: string[] = [];
  const none = { size: 0 };
  const drain = new Drain({
    clock,
    connections: { all: [], size: 0 } as unknown as DrainPorts['connections'],
    listeners: { close: () => done.push('nobody listens') },
    router: { stops: () => done.push('the router knows') },
    anchorFlows: none,
    halfPipes: { size: 0, drain: () => {} },
    relayed: none,
    moves: { hasRoomToLeave: true, incoming: 0 },
    guests: { leaving: 0 },
    takers: () => [...takers],
    over: () => done.push('over'),
  } as DrainPorts);
  const pass = (ms: number) => {
    for (const endMs = clock.nowMs + ms; clock.nowMs < endMs; clock.nowMs += 100) drain.round(clock.nowMs);
  };
  return { drain, done, pass };
}

const END = ['the router knows', 'nobody listens', 'over'];

test('alone: at once', () => {
  const { drain, done, pass } = stand([]);
  drain.begin(5000);
  assert.deepEqual(done, END.slice(0, 2));
  pass(100);
  assert.deepEqual(done, END);
});

test('with others: when the handshakes under way have had their time', () => {
  const { drain, done, pass } = stand([1, 2]);
  drain.begin(5000);
  pass(900);
  assert.deepEqual(done, []);
  pass(200);
  assert.deepEqual(done, END);
});
