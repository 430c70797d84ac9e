/** Upstreams as they are: silent, early, dead. By every mechanism. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkRamp } from '../../../src/tools/lab/ramp.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { EarlyCase, EarlyReport } from './early.ts';
import { KIB, MIB, Stand } from './support.ts';

const UPSTREAM = fileURLToPath(new URL('./upstream.js', import.meta.url));
const EARLY = fileURLToPath(new URL('./early.js', import.meta.url));
const PORT = 8080;
const MECHANISMS = ['local', 'relay', 'anchor', 'clone', 'split', 'migrate'] as const;
/** With which another node can be asked. */
const SHARED = MECHANISMS.filter((mechanism) => mechanism !== 'local');
/** Sites that every node serves, and sites that b alone does. */
const HOSTS = [...MECHANISMS.map((name) => `u-${name}`), ...SHARED.map((name) => `b-${name}`)];
const STALL_SECONDS = 1;
const GAP_MS = 2500;
/** The shell writes line by line: what comes behind an answer that ends the connection would be answered with a reset. */
const AT_ONCE = 'dd bs=64k iflag=fullblock status=none';

const siteFor = (mechanism: string, name: string, serve?: readonly string[]) => ({
  name,
  hosts: [`${name}.test`],
  upstream: `127.0.0.1:${PORT}`,
  policy: 'round-robin',
  mechanism,
  ...(serve === undefined ? {} : { serve }),
});

describe('upstreams', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  const servers = new Map<string, ChildProcess>();
  const startServer = async (node: string) => {
    const server = stand.lab.spawn(node, [process.execPath, UPSTREAM, String(PORT)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    servers.set(node, server);
    await once(server.stdout!, 'data');
  };
  before(async () => {
    stand = await Stand.up({
      name: 't7u',
      sizes: [],
      sites: MECHANISMS.flatMap((mechanism) => [
        siteFor(mechanism, `u-${mechanism}`),
        siteFor(mechanism, `b-${mechanism}`, ['b']),
      ]),
      set: ['observe.accessLog=off', `limits.stallSeconds=${STALL_SECONDS}`, 'forward.xRealIp=true'],
    });
    await Promise.all(stand.lab.nodes.map(({ name }) => startServer(name)));
  });
  after(() => {
    for (const server of servers.values()) server.kill('SIGKILL');
    stand?.down();
  });

  const curl = async (path: string, host: string, ...more: string[]) => {
    const argv = ['curl', '-sS', '-m', '20', '-H', `Host: ${host}.test`, '-w', '\n%{http_code}', ...more];
    const result = await stand.lab.exec('client', [...argv, `http://a${path}`], { timeoutMs: 30_000 });
    const { code, stdout, stderr } = result;
    const [status] = stdout.split('\n').slice(-1);
    const bytes = result.bytes.subarray(0, -status.length - 1);
    return { code, stderr, status: Number(status), body: stdout.slice(0, -status.length - 1), bytes };
  };

  test('a client is not blamed for a stream that pauses, nor for an answer that is late', async () => {
    const asked = HOSTS.flatMap((host) => [
      curl(`/gap/${GAP_MS}`, host),
      curl(`/slow/${GAP_MS}`, host, '--data-binary', 'x'.repeat(100)),
      curl(`/slow/${GAP_MS}`, host, '--data-binary', `x=${'x'.repeat(100_000)}`),
    ]);
    for (const { code, status, stderr, body } of await Promise.all(asked)) {
      assert.deepEqual({ code, status, stderr }, { code: 0, status: 200, stderr: '' });
      assert.ok(body === 'data: 1\n\ndata: 2\n\n' || body === 'slow\n', body);
    }
  });

  test('interim responses come before the response, from whoever sends it', async () => {
    const heads =
      /^HTTP\/1\.1 102 Processing\r\n\r\nHTTP\/1\.1 103 Early Hints\r\nLink: .*\r\n\r\nHTTP\/1\.1 200 OK\r\n/i;
    const asked = HOSTS.flatMap((host) => [
      curl('/hints/[1-3]', host, '-i'),
      curl('/hints/200000', host, '-i'),
      curl('/hints/10', host, '-i', '-0'),
    ]);
    for (const [i, { code, body, bytes, stderr }] of (await Promise.all(asked)).entries()) {
      assert.equal(code, 0, stderr);
      const answers = body.split(/(?=HTTP\/1\.1 102)/);
      assert.equal(answers.length, i % 3 === 0 ? 3 : 1);
      for (const answer of answers) {
        if (i % 3 === 2) assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
        else assert.match(answer, heads);
      }
      if (i % 3 === 1) assert.equal(checkRamp(bytes.subarray(-200_000), '/hints/200000', 200_000), -1);
    }
  });

  test('who waits to be invited to send a body that nobody reads is answered at once', async () => {
    for (const [host, status] of [
      ...['anchor', 'local', 'relay'].map((host) => [host, 405] as const),
      ['nobody', 404] as const,
    ]) {
      const waits = ['-v', '-H', 'Expect: 100-continue', '--expect100-timeout', '20', '-m', '15'];
      const {
        code,
        status: got,
        stderr,
      } = await curl('/x', host, ...waits, '--data-binary', 'x'.repeat(9000));
      assert.deepEqual([code, got], [0, status], stderr);
      assert.doesNotMatch(stderr, /< HTTP\/1\.1 100/);
      assert.match(stderr, /< Connection: close/);
    }
  });

  test('nothing behind a request that closes is answered', async () => {
    const get = (host: string, fields: string) =>
      `GET /length/9 HTTP/1.1\\r\\nHost: ${host}.test\\r\\n${fields}\\r\\n`;
    const hosts = [...HOSTS, 'anchor', 'local', 'relay'];
    const scripts = hosts.map(
      (host) =>
        `exec 3<>/dev/tcp/a/80; printf '${get(host, 'Connection: close\\r\\n')}${get(host, '')}' | ${AT_ONCE} >&3; timeout 9 cat <&3 | grep -c ^HTTP/`,
    );
    const { stdout } = await stand.lab.exec('client', ['bash', '-c', scripts.join('\n')]);
    assert.deepEqual(
      stdout.trim().split('\n'),
      hosts.map(() => '1'),
    );
  });

  test('a client that takes nothing of a response is given up', async () => {
    const path = `/length/${16 * MIB}`;
    const script = `exec 3<>/dev/tcp/a/80; printf 'GET ${path} HTTP/1.1\\r\\nHost: u-local.test\\r\\n\\r\\n' >&3; exec sleep 20`;
    const client = stand.lab.spawn('client', ['bash', '-c', script], { stdio: 'inherit' });
    await stand.until('it is there', async () => (await stand.total('connections_now')) > 0);
    await stand.until('it is given up', async () => (await stand.total('connections_now')) === 0);
    client.kill('SIGKILL');
  });

  test('an answer before the body is through: the next request is answered, or was not asked for', async () => {
    const cases = [...HOSTS.map((host) => `${host}.test`), 'anchor.test', 'local.test', 'relay.test'].flatMap(
      (host) => [200 * KIB, 2 * MIB, 'chunked' as const].map((length): EarlyCase => ({ host, length })),
    );
    const argv = [process.execPath, EARLY, '10.77.0.101', JSON.stringify(cases)];
    const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 30_000 });
    assert.equal(code, 0, stderr);
    const reports = JSON.parse(stdout) as EarlyReport[];
    for (const [i, { host, length }] of cases.entries()) {
      const status = host.includes('-') ? 413 : 405;
      const nextStatus = status === 413 ? 200 : 404;
      const right =
        length === 200 * KIB
          ? { status, close: false, nextStatus, reset: false }
          : { status, close: true, nextStatus: 0, reset: false };
      assert.deepEqual(reports[i], right, `${host} ${length}`);
    }
  });

  test('the upstream learns the client, whoever asks it', async () => {
    const { stdout } = await stand.lab.exec('client', ['hostname', '-I']);
    const addresses = stdout.trim().split(/\s+/);
    for (const host of HOSTS) {
      const spoofed = [
        '-H',
        'X-Forwarded-For: 1.1.1.1',
        '-H',
        'Forwarded: for=1.1.1.1',
        '-H',
        'Content_Length: 7',
      ];
      for (let i = 0; i < 2; i++) {
        const { body } = await curl('/fields', host, ...spoofed);
        const raw = JSON.parse(body) as string[];
        const names = raw.filter((_, at) => at % 2 === 0);
        const of = (name: string) => raw[2 * names.findIndex((one) => one.toLowerCase() === name) + 1];
        assert.ok(addresses.includes(of('x-forwarded-for')), `${host}: ${body}`);
        assert.equal(of('x-real-ip'), of('x-forwarded-for'));
        assert.equal(of('forwarded'), `for=${of('x-forwarded-for')};host=${host}.test;proto=http`);
        assert.equal(of('x-forwarded-host'), `${host}.test`);
        assert.equal(of('x-forwarded-proto'), 'http');
        assert.equal(of('via'), '1.1 baton');
        assert.ok(!names.includes('Content_Length'));
      }
    }
  });

  test('methods that nobody knows here, targets with a host, and requests that go no further', async () => {
    const loop = Array(10).fill('1.1 baton').join(', ');
    const cases = SHARED.map((mechanism) => `u-${mechanism}`).flatMap((host) => [
      { host, status: 200, more: ['-X', 'PURGE'] },
      { host: 'nobody', status: 200, more: ['--request-target', `http://${host}.test/fields`] },
      { host, status: 204, more: ['-X', 'OPTIONS', '-H', 'Max-Forwards: 0'] },
      { host, status: 508, more: ['-H', `Via: ${loop}`] },
    ]);
    for (const { host, status, more } of cases) {
      const answer = await curl('/fields', host, ...more);
      assert.equal(answer.status, status, `${host} ${more.join(' ')}`);
      if (host === 'nobody') assert.match(answer.body, new RegExp(more[1].slice(7, -7)), 'its Host');
    }
    const twice = await curl('/[1-2]', 'anchor', '-X', 'PURGE', '-v');
    assert.equal(twice.status, 501);
    assert.match(twice.stderr, /Re-using existing connection/i);
  });

  test('a dead upstream: other nodes answer, and it is passed over', async () => {
    servers.get('b')!.kill('SIGKILL');
    await once(servers.get('b')!, 'exit');
    const before = await stand.total('upstream_failures');
    for (let round = 0; round < 5; round++) {
      const asked = SHARED.map((mechanism) => curl('/length/100', `u-${mechanism}`));
      const posted = SHARED.map((mechanism) => curl('/post/0', `u-${mechanism}`, '-X', 'POST'));
      for (const { status } of await Promise.all([...asked, ...posted])) assert.equal(status, 200);
    }
    const failures = (await stand.total('upstream_failures')) - before;
    assert.ok(failures > 0 && failures <= 6 * SHARED.length, `${failures} requests tried it`);
    const { engines, counters } = await stand.lab.admin('b', '/api/status');
    assert.ok(counters.upstreams_failing_now > 0);
    const failing = engines[0].sites.filter(({ upstream }: { upstream: { failure: string | null } | null }) =>
      upstream?.failure?.includes('ECONNREFUSED'),
    );
    assert.ok(failing.length > 0);
    assert.match(stand.lab.logTail('b.log'), /upstream fails/);
    const fromB = async () => {
      const answers = await Promise.all(SHARED.map((mechanism) => curl('/length/100', `b-${mechanism}`)));
      return answers.map(({ status }) => status);
    };
    assert.deepEqual(
      await fromB(),
      SHARED.map(() => 502),
    );
    await startServer('b');
    assert.deepEqual(
      await fromB(),
      SHARED.map(() => 200),
    );
    await stand.nothingLeft();
  });

  test('a node that dies: what it may have done is not done again elsewhere', async () => {
    const done = async () => {
      let sum = 0;
      for (const { name } of stand.lab.nodes) {
        const argv = ['curl', '-sS', `http://127.0.0.1:${PORT}/slow`];
        sum += Number((await stand.lab.exec(name, argv)).stdout);
      }
      return sum;
    };
    const before = await done();
    const hosts = ['relay', 'anchor', 'clone'].flatMap((mechanism) => Array(3).fill(`u-${mechanism}`));
    const asked = Promise.all(hosts.map((host) => curl(`/slow/${GAP_MS}`, host, '--data-binary', 'x')));
    await stand.until('all are under way', async () => (await done()) === before + hosts.length);
    await stand.kill('b');
    const statuses = (await asked).map(({ status }) => status);
    assert.deepEqual(statuses.toSorted(), [...Array(6).fill(200), ...Array(3).fill(502)]);
    assert.equal(await done(), before + hosts.length);
  });
});
