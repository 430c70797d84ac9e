/** Which boosters get a boosted server's new clients, and how many of them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Boosting } from '../../src/cluster/boosting.ts';
import { LOAD_STALE_MS, LoadTable } from '../../src/cluster/load.ts';
import { Spreading } from '../../src/cluster/spreading.ts';

const SIZE = 1000;
const [A, X, Y] = [0, 1, 2];
const IDLE = { connections: 0, cpuPermille: 0, requestsPerSecond: 0, acceptQueue: 0, accepting: true };

function stand(sharePermille = 1000) {
  const boost = { boosters: ['x', 'y'], onPermille: 800, offPermille: 500, sharePermille };
  const nodes = ['a', 'x', 'y'].map((name) => ({ name, role: name === 'a' ? 'server' : 'booster', boost }));
  const config = { nodes, redirect: { enabled: false } } as never;
  const loads = new LoadTable(3, 100);
  for (const node of [A, X, Y]) loads.report(node, 0, IDLE, 0);
  const up = new Set([X, Y]);
  const isUp = (node: number) => up.has(node);
  const boosting = new Boosting({ config, self: A, loads, isUp });
  let table = new Uint8Array(SIZE);
  let away: readonly number[] = [];
  const map = {
    write: (next: Uint8Array) => {
      table = Uint8Array.from(next);
    },
    writeHeirs: () => {},
    setFront: () => {},
    setAway: (nodes: readonly number[]) => {
      away = nodes;
    },
  };
  const spreading = new Spreading({ config, self: A, loads, isUp, boosting, map, size: SIZE });
  /** How many of 1000 new connections each gets. */
  const shares = (nowMs = 0) => {
    spreading.look(nowMs, true, false);
    return [0, X + 1, Y + 1].map((owner) => table.filter((one) => one === owner).length);
  };
  return { boosting, loads, up, shares, away: () => away };
}

describe('boosters of a server', () => {
  test('none gets anything while it is off; all of it, in equal shares, when it is on; nothing afterwards', () => {
    const { boosting, shares } = stand();
    assert.deepEqual(shares(), [1000, 0, 0]);
    boosting.look(0, 900, 'processor');
    assert.deepEqual(shares(), [0, 500, 500]);
    boosting.set('off');
    boosting.look(25, 900, 'processor');
    assert.deepEqual(shares(), [1000, 0, 0]);
  });

  test('a share of the new clients', () => {
    const { boosting, shares } = stand(300);
    boosting.look(0, 900, 'processor');
    assert.deepEqual(shares(), [700, 150, 150]);
  });

  test('one that cannot be reached, takes none, or has not been heard for long, leaves it to the other', () => {
    const { boosting, loads, up, shares, away } = stand();
    boosting.look(0, 900, 'processor');
    up.delete(X);
    assert.deepEqual(shares(), [0, 0, 1000]);
    assert.deepEqual(away(), [X], 'what it got a moment ago does not wait for it');
    up.add(X);
    loads.report(Y, 0, { ...IDLE, accepting: false }, 1);
    assert.deepEqual(shares(1), [0, 1000, 0]);
    const late = 1 + LOAD_STALE_MS;
    loads.report(Y, 0, IDLE, late);
    assert.deepEqual(shares(late), [0, 0, 1000]);
    up.delete(Y);
    assert.deepEqual(shares(late), [1000, 0, 0], 'without any they come here');
  });

  test('a full one gets none until it has room for some', () => {
    const { boosting, loads, shares } = stand();
    boosting.look(0, 900, 'processor');
    loads.report(X, 0, { ...IDLE, connections: 95 }, 0);
    assert.deepEqual(shares(), [0, 0, 1000]);
    loads.report(X, 0, { ...IDLE, connections: 90 }, 0);
    assert.deepEqual(shares(), [0, 0, 1000]);
    loads.report(X, 0, { ...IDLE, connections: 84 }, 0);
    assert.deepEqual(shares(), [0, 500, 500]);
  });

  test('status says what it stands at, and where new clients go', () => {
    const { boosting } = stand();
    assert.deepEqual(boosting.status(5), {
      mode: 'auto',
      on: false,
      why: null,
      forMs: null,
      loadPermille: 0,
      boosters: {},
    });
    boosting.look(10, 900, 'connections');
    assert.deepEqual(boosting.status(15), {
      mode: 'auto',
      on: true,
      why: 'connections',
      forMs: 5,
      loadPermille: 900,
      boosters: { x: 500, y: 500 },
    });
  });
});
