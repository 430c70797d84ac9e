import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { Counters, ENGINE_COUNTERS } from '../../../src/base/counters.ts';
import { MAX_FLOWS_LISTED, type NodeStatus } from '../../../src/node/admin/api.ts';
import { MAX_CONNECTIONS } from '../../../src/node/admin/connections.ts';
import { abstractName, Doors } from '../../../src/node/admin/doors.ts';
import { type AdminOptions, type AdminServer, startAdmin } from '../../../src/node/admin/server.ts';
import { batchOf, EngineThread, get, record } from './stand.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };
/** Nodes that run on this machine have the real one. */
const LOCAL = abstractName(`baton-test-${process.pid}`);

describe('admin API', () => {
  let threads: EngineThread[] = [];
  let admin: AdminServer | null = null;

  async function start(started: EngineThread[], options: Partial<AdminOptions> = {}): Promise<AdminServer> {
    threads = started;
    const doors = await Doors.open(LOOPBACK, LOCAL);
    admin = startAdmin(doors, {
      node: 'a',
      nodes: ['a', 'b', 'c'],
      engines: started.map(({ client }) => client),
      counters: started.map(() => new Counters()),
      routerCounters: () => ({}),
      reload: () => ({ done: 0, failed: 0, error: null }),
      certificates: () => [],
      drain: () => {},
      boost: null,
      cachedSites: ['shop'],
      ...options,
    });
    return admin;
  }

  afterEach(async () => {
    await admin?.close();
    admin = null;
    await Promise.all(threads.map((thread) => thread.end()));
    threads = [];
  });

  it('is healthy at once, ready when every engine is', async () => {
    const { address } = await start([new EngineThread(0), new EngineThread(1)]);
    assert.equal((await get(address, '/healthz')).status, 200);
    await threads[0]!.becomeReady();
    const before = await get(address, '/readyz');
    assert.equal(before.status, 503);
    assert.deepEqual(JSON.parse(before.body), { ready: false, reasons: ['engine 1 is starting'] });
    await threads[1]!.becomeReady();
    const after = await get(address, '/readyz');
    assert.equal(after.status, 200);
    assert.deepEqual(JSON.parse(after.body), { ready: true, reasons: [] });
    threads[0]!.exit();
    await threads[0]!.until(() => threads[0]!.client.state === 'gone');
    assert.equal((await get(address, '/readyz')).status, 503);
  });

  it('refuses other paths and methods as JSON', async () => {
    const { address } = await start([]);
    const missing = await get(address, '/api/nothing');
    assert.equal(missing.status, 404);
    assert.equal(JSON.parse(missing.body).error.code, 'NOT_FOUND');
    assert.equal((await get(address, '/healthz/')).status, 404);
    const post = await get(address, '/api/status', 'POST');
    assert.equal(post.status, 405);
    assert.equal(post.headers.allow, 'GET, HEAD');
    assert.equal(JSON.parse(post.body).error.code, 'METHOD_NOT_ALLOWED');
    const head = await get(address, '/readyz?verbose', 'HEAD');
    assert.equal(head.status, 503);
    assert.equal(head.body, '');
  });

  it('shows the status of the node', async () => {
    const link = (node: string, up: boolean) => ({ node, engine: 0, up, queuedBytes: 0 });
    const counters = [new Counters(), new Counters()];
    counters[0]!.add('requests', 5);
    counters[1]!.add('requests', 7);
    const engines = [
      new EngineThread(0, { links: [link('b', false), link('c', false)] }),
      new EngineThread(1, { links: [link('b', true), link('c', false)], flows: 3 }),
    ];
    const { address } = await start(engines, { counters, routerCounters: () => ({ acks_clamped: 9 }) });
    await Promise.all(engines.map((engine) => engine.becomeReady()));
    const status = JSON.parse((await get(address, '/api/status')).body) as NodeStatus;
    assert.equal(status.node, 'a');
    assert.match(status.version, /^\d+\.\d+\.\d+/);
    assert.equal(status.pid, process.pid);
    assert.equal(status.ready, true);
    assert.deepEqual(
      status.engines.map(({ engine, flows }) => [engine, flows]),
      [
        [0, 0],
        [1, 3],
      ],
    );
    assert.deepEqual(status.unanswered, []);
    assert.deepEqual(status.cluster, [
      { node: 'a', up: true },
      { node: 'b', up: true },
      { node: 'c', up: false },
    ]);
    assert.equal(status.counters.requests, 12);
    assert.deepEqual(status.router, { acks_clamped: 9 });
  });

  it('explains a request, as its first engine does', async () => {
    const { address } = await start([new EngineThread(0), new EngineThread(1)]);
    const ask = (url: string) => get(address, `/api/explain?url=${encodeURIComponent(url)}`);
    const { status, body } = await ask('http://h.test:8080/a?b=c&d');
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(body), {
      site: 'h.test:8080',
      policy: '/a?b=c&d',
      node: 'b',
      mechanism: 'relay',
      auto: null,
    });
    assert.equal((await ask('https://h.test/')).status, 200);
    for (const [url, code] of [
      ['nonsense', 'URL'],
      ['ftp://h.test/', 'URL'],
      ['', 'URL'],
      ['http://h.test/refused', 'REQUEST'],
    ] as const) {
      const refused = await ask(url);
      assert.deepEqual([refused.status, JSON.parse(refused.body).error.code], [400, code], url);
    }
  });

  it('explains nothing when the engine is stuck, or has ended', async () => {
    const { address } = await start([new EngineThread(0)]);
    threads[0]!.deaf(true);
    const stuck = await get(address, '/api/explain?url=http://h.test/');
    assert.match(JSON.parse(stuck.body).error.message, /^QUERY_TIMEOUT: engine 0 did not explain a request/);
    threads[0]!.exit();
    await threads[0]!.until(() => threads[0]!.client.state === 'gone');
    const gone = await get(address, '/api/explain?url=http://h.test/');
    assert.match(JSON.parse(gone.body).error.message, /^ENGINE_GONE/);
  });

  it('answers without an engine that is stuck, and names it', async () => {
    const { address } = await start([new EngineThread(0, { flows: 1 }), new EngineThread(1)]);
    threads[1]!.deaf(true);
    const [status, flows] = await Promise.all([get(address, '/api/status'), get(address, '/api/flows')]);
    const value = JSON.parse(status.body) as NodeStatus;
    assert.deepEqual(
      value.engines.map(({ engine }) => engine),
      [0],
    );
    assert.equal(value.unanswered[0]!.engine, 1);
    assert.match(value.unanswered[0]!.reason, /^QUERY_TIMEOUT: engine 1 did not answer/);
    assert.equal(JSON.parse(flows.body).length, 1);
    assert.equal(flows.headers['baton-unanswered'], '1');
  });

  it('lists flows of all engines up to a limit, and says how many are left out', async () => {
    const { address } = await start([
      new EngineThread(0, { flows: MAX_FLOWS_LISTED - 1 }),
      new EngineThread(1, { flows: 5 }),
      new EngineThread(2, { flows: 3 }),
    ]);
    const { body, headers } = await get(address, '/api/flows');
    const flows = JSON.parse(body) as Array<{ engine: number; slot: number }>;
    assert.equal(flows.length, MAX_FLOWS_LISTED);
    assert.deepEqual([flows.at(-1)!.engine, flows.at(-1)!.slot], [1, 0]);
    assert.equal(headers['baton-omitted'], '7');
  });

  it('has metrics for every counter, the router, the logs and the mechanisms', async () => {
    const counters = [new Counters(), new Counters()];
    counters[1]!.add('requests', 7);
    counters[0]!.set('connections_now', 4);
    const engines = [new EngineThread(0), new EngineThread(1)];
    const { address } = await start(engines, {
      counters,
      routerCounters: () => ({ acks_clamped: 9 }),
      droppedLines: () => ({ access: 2 }),
    });
    const arrived = once(engines[0]!.client, 'access');
    engines[0]!.say({
      type: 'access',
      batch: batchOf([
        record(),
        record({ handoffUs: 30_000_000 }),
        record({ mechanism: 'local', handoffUs: -1 }),
      ]),
    });
    await arrived;
    const { body, headers } = await get(address, '/metrics');
    assert.match(headers['content-type']!, /^text\/plain; version=0\.0\.4/);
    const lines = new Set(body.split('\n'));
    for (const [name] of ENGINE_COUNTERS) {
      const metric = name.endsWith('_now') ? `baton_${name.slice(0, -4)}` : `baton_${name}_total`;
      const type = name.endsWith('_now') ? 'gauge' : 'counter';
      assert.ok(lines.has(`# TYPE ${metric} ${type}`), metric);
    }
    for (const line of [
      'baton_requests_total{engine="0"} 0',
      'baton_requests_total{engine="1"} 7',
      'baton_connections{engine="0"} 4',
      'baton_engine_ready{engine="0"} 0',
      'baton_router_rule_total{rule="acks_clamped"} 9',
      'baton_log_lines_dropped_total{log="access"} 2',
      'baton_handoff_seconds_bucket{le="0.0001",mechanism="anchor"} 0',
      'baton_handoff_seconds_bucket{le="0.00025",mechanism="anchor"} 1',
      'baton_handoff_seconds_bucket{le="+Inf",mechanism="anchor"} 2',
      'baton_handoff_seconds_sum{mechanism="anchor"} 30.0002',
      'baton_first_byte_seconds_count{mechanism="anchor"} 2',
      'baton_first_byte_seconds_count{mechanism="local"} 1',
    ]) {
      assert.ok(lines.has(line), line);
    }
    assert.ok(!body.includes('baton_handoff_seconds_count{mechanism="local"}'));
    assert.match(body, /^baton_process_cpu_seconds_total\{mode="user"\} \d/m);
    counters[1]!.add('requests');
    assert.match((await get(address, '/metrics')).body, /^baton_requests_total\{engine="1"\} 8$/m);
  });

  it('answers 500 and says why when the router cannot be read', async () => {
    const errors: Error[] = [];
    const routerCounters = () => {
      throw new Error('no map');
    };
    const { address } = await start([], { routerCounters, onError: (error) => errors.push(error) });
    const { status, body } = await get(address, '/metrics');
    assert.equal(status, 500);
    assert.deepEqual(JSON.parse(body), { error: { code: 'INTERNAL', message: 'no map' } });
    assert.equal(errors[0]!.message, 'no map');
    assert.equal((await get(address, '/healthz')).status, 200);
  });

  it('serves one request a connection and refuses heads that are too large', async () => {
    const { address } = await start([]);
    const exchange = async (text: string) => {
      const socket = connect(address.port, address.host);
      let received = '';
      socket.setEncoding('latin1');
      socket.on('data', (data) => {
        received += data;
      });
      socket.write(text);
      await once(socket, 'close');
      return received;
    };
    const pipelined = await exchange('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(20));
    assert.equal(pipelined.match(/HTTP\/1\.1 200 /g)?.length, 1);
    assert.match(pipelined, /connection: close/i);
    const large = await exchange(
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(9000)}\r\n\r\n`,
    );
    assert.match(large, /^HTTP\/1\.1 431 /);
  });

  it('closes the oldest of more connections than it can have, and no other: /healthz answers', async () => {
    const { address } = await start([]);
    const held = Array.from({ length: MAX_CONNECTIONS }, () => connect(address.port, address.host));
    await Promise.all(held.map((socket) => once(socket, 'connect')));
    const closed = once(held[0]!, 'close');
    assert.equal((await get(address, '/healthz')).status, 200);
    await closed;
    const rest = held.slice(1);
    const answered = Promise.all(rest.map((socket) => once(socket, 'data')));
    for (const socket of rest) socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
    for (const [data] of await answered) assert.match(String(data), /^HTTP\/1\.1 200 /);
  });

  it('says what to do when its address is taken, and when a node runs here already', async () => {
    const { address } = await start([]);
    const other = abstractName(`baton-test-${process.pid}-other`);
    const taken = { code: 'ADMIN_ADDRESS', message: /EADDRINUSE.*check the admin address/ };
    await assert.rejects(Doors.open(address, other), taken);
    await assert.rejects(Doors.open(LOOPBACK, LOCAL), {
      code: 'NODE_RUNS',
      message: new RegExp(`already: process ${process.pid} \\(.+\\) has .* baton drain NODE ends it$`),
    });
    // What failed holds nothing.
    await (await Doors.open(LOOPBACK, other)).close();
  });

  it('waits for the sockets of a process that is just being ended', async () => {
    const first = await Doors.open(LOOPBACK, LOCAL);
    setTimeout(() => first.close(), 100);
    const second = await Doors.open(first.address, LOCAL);
    assert.equal((await get(second.address, '/healthz')).status, 503);
    await second.close();
  });

  it('closes although a client holds a connection open', async () => {
    const server = await start([]);
    const socket = connect(server.address.port, server.address.host);
    await once(socket, 'connect');
    socket.write('GET /healthz HTTP/1.1\r\n');
    socket.on('error', () => {});
    const closed = once(socket.resume(), 'close');
    await server.close();
    await closed;
    await assert.rejects(get(server.address, '/healthz'), { code: 'ECONNREFUSED' });
  });

  it('refuses what pages of other origins can have a browser send', async () => {
    const { address } = await start([]);
    const own = `127.0.0.1:${address.port}`;
    const refused: Record<string, string>[] = [
      { Host: 'rebound.example' },
      { Host: `rebound.example:${address.port}` },
      { Host: own, Origin: 'http://page.example' },
      { Host: own, Origin: 'null' },
      { Host: own, 'Sec-Fetch-Site': 'cross-site' },
    ];
    for (const path of ['/api/flows', '/api/status', '/metrics', '/healthz', '/api/drain', '/none']) {
      for (const headers of refused) {
        const { status, body } = await get(address, path, 'GET', { headers });
        assert.equal(status, 403, `${path} ${JSON.stringify(headers)}`);
        assert.match(JSON.parse(body).error.code, /^(HOST|ORIGIN)$/);
      }
    }
    const taken: Record<string, string>[] = [
      { Host: own },
      { Host: 'localhost' },
      { Host: 'LOCALHOST:9900' },
      { Host: '[::1]:9900' },
      { Host: '192.0.2.1' },
      { Host: 'a:9900' },
      { Host: own, Origin: `http://${own}`, 'Sec-Fetch-Site': 'same-origin' },
    ];
    for (const headers of taken)
      assert.equal((await get(address, '/api/flows', 'GET', { headers })).status, 200);
  });

  it('acts on the Unix socket only, and only when it is the node that is meant', async () => {
    let drains = 0;
    const { address } = await start([], { drain: () => drains++ });
    const drain = async (headers: Record<string, string>, socketPath?: string) => {
      const { status, body } = await get(address, '/api/drain', 'POST', { headers, socketPath });
      return [status, JSON.parse(body).error?.code];
    };
    assert.deepEqual(await drain({}), [403, 'LOCAL_ONLY']);
    assert.deepEqual(await drain({ 'Baton-Node': 'a' }), [403, 'LOCAL_ONLY']);
    assert.deepEqual(await drain({}, LOCAL), [400, 'NO_NODE']);
    assert.deepEqual(await drain({ 'Baton-Node': 'b' }, LOCAL), [421, 'OTHER_NODE']);
    assert.deepEqual(await drain({ 'Baton-Node': 'a', Origin: 'http://page.example' }, LOCAL), [
      403,
      'ORIGIN',
    ]);
    assert.equal((await get(address, '/api/drain', 'GET', { socketPath: LOCAL })).status, 400);
    const headers = { 'Baton-Node': 'a' };
    assert.equal((await get(address, '/api/drain', 'GET', { headers, socketPath: LOCAL })).status, 405);
    assert.equal((await get(address, '/api/status', 'GET', { headers: { 'Baton-Node': 'b' } })).status, 421);
    assert.equal(drains, 0);
    assert.deepEqual(await drain({ 'Baton-Node': 'a' }, LOCAL), [202, undefined]);
    assert.equal(drains, 1);
  });

  it('has every engine forget stored responses of a site that has a cache', async () => {
    const engines = [new EngineThread(0), new EngineThread(1)];
    const { address } = await start(engines);
    const purge = async (query: string, socketPath: string | undefined = LOCAL) => {
      const headers = { 'Baton-Node': 'a' };
      const { status, body } = await get(address, `/api/purge${query}`, 'POST', { headers, socketPath });
      return { status, ...JSON.parse(body) };
    };
    assert.deepEqual(await purge('?site=shop&path=/a%3Fb'), { status: 200, resources: 8, unanswered: [] });
    engines[1]!.exit();
    await engines[1]!.until(() => engines[1]!.client.state === 'gone');
    const { resources, unanswered } = await purge('?site=shop&path=/a');
    assert.deepEqual([resources, unanswered.map(({ engine }: { engine: number }) => engine)], [2, [1]]);
    for (const [query, code] of [
      ['', 'NO_SITE'],
      ['?site=blog&path=/a', 'NO_SITE'],
      ['?site=shop', 'NO_PATH'],
      ['?site=shop&path=a', 'NO_PATH'],
    ] as const)
      assert.equal((await purge(query)).error.code, code);
  });
});
