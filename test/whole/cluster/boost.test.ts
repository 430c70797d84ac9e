/** Boosters: they take a server's new clients, and the server answers as ever. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import type { BoostMode } from '../../../src/cluster/boost-switch.ts';
import { inNamespace } from '../../../src/tools/lab/network.ts';
import { run } from '../../../src/tools/lab/system.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { Holding, tally } from './holding.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const UPSTREAM = fileURLToPath(new URL('./upstream.js', import.meta.url));
const MAIN = fileURLToPath(new URL('../../../src/tools/cli/main.js', import.meta.url));
const PORT = 8080;
const CONNECTIONS = 100;
/** Of `limits.connections`, so many are held to make a node loaded. */
const HELD = 90;
/** Requests a second of one client. */
const RATE = 50;
const OVER_IPV6 = 5;
/** Where, and more of curl's options. */
type Asked = readonly [string, ...string[]];
const LINES = Array.from({ length: 10_000 }, (_, i) => `line ${i}`).join('\n');

/** A response's heads, and a hash of what follows, without what differs from one to the next in any case. */
function settled(text: string): string {
  const same = text.replace(/^(Date|Server-Timing): .*\r\n/gim, '').replace(/\b[0-9a-f]{25}\b/g, 'boundary');
  const heads = /^(HTTP\/.*?\r\n\r\n)+/s.exec(same)![0];
  return heads + createHash('sha256').update(same.slice(heads.length)).digest('hex');
}

describe('boost', { ...skipUnlessRoot(), timeout: 180_000 }, () => {
  let stand: Stand;
  const upstreams: ChildProcess[] = [];
  before(async () => {
    stand = await Stand.up({
      name: 'clboost',
      nodes: 2,
      boosters: 1,
      tls: true,
      sizes: [1, 10 * KIB, MIB, 16 * MIB],
      sites: (root) => [
        { name: 'up', hosts: ['up.test'], upstream: `127.0.0.1:${PORT}`, mechanism: 'local' },
        { name: 'own', hosts: ['own.test'], root, serve: ['a'], mechanism: 'local' },
        { name: 'far', hosts: ['far.test'], root, serve: ['a'], mechanism: 'anchor' },
      ],
      set: [`limits.connections=${CONNECTIONS}`, 'nodes.b.boost={ return: true }'],
    });
    for (const node of ['a', 'b']) {
      const server = stand.lab.spawn(node, [process.execPath, UPSTREAM, String(PORT)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      upstreams.push(server);
      await once(server.stdout!, 'data');
    }
    await boost('off');
  });
  after(() => {
    for (const server of upstreams) server.kill('SIGKILL');
    stand?.down();
  });

  const boost = async (mode: BoostMode, node = 'a') => {
    const argv = [process.execPath, MAIN, 'boost', mode, node, '--config', stand.lab.plan.configFile];
    const { code, stdout, stderr } = await stand.lab.exec(node, argv);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const engine = async (node: string) => (await stand.lab.admin(node, '/api/status')).engines[0];
  const counter = async (node: string, name: string) =>
    (await stand.lab.admin(node, '/api/status')).counters[name] as number;
  const isLinked = async (node: string, to: string) => {
    const links = (await engine(node)).links as ReadonlyArray<{ node: string; up: boolean }>;
    return links.some((link) => link.node === to && link.up);
  };
  /** Clients of a that x has. */
  const boosted = async () => ((await engine('x')).boosted.a ?? 0) as number;
  /** Where new connections to a go. */
  const spread = async () => (await engine('a')).spread as Record<string, number>;
  const goesTo = (what: string, node: string) =>
    stand.until(what, async () => (await spread())[node] === 1000);
  const curl = async (path: string, ...more: string[]) => {
    const argv = ['curl', '-sSi', '--http1.1', '-m', '20', ...more, path];
    const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 30_000 });
    assert.equal(code, 0, `${path}: ${stderr}`);
    return stdout;
  };
  const answers = async (cases: readonly Asked[]) => {
    const all: string[] = [];
    for (const [url, ...more] of cases) all.push(settled(await curl(url, ...more)));
    return all;
  };

  test('the command says what it has done, and refuses what cannot be', async () => {
    assert.equal(await boost('on'), 'a: boost on (by hand), new clients to x\n');
    assert.equal(await boost('off'), 'a: boost off (by hand)\n');
    const argv = [process.execPath, MAIN, 'boost', 'on', 'x', '--config', stand.lab.plan.configFile];
    const { code, stderr } = await stand.lab.exec('x', argv);
    assert.equal(code, 1);
    assert.match(stderr, /no boosters for node x/);
  });

  test('responses are those of the origin, field for field and byte for byte', async () => {
    const up = ['-H', 'Host: up.test'];
    const file = ['-H', 'Host: local.test'];
    const cases: Asked[] = [
      ['/10240.bin', ...file],
      [`/${MIB}.bin`, ...file],
      ['/10240.bin', ...file, '-I'],
      ['/10240.bin', ...file, '-r', '100-299'],
      ['/10240.bin', ...file, '-r', '0-1,5-9'],
      ['/10240.bin', ...file, '-H', 'If-None-Match: *'],
      ['/none', ...file],
      ['/10240.bin', ...file, '-0'],
      ['/10240.bin', '-H', 'Host: nobody.test'],
      ['/10240.bin', ...file, '--data', 'x'],
      ['/length/20000', ...up],
      ['/length/20000', ...up, '-I'],
      ['/chunked/50000', ...up],
      ['/close/50000', ...up],
      ['/hints/1000', ...up],
      ['/gap/50', ...up],
      ['/slow/0', ...up, '--data-binary', 'abc'],
      ['/slow/0', ...up, '--data-binary', LINES],
      ['/slow/0', ...up, '-H', 'Transfer-Encoding: chunked', '--data-binary', LINES],
      ['/slow/0', ...up, '-H', 'Expect: 100-continue', '--data-binary', 'abc'],
      ['/early/0', ...up, '--data-binary', LINES],
    ];
    const ask = (host: string, some: readonly Asked[]) =>
      answers(some.map(([path, ...more]) => [`http://${host}${path}`, ...more]));
    // Until a large file has been read its ETag is a weak one.
    await stand.until('the file has its ETag', async () => {
      return (await curl(`http://a/${MIB}.bin`, ...file, '-I')).includes('\nETag: "');
    });
    const direct = await ask('a', cases);
    await boost('on');
    const before = (await stand.lab.admin('x', '/api/status')).counters.requests_boost as number;
    assert.deepEqual(await ask('a', cases), direct);
    assert.deepEqual(await ask('a6', cases.slice(0, OVER_IPV6)), direct.slice(0, OVER_IPV6));
    const { counters } = await stand.lab.admin('x', '/api/status');
    assert.equal(counters.requests_boost - before, cases.length + OVER_IPV6, 'the booster had all of them');
    assert.equal((await stand.lab.admin('a', '/api/status')).counters.boosted_requests > 0, true);
    await boost('off');
  });

  test('clients with TLS: the same responses, sealed by the booster; the origin knows how they came', async () => {
    const { authority } = stand.lab.plan.certificates!;
    const to = (node: string) => ['--cacert', authority, '--connect-to', `::${node}:443`];
    const cases: Asked[] = [
      ['local.test/10240.bin'],
      [`local.test/${MIB}.bin`],
      ['up.test/chunked/50000'],
      ['up.test/slow/0', '--data-binary', LINES],
    ];
    const ask = (node: string, some = cases) =>
      answers(some.map(([url, ...more]) => [`https://${url}`, ...to(node), ...more]));
    const direct = await ask('a');
    await boost('on');
    const before = (await stand.lab.admin('x', '/api/status')).counters;
    assert.deepEqual(await ask('a'), direct);
    assert.deepEqual(await ask('a6', cases.slice(0, 1)), direct.slice(0, 1));
    const fields = await curl('https://up.test/fields', ...to('a'));
    assert.match(fields, /"X-Forwarded-Proto","https"/);
    assert.match(fields, /"Forwarded","[^"]*;proto=https"/);
    const { counters } = await stand.lab.admin('x', '/api/status');
    for (const name of ['requests_boost', 'tls_handshakes'])
      assert.equal(counters[name] - before[name], cases.length + 2, name);
    await boost('off');
  });

  test('the origin knows the client: its upstream, and its log', async () => {
    await boost('on');
    const fields = await curl('http://a/fields', '-H', 'Host: up.test');
    const { address } = stand.lab.plan.client;
    assert.ok(fields.includes(`"X-Forwarded-For","${address}"`), fields);
    const log = join(stand.lab.plan.directory, 'a.log');
    await stand.until('the request is in the log', async () => {
      const lines = readFileSync(log, 'utf8').trim().split('\n');
      const line = lines.map((one) => JSON.parse(one)).find(({ target }) => target === '/fields');
      if (line === undefined) return false;
      const { client, status, anchor, node, mechanism, complete } = line;
      assert.deepEqual(
        { client, status, anchor, node, mechanism, complete },
        { client: address, status: 200, anchor: 'x', node: 'a', mechanism: 'boost', complete: true },
      );
      return true;
    });
    await boost('off');
  });

  test('on and off, with new clients all the time and long downloads on both sides: nothing fails', async () => {
    const download = () =>
      stand.runRight({ address: 'a', items: [item('local.test', 16 * MIB)], pauseMs: 1500 });
    const downloads = [download()];
    const load = stand.runRight({
      address: 'a',
      items: [item('local.test', 10 * KIB), item('local.test', MIB), item('local.test', 1)],
      connections: 4,
      each: true,
      durationMs: 4000,
    });
    for (const mode of ['on', 'off', 'on', 'off'] as const) {
      await boost(mode);
      downloads.push(download());
      if (mode === 'on') await stand.until('x has clients', async () => (await boosted()) > 0);
    }
    const { byMechanism } = await load;
    assert.ok(byMechanism.local > 0 && byMechanism.boost > 0, JSON.stringify(byMechanism));
    await Promise.all(downloads);
    await stand.nothingLeft();
  });

  test('a booster that is killed or stopped: new clients come here, and those that are here notice nothing', async () => {
    const here = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    const there = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    const isFine = async () => assert.deepEqual((await here.ask()).problems, []);
    try {
      await here.open(10);
      await boost('on');
      await there.open(10);
      assert.equal(await boosted(), 10);
      stand.lab.signal('x', 'SIGSTOP');
      await goesTo('x is stopped: new clients come to a', 'a');
      assert.match(await curl('http://a/1.bin', '-H', 'Host: local.test'), /desc=local/);
      await isFine();
      stand.lab.signal('x', 'SIGCONT');
      await goesTo('x goes on: it gets new clients', 'x');
      assert.deepEqual((await there.ask()).problems, [], 'its clients have waited');
      await stand.kill('x');
      await goesTo('x is killed: new clients come to a', 'a');
      assert.match(await curl('http://a/1.bin', '-H', 'Host: local.test'), /desc=local/);
      await isFine();
      await stand.start('x');
      await goesTo('x is there again: it gets new clients', 'x');
      await boost('off');
      await isFine();
    } finally {
      await Promise.all([here.end(), there.end()]);
    }
  });

  test('a booster that is cut off, both ways and silently: the same, and its clients go on when it is there again', async () => {
    const here = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    const there = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    /** Of the switch's port to x; the interface of x notices nothing. */
    const port = (state: 'disabled' | 'forwarding') => {
      const number = state === 'disabled' ? '0' : '3';
      const argv = ['bridge', 'link', 'set', 'dev', 'p-x', 'state', number];
      run(inNamespace(stand.lab.plan.bridgeNamespace, argv));
    };
    try {
      await here.open(10);
      await boost('on');
      await there.open(10);
      port('disabled');
      await goesTo('x is cut off: new clients come to a', 'a');
      assert.match(await curl('http://a/1.bin', '-H', 'Host: local.test'), /desc=local/);
      assert.deepEqual((await here.ask()).problems, []);
      await stand.until('a has given up its link to x', async () => !(await isLinked('a', 'x')));
      await here.open(5);
      assert.deepEqual((await here.ask()).problems, []);
      port('forwarding');
      await goesTo('x is there again: it gets new clients', 'x');
      const { nodes, problems } = await there.ask();
      assert.deepEqual([tally(nodes), problems], [{ a: 10 }, []]);
    } finally {
      port('forwarding');
      await boost('off');
      await Promise.all([here.end(), there.end()]);
    }
  });

  test('origin and booster killed at once: their clients hear of it, and both do as before when they are there again', async () => {
    const here = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    const there = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    try {
      await here.open(10);
      await boost('on');
      await there.open(10);
      await Promise.all([stand.kill('a'), stand.kill('x')]);
      await Promise.all([stand.start('a'), stand.start('x')]);
      for (const held of [here, there]) {
        const { nodes, problems } = await held.ask();
        assert.deepEqual(tally(nodes), { ended: 10 });
        assert.ok(!problems.some((problem) => problem.includes('no answer')), problems.join());
      }
      assert.deepEqual(await spread(), { a: 1000 });
      assert.match(await curl('http://a/1.bin', '-H', 'Host: local.test'), /desc=local/);
      await boost('on');
      await goesTo('x gets new clients', 'x');
      assert.match(await curl('http://a/1.bin', '-H', 'Host: local.test'), /desc=boost/);
    } finally {
      await Promise.all([here.end(), there.end()]);
      await boost('off');
    }
    await stand.nothingLeft();
  });

  test('an origin that is killed: another server answers where one can, else the booster says so', async () => {
    await boost('on');
    const there = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    try {
      await there.open(10);
      await stand.kill('a');
      const { nodes, problems } = await there.ask();
      assert.deepEqual([tally(nodes), problems], [{ b: 10 }, []]);
      assert.match(await curl('http://a/1.bin', '-H', 'Host: own.test'), /^HTTP\/1.1 503 /);
      assert.match(await curl('http://a/length/10', '-H', 'Host: up.test'), /X-Served-By: b/);
      await stand.start('a');
      await stand.until('x knows that a is there', async () => {
        const { nodes: now } = await there.ask();
        return tally(now).a === 10;
      });
      assert.deepEqual(await spread(), { a: 1000 }, 'what was said by hand is forgotten');
    } finally {
      await there.end();
    }
  });

  test('an origin that stands still for a moment, and is the only one that can answer, is waited for; so is a target', async () => {
    await boost('on');
    const waits = (node: string) => counter(node, 'handoffs_waited');
    const before = await Promise.all(['x', 'b'].map(waits));
    // Longer than timeouts.setupMs, and shorter than timeouts.peerMs, whatever else this machine does.
    const pause = [
      'sh',
      '-c',
      'kill -STOP "$0" && sleep 1.5; kill -CONT "$0"',
      String(stand.lab.processOf('a')!.pid),
    ];
    await stand.until('both have waited', async () => {
      const paused = stand.lab.exec('a', pause);
      const asked = [
        curl('http://a/1.bin', '-H', 'Host: own.test'),
        curl('http://b/1.bin', '-H', 'Host: far.test'),
      ];
      for (const answer of await Promise.all(asked)) assert.match(answer, /^HTTP\/1.1 200 /);
      await paused;
      const now = await Promise.all(['x', 'b'].map(waits));
      return now.every((count, i) => count > before[i]);
    });
    await boost('off');
  });

  test('an origin that is told to stop ends what it sends; its clients are answered by another server', async () => {
    await boost('on');
    const there = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    try {
      await there.open(3);
      const job = { address: 'a', items: [item('local.test', 16 * MIB)], pauseMs: 2500 };
      const download = stand.runRight(job);
      await stand.until('x has the download', async () => (await boosted()) === 4);
      await stand.terminate('a');
      await download;
      const { nodes, problems } = await there.ask();
      assert.deepEqual([tally(nodes), problems], [{ b: 3 }, []]);
    } finally {
      await there.end();
      await stand.start('a');
    }
  });

  test('two origins share a booster: one that has its part of the places gets no more, the other does', async () => {
    await Promise.all([boost('on', 'a'), boost('on', 'b')]);
    const ofA = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    const ofB = new Holding(stand.lab, 'b', 'local.test', '/1.bin');
    try {
      // What an origin may have is 87; a is told at 83, and hears it while the last of these connect.
      await ofA.open(85);
      await goesTo('x has as many clients of a as it may', 'a');
      const most = await boosted();
      assert.ok(most >= 83 && most <= 85, `${most}`);
      await ofA.open(5);
      await ofB.open(10);
      assert.deepEqual((await engine('x')).boosted, { a: most, b: 10 });
      for (const held of [ofA, ofB]) assert.deepEqual((await held.ask()).problems, []);
      await Promise.all([ofA.end(), ofB.end()]);
      await goesTo('x has room', 'x');
    } finally {
      await Promise.all([ofA.end(), ofB.end(), boost('off', 'a'), boost('off', 'b')]);
    }
  });

  test('clients that hardly read, and large responses, hold up nobody else of their booster and origin', async () => {
    await boost('on');
    const large = ['-H', 'Host: local.test', '-o', '/dev/null', `http://a/${16 * MIB}.bin`];
    const slow = Array.from({ length: 5 }, () =>
      stand.lab.spawn('client', ['curl', '-sS', '--limit-rate', '1k', ...large], { stdio: 'ignore' }),
    );
    const others = new Holding(stand.lab, 'a', 'local.test', `/${10 * KIB}.bin`);
    try {
      await stand.until('x has the slow ones', async () => (await boosted()) === slow.length);
      const downloads = stand.runRight({
        address: 'a',
        items: [item('local.test', 16 * MIB), item('local.test', 16 * MIB)],
        connections: 4,
      });
      await others.open(20);
      for (let i = 0; i < 5; i++) assert.deepEqual((await others.ask()).problems, []);
      await downloads;
      for (const { exitCode } of slow) assert.equal(exitCode, null, 'it is far from its end');
      assert.equal(await boosted(), slow.length + 20);
    } finally {
      const ended = slow.map((one) => once(one, 'exit'));
      for (const one of slow) one.kill('SIGKILL');
      await Promise.all([...ended, others.end(), boost('off')]);
    }
    await stand.nothingLeft();
  });

  test('with return, clients come back between two requests when their server is not boosted any more', async () => {
    await boost('on', 'b');
    const resting = new Holding(stand.lab, 'b', 'local.test', '/1.bin');
    try {
      await resting.open(20);
      const downloads = [
        { address: 'b', items: [item('local.test', 16 * MIB)], pauseMs: 1500 },
        { address: 'b6', items: [item('local.test', 16 * MIB)], pauseMs: 1500 },
        {
          address: 'b',
          items: [item('local.test', 16 * MIB)],
          pauseMs: 1500,
          suite: 'TLS_AES_128_GCM_SHA256',
        },
      ].map((job) => stand.runRight(job));
      const items = [item('local.test', 10 * KIB), item('local.test', 1)];
      const asking = [
        { address: 'b', items, connections: 4, durationMs: 4000, thinkMs: 5 },
        {
          address: 'b',
          items,
          connections: 4,
          durationMs: 4000,
          thinkMs: 5,
          suite: 'TLS_AES_128_GCM_SHA256',
        },
      ].map((job) => stand.runRight(job));
      await stand.until('x has all of them', async () => (await engine('x')).boosted.b === 31);
      await boost('off', 'b');
      await stand.until('x has only the downloads', async () => ((await engine('x')).boosted.b ?? 0) <= 3);
      for (const { byMechanism } of await Promise.all(asking))
        assert.ok(byMechanism.boost > 0 && byMechanism.local > 0, JSON.stringify(byMechanism));
      assert.deepEqual((await resting.ask()).problems, []);
      await Promise.all(downloads);
      await stand.until('x has none', async () => (await engine('x')).boosted.b === undefined);
      assert.equal((await engine('b')).connections, 20);
      await boost('on', 'b');
      assert.deepEqual((await resting.ask()).problems, [], 'those that are back stay');
      assert.equal((await engine('b')).connections, 20);
    } finally {
      await Promise.all([resting.end(), boost('off', 'b')]);
    }
    await stand.nothingLeft();
  });

  test('a client that floods is stopped at the booster; ten that do not notice nothing', async () => {
    const { configFile } = stand.lab.plan;
    const file = readFileSync(configFile, 'utf8');
    const limits = { perAddress: { requestsPerSecond: RATE } };
    writeFileSync(configFile, stringify({ ...parse(file), boost: limits }));
    const reloads = async () => (await stand.lab.admin('x', '/api/status')).reload.done as number;
    stand.lab.signal('x', 'SIGHUP');
    await stand.until('x has read its limits', async () => (await reloads()) === 1);
    await boost('on');
    const before = await counter('a', 'boosted_requests');
    const wrk = ['wrk', '-t', '1', '-c', '4', '-d', '60s', '-H', 'Host: local.test', 'http://a/1.bin'];
    const startMs = performance.now();
    const flooder = stand.lab.spawn('client', wrk, { stdio: 'ignore' });
    try {
      await stand.until('it is stopped', async () => (await counter('x', 'requests_limited')) > 1000);
      const behaved = Array.from({ length: 10 }, async (_, i) => {
        const address = `10.77.0.${210 + i}`;
        const script = `ip address add ${address}/24 dev eth0 && exec curl -sS --interface ${address} -H 'Host: local.test' -o /dev/null -w '%{http_code}\n' 'http://a/1.bin?[1-20]'`;
        return stand.lab.exec('client', ['sh', '-c', script], { timeoutMs: 30_000 });
      });
      for (const { stdout, stderr } of await Promise.all(behaved))
        assert.deepEqual([stdout, stderr], ['200\n'.repeat(20), '']);
      const seen = (await counter('a', 'boosted_requests')) - before;
      const seconds = (performance.now() - startMs) / 1000;
      assert.ok(seen <= RATE * (seconds + 1) + 10 * 20, `${seen} requests in ${seconds} s`);
    } finally {
      const ended = once(flooder, 'exit');
      flooder.kill('SIGKILL');
      await ended;
      writeFileSync(configFile, file);
      stand.lab.signal('x', 'SIGHUP');
      await stand.until('x has forgotten its limits', async () => (await reloads()) === 2);
    }
    assert.match(await curl('http://a/1.bin', '-H', 'Host: local.test'), /^HTTP\/1.1 200 /);
    await boost('auto');
    await goesTo('a takes its clients itself', 'a');
  });

  test('by load: on when there are too many connections, off when they are gone', async () => {
    const crowd = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    const others = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    await boost('auto');
    try {
      await crowd.open(HELD);
      await goesTo('a has too many connections', 'x');
      const { boost: status } = await engine('a');
      assert.deepEqual([status.on, status.why, status.mode], [true, 'connections', 'auto']);
      await others.open(20);
      assert.equal(await boosted(), 20);
      assert.deepEqual((await crowd.ask()).problems, []);
      await crowd.end();
      await goesTo('the load is low', 'a');
      assert.deepEqual((await others.ask()).problems, [], 'they stay where they are');
      assert.equal(await boosted(), 20);
    } finally {
      await Promise.all([crowd.end(), others.end()]);
    }
    await stand.nothingLeft();
  });

  test('by load: on when answers take too long to begin, whatever it is that takes long', async () => {
    const argv = ['curl', '-sS', '-Z', '--parallel-max', '40', '-d', 'x', '-H', 'Host: up.test', '-o'];
    const slow = stand.lab.spawn('client', [...argv, '/dev/null', 'http://a/slow/1500/[1-5000]'], {
      stdio: 'ignore',
    });
    const ended = once(slow, 'exit');
    await boost('auto');
    try {
      await goesTo('clients of a wait for long', 'x');
      assert.equal((await engine('a')).boost.why, 'time to first byte');
    } finally {
      slow.kill('SIGKILL');
      await ended;
    }
    await stand.nothingLeft();
  });
});
