import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type EngineLoad,
  LISTEN_BACKLOG,
  LoadMeter,
  LoadTable,
  loadPermille,
} from '../../src/cluster/load.ts';

const IDLE: EngineLoad = {
  connections: 0,
  cpuPermille: 0,
  requestsPerSecond: 0,
  acceptQueue: 0,
  accepting: true,
};

describe('load', () => {
  it('is the largest share of what an engine has', () => {
    assert.equal(loadPermille(IDLE, 100), 0);
    assert.equal(loadPermille({ ...IDLE, cpuPermille: 300, connections: 20 }, 100), 300);
    assert.equal(loadPermille({ ...IDLE, cpuPermille: 300, connections: 70 }, 100), 700);
    assert.equal(loadPermille({ ...IDLE, acceptQueue: LISTEN_BACKLOG / 2 }, 100), 500);
    assert.equal(loadPermille({ ...IDLE, connections: 500 }, 100), 1000);
  });

  it('sums up a node, engine by engine, in an object that stays the same', () => {
    const table = new LoadTable(2, 100);
    const node = table.of(1);
    assert.deepEqual([node.reportedAtMs, node.accepting], [-1, true]);
    const busy = { ...IDLE, connections: 10, cpuPermille: 900, requestsPerSecond: 7, acceptQueue: 1 };
    assert.equal(table.report(1, 0, busy, 1000), false);
    assert.equal(table.report(1, 1, { ...busy, cpuPermille: 100 }, 1200), false);
    assert.deepEqual(node, {
      connections: 20,
      requestsPerSecond: 14,
      acceptQueue: 2,
      cpuPermille: 900,
      loadPermille: 900,
      accepting: true,
      reportedAtMs: 1200,
    });
    assert.equal(table.report(1, 0, { ...IDLE, accepting: false }, 1500), true);
    assert.equal(node.accepting, false);
    assert.equal(node.cpuPermille, 100);
    assert.equal(table.forget(1, 0), true);
    assert.equal(node.accepting, true);
    table.forget(1, 1);
    assert.deepEqual([node.reportedAtMs, node.connections], [-1, 0]);
    assert.equal(table.of(0).reportedAtMs, -1);
  });

  it('measures rates between two looks, within bounds', () => {
    const meter = new LoadMeter();
    assert.deepEqual(meter.rates(1000, 50, 10), { cpuPermille: 0, requestsPerSecond: 0 });
    assert.deepEqual(meter.rates(1500, 300, 60), { cpuPermille: 500, requestsPerSecond: 100 });
    assert.deepEqual(meter.rates(1500, 300, 60), { cpuPermille: 0, requestsPerSecond: 0 });
    const step = fc.tuple(fc.nat(2000), fc.nat(3000), fc.nat(10_000));
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const one = new LoadMeter();
        let [now, cpu, requests] = [0, 0, 0];
        for (const [ms, cpuMs, count] of steps) {
          now += ms;
          cpu += cpuMs;
          requests += count;
          const { cpuPermille, requestsPerSecond } = one.rates(now, cpu, requests);
          assert.ok(Number.isInteger(cpuPermille) && cpuPermille >= 0 && cpuPermille <= 1000);
          assert.ok(Number.isInteger(requestsPerSecond) && requestsPerSecond >= 0);
        }
      }),
    );
  });
});
