import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, describe, it } from 'node:test';
import { QUERY_TIMEOUT_MS } from '../../../src/node/admin/engines.ts';
import { batchOf, EngineThread, record } from './stand.ts';

describe('EngineClient', () => {
  let thread: EngineThread;
  afterEach(() => thread.end());

  it('follows listening, ready and stopped', async () => {
    thread = new EngineThread(0);
    assert.equal(thread.client.state, 'starting');
    assert.equal(thread.client.notReadyReason, 'engine 0 is starting');
    thread.say({ type: 'listening' });
    await thread.until(() => thread.client.state === 'listening');
    assert.equal(thread.client.ready, false);
    await thread.becomeReady();
    assert.equal(thread.client.notReadyReason, null);
    thread.say({ type: 'ready', ready: false });
    await thread.until(() => !thread.client.ready);
    assert.equal(thread.client.notReadyReason, 'engine 0 listens but has not reported ready');
    await thread.becomeReady();
    assert.equal(await thread.client.stop(1000), true);
    assert.equal(thread.client.state, 'stopped');
    assert.equal(thread.client.ready, false);
  });

  it('says when an engine does not stop in time', async () => {
    thread = new EngineThread(0);
    thread.deaf(true);
    assert.equal(await thread.client.stop(0), false);
  });

  it('passes access records and log messages on', async () => {
    thread = new EngineThread(0);
    const access = once(thread.client, 'access');
    const log = once(thread.client, 'log');
    const batch = batchOf([record(), record({ status: 404 })]);
    thread.say({ type: 'access', batch });
    thread.say({ type: 'log', level: 'warn', message: 'peer refused', fields: { peer: 'b' } });
    assert.deepEqual(await access, [batch]);
    assert.equal(new Int32Array(batch.taken)[0], 1, 'the engine learns that it was taken');
    assert.deepEqual(await log, ['warn', 'peer refused', { peer: 'b' }]);
  });

  it('answers queries of both kinds at the same time', async () => {
    thread = new EngineThread(3, { flows: 2 });
    const [status, flows] = await Promise.all([thread.client.query('status'), thread.client.query('flows')]);
    assert.equal(status.engine, 3);
    assert.deepEqual(
      flows.map(({ slot }) => slot),
      [0, 1],
    );
  });

  it('shares one query among those who ask at the same time', async () => {
    thread = new EngineThread(0);
    const { client } = thread;
    const all = await Promise.all(Array.from({ length: 50 }, () => client.query('status')));
    assert.deepEqual(new Set(all.map(({ connections }) => connections)), new Set([1]));
    assert.equal((await client.query('status')).connections, 2);
  });

  it('gives up on a stuck engine in time, asks it once, and takes its late answer', async () => {
    thread = new EngineThread(0);
    const { client } = thread;
    thread.deaf(true);
    const begin = performance.now();
    await assert.rejects(client.query('status'), { code: 'QUERY_TIMEOUT' });
    const took = performance.now() - begin;
    assert.ok(took >= QUERY_TIMEOUT_MS - 5 && took < 3 * QUERY_TIMEOUT_MS, `${took} ms`);
    const again = client.query('status');
    thread.deaf(false);
    assert.equal((await again).connections, 1);
  });

  it('fails at once when the engine ends', async () => {
    thread = new EngineThread(0);
    const { client } = thread;
    await thread.becomeReady();
    thread.deaf(true);
    const rejected = assert.rejects(client.query('flows'), { code: 'ENGINE_GONE' });
    thread.exit();
    await rejected;
    assert.equal(client.notReadyReason, 'engine 0 has ended');
    await assert.rejects(client.query('status'), { code: 'ENGINE_GONE' });
    assert.equal(await client.stop(1000), true);
  });
});
