/** In which order time passes in the parts of an engine, and how soon the next turn has to come. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IDLE_MS, QUICK_TICK_MS, TICK_MS } from '../../../src/kernel/loop/loop.ts';
import {
  HOUSEKEEPING_MS,
  Housekeeping,
  type HousekeepingPorts,
} from '../../../src/node/engine/housekeeping.ts';

/** What is called of which part, and how often a part says that it has something. */
class Stand {
  readonly calls: string[] = [];
  readonly clock = { nowMs: 1000 };
  readonly posted: object[] = [];
  /** By part: what its fields are; else its methods are noted and return nothing. */
  readonly fields: Record<string, Record<string, unknown>> = {
    halfPipes: { isWaiting: false, waitMs: IDLE_MS, size: 0 },
    handoffs: { waitMs: IDLE_MS },
    streams: { waitMs: IDLE_MS },
    loads: { waitMs: IDLE_MS },
    moves: { waitMs: IDLE_MS },
    drain: { waitMs: IDLE_MS },
    connections: { waitMs: IDLE_MS, size: 0 },
    anchorFlows: { waitMs: IDLE_MS, size: 0 },
    guests: { waitMs: IDLE_MS, size: 0 },
    forwards: { waitMs: IDLE_MS },
    peers: { up: 1, expected: 1 },
    views: { size: 1 },
    ...Object.fromEntries(['homeRoutes', 'catalogues', 'memories'].map((name) => [name, { size: 0 }])),
  };
  upstreamsWait = false;
  readonly housekeeping = new Housekeeping(this.#ports());

  #part(name: string): object {
    return new Proxy(
      {},
      {
        get: (_, key: string) => {
          const fields = this.fields[name];
          if (fields !== undefined && key in fields) return fields[key];
          return () => {
            this.calls.push(`${name}.${key}`);
            return name === 'sites' && key === 'tick' ? this.upstreamsWait : undefined;
          };
        },
      },
    );
  }

  #ports(): HousekeepingPorts {
    const given: Record<string, unknown> = {
      clock: this.clock,
      config: { nodes: [{}, {}], timeouts: { peerMs: 2000 } },
      gauges: { set: () => {} },
      post: (message: object) => this.posted.push(message),
    };
    const parts = new Proxy(given, { get: (_, name: string) => given[name] ?? this.#part(name) });
    return parts as unknown as HousekeepingPorts;
  }

  tick(passedMs: number): { calls: string[]; waitMs: number } {
    this.clock.nowMs += passedMs;
    this.calls.length = 0;
    const waitMs = this.housekeeping.tick();
    return { calls: [...this.calls], waitMs };
  }
}

const TURN = [
  'handoffs.turn',
  'streams.turn',
  'loads.turn',
  'moves.turn',
  'connections.turn',
  'anchorFlows.turn',
  'guests.turn',
  'forwards.turn',
  'drain.turn',
];
const ROUND = [
  'router.stayAlive',
  'connections.round',
  'peers.tick',
  'anchorFlows.round',
  'halfPipes.round',
  'guests.round',
  'homeRoutes.tick',
  'catalogues.tick',
  'memories.tick',
  'sites.count',
  'log.round',
  'access.flush',
  'loads.tick',
  'returning.round',
  'drain.round',
];

test('a turn: the router first, while something waits for it; what waits; what other nodes get; upstreams', () => {
  const stand = new Stand();
  stand.tick(HOUSEKEEPING_MS);
  assert.deepEqual(stand.tick(HOUSEKEEPING_MS - 1).calls, [...TURN, 'sites.tick']);
  stand.fields.halfPipes.isWaiting = true;
  assert.deepEqual(stand.tick(0).calls, ['router.drainEvents', 'halfPipes.turn', ...TURN, 'sites.tick']);
});

test('a round, every 100 ms: the sign of life first, what may end the engine last', () => {
  const stand = new Stand();
  assert.deepEqual(stand.tick(HOUSEKEEPING_MS).calls, [...TURN, ...ROUND, 'sites.tick']);
  assert.deepEqual(stand.tick(HOUSEKEEPING_MS - 1).calls, [...TURN, 'sites.tick']);
  assert.deepEqual(stand.tick(1).calls, [...TURN, ...ROUND, 'sites.tick']);
});

test('the next turn comes as soon as the most impatient part wants it', () => {
  const stand = new Stand();
  assert.equal(stand.tick(0).waitMs, IDLE_MS);
  stand.upstreamsWait = true;
  assert.equal(stand.tick(0).waitMs, TICK_MS);
  stand.upstreamsWait = false;
  const impatient = [
    'handoffs',
    'halfPipes',
    'streams',
    'loads',
    'moves',
    'connections',
    'anchorFlows',
    'guests',
    'forwards',
    'drain',
  ];
  for (const name of impatient) {
    const fields = stand.fields[name];
    fields.waitMs = QUICK_TICK_MS;
    assert.equal(stand.tick(0).waitMs, QUICK_TICK_MS, name);
    fields.waitMs = IDLE_MS;
  }
});

test('it says once that it is ready: when all links are up, or after 3 s', () => {
  const together = new Stand();
  together.tick(HOUSEKEEPING_MS);
  together.tick(HOUSEKEEPING_MS);
  assert.deepEqual(together.posted, [{ type: 'ready', ready: true }]);
  const alone = new Stand();
  alone.fields.peers.up = 0;
  alone.tick(3000);
  assert.deepEqual(alone.posted, []);
  alone.tick(HOUSEKEEPING_MS);
  assert.deepEqual(alone.posted, [{ type: 'ready', ready: true }]);
});
