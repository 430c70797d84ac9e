/**
 * A cache before a real upstream, at the anchor and at targets: what comes through it is, header for header, what the
 * upstream says without it, and a hundred clients are one request.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { COMPARED } from './cached-origin.ts';
import { Stand } from './support.ts';

const ORIGIN = fileURLToPath(new URL('./cached-origin.js', import.meta.url));
const PORT = 8080;
const MECHANISMS = ['local', 'relay', 'anchor', 'clone'] as const;
const CLIENTS = 100;
/** Of a connection, not of a response; and what a cache adds. */
const NOT_COMPARED = /^(connection|keep-alive|transfer-encoding|content-length|age|trailer)$/;

const REQUESTS: ReadonlyArray<readonly string[]> = [
  ...COMPARED.map((path) => [path]),
  ['/plain', '-I'],
  ['/plain', '-0'],
  ['/plain', '-H', 'If-None-Match: "1"'],
  ['/vary', '-H', 'Accept-Language: de'],
  ['/vary', '-H', 'Accept-Language: fr'],
  ['/cookies', '-H', 'Cookie: ann'],
  ['/cookies', '-H', 'Cookie: bob'],
  ['/ranges', '-H', 'Range: bytes=2-4'],
  ['/echo', '--data-binary', 'x=1'],
  ['/echo', '-X', 'PUT', '-H', 'Expect: 100-continue', '--data-binary', 'x'.repeat(70_000)],
];

/** Who answers. */
const nodeOf = (mechanism: string) => (mechanism === 'local' ? 'a' : 'b');

interface Answer {
  readonly status: string;
  readonly fields: readonly string[];
  readonly body: string;
  readonly age: string | undefined;
}

/** Of what curl -i prints, the last response. */
function parse(text: string): Answer {
  const parts = text.split('\r\n\r\n');
  while (/^HTTP\/1\.1 1\d\d/.test(parts[0])) parts.shift();
  const [line, ...fields] = parts[0].split('\r\n');
  const nameOf = (field: string) => field.split(':')[0].toLowerCase();
  return {
    status: line.split(' ').slice(1).join(' '),
    fields: fields.filter((field) => !NOT_COMPARED.test(nameOf(field))),
    body: parts.slice(1).join('\r\n\r\n'),
    age: fields.find((field) => nameOf(field) === 'age'),
  };
}

describe('a cache before an upstream', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  const origins: ChildProcess[] = [];
  const site = (name: string, mechanism: string, cache: object) => ({
    ...{ name, hosts: [`${name}.test`], upstream: `127.0.0.1:${PORT}`, policy: 'round-robin', mechanism },
    ...(mechanism === 'local' ? {} : { serve: ['b'] }),
    ...cache,
  });
  before(async () => {
    const cache = { cache: { bytes: 16 * 1024 * 1024 } };
    stand = await Stand.up({
      name: 't14c',
      nodes: 2,
      sizes: [],
      sites: MECHANISMS.flatMap((one) => [site(`on-${one}`, one, cache), site(`off-${one}`, one, {})]),
      set: ['observe.accessFields=["cache"]', 'observe.servedBy=false', 'observe.serverTiming=false'],
    });
    for (const { name } of stand.lab.nodes) {
      const argv = [process.execPath, ORIGIN, String(PORT)];
      const origin = stand.lab.spawn(name, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
      origins.push(origin);
      await once(origin.stdout!, 'data');
    }
  });
  after(() => {
    for (const origin of origins) origin.kill('SIGKILL');
    stand?.down();
  });

  /** The answers to several requests, one after the other on one connection. */
  const curl = async (from: string, url: string, host: string, asks: ReadonlyArray<readonly string[]>) => {
    const argv = ['curl', '-sS', '-m', '20'];
    for (const [index, [path, ...more]] of asks.entries()) {
      if (index > 0) argv.push('--next', '-sS', '-m', '20');
      argv.push('-i', '-H', `Host: ${host}`, '-w', '\n====\n', ...more, `${url}${path}`);
    }
    const { code, stdout, stderr } = await stand.lab.exec(from, argv, { timeoutMs: 30_000 });
    assert.equal(code, 0, stderr);
    return stdout.split('\n====\n').slice(0, -1).map(parse);
  };

  const asked = async (node: string): Promise<Record<string, number>> => {
    const [{ body }] = await curl(node, `http://127.0.0.1:${PORT}`, 'x', [['/asked']]);
    return JSON.parse(body);
  };

  for (const mechanism of MECHANISMS) {
    test(`header for header as the upstream itself: ${mechanism}`, async () => {
      const bare = await curl(nodeOf(mechanism), `http://127.0.0.1:${PORT}`, 'bare.test', REQUESTS);
      for (const [host, rounds] of [
        [`off-${mechanism}`, 1],
        [`on-${mechanism}`, 2],
      ] as const) {
        for (let round = 1; round <= rounds; round++) {
          const answers = await curl('client', 'http://a', `${host}.test`, REQUESTS);
          for (const [i, { age: _, ...answer }] of answers.entries()) {
            const { age: __, ...expected } = bare[i];
            assert.deepEqual(
              answer,
              expected,
              `${host}, round ${round}: ${REQUESTS[i].join(' ').slice(0, 80)}`,
            );
          }
          const stored = answers.filter(({ age }) => age !== undefined).length;
          if (host.startsWith('off')) assert.equal(stored, 0);
          if (round === 2) assert.ok(stored >= 10, `${stored} answers from the store`);
        }
      }
    });

    test(`a hundred clients, one request to the upstream: ${mechanism}`, async () => {
      const path = `/late?${mechanism}`;
      const argv = [
        'curl',
        '-sS',
        '-m',
        '20',
        '-Z',
        '--parallel-immediate',
        '--parallel-max',
        String(CLIENTS),
      ];
      argv.push('-H', `Host: on-${mechanism}.test`, '-w', '%{http_code} %{size_download}\n');
      for (let i = 0; i < CLIENTS; i++) argv.push('-o', '/dev/null', `http://a${path}`);
      const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 30_000 });
      assert.equal(code, 0, stderr);
      assert.deepEqual(stdout.trim().split('\n'), Array(CLIENTS).fill('200 50000'));
      assert.equal((await asked(nodeOf(mechanism)))[path], 1);
    });
  }

  test('clients that wait for one another, in vain: each has its own', async () => {
    const argv = ['curl', '-sS', '-m', '20', '-Z', '--parallel-immediate'];
    for (let i = 0; i < 10; i++) {
      if (i > 0) argv.push('--next', '-sS', '-m', '20');
      argv.push('-H', 'Host: on-anchor.test', '-H', `Cookie: c${i}`, 'http://a/late-private');
    }
    const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 30_000 });
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      stdout.trim().split('\n').toSorted(),
      Array.from({ length: 10 }, (_, i) => `for c${i}`),
    );
  });

  test('a purge: what was stored is asked for again', async () => {
    const get = () => curl('client', 'http://a', 'on-local.test', [['/plain?purged']]);
    await get();
    await get();
    assert.equal((await asked('a'))['/plain?purged'], 1);
    const baton = [
      process.execPath,
      fileURLToPath(new URL('../../../src/tools/cli/main.js', import.meta.url)),
    ];
    const purge = (path: string) =>
      stand.lab.exec('a', [...baton, 'purge', 'on-local', path, '--config', stand.lab.plan.configFile]);
    assert.match((await purge('/pla*')).stdout, /^a: \d+ resources forgotten\n$/);
    await get();
    assert.equal((await asked('a'))['/plain?purged'], 2);
    const other = await stand.lab.exec('a', [
      ...baton,
      'purge',
      'anchor',
      '/',
      '--config',
      stand.lab.plan.configFile,
    ]);
    assert.match(other.stderr, /NO_SITE/);
  });

  test('it is told: metrics, status, access log', async () => {
    const { counters, engines } = await stand.lab.admin('b', '/api/status');
    for (const name of ['hits', 'misses', 'passes', 'collapsed'])
      assert.ok(counters[`cache_${name}`] > 0, name);
    const { cache } = engines[0].sites.find((one: { site: string }) => one.site === 'on-anchor');
    assert.ok(cache.resources > 0 && cache.bytes > 50_000);
    const get = ['/plain?told'] as const;
    await curl('client', 'http://a', 'on-local.test', [[...get, '-I'], get, get]);
    await stand.until('the access log tells', async () => {
      const lines = stand.lab
        .logTail('a.log')
        .split('\n')
        .filter((line) => line.includes('told'));
      return /pass.*miss.*hit/.test(lines.map((line) => /"cache":"(\w+)"/.exec(line)?.[1]).join(' '));
    });
    await stand.nothingLeft();
  });
});
