/** Clients that people use, and upstreams on the nodes' loopback. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkRamp, ramp } from '../../../src/tools/lab/ramp.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Item } from './client.ts';
import { KIB, MIB, Stand } from './support.ts';

const UPSTREAM = fileURLToPath(new URL('./upstream.js', import.meta.url));
const UPSTREAM_PORT = 8080;
const HOST = 'upstream.test';
const upstreamSite = (mechanism: string) => ({
  name: `upstream-${mechanism}`,
  hosts: [mechanism === 'anchor' ? HOST : `${mechanism}.${HOST}`],
  upstream: `127.0.0.1:${UPSTREAM_PORT}`,
  policy: 'round-robin',
  mechanism,
});
const HANDED_OFF = ['anchor', 'relay', 'local'];

describe('real clients', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  const servers: ChildProcess[] = [];
  before(async () => {
    stand = await Stand.up({
      name: 't6',
      sizes: [0, KIB, 64 * KIB, MIB],
      sites: HANDED_OFF.map(upstreamSite),
      set: ['observe.accessLog=off'],
    });
    for (const { name } of stand.lab.nodes) {
      const server = stand.lab.spawn(name, [process.execPath, UPSTREAM, String(UPSTREAM_PORT)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      servers.push(server);
      await once(server.stdout!, 'data');
    }
  });
  after(() => {
    for (const server of servers) server.kill('SIGKILL');
    stand?.down();
  });

  const inClient = async (...argv: string[]) => {
    const result = await stand.lab.exec('client', argv, { timeoutMs: 15_000 });
    assert.equal(result.code, 0, `${argv.join(' ')}: ${result.stderr}`);
    return result;
  };

  test('curl: several files over one connection', async () => {
    const sizes = [KIB, MIB, 0, 64 * KIB, MIB, KIB, 64 * KIB, MIB, KIB];
    const urls = sizes.map((size) => `http://a/${size}.bin`);
    const result = await inClient(
      'curl',
      '-sS',
      '--http1.1',
      '-H',
      'Host: anchor.test',
      '-w',
      '%{stderr}%{num_connects} %{http_code} %{size_download}\n',
      ...urls,
    );
    const expected = Buffer.concat(sizes.map((size) => ramp(`/${size}.bin`, size)));
    const sha = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    assert.equal(sha(result.bytes), sha(expected));
    assert.deepEqual(
      result.stderr.trim().split('\n'),
      sizes.map((size, i) => `${i === 0 ? 1 : 0} 200 ${size}`),
    );
    await stand.nothingLeft();
  });

  test('curl: ranges and HEAD', async () => {
    for (let i = 0; i < 6; i++) {
      const range = await inClient(
        'curl',
        '-sS',
        '-H',
        'Host: anchor.test',
        '-r',
        '1000-65999',
        `http://b/${MIB}.bin`,
      );
      assert.ok(range.bytes.equals(ramp(`/${MIB}.bin`, MIB).subarray(1000, 66_000)));
      const head = await inClient('curl', '-sSI', '-H', 'Host: anchor.test', `http://b/${MIB}.bin`);
      assert.match(head.stdout, /^HTTP\/1\.1 200 .*content-length: 1048576\r\n/is);
    }
    await stand.nothingLeft();
  });

  test('a file fetched by HTTP/1.0: the connection ends with the response', async () => {
    for (let i = 0; i < 6; i++) {
      const { bytes } = await inClient(
        'curl',
        '-sS',
        '--http1.0',
        '-H',
        'Host: anchor.test',
        `http://c/${MIB}.bin`,
      );
      assert.equal(checkRamp(bytes, `/${MIB}.bin`, MIB), -1);
    }
    await stand.nothingLeft();
  });

  for (const keepAlive of [false, true]) {
    test(`ab ${keepAlive ? 'with' : 'without'} keep-alive (HTTP/1.0)`, async () => {
      for (const size of [KIB, 64 * KIB]) {
        const { stdout } = await inClient(
          'ab',
          '-q',
          '-n',
          '200',
          '-c',
          '4',
          '-s',
          '10',
          ...(keepAlive ? ['-k'] : []),
          '-H',
          'Host: anchor.test',
          `http://a/${size}.bin`,
        );
        assert.match(stdout, /Complete requests: +200\n/, stdout);
        assert.match(stdout, /Failed requests: +0\n/, stdout);
        assert.doesNotMatch(stdout, /Non-2xx/, stdout);
        assert.match(stdout, new RegExp(`HTML transferred: +${200 * size} bytes`), stdout);
        if (keepAlive) assert.match(stdout, /Keep-Alive requests: +200\n/, stdout);
      }
      await stand.nothingLeft();
    });
  }

  const hosts = [HOST, `relay.${HOST}`, `local.${HOST}`];
  const framed = (framing: string, sizes: readonly number[]): Item[] =>
    sizes.flatMap((size) =>
      hosts.flatMap((host) => Array.from({ length: 3 }, () => ({ host, path: `/${framing}/${size}`, size }))),
    );

  for (const framing of ['length', 'chunked']) {
    test(`upstream responses, ${framing}, through every mechanism on one connection`, async () => {
      const items = framed(framing, [0, 1, KIB, 64 * KIB + 1, MIB]);
      const report = await stand.runRight({ address: 'a', items });
      assert.ok(
        report.byMechanism.anchor > 0 && report.byMechanism.relay > 0,
        JSON.stringify(report.byMechanism),
      );
      assert.deepEqual(Object.keys(report.byNode).sort(), ['a', 'b', 'c']);
    });
  }

  test('upstream responses that end with the upstream connection, each mechanism', async () => {
    const mechanisms = new Set<string>();
    for (const one of framed('close', [1, 64 * KIB + 1, MIB])) {
      const report = await stand.runRight({ address: 'a', items: [one] });
      for (const name of Object.keys(report.byMechanism)) mechanisms.add(name);
    }
    assert.deepEqual([...mechanisms].sort(), ['anchor', 'local', 'relay']);
  });

  test('POST bodies, small ones through anchor, large ones by relay', async () => {
    const posts = (size: number): Item[] =>
      Array.from({ length: 6 }, () => ({ host: HOST, path: `/post/${size}`, size, bodyBytes: size }));
    const small = await stand.runRight({
      address: 'a',
      items: [...posts(1), ...posts(1000), ...posts(60 * KIB)],
    });
    assert.ok((small.byMechanism.anchor ?? 0) > 0, JSON.stringify(small.byMechanism));
    const large = await stand.runRight({ address: 'a', items: [...posts(64 * KIB + 1), ...posts(MIB)] });
    assert.ok((large.byMechanism.relay ?? 0) > 0, JSON.stringify(large.byMechanism));
    assert.equal(large.byMechanism.anchor, undefined, JSON.stringify(large.byMechanism));
    await stand.runRight({ address: 'a', items: [...posts(MIB), ...posts(KIB), ...framed('length', [KIB])] });
  });

  test('Expect: 100-continue', async () => {
    for (const size of [KIB, MIB]) {
      for (let i = 0; i < 3; i++) {
        const result = await stand.lab.exec(
          'client',
          [
            'curl',
            '-sS',
            '-v',
            '--http1.1',
            '-H',
            `Host: ${HOST}`,
            '-H',
            'Expect: 100-continue',
            '--expect100-timeout',
            '20',
            '-m',
            '15',
            '--data-binary',
            '@-',
            `http://a/post/${size}`,
          ],
          { input: ramp(`/post/${size}`, size), timeoutMs: 30_000 },
        );
        assert.equal(result.code, 0, result.stderr);
        assert.match(result.stderr, /< HTTP\/1\.1 100/, 'curl waits for it longer than it may take');
        assert.equal(checkRamp(result.bytes, `/post/${size}`, size), -1, result.stderr);
      }
    }
  });
});
